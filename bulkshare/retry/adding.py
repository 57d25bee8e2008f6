"""What follows from the answers to a POST, and to the question whether the member is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Kind, Result, Scope, Step
from bulkshare.retry.accepting import NOT_ACCEPTED, joined
from bulkshare.retry.decisions import PASSING, Send, Settle, backoff_seconds, lost_seconds

if TYPE_CHECKING:
    from bulkshare.model import Case, RetryPolicy, Verdict
    from bulkshare.retry.decisions import Decision


def after_add(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a POST, which `case` has counted."""
    match verdict.kind:
        case Kind.SHARED:
            return joined(case, Result.SHARED, verdict)
        case Kind.PRESENT:
            why = f"an earlier attempt ({case.lost.reason}) may have added it" if case.lost else ""
            return joined(case, Result.ALREADY, verdict, why)
        case Kind.OVER_QUOTA:
            return Send(case._replace(step=Step.ASK, over_quota=verdict), 0.0)
        case Kind.UNCLEAR:
            return Send(case._replace(step=Step.ASK, lost=verdict), 0.0)
        case Kind.LOST:
            # The first request may still be at work: wait, then ask. A blind second POST can leave two rows.
            delay_seconds = lost_seconds(policy, case.posts, verdict, jitter)
            return Send(case._replace(step=Step.ASK, lost=verdict), delay_seconds)
        case Kind.TRANSIENT:
            known = case._replace(lost=verdict) if verdict.maybe_done else case
            return _add_again(policy, known, verdict, backoff_seconds(policy, case.posts, verdict, jitter))
        case _:
            return Settle(case, Result.REJECTED, verdict, verdict.reason, verdict.scope)


def after_ask(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a question, which `case` has counted."""
    if verdict.kind is Kind.PRESENT:
        if case.joined is not None:
            return joined(case, case.joined, verdict, case.why)
        if case.lost is None:
            return joined(case, Result.ALREADY, verdict)
        why = f"the answer to the request was lost ({case.lost.reason}); asked for, the member is there"
        return joined(case, Result.SHARED, verdict, why)
    if verdict.kind in PASSING and case.asks < policy.attempts:
        return Send(case, backoff_seconds(policy, case.asks, verdict, jitter))
    if case.over_quota is not None:
        quota = case.over_quota
        return Settle(case, Result.REJECTED, quota, quota.reason, Scope.IMAGE)
    if verdict.kind is Kind.ABSENT:
        # What was lost stays on record: it may be added yet, and then the next POST is answered 409.
        return _add_again(policy, case._replace(joined=None, why=""), case.lost or verdict, 0.0)
    if case.joined is not None:
        result = Result.REJECTED if verdict.kind is Kind.REJECTED else Result.FAILED
        return Settle(case, result, verdict, f"{NOT_ACCEPTED}: asking for its status: {verdict.reason}")
    if verdict.kind is Kind.REJECTED:
        return _add_again(policy, case._replace(asks=policy.attempts), verdict, 0.0)
    why = f"not known whether it was added: {case.lost.reason if case.lost else ''}; asking: {verdict.reason}"
    return Settle(case, Result.FAILED, verdict, why)


def _add_again(policy: RetryPolicy, case: Case, verdict: Verdict, delay_seconds: float) -> Decision:
    """POST once more, or, with the attempts used up, ask a last time where an attempt may have added the member."""
    if case.posts - case.spared < policy.attempts:
        return Send(case._replace(step=Step.ADD), delay_seconds)
    if case.lost is not None and case.asks == 0:
        return Send(case._replace(step=Step.ASK), delay_seconds)
    return Settle(case, Result.FAILED, verdict, f"gave up after {case.posts} attempts: {verdict.reason}")
