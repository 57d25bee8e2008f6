"""The worker's side of a fleet: an engine that sends one shard at a time, on a ledger in memory."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio

from bulkshare.engine import GRACE_SECONDS, Engine, WorkerPool
from bulkshare.errors import BulkshareError
from bulkshare.fleet.messages import Closed, Report, ShardResult, without_causes
from bulkshare.model import Backlog, Job, Limits, Outcome, Result, Want
from bulkshare.model.events import Answered, AnswersCounted, RetryScheduled
from bulkshare.progress.telemetry import LATENCY_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from bulkshare.fleet.messages import Grant, ShardTask
    from bulkshare.model import Alike, Batch, Block, Member, Settings, VerdictKind
    from bulkshare.model.events import Event
    from bulkshare.pacing import Paced
    from bulkshare.ports import Transport


class ShardLedger:
    """The pending pairs and outcomes of a shard; an `engine` work list with a single run, whatever its number."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._pending: dict[str, dict[str, Job]] = {}
        for job in jobs:
            self._pending.setdefault(job.image_id, {})[job.member_id] = job
        self.outcomes: list[Outcome] = []
        self.closed: dict[str, Closed] = {}

    def close(self, image_id: str, reason: str, full: bool) -> None:  # noqa: FBT001  as `engine.WorkerPool` calls it
        """Record that an image is closed: the coordinator settles the rest of it, in all shards."""
        self.closed[image_id] = Closed(reason, full)

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """Not used: a shard is complete."""
        raise NotImplementedError

    def images_to_list(self, run_id: int, *, settled_before: datetime, after: str | None, limit: int) -> list[Backlog]:
        """Not used: the coordinator lists."""
        raise NotImplementedError

    def count_to_list(self, run_id: int, *, settled_before: datetime) -> int:
        """Not used: the coordinator lists."""
        raise NotImplementedError

    def label(self, labels: Mapping[str, str], *, from_plan: bool = False) -> None:
        """Not used: the coordinator looks images up."""
        raise NotImplementedError

    def image_pairs(self, run_id: int, image_id: str) -> list[tuple[Block, Result]]:
        """Not used: the coordinator lists."""
        raise NotImplementedError

    def unsettle(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Not used: the coordinator lists."""
        raise NotImplementedError

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

    def pending_jobs_between(self, run_id: int, first: str, last: str, *, removals: bool | None = None) -> list[Job]:
        """See `ports.Ledger`."""
        del run_id
        images = sorted(image_id for image_id in self._pending if first <= image_id <= last)
        return [job for image_id in images for job in sorted(self._jobs(image_id, removals))]

    def pending_wants(self, run_id: int, image_ids: Collection[str], member_id: str) -> dict[str, Want]:
        """Not used: the coordinator looks images up."""
        raise NotImplementedError

    def mark_listed(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Not used: the coordinator lists."""
        raise NotImplementedError

    def mark_was_accepted(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Not used: the coordinator lists."""
        raise NotImplementedError

    def mark_added(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Not used, like all that follows about batches: the coordinator sends them."""
        raise NotImplementedError

    def open_batch(self, run_id: int, batch: Batch) -> None:
        """Not used."""
        raise NotImplementedError

    def set_job(self, run_id: int, number: int, job_id: str) -> None:
        """Not used."""
        raise NotImplementedError

    def close_batch(self, run_id: int, number: int) -> None:
        """Not used."""
        raise NotImplementedError

    def open_batches(self, run_id: int) -> list[Batch]:
        """Not used."""
        raise NotImplementedError

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Ledger`."""
        del run_id
        for outcome in outcomes:
            self._pending[outcome.image_id].pop(outcome.member_id, None)
        self.outcomes += outcomes

    def settle_alike(self, run_id: int, groups: Sequence[Alike]) -> None:
        """Not used: the coordinator lists."""
        raise NotImplementedError

    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, removals: bool | None = None
    ) -> int:
        """Not used: see `close`."""
        raise NotImplementedError

    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """Return nothing: the coordinator fetches details, once per image."""
        del run_id, after, limit
        return []

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """Not used: see `undescribed`."""
        raise NotImplementedError

    def mark_opened(self, run_id: int, image_ids: Sequence[str], at: datetime | None) -> None:
        """Not used: the coordinator makes images shared."""
        raise NotImplementedError

    def opening(self, run_id: int) -> list[str]:
        """Return nothing: see `mark_opened`."""
        del run_id
        return []

    def totals(self, run_id: int) -> dict[Result, int]:
        """See `ports.Ledger`."""
        del run_id
        counts = Counter(outcome.result for outcome in self.outcomes)
        counts[Result.PENDING] = sum(map(len, self._pending.values()))
        return {result: counts[result] for result in Result}

    def _jobs(self, image_id: str, removals: bool | None) -> list[Job]:  # noqa: FBT001  as in `ports.Ledger`
        jobs = self._pending.get(image_id, {}).values()
        return [job for job in jobs if removals is None or removals == (Want.REMOVE in job.want)]


TRANSIT_SECONDS = 2.0  # for a stop to arrive and for the result to return, within the coordinator's grace period
EXPIRY_SECONDS = 30.0  # after the end of its lease, when no one will ask for its results


class Endpoint(Protocol):
    """The connection to the image endpoint."""

    @property
    def transport(self) -> Transport:
        """Sends requests."""
        ...

    @property
    def paced(self) -> Paced:
        """The layer of the transport that paces."""
        ...

    @property
    def stopping(self) -> anyio.Event:
        """Once set, nothing more is sent."""
        ...


class Worker:
    """One worker's part in a run. It sends nothing without a lease.

    endpoint: the connection to the image endpoint.
    settings: limits and retries of the run.
    clock: monotonic, in seconds; all times are on it.
    wall: returns aware UTC times for the record.
    jitter: returns uniform numbers in [0, 1).
    every_answer: report each answer, not only how many there were.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        jitter: Callable[[], float],
        every_answer: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._events = _EventBuffer(every_answer=every_answer)
        self._engines: set[Engine] = set()
        self._idle = anyio.Event()
        self._idle.set()
        self._lease_ends = -math.inf
        self._number = 0  # of the last grant
        self._began = clock()
        endpoint.paced.expire()

    @property
    def expired(self) -> bool:
        """Whether the lease was not renewed for so long that the coordinator must be gone."""
        return self._clock() > max(self._lease_ends, self._began) + EXPIRY_SECONDS

    def take(self, grant: Grant) -> Report:
        """Adopt a share of the limits, and report what happened since the last grant."""
        paced = self._endpoint.paced
        if grant.number > self._number:
            self._number = grant.number
            self._lease_ends = grant.until
            if grant.rate > 0:
                paced.lease(Limits(rate=grant.rate, concurrency=grant.concurrency), grant.until)
            else:
                paced.expire()
            if grant.paused:
                paced.pause()
            else:
                paced.go()
            for engine in self._engines:
                engine.allow(grant.concurrency)
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
            cooling_seconds=max(paced.cooling_seconds(), 0.0),
            events=self._events.take(),
        )

    def stop(self) -> None:
        """Send nothing more; requests in flight get an engine's grace period."""
        if self._endpoint.stopping.is_set():
            return  # a second stop would end an engine's grace period
        for engine in self._engines:
            engine.stop()
        self._endpoint.stopping.set()

    async def idle(self) -> None:
        """Wait until no engine is running."""
        await self._idle.wait()

    async def run_shard(self, task: ShardTask) -> ShardResult:
        """Work on a shard until it is done or a stop comes."""
        ledger = ShardLedger(map(Job._make, task.jobs))
        if self._endpoint.stopping.is_set():
            return ShardResult(outcomes=[], closed={})
        _, granted = self._endpoint.paced.limits  # more than the plan says, if someone has raised it
        limits = replace(self._settings.limits, concurrency=max(self._settings.limits.concurrency, granted))
        engine = Engine(
            run_id=0,
            transport=self._endpoint.transport,
            ledger=ledger,
            observer=self._events,
            limits=limits,
            policy=self._settings.retry,
            clock=self._clock,
            wall=self._wall,
            jitter=self._jitter,
            answered_at=lambda: self._endpoint.paced.answered_at,
            useful=self._endpoint.paced.useful,
            probed=task.probed,
            senders=partial(
                WorkerPool,
                limits=limits,
                clock=self._clock,
                wall=self._wall,
                on_image_closed=ledger.close,
            ),
            grace_seconds=GRACE_SECONDS - TRANSIT_SECONDS,
        )
        self._engines.add(engine)
        self._idle = anyio.Event()
        error = None
        try:
            await engine.run(preflight=False, inspect=False)
        except BulkshareError as raised:
            error = without_causes(raised)
        finally:
            self._engines.discard(engine)
            if not self._engines:
                self._idle.set()
        return ShardResult(outcomes=ledger.outcomes, closed=ledger.closed, error=error)


class _EventBuffer:
    """An observer that keeps what the coordinator can't learn from the outcomes, for its own observers.

    Answers are only counted, except those to retries, unless `every_answer` is wanted.
    """

    def __init__(self, *, every_answer: bool) -> None:
        self._every_answer = every_answer
        self._events: list[Event] = []
        self._counts: Counter[tuple[VerdictKind, int | None, float]] = Counter()
        self._to_retry: set[tuple[str, str | None]] = set()

    def take(self) -> list[Event]:
        counted = [AnswersCounted(count, *alike) for alike, count in self._counts.items()]
        events, self._events = self._events + counted, []
        self._counts.clear()
        return events

    def notify(self, event: Event) -> None:
        if isinstance(event, Answered):
            _, image_id, member_id, verdict, seconds = event
            if not self._every_answer and (image_id, member_id) not in self._to_retry:
                bound = LATENCY_BOUNDS[bisect_left(LATENCY_BOUNDS, seconds)]
                self._counts[verdict.kind, verdict.http_status, bound] += 1
                return
            self._to_retry.discard((image_id, member_id))
        elif isinstance(event, RetryScheduled):
            self._to_retry.add((event.image_id, event.member_id))
        else:
            return
        self._events.append(event)
