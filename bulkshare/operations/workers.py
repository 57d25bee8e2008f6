"""A fleet for a run: workers that send, instead of the engine of this process."""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from bulkshare.cloud import serialize
from bulkshare.errors import UsageError
from bulkshare.fleet import Coordinator, JoinRequest, Remote, open_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bulkshare.fleet import Cluster
    from bulkshare.model import Run
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import CloudSession


FAREWELL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Fleets:
    """Where the fleets of a run's clouds come from: one scheduler for all of them."""

    cluster: Cluster
    options: Options


@asynccontextmanager
async def fleet_for(fleets: Fleets | None, run: Run, session: CloudSession) -> AsyncIterator[Coordinator | None]:
    """Return the fleet for the work on one cloud, whose workers are told when that is over; None for none."""
    if fleets is None:
        yield None
        return
    from bulkshare.operations import stations  # noqa: PLC0415  only a fleet needs it

    cluster = fleets.cluster
    passes = fleets.options.passes_credentials or (session.settings.sandbox and cluster.is_local)
    muster = JoinRequest(
        session_id=f"{run.key}-{secrets.token_hex(4)}",
        run=_told_apart(run),
        settings=session.settings,
        give_up_after_seconds=fleets.options.give_up_after_seconds,
        on_this_machine=cluster.is_local,
    )
    remote = Remote(stations.handshake, stations.muster, stations.exchange, stations.run_shard)
    fleet = Coordinator(
        cluster,
        remote,
        muster,
        session.identity.account,
        credentials=serialize(session.identity.entry) if passes else None,
        clock=time.monotonic,
        note=session.listener.note,
    )
    try:
        yield fleet
    finally:
        with anyio.move_on_after(FAREWELL_SECONDS, shield=True):
            await fleet.end()


def _told_apart(run: Run) -> str:
    """Name a run as no run of another ledger on the same workers: two that begin in one second may have one key."""
    return f"{run.key} {run.started_at.isoformat()} {run.account.endpoint} {run.account.project_id}"


@asynccontextmanager
async def open_fleets(options: Options) -> AsyncIterator[Fleets | None]:
    """Connect to the fleet; None where none is asked for. Raises `UsageError`."""
    if options.fleet is None or options.dry_run:
        yield None
        return
    async with open_cluster(options.fleet) as cluster:
        if options.passes_credentials and not (cluster.is_encrypted or cluster.is_local):
            raise UsageError(
                f"--fleet-credentials pass: the way to {options.fleet} is not encrypted; use a scheduler with TLS "
                "(tls://), or give each worker its own clouds.yaml"
            )
        yield Fleets(cluster, options)
