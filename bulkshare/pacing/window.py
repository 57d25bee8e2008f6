"""How many requests in flight: as many as the cloud takes without trouble, within what the user allows."""

from __future__ import annotations

FIRST = 4.0  # requests in flight to begin with, and after a cool-down: TCP's initial window (RFC 3390)
DECREASE = 0.5  # TCP's multiplicative decrease (RFC 5681)


class Window:
    """Additive increase, multiplicative decrease, with slow start: TCP's answer to the same question.

    Each success adds one in slow start (the window doubles in a round trip), and 1/window after the first trouble (one
    in a round trip). Trouble halves the window, at most once in a round trip: answers to requests that left before the
    last decrease say nothing about the new window. Never below 1, never above `most`.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._size = min(FIRST, self._most)
        self._slow_start_below = self._most
        self._decreased_at = float("-inf")

    @property
    def size(self) -> int:
        """How many requests may be in flight now."""
        return int(self._size)

    def limit(self, most: int) -> None:
        """Let at most `most` be in flight from now on; a larger limit is grown into as any."""
        self._most = float(most)
        self._size = min(self._size, self._most)
        if self._decreased_at == float("-inf"):
            self._slow_start_below = self._most

    def succeeded(self, in_flight: int) -> None:
        """Learn from an answer; `in_flight` is how many there were with it. A window that is not used does not grow."""
        if in_flight >= self.size:
            step = 1.0 if self._size < self._slow_start_below else 1.0 / self._size
            self._size = min(self._most, self._size + step)

    def troubled(self, sent_at: float, now: float) -> bool:
        """Learn from trouble (throttling, 5xx, no answer); return whether the window was decreased."""
        if sent_at < self._decreased_at:
            return False
        self._size = max(1.0, self._size * DECREASE)
        self._slow_start_below = self._size
        self._decreased_at = now
        return True

    def restart(self) -> None:
        """Begin anew after a pause: what the cloud takes now is not known."""
        self._size = min(FIRST / 2, self._size)
