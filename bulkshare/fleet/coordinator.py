"""The coordinator's side of a fleet: lets workers join, renews their leases, and gives them shards."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio

from bulkshare._version import __version__
from bulkshare.engine.retry import LOST_ANSWER_BASES
from bulkshare.errors import BulkshareError, StoppedEarlyError, UsageError
from bulkshare.fleet.dask import WorkerUnavailableError
from bulkshare.fleet.leases import LEASE_SECONDS, NOTHING, Leases, Share
from bulkshare.fleet.messages import Grant, ShardTask
from bulkshare.model.events import RetryScheduled
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bulkshare.fleet.dask import Cluster
    from bulkshare.fleet.messages import JoinRequest, Remote, Report, ShardResult
    from bulkshare.model import Account, Job, Limits
    from bulkshare.ports import Observer


SPEED_SECONDS = 5.0  # over which a worker's rate is averaged
MOST_SAMPLES = 64  # reports, of which the average takes the newest
JOIN_SECONDS = 60.0  # for a worker to log in to the cloud
OUTSTANDING = 2  # shards of a worker: one in progress, and one so that it never waits for us
RENEW_SECONDS = 0.5  # between two exchanges with a worker: how long a 429 at one takes to reach the others
NO_WORKER_SECONDS = 60.0  # how long to wait without any worker
ANSWER_SECONDS = 2 * LEASE_SECONDS  # a worker that does not answer for so long is lost
MOST_SHOWN = 8  # workers in a display


@dataclass(eq=False)
class WorkerHandle:
    """A worker that has joined.

    address: as the scheduler names it.
    session_id: identifies this join.
    clock: the time on its clock when it was last heard from, which was `heard_at` on ours.
    """

    address: str
    session_id: str
    clock: float
    heard_at: float
    grants: int = 0
    outstanding: int = 0  # shards
    pairs: int = 0
    requests: int = 0
    allowed: int = 0
    share: Share = NOTHING
    paused_until: float = -math.inf  # the end of the cool-down that it knows about
    speed: float = 0.0  # pairs per second on its last shard
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MOST_SAMPLES))  # time, requests
    scopes: set[anyio.CancelScope] = field(default_factory=set)  # of the tasks that wait for it

    def rate(self, now: float) -> float:
        """Return its recent rate, in requests per second."""
        while len(self.samples) > 1 and self.samples[0][0] < now - SPEED_SECONDS:
            self.samples.popleft()
        if not self.samples:
            return 0.0
        began, before = self.samples[0]
        return (self.requests - before) / max(now - began, 1.0)

    def summary(self, now: float) -> str:
        """Return one line with its rate, its share, and its work."""
        speed = f"{self.rate(now):.1f}/s of {self.share.rate:g}/s"
        return f"{self.address}  {speed}  {counted(self.outstanding, 'shard')} out  {counted(self.pairs, 'pair')}"


class Coordinator:
    """The workers of a cluster that have joined one run on one cloud.

    cluster: the scheduler and its workers.
    remote: the functions that the workers run.
    request: what workers are asked to join. Its session ID is a prefix: each join has its own, so that a late
        message to a worker that was lost is void when it joins again.
    account: whose project and endpoint a worker must act for; any other is refused.
    credentials: sealed for each worker; None if the workers have their own.
    clock: monotonic, in seconds.
    note: reports a refused or lost worker to the user.
    """

    def __init__(
        self,
        cluster: Cluster,
        remote: Remote,
        request: JoinRequest,
        account: Account,
        *,
        credentials: str | None,
        clock: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._remote = remote
        self._request = request
        self._account = account
        self._credentials = credentials
        self._clock = clock
        self._note = note
        limits = request.settings.limits
        self._leases = Leases(limits.rate, limits.concurrency)
        self._workers: dict[str, WorkerHandle] = {}
        self._refused: dict[str, BulkshareError] = {}
        self._supervised: set[str] = set()  # addresses, of workers that are joining, too
        self._joins = 0
        self._shards = 0
        self._tasks = 0
        self._lost = 0
        self._repeated = 0  # shards that were, or will be, done again
        self._cooling_until = -math.inf
        self._stopping = False
        self._paused = False
        self._active = False
        self._renew = anyio.Event()
        self.changed = anyio.Event()
        self.requests = 0  # sent by all workers, as far as they have reported
        self.retries = 0

    @property
    def limits(self) -> Limits:
        """The limits for all workers together."""
        return self._request.settings.limits

    @property
    def allowed(self) -> int:
        """How many requests the workers may have in flight now."""
        return sum(worker.allowed for worker in self._workers.values())

    def limit(self, limits: Limits) -> None:
        """Keep to these limits from now on; workers that have more give it back at their next exchange."""
        self._request = replace(self._request, settings=replace(self._request.settings, limits=limits))
        self._leases.rate, self._leases.concurrency = limits.rate, limits.concurrency
        self._renew_soon()

    def pause(self) -> None:
        """Have the workers send nothing new until `go`."""
        self._paused = True
        self._renew_soon()

    def go(self) -> None:
        """End a pause."""
        self._paused = False
        self._renew_soon()

    def pace(self) -> str:
        """Return a short status, "" while the fleet is idle. May be called from any thread."""
        if not self._active:
            return ""
        parts = [counted(len(self._workers), "worker"), f"{counted(self._shards, 'shard')} out"]
        if self._lost:
            parts.append(f"{self._lost} lost, {counted(self._repeated, 'shard')} again")
        if self._paused:
            parts.append("paused")
        elif (pause := self._cooling_until - self._clock()) > 0:
            parts.append(f"throttled, paused for {pause:.0f} s")
        return ", ".join(parts)

    def details(self) -> list[str]:
        """Return a line for each worker. May be called from any thread."""
        if not self._active:
            return []
        now, workers = self._clock(), list(self._workers.values())
        lines = [worker.summary(now) for worker in workers[:MOST_SHOWN]]
        return [*lines, f"and {len(workers) - MOST_SHOWN} more"] if len(workers) > MOST_SHOWN else lines

    def least_loaded(self) -> WorkerHandle | None:
        """Return the worker with the fewest shards, if it may get another."""
        worker = min(self._workers.values(), key=lambda worker: worker.outstanding, default=None)
        return worker if worker is not None and worker.outstanding < OUTSTANDING else None

    def free_slots(self) -> int:
        """Return how many more shards the workers may get."""
        return sum(OUTSTANDING - worker.outstanding for worker in self._workers.values())

    def stop(self) -> None:
        """Make the workers send nothing more and return what they have done."""
        self._stopping = True
        self._renew_soon()
        self.notify_changed()

    def _renew_soon(self) -> None:
        """Have all leases renewed at once."""
        self._renew.set()
        self._renew = anyio.Event()

    def notify_changed(self) -> None:
        """Wake the tasks that wait for `changed`."""
        self.changed.set()
        self.changed = anyio.Event()

    async def run_shard(self, worker: WorkerHandle, jobs: list[Job], probed: frozenset[str]) -> ShardResult | None:
        """Have a worker, whose `outstanding` already counts it, work on a shard.

        Return None if the worker is lost: once it certainly sends nothing more, and its requests in flight have had the
        time that is given to a lost answer.
        """
        self._tasks += 1
        name = f"bulkshare-{self._request.session_id}-{self._tasks}"
        plain = [(image_id, member_id, want) for image_id, member_id, want in jobs]
        task = ShardTask(session_id=worker.session_id, jobs=plain, probed=probed)
        began = self._clock()
        self._shards += 1
        if worker.outstanding == 1:
            self._renew_soon()  # it was idle, and has no share
        try:
            result = await self._unless_lost(worker, task, name)
            if result is None:
                self._repeated += 1
                settling = LOST_ANSWER_BASES * self._request.settings.retry.base_seconds
                await anyio.sleep(max(self._leases.ends(worker.address) + settling - self._clock(), 0.0))
                return None
            worker.pairs += len(result.outcomes)
            worker.speed = len(result.outcomes) / max(self._clock() - began, 0.1)
            return result
        finally:
            worker.outstanding -= 1
            self._shards -= 1

    async def _unless_lost(self, worker: WorkerHandle, task: ShardTask, name: str) -> ShardResult | None:
        with anyio.CancelScope() as scope:
            worker.scopes.add(scope)
            try:
                return await self._cluster.run_shard(worker.address, self._remote.run_shard, task, name)
            except WorkerUnavailableError:
                self.mark_lost(worker)  # it may still be working on it: it gets no more leases
            finally:
                worker.scopes.discard(scope)
        return None

    async def supervise(self, observer: Observer) -> None:
        """Let workers join and renew their leases until cancelled.

        Raises `StoppedEarlyError` if the scheduler or all workers are gone.
        """
        self._active = True
        alone_since = self._clock()
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    self._cluster.require_scheduler()
                    present = await self._present()
                    for worker in [worker for worker in self._workers.values() if worker.address not in present]:
                        self.mark_lost(worker)
                    for address in self._refused.keys() - present:
                        del self._refused[address]  # the next worker there may be another
                    for address in present - self._supervised - self._refused.keys():
                        self._supervised.add(address)
                        tasks.start_soon(self._supervise_worker, address, observer)
                    if self._workers:
                        alone_since = self._clock()
                    self._require_workers(alone_since, present)
                    await anyio.sleep(RENEW_SECONDS)
        finally:
            self._active = False

    async def drain_reports(self, observer: Observer) -> None:
        """Collect the workers' remaining events when they have nothing more to do."""

        async def drain(worker: WorkerHandle) -> None:
            grant = self._grant(worker, self._leases.lend(worker.address, (), self._clock()))
            with anyio.move_on_after(RENEW_SECONDS * 4), suppress(WorkerUnavailableError):
                self._apply(worker, grant, await self._exchange(worker, grant), observer)

        async with anyio.create_task_group() as tasks:
            for worker in list(self._workers.values()):
                tasks.start_soon(drain, worker)

    async def end(self) -> None:
        """Tell the workers that can be reached that the run is over; the others' leases expire."""

        async def dismiss(worker: WorkerHandle) -> None:
            with anyio.move_on_after(RENEW_SECONDS * 2), suppress(WorkerUnavailableError):
                await self._exchange(worker, replace(self._grant(worker, NOTHING), stop=True, end=True))

        async with anyio.create_task_group() as tasks:
            for worker in self._workers.values():
                tasks.start_soon(dismiss, worker)

    async def _exchange(self, worker: WorkerHandle, grant: Grant) -> Report:
        return await self._cluster.ask(worker.address, self._remote.exchange, grant)

    async def _present(self) -> frozenset[str]:
        """Return the addresses of the workers present, or of those that have joined if the scheduler can't say."""
        with anyio.move_on_after(ANSWER_SECONDS):
            try:
                return await self._cluster.workers()
            except WorkerUnavailableError:
                self._cluster.require_scheduler()
        return frozenset(self._workers)

    def _require_workers(self, alone_since: float, present: Collection[str]) -> None:
        if self._refused and not (self._workers or self._supervised or self._lost):
            raise next(iter(self._refused.values()))
        if self._clock() - alone_since > NO_WORKER_SECONDS:
            which = f"; the {counted(len(present), 'worker')} there did not join" if present else ""
            raise StoppedEarlyError(f"the fleet at {self._cluster.address} has no worker{which}")

    async def _supervise_worker(self, address: str, observer: Observer) -> None:
        try:
            worker = self._workers.get(address) or await self._try_join(address)
            if worker is None:
                return
            self._workers[address] = worker
            self.notify_changed()
            with anyio.CancelScope() as scope:
                worker.scopes.add(scope)
                await self._renew_until_lost(worker, observer)
        finally:
            self._supervised.discard(address)

    async def _try_join(self, address: str) -> WorkerHandle | None:
        try:
            return await self._join(address)
        except (WorkerUnavailableError, TimeoutError):
            return None  # it is asked again while it is present
        except BulkshareError as error:
            self._refused[address] = error
            self._note(f"worker {address} can't join: {clean(str(error))}")
            return None

    async def _join(self, address: str) -> WorkerHandle:
        from bulkshare.fleet.sealing import seal  # noqa: PLC0415  needs a package that comes with the extra

        self._joins += 1
        session_id = f"{self._request.session_id}-{self._joins}"
        with anyio.fail_after(JOIN_SECONDS):
            public_key = await self._cluster.ask(address, self._remote.handshake, __version__)
            sealed = None if self._credentials is None else seal(self._credentials, public_key)
            request = replace(self._request, session_id=session_id, sealed=sealed)
            reply = await self._cluster.ask(address, self._remote.join, request)
        self._require_same(address, reply.account)
        return WorkerHandle(address, session_id, reply.clock, self._clock())

    def _require_same(self, address: str, account: Account) -> None:
        ours = self._account
        if (account.endpoint, account.project_id) != (ours.endpoint, ours.project_id):
            raise UsageError(
                f"worker {address} acts for project {account.project} ({account.project_id}) at {account.endpoint}, "
                f"and this run for {ours.project} ({ours.project_id}) at {ours.endpoint}; "
                "give the workers the same clouds.yaml"
            )

    async def _renew_until_lost(self, worker: WorkerHandle, observer: Observer) -> None:
        while True:
            renew = self._renew  # before the grant, so that nothing that happens from here on is missed
            grant = self._grant(worker, self._leases.lend(worker.address, self._busy_workers(), self._clock()))
            try:
                with anyio.fail_after(ANSWER_SECONDS):
                    report = await self._exchange(worker, grant)
            except (WorkerUnavailableError, TimeoutError):
                self._cluster.require_scheduler()
                if self._clock() - worker.heard_at > ANSWER_SECONDS:
                    self.mark_lost(worker)
                await anyio.sleep(RENEW_SECONDS)
                continue
            self._apply(worker, grant, report, observer)
            with anyio.move_on_after(RENEW_SECONDS):
                await renew.wait()

    def _busy_workers(self) -> list[str]:
        """Return the workers that need a share: those with work, unless their lease ended without a sign of them."""
        since = self._clock() - LEASE_SECONDS
        return [address for address, worker in self._workers.items() if worker.outstanding and worker.heard_at > since]

    def _grant(self, worker: WorkerHandle, share: Share) -> Grant:
        pause = self._cooling_until - self._clock()
        worker.grants += 1
        return Grant(
            number=worker.grants,
            session_id=worker.session_id,
            rate=share.rate,
            concurrency=share.concurrency,
            until=worker.clock + LEASE_SECONDS,
            pause_seconds=pause if worker.paused_until < self._cooling_until and pause > 0 else 0.0,
            paused=self._paused,
            stop=self._stopping,
        )

    def _apply(self, worker: WorkerHandle, grant: Grant, report: Report, observer: Observer) -> None:
        """Take over a worker's report, the answer to a grant."""
        now = self._clock()
        self._leases.confirm(worker.address, report.in_flight)
        worker.clock, worker.heard_at, worker.allowed = report.clock, now, report.allowed
        if worker.share.rate > grant.rate or worker.share.concurrency > grant.concurrency:
            self._renew_soon()  # what it has given back, others can have
        worker.share = Share(grant.rate, grant.concurrency)
        self.requests += report.requests - worker.requests
        worker.requests = report.requests
        worker.samples.append((now, report.requests))
        if grant.pause_seconds:
            worker.paused_until = self._cooling_until
        if now + report.cooling_seconds > self._cooling_until + RENEW_SECONDS and report.cooling_seconds > 0:
            self._cooling_until = now + report.cooling_seconds
            worker.paused_until = self._cooling_until  # it is the one that reported it
            self._renew_soon()
        for event in report.events:
            self.retries += isinstance(event, RetryScheduled)
            observer.notify(event)

    def mark_lost(self, worker: WorkerHandle) -> None:
        """Forget a worker; its shards are done again."""
        if self._workers.get(worker.address) is not worker:
            return
        del self._workers[worker.address]
        self._lost += 1
        self._note(f"worker {worker.address} is lost; its {counted(worker.outstanding, 'shard')} will be done again")
        for scope in list(worker.scopes):
            scope.cancel()
        self.notify_changed()
