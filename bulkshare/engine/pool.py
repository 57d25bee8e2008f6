"""The worker pool: sends the pending pairs, to be shared or removed, until all are settled or a stop comes.

One feeder reads pairs from the ledger into the dispatch; as many workers as requests may be in flight take attempts
from it, send them and settle the pair or put the attempt back. All run on one event loop, so between two awaits nothing
changes under them.

Theory of the wake-ups. A worker that finds nothing to send waits for an event of its own, or until the first deferred
attempt is due, whichever comes first. One whose request would only wait for the pace waits in the same way, without
regard to time: those in flight look again when they are done. Any change to what could be sent wakes as many idle
workers as it may have given work to:

- a page of pairs was read, or an image has proven to take members: as many as the image now has room for;
- an attempt was deferred: one worker, because the earliest due time may have changed;
- an attempt was unparked: one worker;
- a worker has taken an attempt, and another one would not only wait for the pace: one worker;
- the last lane is drained, or a stop came: all of them, to end.

Waking too many costs a look at the dispatch; waking too few would leave a worker asleep although there is work. A woken
worker looks again from the start, so it doesn't matter who took the work in the meantime.

The feeder waits in the other direction: for a lane that runs low or is closed, or for so many to be drained that the
others could not keep all workers busy for long.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio

from bulkshare.engine.dispatch import Dispatch
from bulkshare.engine.retry import RetryBudget, Send, first_attempt, is_repeat
from bulkshare.engine.writer import NOT_DONE, PAGE, SettleImage, outcome_of
from bulkshare.model import Result, Scope, Step, VerdictKind
from bulkshare.model.events import PhaseStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from datetime import datetime

    from bulkshare.engine.client import ApiClient
    from bulkshare.engine.dispatch import Lane
    from bulkshare.engine.retry import Settle
    from bulkshare.engine.writer import Recorder
    from bulkshare.model import Attempt, Job, Limits


LOW_WATER = PAGE // 4  # attempts ready for an image, below which its next page is read
_GET_MEMBER, _FAILED, _IMAGE = Step.GET_MEMBER, Result.FAILED, Scope.IMAGE  # as in `retry`


class WorkerPool:
    """Sends pending pairs with as many workers as the limits allow.

    client, recorder: shared with the engine's other phases.
    on_failure: called for every rejected or failed pair.
    removals: send the pairs to be removed; otherwise all others.
    limits: requests in flight per image.
    clock: monotonic, in seconds.
    wall: the current time, aware and UTC.
    on_image_closed: called with (image ID, reason, whether the image is only full) instead of settling the rest of an
        image that takes no more; pairs of members of a full image have been sent all the same.
    """

    def __init__(
        self,
        client: ApiClient,
        recorder: Recorder,
        on_failure: Callable[[], None],
        *,
        removals: bool,
        limits: Limits,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        on_image_closed: Callable[[str, str, bool], None] | None = None,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._limits = limits
        self._clock = clock
        self._wall = wall
        self._on_failure = on_failure
        self._removals = removals
        self._on_image_closed = on_image_closed
        self._dispatch = Dispatch(per_image=limits.per_image)
        self._all_read = False
        self._idle: deque[anyio.Event] = deque()
        self._refill_wanted = anyio.Event()
        # Pairs that wait to be sent again: when the first request left, and on the clock, when they were last tried.
        self._tried: dict[Job, tuple[datetime, float]] = {}
        self._budget = RetryBudget()

    @property
    def _wanted_width(self) -> int:
        """How many requests the open images have to allow so that no worker waits only because of the image limit."""
        return 2 * (self._client.at_once.limit + self._limits.per_image)

    async def recover(self) -> None:
        """Do nothing: whatever was in flight is found by listing the members."""

    async def settle_pending(self, probed: Container[str]) -> None:
        """Work through the ledger's pending pairs. Images in `probed` are known to take members."""
        pairs = sum([backlog.pairs async for backlog in self._recorder.pending_images(removals=self._removals)])
        if not pairs:
            return
        self._recorder.observer.notify(PhaseStarted("removing" if self._removals else "sharing", pairs))
        async with anyio.create_task_group() as workers:
            workers.start_soon(self._feed, probed)
            await self._client.at_once.run(self._work)

    def wake_all(self) -> None:
        """Let the feeder and all workers look again whether there is something to do: a stop may have come."""
        while self._idle:
            self._idle.popleft().set()
        self._refill_wanted.set()

    async def _feed(self, probed: Container[str]) -> None:
        async with aclosing(self._recorder.first_pages(removals=self._removals)) as images:
            async for (image_id, pairs, *_), page in images:
                while self._dispatch.width >= self._wanted_width and not self._client.stopping.is_set():
                    await self._refill()
                if self._client.stopping.is_set():
                    break
                self._add(self._dispatch.open(image_id, pairs, probed=image_id in probed), page)
        while not self._dispatch.all_read() and not self._client.stopping.is_set():
            await self._refill()
        self._all_read = True
        self.wake_all()

    async def _refill(self) -> None:
        """Read on for a lane that runs low, or wait until one does, or more lanes are needed."""
        self._refill_wanted = anyio.Event()
        lane = self._dispatch.needs_refill(LOW_WATER)
        if lane is None:
            await self._refill_wanted.wait()
        else:
            await self._fill(lane)

    async def _fill(self, lane: Lane) -> None:
        self._add(lane, await self._recorder.pending_jobs(lane.image_id, lane.last_member_id, removals=self._removals))

    def _add(self, lane: Lane, page: Sequence[Job]) -> None:
        if self._dispatch.add(lane, [first_attempt(job) for job in page], exhausted=len(page) < PAGE):
            self._settle_rest(lane)
        self._wake(self._dispatch.room(lane))

    async def _work(self) -> None:
        while (attempt := await self._next()) is not None:
            began, last = self._tried.pop(attempt.job, (self._wall(), self._clock()))
            decision = await self._client.step(attempt, since=last)
            if attempt.step is not _GET_MEMBER and not is_repeat(attempt):
                self._budget.deposit()
            if isinstance(decision, Send):
                self._tried[attempt.job] = began, self._clock()
                self._put_back(decision)
            else:
                self._recorder.put(outcome_of(decision, began, self._wall()))
                self._finish(decision)
                if self._recorder.is_full:
                    await self._recorder.room()

    async def _next(self) -> Attempt | None:
        """Wait for an attempt that may be sent; None if there will be none."""
        dispatch = self._dispatch
        while not self._client.stopping.is_set():
            now, due = self._clock(), None
            if self._room > 0:
                attempt = dispatch.next(now)
                if attempt is not None:
                    if self._idle and dispatch.has_next:
                        self._wake(1)
                    return attempt
                if self._all_read and not dispatch:
                    self.wake_all()
                    return None
                dispatch.unpark_stalled(now)
                due = dispatch.due()
            awake = anyio.Event()
            self._idle.append(awake)
            with anyio.move_on_after(math.inf if due is None else due - now):
                await awake.wait()
            if not awake.is_set():
                self._idle.remove(awake)
        return None

    def _put_back(self, send: Send) -> None:
        """Let a pair be sent again: after its delay, or, with the retry budget used up, as answers come in."""
        attempt, delay_seconds = send
        if attempt.membership is not None:
            self._mark_probed(self._dispatch.lanes[attempt.job.image_id])
        if attempt.step is Step.GET_MEMBER or not is_repeat(attempt) or self._budget.withdraw():
            self._dispatch.defer(attempt, self._clock() + delay_seconds)
        else:
            self._dispatch.park(attempt, delay_seconds)
        self._wake(1)

    def _finish(self, settle: Settle) -> None:
        """Account for a settled pair in its lane, and for what it says about the image and the endpoint."""
        result, attempt = settle.result, settle.attempt
        if result in NOT_DONE:
            self._on_failure()
        if result is not _FAILED:
            if attempt.posts > 1 or attempt.tries > 1:
                self._budget.refund()
            while self._dispatch.parked and self._budget.withdraw():
                self._dispatch.unpark(self._clock())
                self._wake(1)
        lane = self._dispatch.lanes[attempt.job.image_id]
        if settle.scope is _IMAGE:
            self._dispatch.close(lane, settle.reason, full=settle.verdict.kind is VerdictKind.OVER_QUOTA)
            self._refill_wanted.set()
        elif result is not _FAILED and not lane.probed:
            self._mark_probed(lane)
        if self._dispatch.done(lane):
            self._settle_rest(lane)
            if 2 * self._dispatch.width <= self._wanted_width:
                self._refill_wanted.set()
        elif len(lane.ready) < LOW_WATER and lane.reading:
            self._refill_wanted.set()

    def _settle_rest(self, lane: Lane) -> None:
        """Settle what is left of a drained lane that was closed."""
        if lane.closed is None:
            return
        if self._on_image_closed is not None:
            self._on_image_closed(lane.image_id, lane.closed, lane.full)
        else:
            self._recorder.put(SettleImage(lane.image_id, lane.closed, removals=self._removals))

    def _mark_probed(self, lane: Lane) -> None:
        """Let an image that has shown that it takes members have more than one request in flight."""
        if not lane.probed:
            self._dispatch.mark_probed(lane)
            self._wake(self._dispatch.room(lane))

    def _wake(self, count: int) -> None:
        """Wake so many idle workers, unless they would only wait for the pace."""
        for _ in range(min(count, len(self._idle), self._room)):
            self._idle.popleft().set()

    @property
    def _room(self) -> int:
        """How many more requests are worth having under way."""
        return self._client.at_once.useful() - self._dispatch.in_flight
