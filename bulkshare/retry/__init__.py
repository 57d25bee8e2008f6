"""What to do after an answer: send again, ask first, go on with the next step, or settle. Pure: jitter is an argument.

A retry is a value. Nothing here waits or sends; the same case, verdict and jitter always give the same decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Case, Kind, Result, Step, Want
from bulkshare.retry.accepting import LEFT_REJECTED, after_accept, is_left_rejected, is_to_accept
from bulkshare.retry.adding import after_add, after_ask
from bulkshare.retry.budget import RetryBudget
from bulkshare.retry.decisions import AT_WORK_BASES, Decision, Send, Settle, backoff_seconds
from bulkshare.retry.removing import after_ask_in_vain, after_remove

if TYPE_CHECKING:
    from bulkshare.model import Job, RetryPolicy, Verdict

__all__ = [
    "AT_WORK_BASES",
    "LEFT_REJECTED",
    "Decision",
    "RetryBudget",
    "Send",
    "Settle",
    "backoff_seconds",
    "decide",
    "first_case",
    "is_left_rejected",
    "is_repeat",
    "is_to_accept",
    "spare",
]


def first_case(job: Job) -> Case:
    """Return the case of a pair that was not tried yet, at the step that what it wants begins with."""
    want = job.want
    if not want:
        return Case(job)
    if Want.GONE in want:
        return Case(job, Step.REMOVE)
    if Want.LISTED in want:
        return Case(job, Step.ACCEPT, joined=Result.ALREADY)
    return Case(job)


def is_repeat(case: Case) -> bool:
    """Tell whether the request that the case asks for was sent before."""
    if case.step is Step.ADD:
        return case.posts > 0
    return (case.asks if case.step is Step.ASK else case.tries) > 0


def decide(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from `verdict`, the answer to the request that `case` asked for."""
    step = case.step
    if step is Step.ADD:
        case = case._replace(posts=case.posts + 1, asks=0)
    elif step is not Step.ASK:
        case = case._replace(tries=case.tries + 1, asks=0)
    if verdict.kind is Kind.THROTTLED:
        # The endpoint's pace, not the pair's fault: it costs no attempt.
        again = case if step is Step.ASK else case._replace(spared=case.spared + 1)
        return Send(again, backoff_seconds(policy, max(again.posts, again.tries, 1), verdict, jitter))
    if step is Step.ADD:
        return after_add(policy, case, verdict, jitter)
    if step is Step.ACCEPT:
        return after_accept(policy, case, verdict, jitter)
    if step is Step.REMOVE:
        return after_remove(policy, case, verdict, jitter)
    case = case._replace(asks=case.asks + 1)
    return (after_ask_in_vain if Want.GONE in case.job.want else after_ask)(policy, case, verdict, jitter)


def spare(policy: RetryPolicy, failed: Settle, jitter: float) -> Send:
    """Return what to do in place of settling as failed, where the endpoint failed and not the pair: try again later."""
    case = failed.case
    if case.joined is not None:
        again = case._replace(spared=case.tries, asks=0)
    elif Want.GONE in case.job.want:
        again = case._replace(step=Step.REMOVE if case.lost is None else Step.ASK, spared=case.tries, asks=0)
    else:
        again = case._replace(step=Step.ADD if case.lost is None else Step.ASK, spared=case.posts, asks=0)
    return Send(again, jitter * policy.cap_seconds)
