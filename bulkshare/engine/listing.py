"""One GET per image: to settle the pairs that are there already, and to describe those that a 409 told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from bulkshare.engine.outcomes import present
from bulkshare.engine.recorder import PAGE
from bulkshare.model import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from bulkshare.engine.caller import Caller
    from bulkshare.engine.recorder import Recorder
    from bulkshare.model import Limits


class Listing:
    """Lists the members of images, as many at once as the limits allow."""

    def __init__(self, caller: Caller, recorder: Recorder, limits: Limits, wall: Callable[[], datetime]) -> None:
        self._caller = caller
        self._recorder = recorder
        self._limits = limits
        self._wall = wall

    async def settle_present(self, *, at_least: int) -> frozenset[str]:
        """Settle as `already` what is there, for images with `at_least` pairs to do; return the images listed.

        An image that can't be listed is left as it is: whether it takes members its first POST will tell.
        """
        images = [image_id async for image_id, pending in self._recorder.pending_images() if pending >= at_least]
        self._recorder.observer.phase("listing", len(images))
        listed: set[str] = set()

        async def settle(image_id: str) -> None:
            verdict = await self._caller.list_members(image_id)
            if verdict.kind is not Kind.LISTED:
                return
            listed.add(image_id)
            there = {member.member_id: member for member in verdict.members}
            now = self._wall()
            after, page = None, [""] * PAGE
            while there and len(page) == PAGE:
                await self._recorder.room()
                page = await self._recorder.pending_members(image_id, after)
                for member_id in page:
                    if member_id in there:
                        self._recorder.put(present(there[member_id], verdict, now))
                after = page[-1] if page else None

        await self._for_each(images, settle)
        return frozenset(listed)

    async def describe(self) -> None:
        """Fetch status, times and schema of the members that a 409 told of, whatever their number with one GET."""
        wanted = await self._recorder.undescribed()
        if not wanted:
            return
        self._recorder.observer.phase("describing", len(wanted))

        async def fill_in(image_id: str) -> None:
            there = {member.member_id: member for member in (await self._caller.list_members(image_id)).members}
            found = [there[member_id] for member_id in wanted[image_id] if member_id in there]
            if found:
                await self._recorder.describe(found)

        await self._for_each(list(wanted), fill_in)

    async def _for_each(self, images: list[str], action: Callable[[str], Awaitable[None]]) -> None:
        todo = iter(images)

        async def work() -> None:
            for image_id in todo:
                if self._caller.stopping.is_set():
                    return
                await action(image_id)

        async with anyio.create_task_group() as workers:
            for _ in range(min(self._limits.concurrency, len(images))):
                workers.start_soon(work)
