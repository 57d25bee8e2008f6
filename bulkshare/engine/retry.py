"""What to do after an answer: send again, ask first, go on with the next step, or settle. Pure: jitter is an argument.

A retry is a value. Nothing here waits or sends; the same case, verdict and jitter always give the same decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import RETRYABLE, Attempt, Result, Scope, Step, VerdictKind, Want, backoff_seconds

if TYPE_CHECKING:
    from bulkshare.model import Job, Member, RetryPolicy, Verdict


class Send(NamedTuple):
    """Send `case`'s request when `delay_seconds` have passed."""

    case: Attempt
    delay_seconds: float


class Settle(NamedTuple):
    """The pair is done. With scope IMAGE the image's other pairs are not to be tried either."""

    case: Attempt
    result: Result
    verdict: Verdict
    reason: str = ""
    scope: Scope = Scope.PAIR


Decision = Send | Settle

# For how many bases (2 s by default) a server may be at work on a request whose answer was lost, before the member is
# asked for and, where need be, the request sent again. Without a floor full jitter asks at once, and two rows are left.
AT_WORK_BASES = 4.0


def lost_seconds(policy: RetryPolicy, failures: int, verdict: Verdict, jitter: float) -> float:
    """Return the wait before asking what became of a request whose answer was lost."""
    return AT_WORK_BASES * policy.base_seconds + backoff_seconds(policy, failures, verdict.retry_after, jitter)


class RetryBudget:
    """Retries are a share of the first tries, and a few to begin with.

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


def after_add(policy: RetryPolicy, case: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a POST, which `case` has counted."""
    match verdict.kind:
        case VerdictKind.SHARED:
            return joined(case, Result.SHARED, verdict)
        case VerdictKind.PRESENT:
            why = f"an earlier attempt ({case.lost.reason}) may have added it" if case.lost else ""
            return joined(case, Result.ALREADY, verdict, why)
        case VerdictKind.OVER_QUOTA:
            return Send(case._replace(step=Step.GET_MEMBER, over_quota=verdict), 0.0)
        case VerdictKind.UNCLEAR:
            return Send(case._replace(step=Step.GET_MEMBER, lost=verdict), 0.0)
        case VerdictKind.LOST:
            # The first request may still be at work: wait, then ask. A blind second POST can leave two rows.
            delay_seconds = lost_seconds(policy, case.posts, verdict, jitter)
            return Send(case._replace(step=Step.GET_MEMBER, lost=verdict), delay_seconds)
        case VerdictKind.TRANSIENT:
            known = case._replace(lost=verdict) if verdict.maybe_done else case
            return _add_again(policy, known, verdict, backoff_seconds(policy, case.posts, verdict.retry_after, jitter))
        case _:
            return Settle(case, Result.REJECTED, verdict, verdict.reason, verdict.scope)


def after_ask(policy: RetryPolicy, case: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a question, which `case` has counted."""
    if verdict.kind is VerdictKind.PRESENT:
        if case.joined is not None:
            return joined(case, case.joined, verdict, case.why)
        if case.lost is None:
            return joined(case, Result.ALREADY, verdict)
        why = f"the answer to the request was lost ({case.lost.reason}); asked for, the member is there"
        return joined(case, Result.SHARED, verdict, why)
    if verdict.kind in RETRYABLE and case.asks < policy.attempts:
        return Send(case, backoff_seconds(policy, case.asks, verdict.retry_after, jitter))
    if case.over_quota is not None:
        quota = case.over_quota
        return Settle(case, Result.REJECTED, quota, quota.reason, Scope.IMAGE)
    if verdict.kind is VerdictKind.ABSENT:
        # What was lost stays on record: it may be added yet, and then the next POST is answered 409.
        return _add_again(policy, case._replace(joined=None, why=""), case.lost or verdict, 0.0)
    if case.joined is not None:
        result = Result.REJECTED if verdict.kind is VerdictKind.REJECTED else Result.FAILED
        return Settle(case, result, verdict, f"{NOT_ACCEPTED}: asking for its status: {verdict.reason}")
    if verdict.kind is VerdictKind.REJECTED:
        return _add_again(policy, case._replace(asks=policy.attempts), verdict, 0.0)
    why = f"not known whether it was added: {case.lost.reason if case.lost else ''}; asking: {verdict.reason}"
    return Settle(case, Result.FAILED, verdict, why)


def _add_again(policy: RetryPolicy, case: Attempt, verdict: Verdict, delay_seconds: float) -> Decision:
    """POST once more, or, with the attempts used up, ask a last time where an attempt may have added the member."""
    if case.posts - case.spared < policy.attempts:
        return Send(case._replace(step=Step.ADD), delay_seconds)
    if case.lost is not None and case.asks == 0:
        return Send(case._replace(step=Step.GET_MEMBER), delay_seconds)
    return Settle(case, Result.FAILED, verdict, f"gave up after {case.posts} attempts: {verdict.reason}")


NOT_ACCEPTED = "shared, but not accepted"
LEFT_REJECTED = "the project has rejected it; left so"


def is_to_accept(want: Want, member: Member) -> bool:
    """Tell whether a member is to be accepted: where that is wanted, and it is not, nor rejected unless forced."""
    if Want.ACCEPTED not in want or member.status == "accepted":
        return False
    return member.status != "rejected" or Want.FORCED in want


def is_left_rejected(want: Want, member: Member) -> bool:
    """Tell whether a member is not accepted, though that is wanted, because the project has rejected it."""
    return member.status == "rejected" and Want.ACCEPTED in want and Want.FORCED not in want


def joined(case: Attempt, result: Result, verdict: Verdict, why: str = "") -> Decision:
    """Settle a pair that is a member, as `verdict` says, or go on to acceptance."""
    want = case.job.want
    if not want or Want.ACCEPTED not in want:
        return Settle(case, result, verdict, why)
    member = verdict.members[0] if verdict.members else None
    going_on = case._replace(step=Step.ACCEPT, tries=0, spared=0, asks=0, joined=result, why=why, member=member)
    if member is None:  # a 409 does not tell whether the project has rejected it
        return Send(going_on if Want.FORCED in want else going_on._replace(step=Step.GET_MEMBER), 0.0)
    if is_to_accept(want, member):
        return Send(going_on, 0.0)
    if is_left_rejected(want, member):
        return Settle(case, Result.ALREADY, verdict, LEFT_REJECTED)
    return Settle(case, result, verdict, why)


def after_accept(policy: RetryPolicy, case: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a PUT, which `case` has counted. To send it twice does no harm."""
    if verdict.kind is VerdictKind.ACCEPTED:
        return Settle(case, case.joined or Result.ALREADY, verdict, case.why)
    if verdict.kind is VerdictKind.ABSENT and not case.posts:  # it was listed, and has left since
        return Send(case._replace(step=Step.ADD, tries=0, joined=None), 0.0)
    if verdict.kind not in RETRYABLE:
        return Settle(case, Result.REJECTED, verdict, f"{NOT_ACCEPTED}: {verdict.reason}")
    if case.tries - case.spared < policy.attempts:
        return Send(case, backoff_seconds(policy, case.tries, verdict.retry_after, jitter))
    why = f"{NOT_ACCEPTED}: gave up after {case.tries} attempts: {verdict.reason}"
    return Settle(case, Result.FAILED, verdict, why)


def after_remove(policy: RetryPolicy, case: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a DELETE, which `case` has counted."""
    match verdict.kind:
        case VerdictKind.REMOVED:
            return Settle(case, Result.REMOVED, verdict)
        case VerdictKind.ABSENT:
            return Send(case._replace(step=Step.GET_MEMBER), 0.0)
        case VerdictKind.UNCLEAR:
            return Send(case._replace(step=Step.GET_MEMBER, lost=verdict), 0.0)
        case VerdictKind.LOST:
            return Send(
                case._replace(step=Step.GET_MEMBER, lost=verdict), lost_seconds(policy, case.tries, verdict, jitter)
            )
        case VerdictKind.TRANSIENT:
            known = case._replace(lost=verdict) if verdict.maybe_done else case
            delay_seconds = backoff_seconds(policy, case.tries, verdict.retry_after, jitter)
            return _remove_again(policy, known, verdict, verdict.reason, delay_seconds)
        case _:
            return Settle(case, Result.REJECTED, verdict, verdict.reason, verdict.scope)


def after_ask_in_vain(policy: RetryPolicy, case: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a question, which `case` has counted and which hopes for a no."""
    if verdict.kind is VerdictKind.ABSENT:
        if verdict.scope is Scope.IMAGE:  # it is the image that is not there, at least for us
            return Settle(case, Result.REJECTED, verdict, verdict.reason, Scope.IMAGE)
        if case.lost is None:
            return Settle(case, Result.ABSENT, verdict)
        why = f"the answer to the request was lost ({case.lost.reason}); asked for, the member is gone"
        return Settle(case, Result.REMOVED, verdict, why)
    if verdict.kind in RETRYABLE and case.asks < policy.attempts:
        return Send(case, backoff_seconds(policy, case.asks, verdict.retry_after, jitter))
    if verdict.kind is VerdictKind.PRESENT:
        why = case.lost.reason if case.lost else "the member is still there"
        return _remove_again(
            policy, case, verdict, why, backoff_seconds(policy, case.tries, verdict.retry_after, jitter)
        )
    if verdict.kind is VerdictKind.REJECTED:
        return _remove_again(policy, case._replace(asks=policy.attempts), verdict, verdict.reason, 0.0)
    why = f"not known whether it was removed: {case.lost.reason if case.lost else ''}; asking: {verdict.reason}"
    return Settle(case, Result.FAILED, verdict, why)


def _remove_again(policy: RetryPolicy, case: Attempt, verdict: Verdict, reason: str, delay_seconds: float) -> Decision:
    """DELETE once more, or, with the attempts used up, ask a last time where an attempt may have removed the member."""
    if case.tries - case.spared < policy.attempts:
        return Send(case._replace(step=Step.REMOVE), delay_seconds)
    if case.lost is not None and case.asks == 0:
        return Send(case._replace(step=Step.GET_MEMBER), delay_seconds)
    return Settle(case, Result.FAILED, verdict, f"gave up after {case.tries} attempts: {reason}")


def first_case(job: Job) -> Attempt:
    """Return the case of a pair that was not tried yet, at the step that what it wants begins with."""
    want = job.want
    if not want:
        return Attempt(job)
    if Want.REMOVE in want:
        return Attempt(job, Step.REMOVE)
    if Want.ALREADY_MEMBER in want:
        return Attempt(job, Step.ACCEPT, joined=Result.ALREADY)
    return Attempt(job)


def is_repeat(case: Attempt) -> bool:
    """Tell whether the request that the case asks for was sent before."""
    if case.step is Step.ADD:
        return case.posts > 0
    return (case.asks if case.step is Step.GET_MEMBER else case.tries) > 0


def decide(policy: RetryPolicy, case: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from `verdict`, the answer to the request that `case` asked for."""
    if verdict.kind is VerdictKind.NOT_SENT:
        return Send(case, 0.0)
    step = case.step
    if step is Step.ADD:
        case = case._replace(posts=case.posts + 1, asks=0)
    elif step is not Step.GET_MEMBER:
        case = case._replace(tries=case.tries + 1, asks=0)
    if verdict.kind is VerdictKind.THROTTLED:
        # The endpoint's pace, not the pair's fault: it costs no attempt.
        again = case if step is Step.GET_MEMBER else case._replace(spared=case.spared + 1)
        return Send(again, backoff_seconds(policy, max(again.posts, again.tries, 1), verdict.retry_after, jitter))
    if step is Step.ADD:
        return after_add(policy, case, verdict, jitter)
    if step is Step.ACCEPT:
        return after_accept(policy, case, verdict, jitter)
    if step is Step.REMOVE:
        return after_remove(policy, case, verdict, jitter)
    case = case._replace(asks=case.asks + 1)
    return (after_ask_in_vain if Want.REMOVE in case.job.want else after_ask)(policy, case, verdict, jitter)


def spare(policy: RetryPolicy, failed: Settle, jitter: float) -> Send:
    """Return what to do in place of settling as failed, where the endpoint failed and not the pair: try again later."""
    case = failed.case
    if case.joined is not None:
        again = case._replace(spared=case.tries, asks=0)
    elif Want.REMOVE in case.job.want:
        again = case._replace(step=Step.REMOVE if case.lost is None else Step.GET_MEMBER, spared=case.tries, asks=0)
    else:
        again = case._replace(step=Step.ADD if case.lost is None else Step.GET_MEMBER, spared=case.posts, asks=0)
    return Send(again, jitter * policy.cap_seconds)
