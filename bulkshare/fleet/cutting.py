"""Which pairs go together: shards, grouped by image. Arithmetic only.

An image is at one worker at a time, so that its limit of requests in flight holds, and a worker that finds that an
image takes no members keeps the others from finding out, too. Of an image that is only full its members' pairs are
dealt out all the same, as `dispatch` does within a shard.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkshare.model import Want

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.fleet.messages import Closed
    from bulkshare.model import Job

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
        taken = [job for job in jobs if self.closed.full and Want.LISTED in job.want]
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


class Cutting:
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
