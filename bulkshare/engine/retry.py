"""What follows an answer about a pair: send again, ask first, go on to the next step, or settle. Pure.

A retry is a value: the same attempt, verdict and jitter always give the same decision, and nothing here waits or sends.

The rules behind the branches:

- A POST must not be repeated blindly. If its answer was lost, the server may still be working on it, and a second POST
  can leave two rows. So wait for a few bases, GET the member, and POST again only if it is not there. DELETE likewise.
  A PUT (acceptance) is idempotent and is simply repeated.
- An attempt counts if it says something about the pair. Throttling doesn't (it is the endpoint's pace), nor does a
  failure while the endpoint answers no one: such attempts are free (`Attempt.free_attempts`).
- With the attempts used up, and an answer lost on the way, a last GET decides.
- A pair that was added, or was there, goes on to acceptance if that is wanted.

`model.retry` computes the waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import RETRYABLE, Attempt, Result, Scope, Step, VerdictKind, Want, backoff_seconds

if TYPE_CHECKING:
    from bulkshare.model import Job, Member, RetryPolicy, Verdict

# How many bases (2 s by default) a server may still be working on a request whose answer was lost, before the member is
# asked for. Without this floor, full jitter may ask at once, and the request be sent twice.
LOST_ANSWER_BASES = 4.0
ANSWERS = frozenset({Step.ACCEPT, Step.DECLINE, Step.RESET})  # PUT a member's status
# Every pair passes these: on Python 3.11, looking up a member of an enum takes as long as a call or two.
_ADD, _GET_MEMBER = Step.ADD, Step.GET_MEMBER
_SHARED, _PRESENT = VerdictKind.SHARED, VerdictKind.PRESENT
_NOT_SENT, _THROTTLED = VerdictKind.NOT_SENT, VerdictKind.THROTTLED
_PAIR = Scope.PAIR
NOT_ACCEPTED = "shared, but not accepted"
LEFT_REJECTED = "the project has rejected it; left so"


class Send(NamedTuple):
    """Send the request of `attempt` in `delay_seconds`."""

    attempt: Attempt
    delay_seconds: float


class Settle(NamedTuple):
    """The pair is done. With scope IMAGE, the image's other pairs are not to be tried either."""

    attempt: Attempt
    result: Result
    verdict: Verdict
    reason: str = ""
    scope: Scope = _PAIR


Decision = Send | Settle


def first_attempt(job: Job) -> Attempt:
    """Return the attempt of a pair that has not been tried, at the first step of what it wants."""
    want = job.want
    if not want:
        return Attempt(job)
    if Want.REMOVE in want:
        return Attempt(job, Step.REMOVE)
    if want & (Want.RECEIVED | Want.RESET):
        return Attempt(job, _first_answer(want), membership=Result.ALREADY)
    if Want.ALREADY_MEMBER in want:
        membership = Result.SHARED if Want.ADDED in want else Result.ALREADY
        return Attempt(job, Step.ACCEPT, membership=membership)
    return Attempt(job)


def _first_answer(want: Want) -> Step:
    """Return the first step of a membership that is neither added nor removed.

    One that is to be accepted and may have been rejected is asked for, unless it's forced.
    """
    if Want.RESET in want:
        return Step.RESET
    if Want.DECLINED in want:
        return Step.DECLINE
    return Step.ACCEPT if want & (Want.ALREADY_MEMBER | Want.FORCED) else Step.GET_MEMBER


def is_repeat(attempt: Attempt) -> bool:
    """Whether the attempt's request has been sent before."""
    if attempt.step is _ADD:
        return attempt.posts > 0
    return (attempt.gets if attempt.step is _GET_MEMBER else attempt.tries) > 0


def decide(policy: RetryPolicy, attempt: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Return what follows `verdict`, the answer to the attempt's request. `jitter` is uniform in [0, 1)."""
    step, kind = attempt.step, verdict.kind
    if kind is _NOT_SENT:
        return Send(attempt, 0.0)
    if kind is _THROTTLED:
        if step is not _GET_MEMBER:
            attempt = _counted(attempt)._replace(free_attempts=attempt.free_attempts + 1)
        failures = max(attempt.posts, attempt.tries, 1)
        return Send(attempt, backoff_seconds(policy, failures, verdict.retry_after, jitter))
    attempt = _counted(attempt)
    if step is _ADD:
        return _after_add(policy, attempt, verdict, jitter)
    if step in ANSWERS:
        return _after_answer(policy, attempt, verdict, jitter)
    if step is Step.REMOVE:
        return _after_remove(policy, attempt, verdict, jitter)
    if Want.REMOVE in attempt.job.want:
        return _after_get_of_removal(policy, attempt, verdict, jitter)
    return _after_get(policy, attempt, verdict, jitter)


def _counted(attempt: Attempt) -> Attempt:
    """Return the attempt with the answer to its request counted."""
    if attempt.step is _ADD:
        job, step, posts, tries, free_attempts, _, lost, over_quota, membership, why, member = attempt
        # Every pair passes here, and `_replace` takes twice as long.
        return Attempt(job, step, posts + 1, tries, free_attempts, 0, lost, over_quota, membership, why, member)
    if attempt.step is _GET_MEMBER:
        return attempt._replace(gets=attempt.gets + 1)
    return attempt._replace(tries=attempt.tries + 1, gets=0)


def excuse(policy: RetryPolicy, failed: Settle, jitter: float) -> Send:
    """Return what to do instead of settling as failed if the endpoint failed, not the pair: try again later.

    All attempts so far become free.
    """
    attempt = failed.attempt
    if attempt.membership is not None:
        again = attempt._replace(free_attempts=attempt.tries, gets=0)
    else:
        removal = Want.REMOVE in attempt.job.want
        step = Step.GET_MEMBER if attempt.lost is not None else Step.REMOVE if removal else Step.ADD
        again = attempt._replace(step=step, free_attempts=attempt.tries if removal else attempt.posts, gets=0)
    return Send(again, jitter * policy.cap_seconds)


# Each of these gets an attempt that counts the request just answered.


def _after_add(policy: RetryPolicy, attempt: Attempt, verdict: Verdict, jitter: float) -> Decision:
    if verdict.kind is _SHARED:
        return _settle_or_accept(attempt, Result.SHARED, verdict)
    if verdict.kind is _PRESENT:
        why = f"an earlier attempt ({attempt.lost.reason}) may have added it" if attempt.lost else ""
        return _settle_or_accept(attempt, Result.ALREADY, verdict, why)
    match verdict.kind:
        case VerdictKind.OVER_QUOTA:
            return Send(attempt._replace(step=Step.GET_MEMBER, over_quota=verdict), 0.0)
        case VerdictKind.UNCLEAR | VerdictKind.LOST:
            return _get_after_loss(policy, attempt, attempt.posts, verdict, jitter)
        case VerdictKind.TRANSIENT:
            known = attempt._replace(lost=verdict) if verdict.maybe_done else attempt
            delay_seconds = backoff_seconds(policy, attempt.posts, verdict.retry_after, jitter)
            return _add_again(policy, known, verdict, delay_seconds)
        case _:
            return Settle(attempt, Result.REJECTED, verdict, verdict.reason, verdict.scope)


def _after_answer(policy: RetryPolicy, attempt: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Decide after a PUT of a member's status."""
    received = bool(attempt.job.want & (Want.RECEIVED | Want.RESET))  # never added
    if verdict.kind is VerdictKind.DECLINED:
        return Settle(attempt, Result.DECLINED, verdict)
    if verdict.kind is VerdictKind.RESET:
        return Settle(attempt, Result.RESET, verdict)
    if verdict.kind is VerdictKind.ACCEPTED:
        result = Result.SHARED if attempt.membership is Result.SHARED else Result.ACCEPTED
        return Settle(attempt, result, verdict, attempt.why)
    if verdict.kind is VerdictKind.ABSENT and not attempt.posts and not received:  # it was listed, and has left since
        return Send(attempt._replace(step=Step.ADD, tries=0, membership=None), 0.0)
    if verdict.kind not in RETRYABLE:
        why = verdict.reason if received else f"{NOT_ACCEPTED}: {verdict.reason}"
        return Settle(attempt, Result.REJECTED, verdict, why)
    if attempt.tries - attempt.free_attempts < policy.attempts:
        return Send(attempt, backoff_seconds(policy, attempt.tries, verdict.retry_after, jitter))
    why = f"gave up after {attempt.tries} attempts: {verdict.reason}"
    return Settle(attempt, Result.FAILED, verdict, why if received else f"{NOT_ACCEPTED}: {why}")


def _after_remove(policy: RetryPolicy, attempt: Attempt, verdict: Verdict, jitter: float) -> Decision:
    match verdict.kind:
        case VerdictKind.REMOVED:
            return Settle(attempt, Result.REMOVED, verdict)
        case VerdictKind.ABSENT:
            return Send(attempt._replace(step=Step.GET_MEMBER), 0.0)
        case VerdictKind.UNCLEAR | VerdictKind.LOST:
            return _get_after_loss(policy, attempt, attempt.tries, verdict, jitter)
        case VerdictKind.TRANSIENT:
            known = attempt._replace(lost=verdict) if verdict.maybe_done else attempt
            delay_seconds = backoff_seconds(policy, attempt.tries, verdict.retry_after, jitter)
            return _remove_again(policy, known, verdict, verdict.reason, delay_seconds)
        case _:
            return Settle(attempt, Result.REJECTED, verdict, verdict.reason, verdict.scope)


def _after_get(policy: RetryPolicy, attempt: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Decide after a GET of a member that is wanted."""
    if verdict.kind is VerdictKind.PRESENT:
        if attempt.membership is not None:
            return _settle_or_accept(attempt, attempt.membership, verdict, attempt.why)
        if attempt.lost is None:
            return _settle_or_accept(attempt, Result.ALREADY, verdict)
        why = f"the answer to the request was lost ({attempt.lost.reason}); a GET found the member"
        return _settle_or_accept(attempt, Result.SHARED, verdict, why)
    if verdict.kind in RETRYABLE and attempt.gets < policy.attempts:
        return Send(attempt, backoff_seconds(policy, attempt.gets, verdict.retry_after, jitter))
    if attempt.over_quota is not None:
        quota = attempt.over_quota
        return Settle(attempt, Result.REJECTED, quota, quota.reason, Scope.IMAGE)
    if verdict.kind is VerdictKind.ABSENT and Want.RECEIVED in attempt.job.want:
        return Settle(attempt, Result.REJECTED, verdict, verdict.reason)
    if verdict.kind is VerdictKind.ABSENT:
        # What was lost stays on record: it may still be added, and then the next POST is answered with 409.
        return _add_again(policy, attempt._replace(membership=None, why=""), attempt.lost or verdict, 0.0)
    if attempt.membership is not None:
        result = Result.REJECTED if verdict.kind is VerdictKind.REJECTED else Result.FAILED
        return Settle(attempt, result, verdict, f"{NOT_ACCEPTED}: asking for its status: {verdict.reason}")
    if verdict.kind is VerdictKind.REJECTED:
        return _add_again(policy, attempt._replace(gets=policy.attempts), verdict, 0.0)
    why = f"not known whether it was added: {attempt.lost.reason if attempt.lost else ''}; asking: {verdict.reason}"
    return Settle(attempt, Result.FAILED, verdict, why)


def _after_get_of_removal(policy: RetryPolicy, attempt: Attempt, verdict: Verdict, jitter: float) -> Decision:
    """Decide after a GET for which 404 is the wanted answer."""
    if verdict.kind is VerdictKind.ABSENT:
        if verdict.scope is Scope.IMAGE:  # the image itself is not there, at least for us
            return Settle(attempt, Result.REJECTED, verdict, verdict.reason, Scope.IMAGE)
        if attempt.lost is None:
            return Settle(attempt, Result.ABSENT, verdict)
        why = f"the answer to the request was lost ({attempt.lost.reason}); a GET shows that the member is gone"
        return Settle(attempt, Result.REMOVED, verdict, why)
    if verdict.kind in RETRYABLE and attempt.gets < policy.attempts:
        return Send(attempt, backoff_seconds(policy, attempt.gets, verdict.retry_after, jitter))
    if verdict.kind is VerdictKind.PRESENT:
        why = attempt.lost.reason if attempt.lost else "the member is still there"
        delay_seconds = backoff_seconds(policy, attempt.tries, verdict.retry_after, jitter)
        return _remove_again(policy, attempt, verdict, why, delay_seconds)
    if verdict.kind is VerdictKind.REJECTED:
        return _remove_again(policy, attempt._replace(gets=policy.attempts), verdict, verdict.reason, 0.0)
    why = f"not known whether it was removed: {attempt.lost.reason if attempt.lost else ''}; asking: {verdict.reason}"
    return Settle(attempt, Result.FAILED, verdict, why)


def _get_after_loss(policy: RetryPolicy, attempt: Attempt, failures: int, verdict: Verdict, jitter: float) -> Send:
    """GET the member: at once after an answer that makes no sense, later if the server may still be processing it."""
    delay_seconds = 0.0
    if verdict.kind is VerdictKind.LOST:
        delay_seconds = LOST_ANSWER_BASES * policy.base_seconds
        delay_seconds += backoff_seconds(policy, failures, verdict.retry_after, jitter)
    return Send(attempt._replace(step=Step.GET_MEMBER, lost=verdict), delay_seconds)


def _add_again(policy: RetryPolicy, attempt: Attempt, verdict: Verdict, delay_seconds: float) -> Decision:
    """POST again. With the attempts used up, GET a last time if one of them may have added the member."""
    if attempt.posts - attempt.free_attempts < policy.attempts:
        return Send(attempt._replace(step=Step.ADD), delay_seconds)
    if attempt.lost is not None and attempt.gets == 0:
        return Send(attempt._replace(step=Step.GET_MEMBER), delay_seconds)
    return Settle(attempt, Result.FAILED, verdict, f"gave up after {attempt.posts} attempts: {verdict.reason}")


def _remove_again(
    policy: RetryPolicy, attempt: Attempt, verdict: Verdict, reason: str, delay_seconds: float
) -> Decision:
    """DELETE again. With the attempts used up, GET a last time if one of them may have removed the member."""
    if attempt.tries - attempt.free_attempts < policy.attempts:
        return Send(attempt._replace(step=Step.REMOVE), delay_seconds)
    if attempt.lost is not None and attempt.gets == 0:
        return Send(attempt._replace(step=Step.GET_MEMBER), delay_seconds)
    return Settle(attempt, Result.FAILED, verdict, f"gave up after {attempt.tries} attempts: {reason}")


def _settle_or_accept(attempt: Attempt, result: Result, verdict: Verdict, why: str = "") -> Decision:
    """Settle a pair that `verdict` shows to be a member, or go on to its acceptance."""
    want = attempt.job.want
    if not want or Want.ACCEPTED not in want:
        return Settle(attempt, result, verdict, why)
    member = verdict.members[0] if verdict.members else None
    accept = attempt._replace(
        step=Step.ACCEPT, tries=0, free_attempts=0, gets=0, membership=result, why=why, member=member
    )
    if member is None:  # a 409 doesn't say whether the project has rejected it, or accepted it before this run
        return Send(accept._replace(step=Step.GET_MEMBER), 0.0)
    if is_to_answer(want, member):
        return Send(accept, 0.0)
    if is_left_rejected(want, member):
        return Settle(attempt, Result.ALREADY, verdict, LEFT_REJECTED)
    return Settle(attempt, result, verdict, why)


def is_to_answer(want: Want, member: Member) -> bool:
    """Whether a member's status is still to be set. One that its project has rejected is accepted only if forced."""
    if Want.RESET in want:
        return member.status != "pending"
    if Want.DECLINED in want:
        return member.status != "rejected"
    if Want.ACCEPTED not in want or member.status == "accepted":
        return False
    return member.status != "rejected" or Want.FORCED in want


def is_left_rejected(want: Want, member: Member) -> bool:
    """Whether acceptance is wanted, but not forced upon the project that has rejected it."""
    return member.status == "rejected" and Want.ACCEPTED in want and Want.FORCED not in want


class RetryBudget:
    """Limits retries to a share of the first tries, plus a few to start with.

    The scheme is Finagle's (`RetryBudget`): without it, a failing endpoint gets several times its usual load. Here a
    retry that succeeds is refunded, so that the backlog of an outage doesn't have to wait for first tries to come.
    """

    SHARE = 0.2
    INITIAL = 10.0

    def __init__(self) -> None:
        self._tokens = self.INITIAL

    def deposit(self) -> None:
        """Account for a first try."""
        self._tokens += self.SHARE

    def refund(self) -> None:
        """Account for a retry that got its answer: the load was useful, so it counts as a first try."""
        self._tokens += 1.0 + self.SHARE

    def withdraw(self) -> bool:
        """Take one retry out of the budget; return whether there was one."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
