"""Which request may be sent next: an in-memory window on the ledger's pending pairs. Arithmetic only; nothing waits.

Each image with work in the window is a lane. Lanes take turns. A lane has at most `per_image` requests in flight, and
only one until the cloud has shown that the image takes members at all (it is then `probed`): an image that is unknown
or private costs one request, not a burst.

At any moment an attempt is in exactly one place, so two requests for one pair are never in flight together:

- ready: may be sent as soon as its lane has its turn;
- in flight: between `next` and `done`, `defer` or `park`;
- deferred: becomes ready at a given time;
- parked: becomes ready when `unpark` or `unpark_stalled` says so (the retry budget was used up).
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.model import Attempt


@dataclass(slots=True, eq=False)
class Lane:
    """The part of the window that belongs to one image."""

    image_id: str
    width: int  # requests that may be in flight once it is probed: `per_image`, or its pairs if they are fewer
    probed: bool = False  # the cloud has shown that this image takes members
    exhausted: bool = False  # the ledger has no pairs for it beyond those added
    last_member_id: str | None = None  # of the last pair added; reading continues after it
    closed: str | None = None  # why the image's untried pairs are not to be tried
    full: bool = False  # closed only to new members: attempts for existing members continue
    ready: deque[Attempt] = field(default_factory=deque)
    in_flight: int = 0
    deferred: int = 0  # parked ones included
    queued: bool = False  # waiting for its turn

    @property
    def drained(self) -> bool:
        """Whether nothing of this image is in the window, and nothing more will come."""
        return not (self.ready or self.in_flight or self.deferred or self.reading)

    @property
    def reading(self) -> bool:
        """Whether the ledger may have more pairs for the image that are to be tried."""
        return not self.exhausted and (self.closed is None or self.full)

    def accepts(self, attempt: Attempt) -> bool:
        """Whether an attempt may be sent. What was sent before continues until it has an answer of its own."""
        if self.closed is None or attempt.posts > 0 or attempt.tries > 0:
            return True
        return self.full and attempt.membership is not None


class Dispatch:
    """The lanes, and whose turn it is. Times are seconds on any one monotonic clock.

    per_image: requests in flight for one image, at most.
    """

    def __init__(self, *, per_image: int) -> None:
        self._per_image = per_image
        self.lanes: dict[str, Lane] = {}
        self.width = 0  # of all lanes
        self._reading: dict[str, Lane] = {}  # those that want more from the ledger
        self.parked: deque[tuple[Attempt, float]] = deque()  # with the seconds it would otherwise wait
        self._turns: deque[Lane] = deque()
        self._deferred: list[tuple[float, int, Attempt]] = []
        self.in_flight = 0
        self._order = 0  # breaks ties in the heap: first come, first served

    def __len__(self) -> int:
        """Return the number of open lanes."""
        return len(self.lanes)

    def open(self, image_id: str, pairs: int, *, probed: bool) -> Lane:
        """Add a lane for an image that has none, and so many pairs."""
        lane = self.lanes[image_id] = Lane(image_id, min(pairs, self._per_image), probed=probed)
        self.width += lane.width
        self._reading[image_id] = lane
        return lane

    def add(self, lane: Lane, attempts: Sequence[Attempt], *, exhausted: bool) -> bool:
        """Append attempts to a lane; `exhausted` says that they are the image's last. Return whether it is drained."""
        lane.exhausted = exhausted
        if not lane.reading:
            self._reading.pop(lane.image_id, None)
        lane.ready.extend(filter(lane.accepts, attempts))
        if attempts:
            lane.last_member_id = attempts[-1].job.member_id
        return self._update(lane)

    def all_read(self) -> bool:
        """Whether no open lane wants more from the ledger."""
        return not self._reading

    def needs_refill(self, low_water: int) -> Lane | None:
        """Return a lane that has fewer than `low_water` attempts ready, and more in the ledger."""
        return next((lane for lane in self._reading.values() if len(lane.ready) < low_water), None)

    def room(self, lane: Lane) -> int:
        """Return how many of a lane's attempts may be sent at once."""
        return max(min(len(lane.ready), self._most(lane) - lane.in_flight), 0)

    def next(self, now: float) -> Attempt | None:
        """Take the next attempt that may be sent at `now`, or None."""
        while self._deferred and self._deferred[0][0] <= now:
            attempt = heapq.heappop(self._deferred)[2]
            lane = self.lanes[attempt.job.image_id]
            lane.deferred -= 1
            lane.ready.appendleft(attempt)  # it has waited once already
            self._update(lane)
        while self._turns:
            lane = self._turns.popleft()
            lane.queued = False
            if lane.ready:  # closing a lane empties it in its place
                attempt = lane.ready.popleft()
                lane.in_flight += 1
                self.in_flight += 1
                self._update(lane)
                return attempt
        return None

    @property
    def has_next(self) -> bool:
        """Whether there is an attempt that may be sent now, or at its time."""
        return bool(self._turns or self._deferred)

    def due(self) -> float | None:
        """Return when the first deferred attempt becomes ready, or None."""
        return self._deferred[0][0] if self._deferred else None

    def defer(self, attempt: Attempt, until: float) -> None:
        """Put back an attempt that was in flight; it becomes ready at `until`."""
        self._put_back(attempt)
        self._push(attempt, until)

    def park(self, attempt: Attempt, delay_seconds: float) -> None:
        """Put back an attempt that was in flight; it stays parked until it is released."""
        self._put_back(attempt)
        self.parked.append((attempt, delay_seconds))

    def unpark(self, now: float) -> None:
        """Release the attempt that was parked first; it is ready at once."""
        self._push(self.parked.popleft()[0], now)

    def unpark_stalled(self, now: float) -> None:
        """If nothing else will happen any more, release the attempt that was parked first, after its own delay."""
        if self.parked and not (self._deferred or self._turns or self.in_flight):
            attempt, delay_seconds = self.parked.popleft()
            self._push(attempt, now + delay_seconds)

    def done(self, lane: Lane) -> bool:
        """Account for an attempt of the lane that was in flight and is settled. Return whether the lane is drained."""
        lane.in_flight -= 1
        self.in_flight -= 1
        return self._update(lane)

    def mark_probed(self, lane: Lane) -> None:
        """Lift the one-at-a-time limit of a lane."""
        lane.probed = True
        self._update(lane)

    def close(self, lane: Lane, why: str, *, full: bool = False) -> None:
        """Drop the lane's untried attempts and accept no more; if it is only `full`, keep those of members."""
        if lane.closed is None or (lane.full and not full):
            lane.closed, lane.full = why, full
            if not lane.reading:
                self._reading.pop(lane.image_id, None)
            lane.ready = deque(filter(lane.accepts, lane.ready))

    def _most(self, lane: Lane) -> int:
        return self._per_image if lane.probed else 1

    def _put_back(self, attempt: Attempt) -> None:
        lane = self.lanes[attempt.job.image_id]
        lane.in_flight -= 1
        self.in_flight -= 1
        lane.deferred += 1
        self._update(lane)

    def _push(self, attempt: Attempt, until: float) -> None:
        heapq.heappush(self._deferred, (until, self._order, attempt))
        self._order += 1

    def _update(self, lane: Lane) -> bool:
        """Queue a lane that may send, and forget one that is drained; return whether it is."""
        if lane.ready:
            if not lane.queued and lane.in_flight < self._most(lane):
                lane.queued = True
                self._turns.append(lane)
            return False
        if lane.drained and self.lanes.get(lane.image_id) is lane:
            del self.lanes[lane.image_id]
            self.width -= lane.width
            return True
        return False
