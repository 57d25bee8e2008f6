"""What a listing of an image's members says about the pairs that a run has of it. Pure.

A million pairs may be as planned, so they are grouped by what they have in common: want and result, as the ledger
reads them, and the fields of their members. What holds for one of a group holds for all.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkshare.engine.retry import LEFT_REJECTED, is_left_rejected, is_to_answer
from bulkshare.model import AS_PLANNED, Alike, Block, Job, Outcome, Result, Want

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from bulkshare.model import Member, Verdict

NO_MEMBER = "the project is no longer a member of the image"
NOT_SHARED = "the image is not shared with this project"
FROM_CLOUD = Want.ALREADY_MEMBER | Want.ADDED | Want.WAS_ACCEPTED  # of a pair's want, what is not the plan's
ENDING = Want.REMOVE | Want.DECLINED | Want.RESET


@dataclass(slots=True)
class Compared:
    """What is to be recorded about an image's pairs, and what is left to do.

    named: the members that the run has pairs of.
    reopened: the pairs that were settled as planned, and are so no longer: their results, by member.
    settled: the pairs that are as planned, or can't be.
    was_accepted: the members whose memberships are to end, and are accepted: undo accepts them again.
    to_mark: those of whom it is news that only the status is to be set.
    to_accept: of how many members only the status is to be set.
    """

    named: set[str] = field(default_factory=set)
    reopened: dict[str, Result] = field(default_factory=dict)
    settled: list[Alike] = field(default_factory=list)
    was_accepted: list[str] = field(default_factory=list)
    to_mark: list[str] = field(default_factory=list)
    to_accept: int = 0


def compare(
    blocks: Iterable[tuple[Block, Result]], members: Mapping[str, Member], listing: Verdict, now: datetime
) -> Compared:
    """Compare all pairs of an image, those with the same want and result as one block, with its members by ID."""
    compared = Compared()
    for block, result in blocks:
        compared.named.update(members.keys() & block.member_ids)
        if result is Result.PENDING:
            _settle(compared, block, members, listing, now)
        elif reopened := _no_longer(block, result, members):
            compared.reopened.update(dict.fromkeys(reopened, result))
            again = Block(block.image_id, reopened, block.want & ~FROM_CLOUD)
            _settle(compared, again, members, listing, now)
    return compared


def _no_longer(block: Block, result: Result, members: Mapping[str, Member]) -> list[str]:
    if result not in AS_PLANNED:
        return []
    return [each for each in block.member_ids if not _is_as_planned(block.want, members.get(each))]


def _is_as_planned(want: Want, member: Member | None) -> bool:
    """Whether a listing agrees with a pair that was settled as planned."""
    if Want.REMOVE in want:
        return member is None
    return member is not None and not is_to_answer(want, member)


def _settle(compared: Compared, block: Block, members: Mapping[str, Member], listing: Verdict, now: datetime) -> None:
    """Settle those of a block's pending pairs that are as planned, or can't be."""
    image_id, member_ids, want = block
    absent: list[str] = []
    groups: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for member_id in member_ids:
        member = members.get(member_id)
        if member is None:
            absent.append(member_id)
        else:
            groups[member[2:]].append(member_id)  # all but the IDs
    if absent and Want.REMOVE in want:
        compared.settled.append(_absent(image_id, absent, listing, now, want))
    elif absent and want & (Want.RECEIVED | Want.RESET):
        reason = NOT_SHARED if Want.RECEIVED in want else NO_MEMBER  # so that no status can be set
        compared.settled.append(Alike(skipped(Job(image_id, absent[0], want), reason, now), absent))
    for alike in groups.values():
        _settle_members(compared, members[alike[0]], alike, listing, now, want)


def _settle_members(
    compared: Compared, member: Member, member_ids: Sequence[str], listing: Verdict, now: datetime, want: Want
) -> None:
    """Settle those of a block's pending pairs whose members have the fields of this one, unless more is to be done."""
    if want & ENDING and member.status == "accepted":
        compared.was_accepted += member_ids
    if Want.REMOVE in want:
        return
    if not is_to_answer(want, member):
        compared.settled.append(_present(member, member_ids, listing, now, want))
        return
    compared.to_accept += len(member_ids)
    if Want.ALREADY_MEMBER not in want:
        compared.to_mark += member_ids


def _present(member: Member, member_ids: Sequence[str], listing: Verdict, now: datetime, want: Want) -> Alike:
    """Return the outcome of members with the fields of this one."""
    outcome = Outcome(
        image_id=member.image_id,
        member_id=member.member_id,
        result=Result.SHARED if Want.ADDED in want else Result.ALREADY,
        http_status=listing.http_status,
        status=member.status,
        created_at=member.created_at,
        updated_at=member.updated_at,
        schema=member.schema,
        request_id=listing.request_id,
        reason=LEFT_REJECTED if is_left_rejected(want, member) else "",
        started_at=now,
        settled_at=now,
        want=want,
    )
    return Alike(outcome, member_ids)


def _absent(image_id: str, member_ids: Sequence[str], listing: Verdict, now: datetime, want: Want) -> Alike:
    """Return the outcome of pairs that were to be removed and are not in the list of members."""
    outcome = Outcome(
        image_id=image_id,
        member_id=member_ids[0],
        result=Result.ABSENT,
        http_status=listing.http_status,
        request_id=listing.request_id,
        started_at=now,
        settled_at=now,
        want=want,
    )
    return Alike(outcome, member_ids)


def skipped(job: Job, reason: str, now: datetime) -> Outcome:
    """Return the outcome of a pair that is not tried."""
    return Outcome(job.image_id, job.member_id, Result.SKIPPED, reason=reason, settled_at=now, want=job.want)
