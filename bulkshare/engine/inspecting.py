"""Looks at the images that have something left to write, and does what `preflight` finds about them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bulkshare.engine.each import for_each
from bulkshare.engine.outcomes import skipped
from bulkshare.engine.recorder import Rest
from bulkshare.glance import details_path
from bulkshare.model import Image, Job, Kind, Orders, Want
from bulkshare.preflight import Beyond, Facts, Fit, Open, SkipPair, SkipRest, findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from bulkshare.engine.caller import Caller
    from bulkshare.engine.recorder import Recorder
    from bulkshare.engine.survey import Sights
    from bulkshare.model import Account, Backlog, Limits

BATCH = 50  # images asked for at once: their IDs make a URL of 2 kB, which every proxy lets through
NO_ORDERS = Orders()


class Inspecting:
    """Asks what images are, many with one GET, and settles the pairs that can't be brought about.

    `images` are known already, because the plan chose them for what they are.
    """

    def __init__(
        self,
        caller: Caller,
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

    async def decide(self, sights: Sights, *, everything: bool) -> list[str]:
        """Settle what can't be, and return the images that are to be opened.

        Without `everything` only those are looked at that are to be opened, or lose members.
        """
        leaving = {backlog.image_id: backlog.pairs async for backlog in self._recorder.pending_images(gone=True)}
        others = {backlog.image_id: backlog async for backlog in self._recorder.pending_images(gone=False)}
        todo = [
            image_id
            for image_id in dict.fromkeys([*leaving, *others])
            if everything or image_id in leaving or Want.OPENED in others[image_id].want
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
            self._recorder.observer.progressed(len(image_ids))

        for image in known:
            await settle(image.id, image)
        if unknown:
            self._recorder.observer.phase("inspecting", len(unknown))
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
                self._recorder.put(Rest(image_id, why, gone=True))
        for image_id, reason in self._beyond.items():
            self._recorder.put(Rest(image_id, reason, gone=True))

    async def _details(self, image_ids: Sequence[str]) -> dict[str, Image]:
        """Return what the cloud tells of images; hidden ones are only found where they are asked for."""
        found: dict[str, Image] = {}
        for hidden in (False, True):
            missing = [image_id for image_id in image_ids if image_id not in found and not {",", '"'} & set(image_id)]
            path = details_path(missing, hidden=hidden) if missing else None
            while path is not None:
                verdict = await self._caller.find_images(path)
                found.update((image.id, image) for image in verdict.images)
                more = verdict.kind is Kind.FOUND and verdict.images and len(found) < len(image_ids)
                path = verdict.next_path if more else None
        return found

    async def _settle(
        self, image_id: str, image: Image | None, sights: Sights, others: Backlog | None, to_remove: int
    ) -> None:
        if image is not None:
            self._recorder.observer.inspected(image)
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
                    self._recorder.put(Rest(image_id, reason, gone=gone))
                case Beyond(reason):
                    self._beyond[image_id] = reason
                case SkipPair(member_id, reason):
                    self._recorder.put(skipped(Job(image_id, member_id), reason, self._wall()))
                case Fit(0, reason) if not to_accept:
                    self._recorder.put(Rest(image_id, reason, gone=False))
                case Fit():
                    await self._fit(image_id, finding, owner)
                case Open():
                    self._to_open.append(image_id)

    async def _fit(self, image_id: str, fit: Fit, owner: str | None) -> None:
        """Leave the first pairs that are to be added pending, and those that need no room."""
        room = fit.room
        async for page in self._recorder.pending_pages(image_id, gone=False):
            for job in page:
                if job.member_id == owner or Want.LISTED in job.want:
                    continue
                room -= 1
                if room < 0:
                    self._recorder.put(skipped(job, fit.reason, self._wall()))
