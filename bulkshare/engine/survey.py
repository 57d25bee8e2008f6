"""One GET per image before anything is written: who is a member, who is one too many, and whose acceptance is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkshare.engine.each import for_each
from bulkshare.engine.outcomes import absent, present
from bulkshare.model import Backlog, Block, Kind, Want
from bulkshare.retry import is_left_rejected, is_to_accept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from bulkshare.engine.caller import Caller
    from bulkshare.engine.recorder import Recorder
    from bulkshare.model import Limits, Member, Orders, Verdict


@dataclass(slots=True)
class Sights:
    """What a survey saw, by image: how many members, how many of those that are only to be accepted, and who refused.

    An image that is not in `members` was not listed.
    """

    members: dict[str, int] = field(default_factory=dict)
    to_accept: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)


class Survey:
    """Lists the members of images, as many at once as the limits allow, and settles the pairs that are as planned."""

    def __init__(
        self,
        caller: Caller,
        recorder: Recorder,
        limits: Limits,
        wall: Callable[[], datetime],
        orders: Mapping[str, Orders],
    ) -> None:
        self._caller = caller
        self._recorder = recorder
        self._limits = limits
        self._wall = wall
        self._orders = orders
        self._sights = Sights()

    async def take(self, *, at_least: float) -> Sights:
        """List images with `at_least` pairs to do, and those that are to be pruned; return what was seen.

        An image that can't be listed is left as it is: whether it takes members its first POST will tell.
        """
        pruned = {image_id: Backlog(image_id, 0) for image_id, orders in self._orders.items() if orders.prune}
        images = [
            backlog
            async for backlog in self._recorder.pending_images()
            if pruned.pop(backlog.image_id, None) is not None or backlog.pairs >= at_least
        ]
        images += pruned.values()  # they have no pairs to do, but may have members too many
        if images:
            self._recorder.observer.phase("listing", len(images))
            await for_each(
                images,
                self._list,
                at_once=self._limits.concurrency,
                stopping=self._caller.stopping,
                size=lambda backlog: backlog.pairs,  # about as many as it has members
            )
        return self._sights

    async def _list(self, backlog: Backlog) -> None:
        image_id = backlog.image_id
        verdict = await self._caller.list_members(image_id)
        if verdict.kind is not Kind.LISTED:
            if verdict.kind is Kind.REJECTED:
                self._sights.refused.add(image_id)
            return
        there = {member.member_id: member for member in verdict.members}
        leaving = set()
        if there or Want.GONE in backlog.want:
            leaving = await self._compare(image_id, there, verdict)
        orders = self._orders.get(image_id)
        if orders is not None and orders.prune:
            extra = [member_id for member_id in there if member_id not in orders.kept and member_id not in leaving]
            if extra and await self._recorder.enqueue([Block(image_id, extra, Want.GONE)]):
                self._recorder.observer.extra(image_id, extra)
        self._sights.members[image_id] = len(verdict.members)  # where a member is there twice, the quota counts both

    async def _compare(self, image_id: str, there: Mapping[str, Member], verdict: Verdict) -> set[str]:
        """Settle the pending pairs that are as planned, and return the members that are to be removed already."""
        now = self._wall()
        leaving = set()
        to_accept = 0
        async for page in self._recorder.pending_pages(image_id):
            to_mark = []
            for job in page:
                member, want = there.get(job.member_id), job.want
                if want and Want.GONE in want:
                    if member is None:
                        self._recorder.put(absent(job, verdict, now))
                    else:
                        leaving.add(job.member_id)
                elif member is None:
                    continue
                elif want and is_to_accept(want, member):
                    to_accept += 1
                    if Want.LISTED not in want:
                        to_mark.append(job.member_id)
                else:
                    self._recorder.put(present(member, verdict, now, want, left=is_left_rejected(want, member)))
            if to_mark:
                await self._recorder.mark_listed(image_id, to_mark)
        if to_accept:
            self._sights.to_accept[image_id] = to_accept
        return leaving
