"""How one invocation of a run goes over time: an observer that counts answers per interval, in bounded memory.

It runs once per answer, so it does next to nothing there.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from bulkshare.model import Telemetry, VerdictKind
from bulkshare.model.events import Answered, AnswersCounted, BatchSent

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bulkshare.model.events import Event


MOST_INTERVALS = 600  # as many as a chart can show; ten minutes at one second each
FIRST_INTERVAL_SECONDS = 1.0
LATENCY_BOUNDS = (*(0.001 * 2**power for power in range(17)), math.inf)  # 1 ms to 65.5 s, each twice the one before

# Local names: looking up a member of an enum takes longer than all the rest.
_THROTTLED, _TRANSIENT, _LOST = VerdictKind.THROTTLED, VerdictKind.TRANSIENT, VerdictKind.LOST
NO_ANSWER = "no answer"  # the request was sent, or partly
NOT_SENT = "not sent"


class Meter:
    """Makes a `Telemetry` of the answers since its construction.

    Once there are `MOST_INTERVALS`, neighbours are merged and the interval doubles.

    began_at: the time of day of its construction.
    clock: monotonic, in seconds.
    allowed: returns how many requests may be in flight now.
    """

    def __init__(self, began_at: datetime, clock: Callable[[], float], allowed: Callable[[], int]) -> None:
        self._began_at = began_at
        self._clock = clock
        self._allowed_now = allowed
        self._began = clock()
        self._interval = FIRST_INTERVAL_SECONDS
        self._ends = self._began + self._interval  # the current interval, which is the last of the lists
        self._requests = [0]
        self._troubled = [0]
        self._allowed = [0]
        self._latency = [0] * len(LATENCY_BOUNDS)
        self._statuses: dict[int | str, int] = {}
        self._batches = self._batched_pairs = 0

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if isinstance(event, Answered):
            count, kind, http_status, seconds = 1, event.verdict.kind, event.verdict.http_status, event.seconds
        elif isinstance(event, AnswersCounted):
            count, kind, http_status, seconds = event
        else:
            if isinstance(event, BatchSent):
                self._batches += 1
                self._batched_pairs += event.pairs
            return
        now = self._clock()
        if now >= self._ends:
            self._advance(now)
        self._requests[-1] += count
        if kind is _THROTTLED or kind is _TRANSIENT or kind is _LOST:
            self._troubled[-1] += count
        self._latency[bisect_left(LATENCY_BOUNDS, seconds)] += count
        status: int | str = http_status or (NO_ANSWER if kind is _LOST else NOT_SENT)
        self._statuses[status] = self._statuses.get(status, 0) + count

    def telemetry(self) -> Telemetry:
        """Return the telemetry up to now."""
        now = self._clock()
        if now >= self._ends:
            self._advance(now)
        return Telemetry(
            began_at=self._began_at,
            interval_seconds=self._interval,
            requests=tuple(self._requests),
            troubled=tuple(self._troubled),
            allowed=(*self._allowed[:-1], self._allowed_now()),
            latency={bound: count for bound, count in zip(LATENCY_BOUNDS, self._latency, strict=True) if count},
            batches=self._batches,
            batched_pairs=self._batched_pairs,
            statuses={str(status): self._statuses[status] for status in sorted(self._statuses, key=str)},
        )

    def _advance(self, now: float) -> None:
        """Close the current interval, and start the one that contains `now`."""
        allowed = self._allowed_now()
        while (last := int((now - self._began) / self._interval)) >= MOST_INTERVALS:
            self._requests = _pairwise_sums(self._requests)
            self._troubled = _pairwise_sums(self._troubled)
            self._allowed = self._allowed[1::2] + self._allowed[len(self._allowed) & ~1 :]
            self._interval *= 2
        self._allowed[-1] = allowed
        idle = last + 1 - len(self._requests)
        self._requests += [0] * idle
        self._troubled += [0] * idle
        self._allowed += [allowed] * idle
        self._ends = self._began + (last + 1) * self._interval


def _pairwise_sums(numbers: list[int]) -> list[int]:
    return [sum(numbers[i : i + 2]) for i in range(0, len(numbers), 2)]
