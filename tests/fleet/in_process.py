"""A fleet without processes: stations in this loop, whose cluster loses and delays messages as a test likes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from distributed.protocol import pickle

from bulkshare.errors import BulkshareError, StoppedEarlyError
from bulkshare.fleet import Coordinator, JoinReply, JoinRequest, Remote, ShardedSender, Worker
from bulkshare.fleet.dask import WorkerUnavailableError
from bulkshare.model import Account, Settings
from bulkshare.pacing import Breaker, Paced
from tests.engine.fakes import NOW
from tests.engine.harness import ACCOUNT, EngineHarness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.fleet import Grant, Report, ShardResult, ShardTask
    from bulkshare.ports import Transport


@dataclass
class Way:
    """What a station needs of a line."""

    transport: Transport
    paced: Paced
    stopping: anyio.Event


@dataclass
class FakeWorker:
    """A worker's process. `account` is as whom it acts, or what keeps it from that."""

    cloud: Transport
    account: Account | BulkshareError = ACCOUNT
    silent: bool = False  # it is at work, and no message comes through
    stations: dict[str, Worker] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    orders: list[ShardTask] = field(default_factory=list)

    async def handshake(self, _version: str) -> bytes:
        """Say that it is there."""
        return b""

    async def join(self, message: JoinRequest) -> JoinReply:
        """Take part, anew."""
        if isinstance(self.account, BulkshareError):
            raise self.account
        for station in self.stations.values():
            station.stop()
        stopping = anyio.Event()
        limits = message.settings.limits
        clock = anyio.current_time
        paced = Paced(self.cloud, limits, breaker=Breaker(), stopping=stopping, clock=clock, wall=lambda: NOW)
        self.stations = {
            message.session_id: Worker(
                Way(paced, paced, stopping),
                message.settings,
                clock=clock,
                wall=lambda: NOW,
                jitter=random.Random(7).random,
            )
        }
        return JoinReply(self.account, clock())

    async def exchange(self, grant: Grant) -> Report:
        """Take a share."""
        self.grants.append(grant)
        return self._station(grant.session_id).take(grant)

    async def run_shard(self, order: ShardTask) -> ShardResult:
        """Work on a shard."""
        self.orders.append(order)
        return await self._station(order.session_id).run_shard(order)

    def _station(self, session_id: str) -> Worker:
        if session_id not in self.stations:
            raise WorkerUnavailableError(session_id)
        return self.stations[session_id]


@dataclass
class InProcessCluster:
    """A `fleet.Cluster` without Dask."""

    members: dict[str, FakeWorker]
    address: str = "local:0"
    way_seconds: float = 0.001
    gone: bool = False
    notes: list[str] = field(default_factory=list)
    tasks: set[asyncio.Future[Any]] = field(default_factory=set)

    def require_scheduler(self) -> None:
        """See `fleet.Cluster`."""
        if self.gone:
            raise StoppedEarlyError("the fleet's scheduler has gone")

    async def workers(self) -> frozenset[str]:
        """See `fleet.Cluster`."""
        return frozenset(self.members)

    async def ask(self, worker: str, function: Callable[[FakeWorker, Any], Awaitable[Any]], message: Any) -> Any:
        """See `fleet.Cluster`."""
        await self._way(worker)
        answer = await function(self.members[worker], _carried(message))
        await self._way(worker)
        return _carried(answer)

    async def run_shard(
        self, worker: str, function: Callable[[FakeWorker, Any], Awaitable[Any]], order: Any, _name: str
    ) -> Any:
        """See `fleet.Cluster`; the worker goes on where nobody waits for it any more."""
        await self._way(worker)
        task = asyncio.ensure_future(function(self.members[worker], _carried(order)))
        self.tasks.add(task)
        returned = await asyncio.shield(task)
        await self._way(worker)
        return _carried(returned)

    async def _way(self, worker: str) -> None:
        await anyio.sleep(self.way_seconds)
        if worker not in self.members:
            raise WorkerUnavailableError(worker)
        while self.members[worker].silent:
            await anyio.sleep(0.1)


def _carried(message: Any) -> Any:
    """Return what arrives of a message."""
    return pickle.loads(pickle.dumps(message))  # type: ignore[no-untyped-call]


def with_fleet(harness: EngineHarness, cluster: InProcessCluster) -> Coordinator:
    """Let a harness's engine have its pairs sent by a fleet, and return that."""
    settings = Settings(limits=harness.limits, retry=harness.policy)
    fleet = Coordinator(
        cluster,  # type: ignore[arg-type]  # as far as a fleet needs one
        Remote(FakeWorker.handshake, FakeWorker.join, FakeWorker.exchange, FakeWorker.run_shard),  # type: ignore[arg-type]  # as above
        JoinRequest(session_id="engagement", run="run", settings=settings, give_up_after_seconds=900.0),
        ACCOUNT,
        credentials=None,
        clock=anyio.current_time,
        note=cluster.notes.append,
    )
    harness.senders = partial(ShardedSender, fleet)
    return fleet


def with_workers(harness: EngineHarness, workers: int) -> InProcessCluster:
    """Let a harness's pairs be sent by so many workers."""
    cluster = InProcessCluster({f"w{number}": FakeWorker(harness.cloud) for number in range(workers)})
    with_fleet(harness, cluster)
    return cluster
