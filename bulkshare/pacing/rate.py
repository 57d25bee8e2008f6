"""The rate limit: exact, however late the event loop is."""

from __future__ import annotations

from collections import deque

CATCH_UP_SECONDS = 0.02  # a busy event loop resumes a task some milliseconds late
LONGEST_LOG = 1000  # requests; a second of them up to a rate of 1000


class Gcra:
    """The generic cell rate algorithm (ITU-T I.371) without burst: one request per 1/rate seconds, plus a sliding log.

    If a request leaves up to 20 ms late, those after it still leave on schedule and catch up; after a longer delay the
    schedule restarts. The log keeps the catching up within the limit: no window of n/rate seconds sees more than n
    requests, where n is the rate rounded down (at least 1, at most 1000).
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._due = float("-inf")
        self._left: deque[float] = deque(maxlen=min(max(int(per_second), 1), LONGEST_LOG))
        self._window_seconds = (self._left.maxlen or 1) / per_second

    def earliest(self) -> float:
        """Return the earliest time at which the next request may leave."""
        if len(self._left) < (self._left.maxlen or 1):
            return self._due
        return max(self._due, self._left[0] + self._window_seconds)

    def take(self, now: float) -> None:
        """Let a request leave at `now`. Raises ValueError if that is too early."""
        if now < self.earliest():
            raise ValueError("a request would leave too early")
        on_time = self._due if now - self._due <= CATCH_UP_SECONDS else now
        self._due = on_time + 1.0 / self.per_second
        self._left.append(now)

    def change(self, per_second: float) -> None:
        """Continue at another rate; requests that have left still count."""
        if per_second == self.per_second:
            return
        if self._left:
            self._due = max(self._due, self._left[-1] + 1.0 / per_second)
        self.per_second = per_second
        self._left = deque(self._left, maxlen=min(max(int(per_second), 1), LONGEST_LOG))
        self._window_seconds = (self._left.maxlen or 1) / per_second

    def pause(self, until: float) -> None:
        """Let no request leave before `until`."""
        self._due = max(self._due, until)
