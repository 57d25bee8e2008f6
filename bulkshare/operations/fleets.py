"""A fleet for a run, if one is asked for. Only then is `workers` imported: it takes 2 % of a run's start."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bulkshare.fleet import Coordinator, ShardedSender
    from bulkshare.model import Run
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import CloudSession
    from bulkshare.operations.workers import Fleets


@asynccontextmanager
async def open_fleets(options: Options) -> AsyncIterator[Fleets | None]:
    """Connect to the scheduler; None if no fleet is asked for, or nothing will be sent. Raises `UsageError`."""
    if options.fleet is None or options.dry_run:
        yield None
        return
    from bulkshare.operations.workers import connect  # noqa: PLC0415  see above

    async with connect(options.fleet, options) as fleets:
        yield fleets


@asynccontextmanager
async def fleet_for(fleets: Fleets | None, run: Run, session: CloudSession) -> AsyncIterator[Coordinator | None]:
    """Return the coordinator for the work on one cloud, or None without a fleet; dismiss its workers at the end."""
    if fleets is None:
        yield None
        return
    async with fleets.coordinate(run, session) as coordinator:
        yield coordinator


def sender_for(fleet: Coordinator | None) -> partial[ShardedSender] | None:
    """Return what takes the place of the engine's own pool, or None without a fleet."""
    if fleet is None:
        return None
    from bulkshare.fleet import ShardedSender  # noqa: PLC0415  see above

    return partial(ShardedSender, fleet)
