"""The phases around the pool: list members, preflight, set images shared, fetch member details."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from bulkshare.engine.preflight import Facts, Open, OverPruneLimit, QuotaRoom, SkipPair, SkipRest, findings
from bulkshare.engine.retry import is_left_rejected, is_to_accept
from bulkshare.engine.writer import SettleImage, absent, present, skipped
from bulkshare.image_api.glance import details_path
from bulkshare.model import Backlog, Block, Image, Job, Orders, Result, VerdictKind, Want
from bulkshare.model.events import ExtraMembersFound, ImageInspected, ImagesDone, PhaseStarted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from bulkshare.engine.client import ApiClient
    from bulkshare.engine.writer import Recorder
    from bulkshare.model import Account, Limits, Member, Verdict


T = TypeVar("T")

# Members that are looked at together, where an image has many: some 400 bytes each, and there may be many images.
MOST_AT_ONCE = 50_000


async def for_each(
    items: Sequence[T],
    action: Callable[[T], Awaitable[None]],
    *,
    at_once: int,
    stopping: anyio.Event,
    size: Callable[[T], int] = lambda _item: 1,
) -> None:
    """Await `action` for the items, `at_once` of them together, and begin no more once `stopping` is set.

    There are fewer together where their sizes, members that have to be in memory meanwhile, add up to more than 50,000.
    """
    todo = iter(items)
    taken = 0
    freed = anyio.Event()

    async def work() -> None:
        nonlocal taken, freed
        for item in todo:
            needed = size(item)
            while taken and taken + needed > MOST_AT_ONCE:
                await freed.wait()
            if stopping.is_set():
                return
            taken += needed
            try:
                await action(item)
            finally:
                taken -= needed
                freed.set()
                freed = anyio.Event()

    async with anyio.create_task_group() as workers:
        for _ in range(min(at_once, len(items))):
            workers.start_soon(work)


@dataclass(slots=True)
class ListResults:
    """What a survey saw, by image: how many members, how many of those that are only to be accepted, and who refused.

    An image that is not in `members` was not listed.
    """

    members: dict[str, int] = field(default_factory=dict)
    to_accept: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)


class MemberLister:
    """Lists the members of images, as many at once as the limits allow, and settles the pairs that are as planned."""

    def __init__(
        self,
        caller: ApiClient,
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
        self._sights = ListResults()

    async def take(self, *, at_least: float) -> ListResults:
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
            self._recorder.observer.notify(PhaseStarted("listing", len(images)))
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
        if verdict.kind is not VerdictKind.LISTED:
            if verdict.kind is VerdictKind.REJECTED:
                self._sights.refused.add(image_id)
            return
        there = {member.member_id: member for member in verdict.members}
        leaving = set()
        if there or Want.REMOVE in backlog.want:
            leaving = await self._compare(image_id, there, verdict)
        orders = self._orders.get(image_id)
        if orders is not None and orders.prune:
            extra = [member_id for member_id in there if member_id not in orders.kept and member_id not in leaving]
            if extra and await self._recorder.enqueue([Block(image_id, extra, Want.REMOVE)]):
                self._recorder.observer.notify(ExtraMembersFound(image_id, extra))
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
                if want and Want.REMOVE in want:
                    if member is None:
                        self._recorder.put(absent(job, verdict, now))
                    else:
                        leaving.add(job.member_id)
                elif member is None:
                    continue
                elif want and is_to_accept(want, member):
                    to_accept += 1
                    if Want.ALREADY_MEMBER not in want:
                        to_mark.append(job.member_id)
                else:
                    self._recorder.put(present(member, verdict, now, want, left=is_left_rejected(want, member)))
            if to_mark:
                await self._recorder.mark_listed(image_id, to_mark)
        if to_accept:
            self._sights.to_accept[image_id] = to_accept
        return leaving


BATCH = 50  # images asked for at once: their IDs make a URL of 2 kB, which every proxy lets through
NO_ORDERS = Orders()


class Preflight:
    """Asks what images are, many with one GET, and settles the pairs that can't be brought about.

    `images` are known already, because the plan chose them for what they are.
    """

    def __init__(
        self,
        caller: ApiClient,
        recorder: Recorder,
        limits: Limits,
        wall: Callable[[], datetime],
        *,
        orders: Mapping[str, Orders],
        images: Mapping[str, Image],
        account: Account | None,
        prune_limit: float,
    ) -> None:
        self._caller = caller
        self._recorder = recorder
        self._limits = limits
        self._wall = wall
        self._orders = orders
        self._images = images
        self._findings = partial(
            findings, account=account, members_per_image=limits.members_per_image, prune_limit=prune_limit
        )
        self._to_open: list[str] = []
        self._beyond: dict[str, str] = {}  # why nobody is removed from an image, nor then from any other

    async def decide(self, sights: ListResults, *, everything: bool) -> list[str]:
        """Settle what can't be, and return the images that are to be opened.

        Without `everything` only those are looked at that are to be opened, or lose members.
        """
        leaving = {backlog.image_id: backlog.pairs async for backlog in self._recorder.pending_images(gone=True)}
        others = {backlog.image_id: backlog async for backlog in self._recorder.pending_images(gone=False)}
        todo = [
            image_id
            for image_id in dict.fromkeys([*leaving, *others])
            if everything or image_id in leaving or Want.SET_SHARED in others[image_id].want
        ]
        known = [self._images[image_id] for image_id in todo if image_id in self._images]
        unknown = [image_id for image_id in todo if image_id not in self._images]

        async def settle(image_id: str, image: Image | None) -> None:
            await self._settle(image_id, image, sights, others.get(image_id), leaving.get(image_id, 0))

        async def look(image_ids: Sequence[str]) -> None:
            found = await self._details(image_ids)
            if self._caller.stopping.is_set():
                return
            for image_id in image_ids:
                await settle(image_id, found.get(image_id))
            self._recorder.observer.notify(ImagesDone(len(image_ids)))

        for image in known:
            await settle(image.id, image)
        if unknown:
            self._recorder.observer.notify(PhaseStarted("inspecting", len(unknown)))
            batches = [unknown[start : start + BATCH] for start in range(0, len(unknown), BATCH)]
            await for_each(batches, look, at_once=self._limits.concurrency, stopping=self._caller.stopping)
        if self._beyond and not self._caller.stopping.is_set():
            self._remove_nobody(leaving)
        return self._to_open

    def _remove_nobody(self, leaving: Iterable[str]) -> None:
        """Settle all removals. Those beyond the limit come last: killed in between, the run finds them so again."""
        one = min(self._beyond)
        why = f"nobody is removed while that is so of image {one}: {self._beyond[one]}"
        for image_id in leaving:
            if image_id not in self._beyond:
                self._recorder.put(SettleImage(image_id, why, gone=True))
        for image_id, reason in self._beyond.items():
            self._recorder.put(SettleImage(image_id, reason, gone=True))

    async def _details(self, image_ids: Sequence[str]) -> dict[str, Image]:
        """Return what the cloud tells of images; hidden ones are only found where they are asked for."""
        found: dict[str, Image] = {}
        for hidden in (False, True):
            missing = [image_id for image_id in image_ids if image_id not in found and not {",", '"'} & set(image_id)]
            path = details_path(missing, hidden=hidden) if missing else None
            while path is not None:
                verdict = await self._caller.find_images(path)
                found.update((image.id, image) for image in verdict.images)
                more = verdict.kind is VerdictKind.FOUND and verdict.images and len(found) < len(image_ids)
                path = verdict.next_path if more else None
        return found

    async def _settle(
        self, image_id: str, image: Image | None, sights: ListResults, others: Backlog | None, to_remove: int
    ) -> None:
        if image is not None:
            self._recorder.observer.notify(ImageInspected(image))
        owner = image.owner if image is not None and others is not None else None
        to_accept = sights.to_accept.get(image_id, 0)
        facts = Facts(
            image_id,
            image,
            chosen=image_id in self._images,
            members=sights.members.get(image_id),
            refused=image_id in sights.refused,
            to_add=others.pairs - to_accept if others is not None else 0,
            to_remove=to_remove,
            owner_to_add=owner is not None and await self._recorder.is_pending(image_id, owner),
            want=others.want if others is not None else Want.MEMBER,
        )
        for finding in self._findings(facts, self._orders.get(image_id, NO_ORDERS)):
            match finding:
                case SkipRest(reason, gone):
                    self._recorder.put(SettleImage(image_id, reason, gone=gone))
                case OverPruneLimit(reason):
                    self._beyond[image_id] = reason
                case SkipPair(member_id, reason):
                    self._recorder.put(skipped(Job(image_id, member_id), reason, self._wall()))
                case QuotaRoom(0, reason) if not to_accept:
                    self._recorder.put(SettleImage(image_id, reason, gone=False))
                case QuotaRoom():
                    await self._fit(image_id, finding, owner)
                case Open():
                    self._to_open.append(image_id)

    async def _fit(self, image_id: str, fit: QuotaRoom, owner: str | None) -> None:
        """Leave the first pairs that are to be added pending, and those that need no room."""
        room = fit.room
        async for page in self._recorder.pending_pages(image_id, gone=False):
            for job in page:
                if job.member_id == owner or Want.ALREADY_MEMBER in job.want:
                    continue
                room -= 1
                if room < 0:
                    self._recorder.put(skipped(job, fit.reason, self._wall()))


class SetShared:
    """One PATCH per image. The pairs of an image that stays as it is are settled with the reason."""

    def __init__(self, caller: ApiClient, recorder: Recorder, limits: Limits) -> None:
        self._caller = caller
        self._recorder = recorder
        self._limits = limits

    async def open(self, image_ids: Sequence[str]) -> None:
        """Open images, as many at once as the limits allow."""
        if not image_ids:
            return
        self._recorder.observer.notify(PhaseStarted("opening", len(image_ids)))
        await for_each(image_ids, self._open, at_once=self._limits.concurrency, stopping=self._caller.stopping)

    async def _open(self, image_id: str) -> None:
        verdict = await self._caller.open_image(image_id)
        if verdict.kind is VerdictKind.REJECTED:
            self._recorder.put(SettleImage(image_id, f"the image can't be made shared: {verdict.reason}"))
        elif verdict.kind is not VerdictKind.SET_SHARED and not self._caller.stopping.is_set():
            reason = f"not known whether the image was made shared: {verdict.reason}"
            self._recorder.put(SettleImage(image_id, reason, Result.FAILED))


async def describe(caller: ApiClient, recorder: Recorder, limits: Limits) -> None:
    """Fill in status, times and schema of pairs that are settled without them."""
    images = 0
    async for page in recorder.undescribed():
        images += len(page)
    if not images:
        return
    recorder.observer.notify(PhaseStarted("describing", images))

    async def fill_in(wanted: tuple[str, list[str]]) -> None:
        image_id, member_ids = wanted
        there = {member.member_id: member for member in (await caller.list_members(image_id)).members}
        found = [there[member_id] for member_id in member_ids if member_id in there]
        if found:
            await recorder.describe(found)

    async for page in recorder.undescribed():
        await for_each(
            page,
            fill_in,
            at_once=limits.concurrency,
            stopping=caller.stopping,
            size=lambda wanted: len(wanted[1]),
        )
