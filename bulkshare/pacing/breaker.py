"""Whether to send at all: when nothing succeeds for a while, one probe now and then tells when to go on."""

from __future__ import annotations

FEWEST_FAILURES = 5  # below that a silence is no pattern
FIRST_PROBE_SECONDS = 1.0
LONGEST_PROBE_SECONDS = 30.0  # between probes: an endpoint that is back is used half a minute later at most


class Breaker:
    """Opens when for `patience_seconds` there was trouble and not one success; closes with the first success.

    Times are on any one monotonic clock. `give_up_after_seconds` counts from the first trouble after the last success.
    """

    def __init__(self, *, patience_seconds: float = 10.0, give_up_after_seconds: float = 900.0) -> None:
        self._patience_seconds = patience_seconds
        self._give_up_after_seconds = give_up_after_seconds
        self._silent_since: float | None = None  # the first trouble after the last success
        self._failures = 0
        self._probe_at = 0.0
        self._interval = FIRST_PROBE_SECONDS
        self.is_open = False
        self.answered_at = float("-inf")

    @property
    def probe_at(self) -> float:
        """When the next probe may leave, while open."""
        return self._probe_at

    def succeeded(self, now: float) -> None:
        """The endpoint gave an answer that is one: whatever it said, it works."""
        self.answered_at = now
        self._silent_since = None
        self._failures = 0
        self._interval = FIRST_PROBE_SECONDS
        self.is_open = False

    def troubled(self, now: float) -> None:
        """The endpoint failed, refused to work now, or was silent."""
        self._failures += 1
        if self._silent_since is None:
            self._silent_since = now
        if self.is_open:
            self._interval = min(self._interval * 2, LONGEST_PROBE_SECONDS)
            self._probe_at = now + self._interval
        elif self._failures >= FEWEST_FAILURES and now - self._silent_since >= self._patience_seconds:
            self.is_open = True
            self._probe_at = now + self._interval

    def gave_up(self, now: float) -> bool:
        """Whether the silence has lasted too long."""
        return self._silent_since is not None and now - self._silent_since >= self._give_up_after_seconds
