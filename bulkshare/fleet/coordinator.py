"""The coordinator's side: asks workers to join, keeps their leases, and gives them shards."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio

from bulkshare._version import __version__
from bulkshare.engine.retry import AT_WORK_BASES
from bulkshare.errors import BulkshareError, StoppedEarlyError, UsageError
from bulkshare.fleet.dask import AwayError
from bulkshare.fleet.leases import LEASE_SECONDS, NOTHING, Leases, Share
from bulkshare.fleet.messages import Grant, Order
from bulkshare.model.events import RetryScheduled
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bulkshare.fleet.dask import Cluster
    from bulkshare.fleet.messages import JoinRequest, Remote, Report, Returned
    from bulkshare.model import Account, Job, Limits
    from bulkshare.ports import Observer


SPEED_SECONDS = 5.0  # over which a worker's speed is taken
MOST_ANSWERED = 64  # reports, of which that takes the newest


@dataclass(eq=False)
class WorkerHandle:
    """A worker that takes part, as which `engagement`.

    Its own clock showed `clock` when it was last heard of, at `heard_at` on ours.
    """

    address: str
    session_id: str
    clock: float
    heard_at: float
    grants: int = 0
    outstanding: int = 0
    pairs: int = 0
    requests: int = 0
    allowed: int = 0
    share: Share = NOTHING
    paused_until: float = -math.inf  # it knows of this cool-down
    speed: float = 0.0  # pairs a second while it worked on its last shard
    answered: deque[tuple[float, int]] = field(
        default_factory=lambda: deque(maxlen=MOST_ANSWERED)
    )  # when, and how many
    scopes: set[anyio.CancelScope] = field(default_factory=set)  # of those who wait for what it does

    def rate(self, now: float) -> float:
        """Return the requests that it sent in a second lately."""
        while len(self.answered) > 1 and self.answered[0][0] < now - SPEED_SECONDS:
            self.answered.popleft()
        if not self.answered:
            return 0.0
        began, before = self.answered[0]
        return (self.requests - before) / max(now - began, 1.0)

    def described(self, now: float) -> str:
        """Say how fast it is, and what it has and had to do."""
        speed = f"{self.rate(now):.1f}/s of {self.share.rate:g}/s"
        return f"{self.address}  {speed}  {counted(self.outstanding, 'shard')} out  {counted(self.pairs, 'pair')}"


MUSTER_SECONDS = 60.0  # for a worker to log in to the cloud


@dataclass
class Meetings:
    """The meetings with workers of one run, which acts as `account`. `clock` is monotonic, in seconds.

    Workers get `credentials` where there are some, and have their own else. Each meeting has a name of its own: what
    was said to a worker that was lost may come when it takes part again, and is void then.
    """

    cluster: Cluster
    remote: Remote
    muster: JoinRequest
    account: Account
    credentials: str | None = field(repr=False)
    clock: Callable[[], float]
    _held: int = 0

    async def meet(self, address: str) -> WorkerHandle:
        """Raise `BulkshareError` where the worker can't take part, `AwayError` or `TimeoutError` where it may later."""
        from bulkshare.fleet.sealing import seal  # noqa: PLC0415  needs a package that comes with the extra

        self._held += 1
        session_id = f"{self.muster.session_id}-{self._held}"
        with anyio.fail_after(MUSTER_SECONDS):
            public_key = await self.cluster.ask(address, self.remote.handshake, __version__)
            sealed = None if self.credentials is None else seal(self.credentials, public_key)
            muster = replace(self.muster, session_id=session_id, sealed=sealed)
            joined = await self.cluster.ask(address, self.remote.muster, muster)
        self._require_same(address, joined.account)
        return WorkerHandle(address, session_id, joined.clock, self.clock())

    def _require_same(self, address: str, account: Account) -> None:
        ours, its = ((each.endpoint, each.project_id) for each in (self.account, account))
        if ours != its:
            raise UsageError(
                f"worker {address} acts for project {account.project} ({account.project_id}) at {account.endpoint}, "
                f"and this run for {self.account.project} ({self.account.project_id}) at {self.account.endpoint}; "
                "give the workers the same clouds.yaml"
            )


OUTSTANDING = 2  # shards a worker has: one at work, and one so that it never waits for us
RENEW_SECONDS = 0.5  # between two exchanges with a worker: how long a 429 at one takes to reach the others
PATIENCE_SECONDS = 60.0  # with no worker at all
ANSWER_SECONDS = 2 * LEASE_SECONDS  # a worker that does not answer for so long is lost
MOST_SHOWN = 8  # workers in a display


class Coordinator:
    """The workers of a cluster that take part in one run on one cloud. `clock` is monotonic, in seconds.

    A worker that acts for another project or at another endpoint than `account` is sent nothing; `note` is told.
    Workers get `credentials` where there are some, and have their own else.
    """

    def __init__(
        self,
        cluster: Cluster,
        remote: Remote,
        muster: JoinRequest,
        account: Account,
        *,
        credentials: str | None,
        clock: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._remote = remote
        self._muster = muster
        self._meetings = Meetings(cluster, remote, muster, account, credentials, clock)
        self._clock = clock
        self._note = note
        limits = muster.settings.limits
        self._leases = Leases(limits.rate, limits.concurrency)
        self._hands: dict[str, WorkerHandle] = {}
        self._refused: dict[str, BulkshareError] = {}
        self._meeting: set[str] = set()
        self._shards = 0
        self._numbered = 0
        self._lost = 0
        self._again = 0  # shards that were, or will be, done a second time
        self._cooling_until = -math.inf
        self._stopping = False
        self._at_work = False
        self._renew = anyio.Event()
        self.changed = anyio.Event()
        self.requests = 0  # sent by all workers, as far as they have told
        self.retries = 0

    @property
    def limits(self) -> Limits:
        """What all workers keep to together."""
        return self._muster.settings.limits

    @property
    def allowed(self) -> int:
        """How many requests the workers may have in flight now."""
        return sum(hand.allowed for hand in self._hands.values())

    def pace(self) -> str:
        """Describe the fleet in a few words; "" while it has nothing to do. May be called from any thread."""
        if not self._at_work:
            return ""
        told = [counted(len(self._hands), "worker"), f"{counted(self._shards, 'shard')} out"]
        if self._lost:
            told.append(f"{self._lost} lost, {counted(self._again, 'shard')} again")
        if (pause := self._cooling_until - self._clock()) > 0:
            told.append(f"cooling down, {pause:.0f} s")
        return ", ".join(told)

    def details(self) -> list[str]:
        """Return a line for each worker. May be called from any thread."""
        if not self._at_work:
            return []
        now, hands = self._clock(), list(self._hands.values())
        lines = [hand.described(now) for hand in hands[:MOST_SHOWN]]
        return [*lines, f"and {len(hands) - MOST_SHOWN} more"] if len(hands) > MOST_SHOWN else lines

    def least_loaded(self) -> WorkerHandle | None:
        """Return the worker that has least to do, if it may have more."""
        hand = min(self._hands.values(), key=lambda hand: hand.outstanding, default=None)
        return hand if hand is not None and hand.outstanding < OUTSTANDING else None

    def places(self) -> int:
        """Return how many more shards the workers may have."""
        return sum(OUTSTANDING - hand.outstanding for hand in self._hands.values())

    def stop(self) -> None:
        """Let the workers send nothing any more, and give back what they have done."""
        self._stopping = True
        self._renew.set()
        self.tell_changed()

    def tell_changed(self) -> None:
        """Wake those who wait for `changed`."""
        self.changed.set()
        self.changed = anyio.Event()

    async def run_shard(self, hand: WorkerHandle, jobs: list[Job], probed: frozenset[str]) -> Returned | None:
        """Let a worker, whose `outstanding` counts this already, work on a shard.

        Return None where the worker is lost, once it is sure that it sends nothing any more, and what it had in flight
        has had the time that an answer which is lost gets.
        """
        self._numbered += 1
        name = f"bulkshare-{self._muster.session_id}-{self._numbered}"
        order = Order(session_id=hand.session_id, jobs=jobs, probed=probed)
        began = self._clock()
        self._shards += 1
        if hand.outstanding == 1:
            self._renew.set()  # it was idle, and has no share
        try:
            returned = await self._unless_lost(hand, order, name)
            if returned is None:
                self._again += 1
                at_work = AT_WORK_BASES * self._muster.settings.retry.base_seconds
                await anyio.sleep(max(self._leases.ends(hand.address) + at_work - self._clock(), 0.0))
                return None
            hand.pairs += len(returned.outcomes)
            hand.speed = len(returned.outcomes) / max(self._clock() - began, 0.1)
            return returned
        finally:
            hand.outstanding -= 1
            self._shards -= 1

    async def _unless_lost(self, hand: WorkerHandle, order: Order, name: str) -> Returned | None:
        with anyio.CancelScope() as scope:
            hand.scopes.add(scope)
            try:
                return await self._cluster.run_shard(hand.address, self._remote.run_shard, order, name)
            except AwayError:
                self.mark_lost(hand)  # it may be at work on it still: no more leases
            finally:
                hand.scopes.discard(scope)
        return None

    async def tend(self, observer: Observer) -> None:
        """Keep the fleet until cancelled. Raises `StoppedEarlyError` where the scheduler or all workers are gone."""
        self._at_work = True
        alone_since = self._clock()
        try:
            async with anyio.create_task_group() as hands:
                while True:
                    self._cluster.require_scheduler()
                    there = await self._there()
                    for hand in [hand for hand in self._hands.values() if hand.address not in there]:
                        self.mark_lost(hand)
                    for address in self._refused.keys() - there:
                        del self._refused[address]  # who comes there next may be another
                    for address in there - self._meeting - self._refused.keys():
                        self._meeting.add(address)
                        hands.start_soon(self._tend_one, address, observer)
                    if self._hands:
                        alone_since = self._clock()
                    self._require_hands(alone_since, there)
                    await anyio.sleep(RENEW_SECONDS)
        finally:
            self._at_work = False

    async def drain_reports(self, observer: Observer) -> None:
        """Hear what the workers have not told yet, once they have nothing more to do."""

        async def hear(hand: WorkerHandle) -> None:
            grant = self._grant(hand, self._leases.lend(hand.address, (), self._clock()))
            with anyio.move_on_after(RENEW_SECONDS * 4), suppress(AwayError):
                self._learn(hand, grant, await self._ask(hand, grant), observer)

        async with anyio.create_task_group() as hearing:
            for hand in list(self._hands.values()):
                hearing.start_soon(hear, hand)

    async def end(self) -> None:
        """Tell the workers that it is over, those that listen; the others find out by themselves."""

        async def part(hand: WorkerHandle) -> None:
            with anyio.move_on_after(RENEW_SECONDS * 2), suppress(AwayError):
                await self._ask(hand, replace(self._grant(hand, NOTHING), stop=True, end=True))

        async with anyio.create_task_group() as farewells:
            for hand in self._hands.values():
                farewells.start_soon(part, hand)

    async def _ask(self, hand: WorkerHandle, grant: Grant) -> Report:
        return await self._cluster.ask(hand.address, self._remote.exchange, grant)

    async def _there(self) -> frozenset[str]:
        """Return who is there, as far as the scheduler tells: who takes part already, else."""
        with anyio.move_on_after(ANSWER_SECONDS):
            try:
                return await self._cluster.workers()
            except AwayError:
                self._cluster.require_scheduler()
        return frozenset(self._hands)

    def _require_hands(self, alone_since: float, there: Collection[str]) -> None:
        if self._refused and not (self._hands or self._meeting or self._lost):
            raise next(iter(self._refused.values()))
        if self._clock() - alone_since > PATIENCE_SECONDS:
            which = f"; the {counted(len(there), 'worker')} there did not take part" if there else ""
            raise StoppedEarlyError(f"the fleet at {self._cluster.address} has no worker{which}")

    async def _tend_one(self, address: str, observer: Observer) -> None:
        try:
            hand = self._hands.get(address) or await self._meet(address)
            if hand is None:
                return
            self._hands[address] = hand
            self.tell_changed()
            with anyio.CancelScope() as scope:
                hand.scopes.add(scope)
                await self._keep(hand, observer)
        finally:
            self._meeting.discard(address)

    async def _meet(self, address: str) -> WorkerHandle | None:
        try:
            return await self._meetings.meet(address)
        except (AwayError, TimeoutError):
            return None  # while it is there it is asked again
        except BulkshareError as error:
            self._refused[address] = error
            self._note(f"worker {address} does not take part: {clean(str(error))}")
            return None

    async def _keep(self, hand: WorkerHandle, observer: Observer) -> None:
        """Exchange with a worker until it is lost."""
        while True:
            grant = self._grant(hand, self._leases.lend(hand.address, self._sharers(), self._clock()))
            try:
                with anyio.fail_after(ANSWER_SECONDS):
                    report = await self._ask(hand, grant)
            except (AwayError, TimeoutError):
                self._cluster.require_scheduler()
                if self._clock() - hand.heard_at > ANSWER_SECONDS:
                    self.mark_lost(hand)
                await anyio.sleep(RENEW_SECONDS)
                continue
            self._learn(hand, grant, report, observer)
            with anyio.move_on_after(RENEW_SECONDS):
                await self._renew.wait()
            self._renew = anyio.Event() if self._renew.is_set() else self._renew

    def _sharers(self) -> list[str]:
        """Return who needs a share: those who have something to do."""
        return [address for address, hand in self._hands.items() if hand.outstanding]

    def _grant(self, hand: WorkerHandle, share: Share) -> Grant:
        pause = self._cooling_until - self._clock()
        hand.grants += 1
        return Grant(
            number=hand.grants,
            session_id=hand.session_id,
            rate=share.rate,
            concurrency=share.concurrency,
            until=hand.clock + LEASE_SECONDS,
            pause_seconds=pause if hand.paused_until < self._cooling_until and pause > 0 else 0.0,
            stop=self._stopping,
        )

    def _learn(self, hand: WorkerHandle, grant: Grant, report: Report, observer: Observer) -> None:
        now = self._clock()
        self._leases.confirm(hand.address, report.in_flight)
        hand.clock, hand.heard_at, hand.allowed = report.clock, now, report.allowed
        hand.share = Share(grant.rate, grant.concurrency)
        self.requests += report.requests - hand.requests
        hand.requests = report.requests
        hand.answered.append((now, report.requests))
        if grant.pause_seconds:
            hand.paused_until = self._cooling_until
        if now + report.cooling_seconds > self._cooling_until + RENEW_SECONDS and report.cooling_seconds > 0:
            self._cooling_until = now + report.cooling_seconds
            hand.paused_until = self._cooling_until  # it has told us
            self._renew.set()
        for event in report.events:
            self.retries += isinstance(event, RetryScheduled)
            observer.notify(event)

    def mark_lost(self, hand: WorkerHandle) -> None:
        """Forget a worker; what it was sending is cut anew."""
        if self._hands.get(hand.address) is not hand:
            return
        del self._hands[hand.address]
        self._lost += 1
        self._note(f"worker {hand.address} is lost; its {counted(hand.outstanding, 'shard')} will be done again")
        for scope in list(hand.scopes):
            scope.cancel()
        self.tell_changed()
