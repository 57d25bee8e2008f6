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
    from datetime import datetime

    from bulkshare.engine import ApiClient, Recorder
    from bulkshare.errors import BulkshareError
    from bulkshare.fleet.coordinator import Coordinator, WorkerHandle
    from bulkshare.fleet.messages import Closed, Returned
    from bulkshare.model import Backlog, Job, Limits


Shard = dict[str, list["Job"]]  # by image ID


@dataclass(slots=True, eq=False)
class Lane:
    """An image whose pairs are being dealt out."""

    image_id: str
    jobs: deque[Job] = field(default_factory=deque)  # read, and at no worker
    exhausted: bool = False  # the ledger has no more beyond those read that may be tried
    last_member_id: str | None = None  # the last pair read
    at_work: bool = False
    closed: Closed | None = None  # why it takes no new members, or nothing at all
    left: bool = False  # there are pairs that are not to be tried because of that

    def taken(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Return those pairs that may be tried, and note whether any may not."""
        if self.closed is None:
            return jobs
        taken = [job for job in jobs if self.closed.full and Want.ALREADY_MEMBER in job.want]
        self.left = self.left or len(taken) < len(jobs)
        return taken

    def close(self, closed: Closed) -> None:
        """Take no new members any more, or nothing at all."""
        if self.closed is None or self.closed.full:
            self.closed = closed
            self.jobs = deque(self.taken(self.jobs))
        if not self.closed.full:
            self.left = self.left or not self.exhausted
            self.exhausted = True


class Sharder:
    """The images that are open, in their order."""

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
        """Add what was read for an image; `exhausted` says that there is no more.

        Return the image where it is done with that and has a rest, and why that is not to be tried.
        """
        if self._lanes.get(lane.image_id) is not lane:
            return {}  # it was closed while this was read
        lane.jobs.extend(lane.taken(jobs))
        lane.exhausted = exhausted
        if jobs:
            lane.last_member_id = jobs[-1].member_id
        return self._drop_if_done(lane)

    def ready(self) -> int:
        """Return how many pairs could be cut now."""
        return sum(len(lane.jobs) for lane in self._lanes.values() if not lane.at_work)

    def hungry(self, low_water: int) -> Lane | None:
        """Return an image that has fewer than `low_water` pairs read, and more in the ledger."""
        lanes = self._lanes.values()
        return next((lane for lane in lanes if not lane.exhausted and len(lane.jobs) < low_water), None)

    def cut(self, most: int) -> Shard:
        """Take up to `most` pairs, whole images first come first served; empty where there are none."""
        shard: Shard = {}
        left = most
        for lane in self._lanes.values():
            if left <= 0:
                break
            if lane.jobs and not lane.at_work:
                taken = [lane.jobs.popleft() for _ in range(min(left, len(lane.jobs)))]
                shard[lane.image_id] = taken
                left -= len(taken)
                lane.at_work = True
        return shard

    def came_back(self, shard: Shard, undone: Sequence[Job], closed: dict[str, Closed]) -> dict[str, str]:
        """Let a shard's images be dealt out again, the `undone` pairs first.

        `closed` tells which images take no members. Return the images that are done and have a rest, and why that is
        not to be tried: nothing of them is at a worker.
        """
        again: Shard = {}
        for job in undone:
            again.setdefault(job.image_id, []).append(job)
        rest: dict[str, str] = {}
        for image_id in shard:
            lane = self._lanes[image_id]
            lane.at_work = False
            lane.jobs.extendleft(reversed(again.get(image_id, [])))
            if image_id in closed:
                lane.close(closed[image_id])
            rest |= self._drop_if_done(lane)
        return rest

    def _drop_if_done(self, lane: Lane) -> dict[str, str]:
        if not lane.exhausted or lane.jobs or lane.at_work:
            return {}
        del self._lanes[lane.image_id]
        return {lane.image_id: lane.closed.reason} if lane.closed is not None and lane.left else {}


SHARD_SECONDS = 5.0  # of work in a shard: what a lost worker costs, and how often the ledger and the display move
SMALLEST, LARGEST = 20, 1000  # pairs in a shard
FIRST_LARGEST = 100  # of a worker whose speed is not known


class ShardedSender:
    """An `engine.Sender` that has a fleet do the work."""

    def __init__(
        self,
        fleet: Coordinator,
        client: ApiClient,
        recorder: Recorder,
        limits: Limits,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        on_failure: Callable[[], None],
        *,
        removals: bool,
    ) -> None:
        del limits, clock, wall  # the fleet has its own
        self._fleet = fleet
        self._stopping = client.stopping
        self._recorder = recorder
        self._on_failure = on_failure
        self._removals = removals
        self._cutting = Sharder()
        self._out = 0  # shards
        self._probed: set[str] = set()
        self._error: BulkshareError | None = None  # the first that ended a worker's work

    async def settle_pending(self, probed: Container[str]) -> None:
        """See `engine.Sender`."""
        pairs = sum([backlog.pairs async for backlog in self._recorder.pending_images(removals=self._removals)])
        if not pairs:
            return
        self._recorder.observer.notify(PhaseStarted("removing" if self._removals else "sharing", pairs))
        async with anyio.create_task_group() as tending:
            tending.start_soon(self._fleet.tend, self._recorder.observer)
            await self._deal(probed)
            if self._error is not None:
                raise self._error
            tending.cancel_scope.cancel()
        await self._fleet.drain_reports(self._recorder.observer)

    def wake_all(self) -> None:
        """See `engine.Sender`."""
        self._fleet.stop()

    async def _deal(self, probed: Container[str]) -> None:
        async with (
            aclosing(self._recorder.pending_images(removals=self._removals)) as images,
            anyio.create_task_group() as shards,
        ):
            while not self._stopping.is_set() and self._error is None:
                changed = self._fleet.changed
                await self._read_ahead(images)
                hand = self._fleet.least_loaded()
                shard = self._cutting.cut(self._size(hand)) if hand is not None else {}
                if hand is not None and shard:
                    self._out += 1
                    hand.outstanding += 1
                    shards.start_soon(self._hand_out, hand, shard, probed)
                elif not self._out and not self._cutting:
                    return
                else:
                    await changed.wait()

    async def _read_ahead(self, images: AsyncGenerator[Backlog]) -> None:
        """Have as much read as all workers may take now."""
        wanted = max(self._fleet.places(), 1) * self._size(None)
        while self._cutting.ready() < wanted and not self._stopping.is_set():
            lane = self._cutting.hungry(LARGEST)
            if lane is None:
                backlog = await anext(images, None)
                if backlog is None:
                    return
                lane = self._cutting.open(backlog.image_id)
            page = await self._recorder.pending_jobs(lane.image_id, lane.last_member_id, removals=self._removals)
            self._skip_rest(self._cutting.add(lane, page, exhausted=len(page) < PAGE))

    def _size(self, hand: WorkerHandle | None) -> int:
        """Return how many pairs a shard is to have: some seconds of work for who gets it."""
        if hand is None or not hand.speed:
            return max(SMALLEST, min(FIRST_LARGEST, int(self._fleet.limits.rate * SHARD_SECONDS)))
        return max(SMALLEST, min(LARGEST, int(hand.speed * SHARD_SECONDS)))

    async def _hand_out(self, hand: WorkerHandle, shard: Shard, probed: Container[str]) -> None:
        known = frozenset(image_id for image_id in shard if image_id in probed or image_id in self._probed)
        jobs = [job for several in shard.values() for job in several]
        try:
            returned = await self._fleet.run_shard(hand, jobs, known)
            if returned is None:
                self._cutting.came_back(shard, jobs, {})
                return
            await self._record(shard, returned)
            if returned.error is not None and self._error is None:
                self._error = returned.error
                self._fleet.stop()  # the others give back what they have done
        finally:
            self._out -= 1
            self._fleet.tell_changed()

    async def _record(self, shard: Shard, returned: Returned) -> None:
        done = set()
        for outcome in returned.outcomes:
            self._recorder.put(outcome)
            done.add((outcome.image_id, outcome.member_id))
            if outcome.result in {Result.REJECTED, Result.FAILED}:
                self._on_failure()
            elif outcome.image_id not in returned.closed:
                self._probed.add(outcome.image_id)
        undone = [job for jobs in shard.values() for job in jobs if (job.image_id, job.member_id) not in done]
        self._skip_rest(self._cutting.came_back(shard, undone, returned.closed))
        await self._recorder.room()

    def _skip_rest(self, rest: Mapping[str, str]) -> None:
        """Settle what is left of images that take no more."""
        for image_id, reason in rest.items():
            self._recorder.put(SettleImage(image_id, reason, removals=self._removals))
