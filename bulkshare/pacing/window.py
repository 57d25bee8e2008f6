"""The adaptive concurrency limit: how many requests may be in flight, driven by throughput.

Theory. Up to some number in flight a server answers more requests per second the more it has; beyond that number, more
only queue, and take capacity from other clients. Latency does not reveal the number (a queue and a slow disk look
alike), and it changes with the load of others. So the window measures: it counts answers per second at two sizes in
turn and moves to the larger size only while more in flight brings more answers.

The search has three modes:

- CLIMB, at the start: from 4, double for as long as a doubling brings a twentieth more answers per second. Then go back
  to the size before the last doubling and search from there.
- SEARCH: compare two neighbouring sizes, a factor of 1.4 apart, for at least a second each. Successive pairs of
  measurements run in the order 1-2-2-1, which cancels a steady drift of the server. The logarithm of each gain, less
  what a step has to bring, is added up until the sum is proof (a sequential test, A. Wald 1945); then the window moves
  by a step. If the better size is an end of the range, it rests, each time twice as long.
- RECOVER, after failures. Throttling, a 5xx or no answer outweighs any measurement: the window halves, at most once per
  round trip, because answers to requests that left before the last decrease say nothing about the new size. Then it
  grows as TCP does, by one per round trip, up to the size at which the failure came. After a pause it restarts at 2 and
  grows by one per answer up to half of what it was (slow start).

Only a full window is evidence. If something else holds requests back (the rate, or a lack of work), nothing is learned
and the size stays.

The upper limit may change at any moment: it is a share of a fleet's limit, and a share that shrinks binds at once. So
every size that is remembered for later (the pair being compared, the size before a doubling) has to be forgotten if it
exceeds the new limit.
"""

from __future__ import annotations

import math
from enum import Enum

FIRST = 4  # the initial size; after a pause, half of it. TCP's initial window (RFC 3390)
DECREASE = 0.5  # TCP's multiplicative decrease (RFC 5681)

# Chosen by simulation (tests/unit/test_window.py has the servers): the cheapest on servers that get no faster beyond
# 1 to 100 requests in flight, with realistic variance.
STEP = math.sqrt(2)  # ratio of the two sizes that are compared
CLIMB_GAIN = 1.05  # ratio of answers per second below which doubling ends
CLEAR_GAIN = 1.5  # the ratio above which one round trip is proof enough
GAIN = math.log(1.02)  # what a step has to bring to be worth it
PROOF = 0.1  # accumulated gains, above or below what is worth it, that move the window
CLIMB_SECONDS, CLIMB_ANSWERS = 0.2, 16  # at least, to judge a doubling
SEARCH_SECONDS, SEARCH_ANSWERS = 1.0, 32  # at least, for one side of a comparison
REST_SECONDS, LONGEST_REST_SECONDS = 10.0, 320.0  # between comparisons if the better size is an end of the range
FULL = 0.9  # share of the answers that has to come to a full window; with fewer, something else was the bottleneck


class Mode(Enum):
    """The phase of the search; see the module."""

    CLIMB = "climb"
    SEARCH = "search"
    RECOVER = "recover"


_CLIMB, _RECOVER = Mode.CLIMB, Mode.RECOVER  # every answer asks: looking up a member of an enum takes a while


class Throughput:
    """Answers per second at one size. The first `skipped` answers belong to requests sent at the size before."""

    def __init__(self, skipped: int) -> None:
        self._skip = skipped
        self._began: float | None = None
        self._full = 0
        self.answers = 0
        self.seconds = 0.0

    def add(self, now: float, *, full: bool) -> None:
        """Count an answer; `full` says that the window was full when it came."""
        if self._skip > 0:
            self._skip -= 1
            return
        if self._began is None:
            self._began = now  # the first answer starts the clock and is not counted
            return
        self.answers += 1
        self._full += full
        self.seconds = now - self._began

    @property
    def is_full(self) -> bool:
        """Whether the window was the bottleneck."""
        return self._full >= FULL * self.answers

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.answers / max(self.seconds, 1e-9)


class Window:
    """The window: its `size` is between 1 and `most`. Times are seconds on any one monotonic clock."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(FIRST, most)
        self.mode = Mode.CLIMB
        self._throughput = Throughput(0)
        self._before: tuple[int, float] | None = None  # CLIMB: the size before the doubling, and its throughput
        self._pair = (1, 1)  # SEARCH: the sizes being compared
        self._first: float | None = None  # SEARCH: throughput at the one measured first
        self._proof = 0.0
        self._rest_until = -math.inf
        self._rest_seconds = REST_SECONDS
        self._grown = float(self.size)  # RECOVER: the size with its fraction
        self._slow_start_below = 0.0
        self._failed_at = 0
        self._decreased_at = -math.inf

    def limit(self, most: int) -> None:
        """Allow at most `most` in flight from now on. A smaller limit binds at once; a larger one is grown into.

        If the old limit was the bottleneck and the new one is twice as large, by doubling, as at the start.
        """
        before, self.most = self.most, most
        if self.mode is Mode.SEARCH:
            highest = self._pair[1]
            if highest == before <= most / 2:
                self.mode, self._before = Mode.CLIMB, None
                self._rest_until = -math.inf
                self._resize(self.size)
            elif highest > most or (highest == before < most):
                self._search_from(min(self.size, most))
            return
        if self._before is not None and self._before[0] >= most:
            self._before = None
        if self.size > most:
            self._grown = min(self._grown, float(most))
            self._resize(most)

    def succeeded(self, in_flight: int, now: float) -> None:
        """Learn from an answer; `in_flight` counts the requests in flight just before it, its own included."""
        full = in_flight >= self.size
        if self.mode is _RECOVER:
            if full:
                self._recover()
        elif now >= self._rest_until:
            self._throughput.add(now, full=full)
            if self.mode is _CLIMB:
                self._climb(now)
            else:
                self._search(now)

    def failed(self, sent_at: float, now: float) -> bool:
        """Learn from a failure (throttling, 5xx, no answer). Return whether the window was decreased."""
        if sent_at < self._decreased_at:
            return False
        size = self._grown if self.mode is Mode.RECOVER else float(self.size)
        self._failed_at = self.size
        self._grown = self._slow_start_below = max(1.0, size * DECREASE)
        self.size = int(self._grown)
        self.mode = Mode.RECOVER
        self._decreased_at = now
        return True

    def restart(self) -> None:
        """Start over after a pause: what the cloud can take now is unknown."""
        if self.mode is not Mode.RECOVER:
            self._failed_at = self.size
            self._slow_start_below = float(self.size)
            self.mode = Mode.RECOVER
        self._grown = min(FIRST / 2, float(self.size))
        self.size = int(self._grown)

    def _recover(self) -> None:
        self._grown += 1.0 if self._grown < self._slow_start_below else 1.0 / self._grown
        self.size = min(int(self._grown), self.most)
        if self.size >= min(self._failed_at, self.most):
            self._search_from(self.size)

    def _climb(self, now: float) -> None:
        measured = self._throughput
        below, before = self._before or (0, 0.0)
        enough = measured.answers >= max(2 * self.size, CLIMB_ANSWERS) and measured.seconds >= CLIMB_SECONDS
        clear = measured.answers >= max(self.size, CLIMB_ANSWERS // 2) and measured.per_second >= before * CLEAR_GAIN
        if not enough and not (below and clear):
            return
        if not measured.is_full:
            self._throughput = Throughput(0)
        elif measured.per_second < before * CLIMB_GAIN:
            self._search_from(below)
        elif self.size == self.most:
            self._search_from(self.size)
            self._rest(now)
        else:
            self._before = self.size, measured.per_second
            self._resize(min(2 * self.size, self.most))

    def _search_from(self, size: int) -> None:
        """Compare this size with the next larger one, or the next smaller one if it is the limit."""
        above = self._above(size)
        self.mode = Mode.SEARCH
        self._rest_until = -math.inf
        self._rest_seconds = REST_SECONDS
        self._compare((size, above) if above > size else (self._below(size), size), size)

    def _compare(self, pair: tuple[int, int], size: int) -> None:
        """Start to compare two sizes; `size` is the one measured first."""
        self._pair = pair
        self._proof = 0.0
        self._first = None
        self._resize(size)

    def _search(self, now: float) -> None:
        measured = self._throughput
        if measured.answers < max(2 * self.size, SEARCH_ANSWERS) or measured.seconds < SEARCH_SECONDS:
            return
        low, high = self._pair
        if not measured.is_full:
            self._throughput = Throughput(0)
        elif self._first is None:
            self._first = measured.per_second
            self._resize(high if self.size == low else low)
        else:
            gain = math.log(measured.per_second / self._first)
            self._proof += (gain if self.size == high else -gain) - GAIN
            self._first = None
            self._throughput = Throughput(0)
            if abs(self._proof) >= PROOF:
                self._move(high if self._proof > 0 else low, now)

    def _move(self, size: int, now: float) -> None:
        """Continue from the better size of the pair: compare it with its other neighbour, or rest if it has none."""
        low, high = self._pair
        pair = (high, self._above(high)) if size == high else (self._below(low), low)
        if pair[0] < pair[1]:
            self._rest_seconds = REST_SECONDS
            self._compare(pair, size)
        else:
            self._compare(self._pair, size)
            self._rest(now)

    def _rest(self, now: float) -> None:
        """Keep the size for a while; consecutive rests double."""
        self._rest_until = now + self._rest_seconds
        self._rest_seconds = min(2 * self._rest_seconds, LONGEST_REST_SECONDS)

    def _above(self, size: int) -> int:
        return min(max(size + 1, round(size * STEP)), self.most)

    def _below(self, size: int) -> int:
        return max(min(size - 1, round(size / STEP)), 1)

    def _resize(self, size: int) -> None:
        self._throughput = Throughput(self.size if size != self.size else 0)
        self.size = size
