"""How many requests in flight: as many as make the cloud faster, within what the user allows and it takes untroubled.

Up to some number in flight a server answers the more requests a second, the more it has; beyond that, what is sent
only waits, and takes room from others. No clock tells that number, and it is another one by day and by night. So the
window compares: it counts the answers a second at two sizes in turn, and moves to where more in flight still brings
more answers. What the server says outright (throttling, 5xx, no answer) counts at once and above all.
"""

from __future__ import annotations

import math
from enum import Enum

FIRST = 4  # requests in flight to begin with; half of them after a cool-down: TCP's initial window (RFC 3390)
DECREASE = 0.5  # TCP's multiplicative decrease (RFC 5681)

# Chosen by simulation (tests/unit/test_window.py has the servers): what costs least on servers that get no faster
# beyond 1 to 100 in flight, with answers that vary as in life.
STEP = math.sqrt(2)  # between the two sizes that are compared
CLIMB_GAIN = 1.05  # answers a second of twice the window, below which doubling ends
CLEAR_GAIN = 1.5  # the same, above which one round trip is proof enough
GAIN = math.log(1.02)  # answers a second that a step has to bring to be worth it
PROOF = 0.1  # of gains added up, above or below what is worth it, until the window moves
CLIMB_SECONDS, CLIMB_ANSWERS = 0.2, 16  # at least, for a doubling to be judged
SEARCH_SECONDS, SEARCH_ANSWERS = 1.0, 32  # at least, for a comparison
REST_SECONDS, LONGEST_REST_SECONDS = 10.0, 320.0  # between comparisons where the better size is an end of the range
FULL = 0.9  # of the answers have to come to a full window, else it was not the window that mattered


class Mode(Enum):
    """What the window is about."""

    CLIMB = "climb"  # at the start: doubling for as long as that brings more answers a second
    SEARCH = "search"  # comparing two neighbouring sizes
    RECOVER = "recover"  # after trouble: growing to where it came, as TCP does


class Count:
    """Answers a second at one size, from answers to requests that were sent at that size."""

    def __init__(self, skipped: int) -> None:
        self._skip = skipped  # answers to requests that were under way before
        self._began: float | None = None
        self._full = 0
        self.answers = 0
        self.seconds = 0.0

    def add(self, now: float, *, full: bool) -> None:
        """Count an answer; `full` is whether as many were in flight as might be."""
        if self._skip > 0:
            self._skip -= 1
            return
        if self._began is None:
            self._began = now  # the first answer begins the time, and is not in it
            return
        self.answers += 1
        self._full += full
        self.seconds = now - self._began

    @property
    def is_full(self) -> bool:
        """Whether the window was what held requests back."""
        return self._full >= FULL * self.answers

    @property
    def per_second(self) -> float:
        """Answers a second, once there is one."""
        return self.answers / max(self.seconds, 1e-9)


class Window:
    """The size of the window, between 1 and `most`; times are on any one monotonic clock, in seconds.

    It begins with 4 and doubles while that brings a twentieth more answers a second (CLIMB). Then it compares two
    sizes, a factor of 1.4 apart, for at least a second each in the order 1-2-2-1, which takes a steady change of the
    server out of it; the logarithms of their gains, less what a step has to bring, are added up until the sum is proof
    (a sequential test, Wald 1945), and the window moves by a step (SEARCH). Where something else holds requests back,
    the rate or the lack of them, nothing is learned and the size stays.

    Trouble halves the window, at most once in a round trip: answers to requests that left before the last decrease say
    nothing about the new window. From there it grows by one in a round trip up to where the trouble came (RECOVER);
    after a pause, from 2 by one with each answer up to the half.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = min(FIRST, most)  # how many requests may be in flight now
        self._mode = Mode.CLIMB
        self._count = Count(0)
        self._before: tuple[int, float] | None = None  # CLIMB: the size before, and its answers a second
        self._pair = (1, 1)  # SEARCH: the sizes compared
        self._first: float | None = None  # SEARCH: answers a second at the first of them
        self._proof = 0.0
        self._rest_until = -math.inf
        self._rest_seconds = REST_SECONDS
        self._grown = float(self.size)  # RECOVER: the size, with its fraction
        self._slow_start_below = 0.0
        self._trouble_at = 0
        self._decreased_at = -math.inf

    def limit(self, most: int) -> None:
        """Let at most `most` be in flight from now on; a larger limit is grown into as any."""
        before, self._most = self._most, most
        if self._mode is Mode.SEARCH:
            highest = self._pair[1]
            if highest > most or (highest == before < most):
                self._search_from(min(self.size, most))
        elif self.size > most:
            self._grown = min(self._grown, float(most))
            self._resize(most)

    def succeeded(self, in_flight: int, now: float) -> None:
        """Learn from an answer; `in_flight` is how many there were, with it."""
        full = in_flight >= self.size
        if self._mode is Mode.RECOVER:
            if full:
                self._recover()
        elif now >= self._rest_until:
            self._count.add(now, full=full)
            if self._mode is Mode.CLIMB:
                self._climb(now)
            else:
                self._search(now)

    def troubled(self, sent_at: float, now: float) -> bool:
        """Learn from trouble (throttling, 5xx, no answer); return whether the window was decreased."""
        if sent_at < self._decreased_at:
            return False
        size = self._grown if self._mode is Mode.RECOVER else float(self.size)
        self._trouble_at = self.size
        self._grown = self._slow_start_below = max(1.0, size * DECREASE)
        self.size = int(self._grown)
        self._mode = Mode.RECOVER
        self._decreased_at = now
        return True

    def restart(self) -> None:
        """Begin anew after a pause: what the cloud takes now is not known."""
        if self._mode is not Mode.RECOVER:
            self._trouble_at = self.size
            self._slow_start_below = float(self.size)
            self._mode = Mode.RECOVER
        self._grown = min(FIRST / 2, float(self.size))
        self.size = int(self._grown)

    def _recover(self) -> None:
        self._grown += 1.0 if self._grown < self._slow_start_below else 1.0 / self._grown
        self.size = min(int(self._grown), self._most)
        if self.size >= min(self._trouble_at, self._most):
            self._search_from(self.size)

    def _climb(self, now: float) -> None:
        count = self._count
        below, before = self._before or (0, 0.0)
        enough = count.answers >= max(2 * self.size, CLIMB_ANSWERS) and count.seconds >= CLIMB_SECONDS
        clear = count.answers >= max(self.size, CLIMB_ANSWERS // 2) and count.per_second >= before * CLEAR_GAIN
        if not enough and not (below and clear):
            return
        if not count.is_full:
            self._count = Count(0)
        elif count.per_second < before * CLIMB_GAIN:
            self._search_from(below)
        elif self.size == self._most:
            self._search_from(self.size)
            self._rest(now)
        else:
            self._before = self.size, count.per_second
            self._resize(min(2 * self.size, self._most))

    def _search_from(self, size: int) -> None:
        """Compare this size with the one above, or where there is none with the one below."""
        above = self._above(size)
        self._mode = Mode.SEARCH
        self._rest_until = -math.inf
        self._rest_seconds = REST_SECONDS
        self._compare((size, above) if above > size else (self._below(size), size), size)

    def _compare(self, pair: tuple[int, int], size: int) -> None:
        """Begin to compare two sizes, with this one of them."""
        self._pair = pair
        self._proof = 0.0
        self._first = None
        self._resize(size)

    def _search(self, now: float) -> None:
        count = self._count
        if count.answers < max(2 * self.size, SEARCH_ANSWERS) or count.seconds < SEARCH_SECONDS:
            return
        low, high = self._pair
        if not count.is_full:
            self._count = Count(0)
        elif self._first is None:
            self._first = count.per_second
            self._resize(high if self.size == low else low)
        else:
            gain = math.log(count.per_second / self._first)
            self._proof += (gain if self.size == high else -gain) - GAIN
            self._first = None
            self._count = Count(0)
            if abs(self._proof) >= PROOF:
                self._move(high if self._proof > 0 else low, now)

    def _move(self, size: int, now: float) -> None:
        """Go on with the better one of the pair: compare it with its other neighbour, or rest where it has none."""
        low, high = self._pair
        pair = (high, self._above(high)) if size == high else (self._below(low), low)
        if pair[0] < pair[1]:
            self._rest_seconds = REST_SECONDS
            self._compare(pair, size)
        else:
            self._compare(self._pair, size)
            self._rest(now)

    def _rest(self, now: float) -> None:
        """Keep the size for a while; each rest in a row is twice as long as the one before."""
        self._rest_until = now + self._rest_seconds
        self._rest_seconds = min(2 * self._rest_seconds, LONGEST_REST_SECONDS)

    def _above(self, size: int) -> int:
        return min(max(size + 1, round(size * STEP)), self._most)

    def _below(self, size: int) -> int:
        return max(min(size - 1, round(size / STEP)), 1)

    def _resize(self, size: int) -> None:
        self._count = Count(self.size if size != self.size else 0)
        self.size = size
