"""A fleet without processes: workers on the test's event loop, and a cluster that can lose and delay messages."""

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
class FakeEndpoint:
    """The parts of an `ImageEndpoint` that a worker uses."""

    transport: Transport
    paced: Paced
    stopping: anyio.Event


@dataclass
class FakeWorker:
    """A worker's process.

    account: the account that it logs in with, or the error that a log-in raises.
    silent: it works, but no message gets through in either direction.
    """

    cloud: Transport
    account: Account | BulkshareError = ACCOUNT
    silent: bool = False
    sessions: dict[str, Worker] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    tasks: list[ShardTask] = field(default_factory=list)

    async def handshake(self, _version: str) -> bytes:
        """Answer the handshake."""
        return b""

    async def join(self, message: JoinRequest) -> JoinReply:
        """Join a run; a session of an earlier one ends."""
        if isinstance(self.account, BulkshareError):
            raise self.account
        for session in self.sessions.values():
            session.stop()
        stopping = anyio.Event()
        limits = message.settings.limits
        clock = anyio.current_time
        paced = Paced(self.cloud, limits, breaker=Breaker(), stopping=stopping, clock=clock, wall=lambda: NOW)
        self.sessions = {
            message.session_id: Worker(
                FakeEndpoint(paced, paced, stopping),
                message.settings,
                clock=clock,
                wall=lambda: NOW,
                jitter=random.Random(7).random,
                every_answer=message.every_answer,
            )
        }
        return JoinReply(self.account, clock())

    async def exchange(self, grant: Grant) -> Report:
        """Take a share."""
        self.grants.append(grant)
        return self._session(grant.session_id).take(grant)

    async def run_shard(self, task: ShardTask) -> ShardResult:
        """Process a shard."""
        self.tasks.append(task)
        return await self._session(task.session_id).run_shard(task)

    def _session(self, session_id: str) -> Worker:
        if session_id not in self.sessions:
            raise WorkerUnavailableError(session_id)
        return self.sessions[session_id]


@dataclass
class InProcessCluster:
    """A `fleet.Cluster` without Dask."""

    processes: dict[str, FakeWorker]
    address: str = "local:0"
    delay_seconds: float = 0.001
    scheduler_lost: bool = False
    notes: list[str] = field(default_factory=list)
    tasks: set[asyncio.Future[Any]] = field(default_factory=set)

    def require_scheduler(self) -> None:
        """See `fleet.Cluster`."""
        if self.scheduler_lost:
            raise StoppedEarlyError("the fleet's scheduler has gone")

    async def workers(self) -> frozenset[str]:
        """See `fleet.Cluster`."""
        return frozenset(self.processes)

    async def ask(self, worker: str, function: Callable[[FakeWorker, Any], Awaitable[Any]], message: Any) -> Any:
        """See `fleet.Cluster`."""
        await self._travel(worker)
        answer = await function(self.processes[worker], _pickled(message))
        await self._travel(worker)
        return _pickled(answer)

    async def run_shard(
        self, worker: str, function: Callable[[FakeWorker, Any], Awaitable[Any]], task: Any, _name: str
    ) -> Any:
        """See `fleet.Cluster`; the worker carries on if the caller stops waiting."""
        await self._travel(worker)
        running = asyncio.ensure_future(function(self.processes[worker], _pickled(task)))
        self.tasks.add(running)
        returned = await asyncio.shield(running)
        await self._travel(worker)
        return _pickled(returned)

    async def _travel(self, worker: str) -> None:
        await anyio.sleep(self.delay_seconds)
        if worker not in self.processes:
            raise WorkerUnavailableError(worker)
        while self.processes[worker].silent:
            await anyio.sleep(0.1)


def _pickled(message: Any) -> Any:
    """Return a message as it arrives on the other side."""
    return pickle.loads(pickle.dumps(message))  # type: ignore[no-untyped-call]


def with_fleet(harness: EngineHarness, cluster: InProcessCluster, *, every_answer: bool = False) -> Coordinator:
    """Have the harness's engine send its pairs through a fleet, and return its coordinator."""
    settings = Settings(limits=harness.limits, retry=harness.policy)
    coordinator = Coordinator(
        cluster,  # type: ignore[arg-type]  # the part of one that a coordinator uses
        Remote(FakeWorker.handshake, FakeWorker.join, FakeWorker.exchange, FakeWorker.run_shard),  # type: ignore[arg-type]  # as above
        JoinRequest(
            session_id="session", run="run", settings=settings, give_up_after_seconds=900.0, every_answer=every_answer
        ),
        ACCOUNT,
        credentials=None,
        clock=anyio.current_time,
        note=cluster.notes.append,
    )
    harness.senders = partial(ShardedSender, coordinator)
    return coordinator


def coordinator_of(harness: EngineHarness) -> Coordinator:
    """Return the coordinator of the harness's fleet."""
    assert isinstance(harness.senders, partial)
    coordinator = harness.senders.args[0]
    assert isinstance(coordinator, Coordinator)
    return coordinator


def with_workers(harness: EngineHarness, workers: int, *, every_answer: bool = False) -> InProcessCluster:
    """Have the harness's pairs sent by `workers` workers, named w0, w1 and so on."""
    cluster = InProcessCluster({f"w{number}": FakeWorker(harness.cloud) for number in range(workers)})
    with_fleet(harness, cluster, every_answer=every_answer)
    return cluster
