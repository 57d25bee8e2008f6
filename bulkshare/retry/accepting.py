"""What follows once a project is a member: acceptance, where it is wanted and was not given or refused before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Kind, Result, Step, Want
from bulkshare.retry.decisions import PASSING, Send, Settle, backoff_seconds

if TYPE_CHECKING:
    from bulkshare.model import Case, Member, RetryPolicy, Verdict
    from bulkshare.retry.decisions import Decision

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


def joined(case: Case, result: Result, verdict: Verdict, why: str = "") -> Decision:
    """Settle a pair that is a member, as `verdict` says, or go on to acceptance."""
    want = case.job.want
    if not want or Want.ACCEPTED not in want:
        return Settle(case, result, verdict, why)
    member = verdict.members[0] if verdict.members else None
    going_on = case._replace(step=Step.ACCEPT, tries=0, spared=0, asks=0, joined=result, why=why, member=member)
    if member is None:  # a 409 does not tell whether the project has rejected it
        return Send(going_on if Want.FORCED in want else going_on._replace(step=Step.ASK), 0.0)
    if is_to_accept(want, member):
        return Send(going_on, 0.0)
    if is_left_rejected(want, member):
        return Settle(case, Result.ALREADY, verdict, LEFT_REJECTED)
    return Settle(case, result, verdict, why)


def after_accept(policy: RetryPolicy, case: Case, verdict: Verdict, jitter: float) -> Decision:
    """Say what follows from the answer to a PUT, which `case` has counted. To send it twice does no harm."""
    if verdict.kind is Kind.ACCEPTED:
        return Settle(case, case.joined or Result.ALREADY, verdict, case.why)
    if verdict.kind is Kind.ABSENT and not case.posts:  # it was listed, and has left since
        return Send(case._replace(step=Step.ADD, tries=0, joined=None), 0.0)
    if verdict.kind not in PASSING:
        return Settle(case, Result.REJECTED, verdict, f"{NOT_ACCEPTED}: {verdict.reason}")
    if case.tries - case.spared < policy.attempts:
        return Send(case, backoff_seconds(policy, case.tries, verdict, jitter))
    why = f"{NOT_ACCEPTED}: gave up after {case.tries} attempts: {verdict.reason}"
    return Settle(case, Result.FAILED, verdict, why)
