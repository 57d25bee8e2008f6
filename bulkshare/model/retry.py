"""When a failed request is sent again. Pure: jitter and time are arguments, and waiting is the caller's.

The wait grows exponentially, with full jitter: after the n-th failure in a row it is uniform in [0, min(cap, base *
2**(n - 1))) seconds (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Jitter spreads clients
that failed together; a single client gains nothing from it and passes `no_jitter`, which always waits the upper bound.
A server's Retry-After is a floor, with up to one base of jitter on top so that the waiters don't all return at once.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PERMANENT_STATUSES = frozenset({501, 505})  # not implemented, HTTP version not supported: trying again can't help
UNLIMITED = sys.maxsize  # e.g. the attempts of a policy that is bounded by time alone


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is tried, and how long to wait in between.

    attempts: tries in all, the first included.
    base_seconds: upper bound of the wait after the first failure; it doubles with each further one.
    cap_seconds: upper bound of any wait that a server did not ask for.
    """

    attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 30.0


def no_jitter() -> float:
    """Return 1: every wait is its upper bound."""
    return 1.0


def backoff_seconds(policy: RetryPolicy, failures: int, retry_after: float | None, jitter: float) -> float:
    """Return the wait after the `failures`-th failure in a row.

    `retry_after` is what the server asked for, in seconds; `jitter` is in [0, 1].
    """
    if retry_after is not None:
        return retry_after + jitter * policy.base_seconds
    # 2.0 ** 1024 overflows; beyond 2 ** 40 any base has long met the cap
    return jitter * min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(failures - 1, 40))


class RetryState:
    """The failures of one request so far.

    policy: attempts and waits.
    jitter: returns numbers in [0, 1], one for each wait.
    total_seconds: how long to go on at most, waits included; without a limit by default.
    """

    __slots__ = ("_jitter", "_policy", "_total_seconds", "failures")

    def __init__(
        self, policy: RetryPolicy, jitter: Callable[[], float] = no_jitter, *, total_seconds: float = math.inf
    ) -> None:
        self._policy = policy
        self._jitter = jitter
        self._total_seconds = total_seconds
        self.failures = 0

    def next_delay(
        self, retry_after: float | None = None, *, elapsed_seconds: float = 0.0, excused: bool = False
    ) -> float | None:
        """Count a failure. Return the seconds to wait before the next try, or None to give up.

        `elapsed_seconds` is the time since the first try began, or since whatever `total_seconds` counts from. An
        `excused` failure says nothing about this request (the whole endpoint is down) and never exhausts the attempts.
        """
        self.failures += 1
        if self.failures >= self._policy.attempts and not excused:
            return None
        delay_seconds = backoff_seconds(self._policy, self.failures, retry_after, self._jitter())
        return delay_seconds if elapsed_seconds + delay_seconds <= self._total_seconds else None
