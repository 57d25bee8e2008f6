"""Which request may go next: the in-memory window on the ledger's pending pairs. Arithmetic only, no waiting.

Each image with work in the window is a lane. A lane lets at most `per_image` requests be in flight, takes part in
turn with the others, and sends one request alone until the cloud has shown that the image takes members at all: an
image that is unknown or private costs one request, not a burst. A pair is at any moment in exactly one place
(ready, deferred or in flight), so two requests for it are never in flight together.
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
    trusted: bool = False  # the cloud has shown that this image takes members
    exhausted: bool = False  # the ledger has no more pairs for it beyond those added
    last_member_id: str | None = None  # the last pair added: where to read on
    closed: str | None = None  # why the image's untried pairs are not to be tried
    full: bool = False  # it is closed to new members only: those who are members go on
    ready: deque[Attempt] = field(default_factory=deque)
    in_flight: int = 0
    deferred: int = 0
    queued: bool = False  # in the dispatch's turn

    @property
    def drained(self) -> bool:
        """Nothing of this image is in the window, and nothing more is to come."""
        return not (self.ready or self.in_flight or self.deferred or self.reading)

    @property
    def reading(self) -> bool:
        """The ledger may have more pairs for the image that are to be tried."""
        return not self.exhausted and (self.closed is None or self.full)

    def takes(self, case: Attempt) -> bool:
        """Tell whether a case may be tried, or has been, which then goes on to an answer of its own."""
        return self.closed is None or case.posts > 0 or case.tries > 0 or (self.full and case.joined is not None)


class Dispatch:
    """The lanes, and whose turn it is. Times are seconds on any one monotonic clock."""

    def __init__(self, *, per_image: int) -> None:
        self._per_image = per_image
        self._lanes: dict[str, Lane] = {}
        self._turn: deque[Lane] = deque()
        self._deferred: list[tuple[float, int, Attempt]] = []
        self._parked: deque[tuple[Attempt, float]] = deque()  # with the seconds that each would wait by itself
        self._in_flight = 0
        self._order = 0  # ties in the heap are served first come, first served

    def __len__(self) -> int:
        """Return the number of open lanes."""
        return len(self._lanes)

    def open(self, image_id: str, *, trusted: bool) -> Lane:
        """Add a lane for an image that has none."""
        lane = self._lanes[image_id] = Lane(image_id, trusted=trusted)
        return lane

    def add(self, lane: Lane, cases: Sequence[Attempt], *, exhausted: bool) -> bool:
        """Append cases to an open lane; `exhausted` says that these are the image's last.

        Returns whether the lane is drained by that.
        """
        lane.exhausted = exhausted
        lane.ready.extend(filter(lane.takes, cases))
        lane.last_member_id = cases[-1].job.member_id if cases else lane.last_member_id
        self._queue(lane)
        return self._remove_if_drained(lane)

    def all_read(self) -> bool:
        """Whether no open lane has more in the ledger that it wants."""
        return not any(lane.reading for lane in self._lanes.values())

    def hungry(self, low_water: int) -> Lane | None:
        """Return a lane that has fewer than `low_water` cases ready and more in the ledger."""
        for lane in self._lanes.values():
            if lane.reading and len(lane.ready) < low_water:
                return lane
        return None

    def next(self, now: float) -> Attempt | None:
        """Take the next case that may be sent at `now`, or None."""
        while self._deferred and self._deferred[0][0] <= now:
            case = heapq.heappop(self._deferred)[2]
            lane = self._lanes[case.job.image_id]
            lane.deferred -= 1
            lane.ready.appendleft(case)  # it has waited once already
            self._queue(lane)
        while self._turn:
            lane = self._turn.popleft()
            lane.queued = False
            if lane.ready:  # closing a lane empties it where it stands
                case = lane.ready.popleft()
                lane.in_flight += 1
                self._in_flight += 1
                self._queue(lane)
                return case
        return None

    def due(self) -> float | None:
        """Return when the first deferred case becomes ready, or None."""
        return self._deferred[0][0] if self._deferred else None

    def defer(self, case: Attempt, until: float) -> None:
        """Put a case that was in flight back, to be sent at `until` or later."""
        self._put_back(case)
        self._push(case, until)

    def park(self, case: Attempt, delay_seconds: float) -> None:
        """Put a case that was in flight back, to be sent once `unpark` or `unpark_stalled` says so."""
        self._put_back(case)
        self._parked.append((case, delay_seconds))

    def unpark(self, now: float) -> None:
        """Let the case that was parked first be sent at once."""
        self._push(self._parked.popleft()[0], now)

    def unpark_stalled(self, now: float) -> None:
        """Where nothing will happen any more unless a parked case is sent: let the first one be sent after its wait."""
        if self._parked and not (self._deferred or self._turn or self._in_flight):
            case, delay_seconds = self._parked.popleft()
            self._push(case, now + delay_seconds)

    @property
    def parked(self) -> int:
        """How many cases are parked."""
        return len(self._parked)

    def _put_back(self, case: Attempt) -> None:
        lane = self._lanes[case.job.image_id]
        lane.in_flight -= 1
        self._in_flight -= 1
        lane.deferred += 1
        self._queue(lane)

    def _push(self, case: Attempt, until: float) -> None:
        heapq.heappush(self._deferred, (until, self._order, case))
        self._order += 1

    def lane(self, image_id: str) -> Lane:
        """Return an open lane."""
        return self._lanes[image_id]

    def done(self, lane: Lane) -> bool:
        """Account for a case of the lane that was in flight and is settled; return whether the lane is drained."""
        lane.in_flight -= 1
        self._in_flight -= 1
        self._queue(lane)
        return self._remove_if_drained(lane)

    def trust(self, lane: Lane) -> None:
        """Lift the one-at-a-time limit of a lane."""
        lane.trusted = True
        self._queue(lane)

    def close(self, lane: Lane, why: str, *, full: bool = False) -> None:
        """Drop the lane's untried cases, and take no more: where it is only `full`, none but members' cases.

        Those tried already go on to an answer of their own.
        """
        if lane.closed is None or (lane.full and not full):
            lane.closed, lane.full = why, full
            lane.ready = deque(filter(lane.takes, lane.ready))

    def _remove_if_drained(self, lane: Lane) -> bool:
        if lane.drained and self._lanes.get(lane.image_id) is lane:
            del self._lanes[lane.image_id]
            return True
        return False

    def _queue(self, lane: Lane) -> None:
        """Give a lane its place in the turn if it may send."""
        limit = self._per_image if lane.trusted else 1
        if lane.ready and not lane.queued and lane.in_flight < limit:
            lane.queued = True
            self._turn.append(lane)
