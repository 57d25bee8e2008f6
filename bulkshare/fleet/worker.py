"""The worker's side: an engine that sends one shard at a time, on a ledger in memory."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio

from bulkshare.engine import GRACE_SECONDS, Engine, PreflightMode, WorkerPool
from bulkshare.errors import BulkshareError
from bulkshare.fleet.messages import Closed, Report, Returned, bare
from bulkshare.model import Backlog, Job, Limits, Outcome, Result, Want
from bulkshare.model.events import Answered, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from bulkshare.fleet.messages import Grant, Order
    from bulkshare.model import Block, Member, Settings
    from bulkshare.model.events import Event
    from bulkshare.pacing import Paced
    from bulkshare.ports import Transport


class ShardLedger:
    """Pairs that are pending, and outcomes. There is one run, whatever its number."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._pending: dict[str, dict[str, Job]] = {}
        for job in jobs:
            self._pending.setdefault(job.image_id, {})[job.member_id] = job
        self.outcomes: list[Outcome] = []
        self.closed: dict[str, Closed] = {}

    def close(self, image_id: str, reason: str, full: bool) -> None:  # noqa: FBT001  see `engine.Sharing`
        """Note that an image takes no more: the rest of it, in other shards, too, is the coordinator's to settle."""
        self.closed[image_id] = Closed(reason, full)

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """Nothing is added to a shard."""
        raise NotImplementedError

    def mark_enqueued(self, run_id: int) -> None:
        """See `ports.Ledger`: it always was."""

    def pending_images(
        self, run_id: int, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Backlog]:
        """See `ports.Ledger`."""
        del run_id
        found = []
        for image_id in sorted(self._pending):
            jobs = self._jobs(image_id, removals)
            if jobs and (after is None or image_id > after):
                want = Want(0)
                for job in jobs:
                    want |= job.want
                found.append(Backlog(image_id, len(jobs), want))
        return found[:limit]

    def pending_jobs(
        self, run_id: int, image_id: str, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Job]:
        """See `ports.Ledger`."""
        del run_id
        jobs = self._jobs(image_id, removals)
        return sorted(job for job in jobs if after is None or job.member_id > after)[:limit]

    def is_pending(self, run_id: int, image_id: str, member_id: str) -> bool:
        """See `ports.Ledger`."""
        del run_id
        return member_id in self._pending.get(image_id, {})

    def mark_listed(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Nothing is listed of a shard."""
        raise NotImplementedError

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Ledger`."""
        del run_id
        for outcome in outcomes:
            self._pending[outcome.image_id].pop(outcome.member_id, None)
        self.outcomes += outcomes

    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, removals: bool | None = None
    ) -> int:
        """It is the coordinator's to settle: see `close`."""
        raise NotImplementedError

    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """Return none: the coordinator asks, once for each image."""
        del run_id, after, limit
        return []

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """Nothing is undescribed here."""
        raise NotImplementedError

    def totals(self, run_id: int) -> dict[Result, int]:
        """See `ports.Ledger`."""
        del run_id
        counts = Counter(outcome.result for outcome in self.outcomes)
        counts[Result.PENDING] = sum(map(len, self._pending.values()))
        return {result: counts[result] for result in Result}

    def _jobs(self, image_id: str, removals: bool | None) -> list[Job]:  # noqa: FBT001  as in `ports.Ledger`
        jobs = self._pending.get(image_id, {}).values()
        return [job for job in jobs if removals is None or removals == (Want.REMOVE in job.want)]


WAY_SECONDS = 2.0  # for a stop to come here, and for what was done to come back, in the coordinator's own time of grace
FORSAKEN_SECONDS = 30.0  # after the end of its lease: nobody will ask for what it has


class Way(Protocol):
    """The way to the image endpoint."""

    @property
    def transport(self) -> Transport:
        """Where requests go."""
        ...

    @property
    def paced(self) -> Paced:
        """The layer of it that paces."""
        ...

    @property
    def stopping(self) -> anyio.Event:
        """Once it is set nothing more goes through."""
        ...


class Worker:
    """Takes part in one run. It sends nothing before it has a lease; times are on `clock`, in seconds."""

    def __init__(
        self,
        way: Way,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._way = way
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._events = _EventBuffer()
        self._engines: set[Engine] = set()
        self._idle = anyio.Event()
        self._idle.set()
        self._lease_ends = -math.inf
        self._number = 0  # of the last grant
        self._began = clock()
        way.paced.lease(Limits(rate=1.0, concurrency=1), self._lease_ends)

    @property
    def expired(self) -> bool:
        """Whether nobody has renewed the lease for a while: whoever lent it is gone."""
        return self._clock() > max(self._lease_ends, self._began) + FORSAKEN_SECONDS

    def take(self, grant: Grant) -> Report:
        """Hold to a share of the limits from now on, and tell what happened since the last time."""
        paced = self._way.paced
        if grant.number > self._number:
            self._number = grant.number
            self._lease_ends = grant.until
            if grant.rate > 0:
                paced.lease(Limits(rate=grant.rate, concurrency=grant.concurrency), grant.until)
            else:
                paced.lease(Limits(rate=1.0, concurrency=1), -math.inf)
        if grant.pause_seconds > 0:
            paced.cool_down(grant.pause_seconds)
        if grant.stop:
            self.stop()
        now = self._clock()
        return Report(
            clock=now,
            requests=paced.sent,
            in_flight=paced.unanswered,
            allowed=paced.allowed if grant.rate > 0 else 0,
            cooling_seconds=max(paced.cooling_until - now, 0.0),
            events=self._events.take(),
        )

    def stop(self) -> None:
        """Send nothing any more, and give what is in flight the time that an engine gives it."""
        if self._way.stopping.is_set():
            return  # to stop an engine a second time is to give it no time
        for engine in self._engines:
            engine.stop()
        self._way.stopping.set()

    async def idle(self) -> None:
        """Wait until no engine is at work."""
        await self._idle.wait()

    async def run_shard(self, order: Order) -> Returned:
        """Work on a shard, to its end or until a stop comes."""
        ledger = ShardLedger(order.jobs)
        if self._way.stopping.is_set():
            return Returned(outcomes=[], closed={})
        engine = Engine(
            run_id=0,
            transport=self._way.transport,
            ledger=ledger,
            observer=self._events,
            limits=self._settings.limits,
            policy=self._settings.retry,
            clock=self._clock,
            wall=self._wall,
            jitter=self._jitter,
            answered_at=lambda: self._way.paced.answered_at,
            probed=order.probed,
            senders=partial(WorkerPool, on_image_closed=ledger.close),
            grace_seconds=GRACE_SECONDS - WAY_SECONDS,
        )
        self._engines.add(engine)
        self._idle = anyio.Event()
        error = None
        try:
            await engine.run(preflight=PreflightMode.NEVER, inspect=False)
        except BulkshareError as raised:
            error = bare(raised)
        finally:
            self._engines.discard(engine)
            if not self._engines:
                self._idle.set()
        return Returned(outcomes=ledger.outcomes, closed=ledger.closed, error=error)


class _EventBuffer:
    """An observer that keeps what the coordinator can't learn from the outcomes, for its own observers."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def notify(self, event: Event) -> None:
        if isinstance(event, Answered | RetryScheduled):
            self._events.append(event)
