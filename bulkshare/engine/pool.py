"""The worker pool: sends the pairs that are pending, to be shared or removed, until all are settled or a stop comes."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import anyio

from bulkshare.engine.dispatch import Dispatch
from bulkshare.engine.retry import RetryBudget, Send, first_case, is_repeat
from bulkshare.engine.writer import PAGE, SettleImage, settled
from bulkshare.model import Result, Scope, Step, VerdictKind
from bulkshare.model.events import PhaseStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from datetime import datetime

    from bulkshare.engine.client import ApiClient
    from bulkshare.engine.dispatch import Lane
    from bulkshare.engine.retry import Settle
    from bulkshare.engine.writer import Recorder
    from bulkshare.model import Attempt, Job, Limits


LOW_WATER = PAGE // 4  # pairs ready for an image below which its next page is read


class Tried(NamedTuple):
    """When a pair's first request left, and when its last answer came (or, before that, its request left)."""

    began: datetime
    last: float  # on the engine's clock


class WorkerPool:
    """A feeder that keeps the window on the ledger filled, and workers that empty it.

    With `gone` it sends the pairs that are to be removed, else all others. `on_failure` is called for every rejected or
    failed pair. Where `leave` is given, the rest of an image that takes no more is somebody else's to settle:
    that is told the image, why, and whether the image is only full, so that its members' pairs were sent all the same.
    """

    def __init__(
        self,
        caller: ApiClient,
        recorder: Recorder,
        limits: Limits,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        on_failure: Callable[[], None],
        *,
        gone: bool,
        leave: Callable[[str, str, bool], None] | None = None,
    ) -> None:
        self._gone = gone
        self._leave = leave
        self._caller = caller
        self._recorder = recorder
        self._limits = limits
        self._clock = clock
        self._wall = wall
        self._dispatch = Dispatch(per_image=limits.per_image)
        # Enough images open that no worker waits only because of the per-image limit.
        self._open_images = 2 + 2 * math.ceil(limits.concurrency / limits.per_image)
        self._all_read = False
        self._idle: deque[anyio.Event] = deque()
        self._hungry = anyio.Event()
        self._tried: dict[Job, Tried] = {}  # pairs that wait to be sent again
        self._budget = RetryBudget()
        self._on_failure = on_failure

    async def settle_pending(self, trusted: Container[str]) -> None:
        """Work through the ledger's pending pairs; images in `trusted` need not show first that they take members."""
        pairs = sum([backlog.pairs async for backlog in self._recorder.pending_images(gone=self._gone)])
        if not pairs:
            return
        self._recorder.observer.notify(PhaseStarted("removing" if self._gone else "sharing", pairs))
        async with anyio.create_task_group() as workers:
            workers.start_soon(self._feed, trusted)
            for _ in range(self._limits.concurrency):
                workers.start_soon(self._work)

    def wake_all(self) -> None:
        """Let everybody look again whether there is something to do."""
        self._wake(len(self._idle))
        self._hungry.set()

    async def _feed(self, trusted: Container[str]) -> None:
        async for image_id, *_ in self._recorder.pending_images(gone=self._gone):
            while len(self._dispatch) >= self._open_images and not self._caller.stopping.is_set():
                await self._refill()
            if self._caller.stopping.is_set():
                break
            await self._fill(self._dispatch.open(image_id, trusted=image_id in trusted))
        while not self._dispatch.all_read() and not self._caller.stopping.is_set():
            await self._refill()
        self._all_read = True
        self.wake_all()

    async def _refill(self) -> None:
        """Read on for an image that runs low, or wait until one does or ends."""
        self._hungry = anyio.Event()
        lane = self._dispatch.hungry(LOW_WATER)
        if lane is None:
            await self._hungry.wait()
        else:
            await self._fill(lane)

    async def _fill(self, lane: Lane) -> None:
        page = await self._recorder.pending_jobs(lane.image_id, lane.last_member_id, gone=self._gone)
        if self._dispatch.add(lane, [first_case(job) for job in page], exhausted=len(page) < PAGE):
            self._skip_rest(lane)
        self._wake(self._limits.per_image)

    async def _work(self) -> None:
        while (case := await self._next()) is not None:
            tried = self._tried.pop(case.job, None) or Tried(self._wall(), self._clock())
            decision = await self._caller.advance(case, since=tried.last)
            if case.step is not Step.GET_MEMBER and not is_repeat(case):
                self._budget.deposit()
            if isinstance(decision, Send):
                self._tried[case.job] = Tried(tried.began, self._clock())
                self._put_back(decision)
            else:
                self._recorder.put(settled(decision, tried.began, self._wall()))
                self._finish(decision)
                await self._recorder.room()

    def _put_back(self, send: Send) -> None:
        """Let a pair be sent again later: at its time, or, with the budget for retries used up, as answers come in."""
        if send.case.joined is not None:
            self._trust(self._dispatch.lane(send.case.job.image_id))
        if send.case.step is Step.GET_MEMBER or not is_repeat(send.case) or self._budget.withdraw():
            self._dispatch.defer(send.case, self._clock() + send.delay_seconds)
        else:
            self._dispatch.park(send.case, send.delay_seconds)
        self._wake(1)  # somebody has to know the new time

    def _finish(self, settle: Settle) -> None:
        """Account for a settled pair in its lane, and for what it says about the image and the endpoint."""
        if settle.result in {Result.REJECTED, Result.FAILED}:
            self._on_failure()
        if settle.result is not Result.FAILED:
            if settle.case.posts > 1 or settle.case.tries > 1:
                self._budget.give_back()
            while self._dispatch.parked and self._budget.withdraw():
                self._dispatch.unpark(self._clock())
                self._wake(1)
        lane = self._dispatch.lane(settle.case.job.image_id)
        if settle.scope is Scope.IMAGE:
            self._dispatch.close(lane, settle.reason, full=settle.verdict.kind is VerdictKind.OVER_QUOTA)
        elif settle.result is not Result.FAILED:
            self._trust(lane)
        if self._dispatch.done(lane):
            self._skip_rest(lane)
        if lane.drained or (lane.reading and len(lane.ready) < LOW_WATER):
            self._hungry.set()

    def _skip_rest(self, lane: Lane) -> None:
        """Settle what is left of a drained lane that was closed."""
        if lane.closed is not None and self._leave is not None:
            self._leave(lane.image_id, lane.closed, lane.full)
        elif lane.closed is not None:
            self._recorder.put(SettleImage(lane.image_id, lane.closed, gone=self._gone))

    def _trust(self, lane: Lane) -> None:
        """Let an image that has shown that it takes members have more than one request in flight."""
        if not lane.trusted:
            self._dispatch.trust(lane)
            self._wake(self._limits.per_image)

    async def _next(self) -> Attempt | None:
        """Wait for a case that may be sent; None when there will be none."""
        while not self._caller.stopping.is_set():
            now = self._clock()
            case = self._dispatch.next(now)
            if case is not None:
                return case
            if self._all_read and not self._dispatch:
                self._wake(len(self._idle))
                return None
            self._dispatch.unpark_stalled(now)
            due = self._dispatch.due()
            awake = anyio.Event()
            self._idle.append(awake)
            with anyio.move_on_after(math.inf if due is None else due - now):
                await awake.wait()
            if not awake.is_set():
                self._idle.remove(awake)
        return None

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._idle))):
            self._idle.popleft().set()
