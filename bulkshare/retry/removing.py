"""What follows from the answers to a DELETE, and to the question whether the member is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Kind, Result, Scope, Step
from bulkshare.retry.decisions import PASSING, Send, Settle, backoff_seconds, lost_seconds

if TYPE_CHECKING:
    from bulkshare.model import Case, RetryPolicy, Verdict
    from bulkshare.retry.decisions import Decision


def after_remove(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a DELETE, which `case` has counted."""
    match verdict.kind:
        case Kind.REMOVED:
            return Settle(case, Result.REMOVED, verdict)
        case Kind.ABSENT:
            return Send(case._replace(step=Step.ASK), 0.0)
        case Kind.UNCLEAR:
            return Send(case._replace(step=Step.ASK, lost=verdict), 0.0)
        case Kind.LOST:
            return Send(case._replace(step=Step.ASK, lost=verdict), lost_seconds(policy, case.tries, verdict, jitter))
        case Kind.TRANSIENT:
            known = case._replace(lost=verdict) if verdict.maybe_done else case
            delay_seconds = backoff_seconds(policy, case.tries, verdict, jitter)
            return _remove_again(policy, known, verdict, verdict.reason, delay_seconds)
        case _:
            return Settle(case, Result.REJECTED, verdict, verdict.reason, verdict.scope)


def after_ask_in_vain(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a question, which `case` has counted and which hopes for a no."""
    if verdict.kind is Kind.ABSENT:
        if verdict.scope is Scope.IMAGE:  # it is the image that is not there, at least for us
            return Settle(case, Result.REJECTED, verdict, verdict.reason, Scope.IMAGE)
        if case.lost is None:
            return Settle(case, Result.ABSENT, verdict)
        why = f"the answer to the request was lost ({case.lost.reason}); asked for, the member is gone"
        return Settle(case, Result.REMOVED, verdict, why)
    if verdict.kind in PASSING and case.asks < policy.attempts:
        return Send(case, backoff_seconds(policy, case.asks, verdict, jitter))
    if verdict.kind is Kind.PRESENT:
        why = case.lost.reason if case.lost else "the member is still there"
        return _remove_again(policy, case, verdict, why, backoff_seconds(policy, case.tries, verdict, jitter))
    if verdict.kind is Kind.REJECTED:
        return _remove_again(policy, case._replace(asks=policy.attempts), verdict, verdict.reason, 0.0)
    why = f"not known whether it was removed: {case.lost.reason if case.lost else ''}; asking: {verdict.reason}"
    return Settle(case, Result.FAILED, verdict, why)


def _remove_again(policy: RetryPolicy, case: Case, verdict: Verdict, reason: str, delay_seconds: float) -> Decision:
    """DELETE once more, or, with the attempts used up, ask a last time where an attempt may have removed the member."""
    if case.tries - case.spared < policy.attempts:
        return Send(case._replace(step=Step.REMOVE), delay_seconds)
    if case.lost is not None and case.asks == 0:
        return Send(case._replace(step=Step.ASK), delay_seconds)
    return Settle(case, Result.FAILED, verdict, f"gave up after {case.tries} attempts: {reason}")
