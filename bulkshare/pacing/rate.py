"""How many requests a second: exact, whatever the event loop does."""

from __future__ import annotations


class Gcra:
    """The generic cell rate algorithm (ITU-T I.371) without burst: one request per 1/rate seconds.

    `take` counts from the moment a request really leaves, never from when it should have: a late request is not made
    up for, so that no window of t seconds sees more than rate x t + 1 requests.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._next = float("-inf")

    def earliest(self) -> float:
        """Return the first moment at which the next request may leave."""
        return self._next

    def take(self, now: float) -> None:
        """Let a request leave at `now`. Raises ValueError when that is too early."""
        if now < self._next:
            raise ValueError("a request would leave too early")
        self._next = now + 1.0 / self.per_second

    def pause(self, until: float) -> None:
        """Let no request leave before `until`."""
        self._next = max(self._next, until)
