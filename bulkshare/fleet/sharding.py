"""Cuts pending pairs into shards, and sends them through workers in place of the engine's own pool."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from bulkshare.engine import SettleImage
from bulkshare.engine.writer import PAGE
from bulkshare.model import Result, Want
from bulkshare.model.events import PhaseStarted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Container, Mapping, Sequence

    from bulkshare.engine import ApiClient, Recorder
    from bulkshare.errors import BulkshareError
    from bulkshare.fleet.coordinator import Coordinator, WorkerHandle
    from bulkshare.fleet.messages import Closed, ShardResult
    from bulkshare.model import Backlog, Job


Shard = dict[str, list["Job"]]  # by image ID


@dataclass(slots=True, eq=False)
class Lane:
    """An image whose pairs are being sent."""

    image_id: str
    jobs: deque[Job] = field(default_factory=deque)  # read, and not assigned
    exhausted: bool = False  # the ledger has no more to try beyond those read
    last_member_id: str | None = None  # the last pair read
    assigned: bool = False  # some of its pairs are at a worker
    closed: Closed | None = None  # why it takes no new members, or nothing at all
    has_rest: bool = False  # there are pairs that must not be tried because of that

    def eligible(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Return the pairs that may be tried, and note whether any may not."""
        if self.closed is None:
            return jobs
        taken = [job for job in jobs if self.closed.full and Want.ALREADY_MEMBER in job.want]
        self.has_rest = self.has_rest or len(taken) < len(jobs)
        return taken

    def close(self, closed: Closed) -> None:
        """Send no new members any more, or nothing at all."""
        if self.closed is None or self.closed.full:
            self.closed = closed
            self.jobs = deque(self.eligible(self.jobs))
        if not self.closed.full:
            self.has_rest = self.has_rest or not self.exhausted
            self.exhausted = True


class Sharder:
    """The open images, in order."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def __len__(self) -> int:
        """Return how many images are open."""
        return len(self._lanes)

    def open(self, image_id: str) -> Lane:
        """Add an image."""
        lane = self._lanes[image_id] = Lane(image_id)
        return lane

    def add(self, lane: Lane, jobs: Sequence[Job], *, exhausted: bool) -> dict[str, str]:
        """Add pairs read for an image; `exhausted` if there are no more.

        If the image is now done but has a rest that must not be tried, return it with the reason.
        """
        if self._lanes.get(lane.image_id) is not lane:
            return {}  # it was closed while this was read
        lane.jobs.extend(lane.eligible(jobs))
        lane.exhausted = exhausted
        if jobs:
            lane.last_member_id = jobs[-1].member_id
        return self._drop_if_done(lane)

    def ready(self) -> int:
        """Return how many pairs could be assigned now."""
        return sum(len(lane.jobs) for lane in self._lanes.values() if not lane.assigned)

    def needs_refill(self, low_water: int) -> Lane | None:
        """Return an image that has fewer than `low_water` pairs read, and more in the ledger."""
        lanes = self._lanes.values()
        return next((lane for lane in lanes if not lane.exhausted and len(lane.jobs) < low_water), None)

    def take_shard(self, most: int) -> Shard:
        """Take up to `most` pairs, image by image in order; empty if there are none."""
        shard: Shard = {}
        left = most
        for lane in self._lanes.values():
            if left <= 0:
                break
            if lane.jobs and not lane.assigned:
                taken = [lane.jobs.popleft() for _ in range(min(left, len(lane.jobs)))]
                shard[lane.image_id] = taken
                left -= len(taken)
                lane.assigned = True
        return shard

    def give_back(self, shard: Shard, undone: Sequence[Job], closed: dict[str, Closed]) -> dict[str, str]:
        """Make a shard's images available again, the `undone` pairs first.

        `closed` are images that take no members. Return the images that are done but have a rest that must not be
        tried, with the reason; none of their pairs is at a worker.
        """
        again: Shard = {}
        for job in undone:
            again.setdefault(job.image_id, []).append(job)
        rest: dict[str, str] = {}
        for image_id in shard:
            lane = self._lanes[image_id]
            lane.assigned = False
            lane.jobs.extendleft(reversed(again.get(image_id, [])))
            if image_id in closed:
                lane.close(closed[image_id])
            rest |= self._drop_if_done(lane)
        return rest

    def _drop_if_done(self, lane: Lane) -> dict[str, str]:
        if not lane.exhausted or lane.jobs or lane.assigned:
            return {}
        del self._lanes[lane.image_id]
        return {lane.image_id: lane.closed.reason} if lane.closed is not None and lane.has_rest else {}


SHARD_SECONDS = 5.0  # of work in a shard: the cost of a lost worker, and the interval of ledger and display updates
SMALLEST, LARGEST = 20, 1000  # pairs in a shard
FIRST_LARGEST = 100  # for a worker of unknown speed
FAILURES = frozenset({Result.REJECTED, Result.FAILED})


class ShardedSender:
    """An `engine.Sender` that has a fleet send the pairs."""

    def __init__(
        self,
        fleet: Coordinator,
        client: ApiClient,
        recorder: Recorder,
        on_failure: Callable[[], None],
        *,
        removals: bool,
    ) -> None:
        self._fleet = fleet
        self._stopping = client.stopping
        self._recorder = recorder
        self._on_failure = on_failure
        self._removals = removals
        self._sharder = Sharder()
        self._outstanding = 0  # shards
        self._probed: set[str] = set()
        self._error: BulkshareError | None = None  # the first that ended a worker's work

    async def recover(self) -> None:
        """Do nothing: whatever was in flight is found by listing the members."""

    async def settle_pending(self, probed: Container[str]) -> None:
        """See `engine.Sender`."""
        pairs = sum([backlog.pairs async for backlog in self._recorder.pending_images(removals=self._removals)])
        if not pairs:
            return
        self._recorder.observer.notify(PhaseStarted("removing" if self._removals else "sharing", pairs))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._fleet.supervise, self._recorder.observer)
            await self._distribute(probed)
            if self._error is not None:
                raise self._error
            tasks.cancel_scope.cancel()
        await self._fleet.drain_reports(self._recorder.observer)

    def wake_all(self) -> None:
        """See `engine.Sender`."""
        self._fleet.stop()

    async def _distribute(self, probed: Container[str]) -> None:
        async with (
            aclosing(self._recorder.pending_images(removals=self._removals)) as images,
            anyio.create_task_group() as shards,
        ):
            while not self._stopping.is_set() and self._error is None:
                changed = self._fleet.changed
                await self._read_ahead(images)
                worker = self._fleet.least_loaded()
                shard = self._sharder.take_shard(self._size(worker)) if worker is not None else {}
                if worker is not None and shard:
                    self._outstanding += 1
                    worker.outstanding += 1
                    shards.start_soon(self._send_shard, worker, shard, probed)
                elif not self._outstanding and not self._sharder:
                    return
                else:
                    await changed.wait()

    async def _read_ahead(self, images: AsyncGenerator[Backlog]) -> None:
        """Read as many pairs as all workers may take now."""
        wanted = max(self._fleet.free_slots(), 1) * self._size(None)
        while self._sharder.ready() < wanted and not self._stopping.is_set():
            lane = self._sharder.needs_refill(LARGEST)
            if lane is None:
                backlog = await anext(images, None)
                if backlog is None:
                    return
                lane = self._sharder.open(backlog.image_id)
            page = await self._recorder.pending_jobs(lane.image_id, lane.last_member_id, removals=self._removals)
            self._skip_rest(self._sharder.add(lane, page, exhausted=len(page) < PAGE))

    def _size(self, worker: WorkerHandle | None) -> int:
        """Return how many pairs a shard should have: some seconds of work for its worker."""
        if worker is None or not worker.speed:
            return max(SMALLEST, min(FIRST_LARGEST, int(self._fleet.limits.rate * SHARD_SECONDS)))
        return max(SMALLEST, min(LARGEST, int(worker.speed * SHARD_SECONDS)))

    async def _send_shard(self, worker: WorkerHandle, shard: Shard, probed: Container[str]) -> None:
        known = frozenset(image_id for image_id in shard if image_id in probed or image_id in self._probed)
        jobs = [job for several in shard.values() for job in several]
        try:
            result = await self._fleet.run_shard(worker, jobs, known)
            if result is None:
                self._sharder.give_back(shard, jobs, {})
                return
            await self._record(shard, result)
            if result.error is not None and self._error is None:
                self._error = result.error
                self._fleet.stop()  # the others return what they have done
        finally:
            self._outstanding -= 1
            self._fleet.notify_changed()

    async def _record(self, shard: Shard, result: ShardResult) -> None:
        self._recorder.put_all(result.outcomes)
        failed = [outcome for outcome in result.outcomes if outcome.result in FAILURES]
        for _ in failed:
            self._on_failure()
        taken = {outcome.image_id for outcome in result.outcomes if outcome.result not in FAILURES}
        self._probed |= taken - result.closed.keys()
        done = {(outcome.image_id, outcome.member_id) for outcome in result.outcomes}
        undone = [job for jobs in shard.values() for job in jobs if (job.image_id, job.member_id) not in done]
        self._skip_rest(self._sharder.give_back(shard, undone, result.closed))
        await self._recorder.room()

    def _skip_rest(self, rest: Mapping[str, str]) -> None:
        """Settle the rest of closed images."""
        for image_id, reason in rest.items():
            self._recorder.put(SettleImage(image_id, reason, removals=self._removals))
