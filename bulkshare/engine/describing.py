"""Fetches the fields of members that a 409 told of, whatever their number with one GET for an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.engine.each import for_each

if TYPE_CHECKING:
    from bulkshare.engine.caller import Caller
    from bulkshare.engine.recorder import Recorder
    from bulkshare.model import Limits


async def describe(caller: Caller, recorder: Recorder, limits: Limits) -> None:
    """Fill in status, times and schema of pairs that are settled without them."""
    images = 0
    async for page in recorder.undescribed():
        images += len(page)
    if not images:
        return
    recorder.observer.phase("describing", images)

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
