"""What can be decided, and how long to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import Kind, Scope

if TYPE_CHECKING:
    from bulkshare.model import Case, Result, RetryPolicy, Verdict


class Send(NamedTuple):
    """Send `case`'s request when `delay_seconds` have passed."""

    case: Case
    delay_seconds: float


class Settle(NamedTuple):
    """The pair is done. With scope IMAGE the image's other pairs are not to be tried either."""

    case: Case
    result: Result
    verdict: Verdict
    reason: str = ""
    scope: Scope = Scope.PAIR


Decision = Send | Settle

# For how many bases (2 s by default) a server may be at work on a request whose answer was lost, before the member is
# asked for and, where need be, the request sent again. Without a floor full jitter asks at once, and two rows are left.
AT_WORK_BASES = 4.0
PASSING = frozenset({Kind.TRANSIENT, Kind.LOST, Kind.UNCLEAR})  # no answer to go by, but the next one may be


def backoff_seconds(policy: RetryPolicy, failures: int, verdict: Verdict, jitter: float) -> float:
    """Return the wait after the `failures`-th failure in a row; `jitter` is uniform in [0, 1).

    Exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A
    server's Retry-After is a floor, with jitter of one base on top so that waiters don't return all at once.
    """
    if verdict.retry_after is not None:
        return verdict.retry_after + jitter * policy.base_seconds
    # 2.0 ** 1024 overflows; beyond 2 ** 40 any base has long met the cap
    return jitter * min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(failures - 1, 40))


def lost_seconds(policy: RetryPolicy, failures: int, verdict: Verdict, jitter: float) -> float:
    """Return the wait before asking what became of a request whose answer was lost."""
    return AT_WORK_BASES * policy.base_seconds + backoff_seconds(policy, failures, verdict, jitter)
