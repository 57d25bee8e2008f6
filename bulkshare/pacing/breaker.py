"""The circuit breaker: after a while without any success, an occasional probe decides when to continue."""

from __future__ import annotations

FEWEST_FAILURES = 5  # fewer are no pattern
FIRST_PROBE_SECONDS = 1.0
LONGEST_PROBE_SECONDS = 30.0  # between probes: an endpoint that is back is used half a minute later at most


class Breaker:
    """Opens after `patience_seconds` of failures without a success; closes with the first success.

    Times are seconds on any one monotonic clock.

    patience_seconds: from the first failure after the last success.
    give_up_after_seconds: counted from the same moment; then `gave_up` is true.
    """

    def __init__(self, *, patience_seconds: float = 10.0, give_up_after_seconds: float = 900.0) -> None:
        self.is_open = False
        self.answered_at = float("-inf")  # the last success
        self.probe_at = 0.0  # when the next probe may leave, while open
        self._patience_seconds = patience_seconds
        self._give_up_after_seconds = give_up_after_seconds
        self._silent_since: float | None = None  # the first failure after the last success
        self._failures = 0
        self._interval_seconds = FIRST_PROBE_SECONDS

    def succeeded(self, now: float) -> None:
        """Note an answer that shows that the endpoint works, even a refusal."""
        self.answered_at = now
        self._silent_since = None
        self._failures = 0
        self._interval_seconds = FIRST_PROBE_SECONDS
        self.is_open = False

    def failed(self, now: float) -> None:
        """Note that the endpoint failed, throttled, or did not answer."""
        self._failures += 1
        if self._silent_since is None:
            self._silent_since = now
        if self.is_open:
            self._interval_seconds = min(self._interval_seconds * 2, LONGEST_PROBE_SECONDS)
            self.probe_at = now + self._interval_seconds
        elif self._failures >= FEWEST_FAILURES and now - self._silent_since >= self._patience_seconds:
            self.is_open = True
            self.probe_at = now + self._interval_seconds

    def leave_out(self, seconds: float, now: float) -> None:
        """Don't count so many seconds until now, in which nothing was sent on purpose, as silence."""
        if self._silent_since is not None:
            self._silent_since = min(self._silent_since + seconds, now)

    def gave_up(self, now: float) -> bool:
        """Whether there has been no success for too long."""
        return self._silent_since is not None and now - self._silent_since >= self._give_up_after_seconds
