"""From a decision to the ledger's row. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Outcome, Result
from bulkshare.retry import LEFT_REJECTED

if TYPE_CHECKING:
    from datetime import datetime

    from bulkshare.model import Job, Member, Verdict, Want
    from bulkshare.retry import Settle


def settled(settle: Settle, began: datetime, now: datetime) -> Outcome:
    """Return the row of a pair that was sent; `began` is when its first request left."""
    case, verdict = settle.case, settle.verdict
    job = case.job
    member = verdict.members[0] if verdict.members else case.member
    return Outcome(
        image_id=job.image_id,
        member_id=job.member_id,
        result=settle.result,
        http_status=verdict.http_status,
        status=member.status if member else None,
        created_at=member.created_at if member else None,
        updated_at=member.updated_at if member else None,
        schema=member.schema if member else None,
        attempts=case.posts or case.tries,
        request_id=verdict.request_id,
        reason=settle.reason,
        started_at=began,
        settled_at=now,
        want=job.want,
    )


def present(member: Member, listing: Verdict, now: datetime, want: Want, *, left: bool) -> Outcome:
    """Return the row of a pair that was found in its image's member list; `left` as the project has rejected it."""
    return Outcome(
        image_id=member.image_id,
        member_id=member.member_id,
        result=Result.ALREADY,
        http_status=listing.http_status,
        status=member.status,
        created_at=member.created_at,
        updated_at=member.updated_at,
        schema=member.schema,
        request_id=listing.request_id,
        reason=LEFT_REJECTED if left else "",
        started_at=now,
        settled_at=now,
        want=want,
    )


def absent(job: Job, listing: Verdict, now: datetime) -> Outcome:
    """Return the row of a pair that was to be removed, and is not in its image's member list."""
    return Outcome(
        image_id=job.image_id,
        member_id=job.member_id,
        result=Result.ABSENT,
        http_status=listing.http_status,
        request_id=listing.request_id,
        started_at=now,
        settled_at=now,
        want=job.want,
    )


def skipped(job: Job, reason: str, now: datetime) -> Outcome:
    """Return the row of a pair that is not tried."""
    return Outcome(job.image_id, job.member_id, Result.SKIPPED, reason=reason, settled_at=now, want=job.want)
