"""What to do after an answer: send again, ask first, or settle. Pure: the jitter is an argument.

A retry is a value. Nothing here waits or sends; the same case, verdict and jitter always give the same decision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bulkshare.model import Case, Kind, Result, Scope, Step, Verdict

if TYPE_CHECKING:
    from bulkshare.model import RetryPolicy


@dataclass(frozen=True, slots=True)
class Send:
    """Send `case`'s request when `delay_seconds` have passed."""

    case: Case
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Settle:
    """The pair is done. With scope IMAGE the image's other pairs are not to be tried either."""

    case: Case
    result: Result
    verdict: Verdict
    reason: str = ""
    scope: Scope = Scope.PAIR


Decision = Send | Settle

# For how many bases (2 s by default) a server may be at work on a request whose answer was lost, before the member is
# asked for and, where it is absent, added again. Without a floor full jitter asks at once, and two rows are left.
AT_WORK_BASES = 4.0


def backoff_seconds(policy: RetryPolicy, failures: int, verdict: Verdict, jitter: float) -> float:
    """Return the wait after the `failures`-th failure in a row; `jitter` is uniform in [0, 1).

    Exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A
    server's Retry-After is a floor, with jitter of one base on top so that waiters don't return all at once.
    """
    if verdict.retry_after is not None:
        return verdict.retry_after + jitter * policy.base_seconds
    # 2.0 ** 1024 overflows; beyond 2 ** 40 any base has long met the cap
    return jitter * min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(failures - 1, 40))


def decide(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from `verdict`, the answer to the request that `case` asked for."""
    adding = case.step is Step.ADD
    if verdict.kind is Kind.THROTTLED:
        # The endpoint's pace, not the pair's fault: it costs no attempt.
        again = replace(case, posts=case.posts + 1, spared=case.spared + 1, asks=0) if adding else case
        return Send(again, backoff_seconds(policy, max(again.posts, 1), verdict, jitter))
    if adding:
        return _after_add(policy, replace(case, posts=case.posts + 1, asks=0), verdict, jitter)
    return _after_ask(policy, replace(case, asks=case.asks + 1), verdict, jitter)


def spare(policy: RetryPolicy, failed: Settle, jitter: float) -> Send:
    """Return what to do in place of settling as failed, where the endpoint failed and not the pair: try again later."""
    case = failed.case
    step = Step.ADD if case.lost is None else Step.ASK
    return Send(replace(case, step=step, spared=case.posts, asks=0), jitter * policy.cap_seconds)


def _after_add(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    match verdict.kind:
        case Kind.SHARED:
            return Settle(case, Result.SHARED, verdict)
        case Kind.PRESENT:
            why = f"an earlier attempt ({case.lost.reason}) may have added it" if case.lost else ""
            return Settle(case, Result.ALREADY, verdict, why)
        case Kind.OVER_QUOTA:
            return Send(replace(case, step=Step.ASK, over_quota=verdict), 0.0)
        case Kind.UNCLEAR:
            return Send(replace(case, step=Step.ASK, lost=verdict), 0.0)
        case Kind.LOST:
            # The first request may still be at work: wait, then ask. A blind second POST can leave two rows.
            delay = AT_WORK_BASES * policy.base_seconds + backoff_seconds(policy, case.posts, verdict, jitter)
            return Send(replace(case, step=Step.ASK, lost=verdict), delay)
        case Kind.TRANSIENT:
            known = replace(case, lost=verdict) if verdict.maybe_done else case
            return _add_again(policy, known, verdict, backoff_seconds(policy, case.posts, verdict, jitter))
        case _:
            return Settle(case, Result.REJECTED, verdict, verdict.reason, verdict.scope)


def _after_ask(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    match verdict.kind:
        case Kind.PRESENT if case.lost is not None:
            why = f"the answer to the request was lost ({case.lost.reason}); asked for, the member is there"
            return Settle(case, Result.SHARED, verdict, why)
        case Kind.PRESENT:
            return Settle(case, Result.ALREADY, verdict)
        case Kind.TRANSIENT | Kind.LOST | Kind.UNCLEAR if case.asks < policy.attempts:
            return Send(case, backoff_seconds(policy, case.asks, verdict, jitter))
    if case.over_quota is not None:
        quota = case.over_quota
        return Settle(case, Result.REJECTED, quota, quota.reason, Scope.IMAGE)
    if verdict.kind is Kind.ABSENT:
        # What was lost stays on record: it may be added yet, and then the next POST is answered 409.
        return _add_again(policy, case, case.lost or verdict, 0.0)
    if verdict.kind is Kind.REJECTED:
        return _add_again(policy, replace(case, asks=policy.attempts), verdict, 0.0)
    why = f"not known whether it was added: {case.lost.reason if case.lost else ''}; asking: {verdict.reason}"
    return Settle(case, Result.FAILED, verdict, why)


def _add_again(policy: RetryPolicy, case: Case, verdict: Verdict, delay_seconds: float) -> Decision:
    """POST once more, or, with the attempts used up, ask a last time where an attempt may have added the member."""
    if case.posts - case.spared < policy.attempts:
        return Send(replace(case, step=Step.ADD), delay_seconds)
    if case.lost is not None and case.asks == 0:
        return Send(replace(case, step=Step.ASK), delay_seconds)
    return Settle(case, Result.FAILED, verdict, f"gave up after {case.posts} attempts: {verdict.reason}")


class RetryBudget:
    """How many retries there may be: a share of the first tries, and a few to begin with.

    The scheme is Finagle's (`RetryBudget`): without it, an endpoint in trouble gets several times its usual load. Here
    a retry that helped costs nothing, so that what an outage leaves behind does not wait for first tries to come.
    """

    SHARE = 0.2
    AT_FIRST = 10.0

    def __init__(self) -> None:
        self._tokens = self.AT_FIRST

    def deposit(self) -> None:
        """Account for a first try."""
        self._tokens += self.SHARE

    def give_back(self) -> None:
        """Account for a retry that got its answer: it was no extra load in vain, and counts as a try like any other."""
        self._tokens += 1.0 + self.SHARE

    def withdraw(self) -> bool:
        """Take one retry out of the budget; False where there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
