"""What a listing says about an image's pairs, whatever they are: as if each were looked at by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.engine.listing import FROM_CLOUD, compare
from bulkshare.engine.retry import is_left_rejected, is_to_answer
from bulkshare.model import AS_PLANNED, Alike, Block, Member, Outcome, Result, Verdict, VerdictKind, Want

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LISTED = Verdict(VerdictKind.LISTED, http_status=200, request_id="req-1")
IDS = st.sampled_from([f"p{number}" for number in range(12)])
MEMBERS = st.dictionaries(
    IDS,
    st.builds(
        Member,
        st.just("i"),
        st.just(""),
        st.sampled_from(["pending", "accepted", "rejected", None]),
        st.sampled_from([NOW, NOW - timedelta(days=1), None]),
    ),
)
WANTS = st.sampled_from(
    [
        Want.MEMBER,
        Want.ACCEPTED,
        Want.ACCEPTED | Want.FORCED,
        Want.ACCEPTED | Want.ALREADY_MEMBER,
        Want.ALREADY_MEMBER | Want.ADDED,
        Want.REMOVE,
        Want.REMOVE | Want.WAS_ACCEPTED,
        Want.RECEIVED | Want.ACCEPTED,
        Want.RECEIVED | Want.DECLINED,
        Want.RESET,
    ]
)
PAIRS = st.dictionaries(IDS, st.tuples(WANTS, st.sampled_from(Result)))


def outcome_alone(member_id: str, want: Want, member: Member | None) -> Outcome | None:
    """Return the outcome of one pending pair; None if it stays pending."""
    found = Outcome("i", member_id, Result.ABSENT, 200, request_id="req-1", started_at=NOW, settled_at=NOW, want=want)
    if Want.REMOVE in want:
        return found if member is None else None
    if member is None:
        if not want & (Want.RECEIVED | Want.RESET):
            return None
        received = Want.RECEIVED in want
        why = "the image is not shared with this project" if received else "the project is no longer a member of"
        reason = why if received else f"{why} the image"
        return Outcome("i", member_id, Result.SKIPPED, reason=reason, settled_at=NOW, want=want)
    if is_to_answer(want, member):
        return None
    return found._replace(
        result=Result.SHARED if Want.ADDED in want else Result.ALREADY,
        status=member.status,
        created_at=member.created_at,
        reason="the project has rejected it; left so" if is_left_rejected(want, member) else "",
    )


def agrees(want: Want, member: Member | None) -> bool:
    """Whether a pair is as planned."""
    if Want.REMOVE in want:
        return member is None
    return member is not None and not is_to_answer(want, member)


@given(PAIRS, MEMBERS)
def test_blocks_are_compared_as_pairs_would_be(pairs: dict[str, tuple[Want, Result]], there: dict[str, Member]) -> None:
    """Each pair gets the outcome, and the mark, that it would get alone."""
    members = {member_id: member._replace(member_id=member_id) for member_id, member in there.items()}
    blocks: dict[tuple[Want, Result], list[str]] = {}
    for member_id, alike in pairs.items():
        blocks.setdefault(alike, []).append(member_id)
    read = [(Block("i", member_ids, want), result) for (want, result), member_ids in blocks.items()]
    compared = compare(read, members, LISTED, NOW)

    reopened, settled, was_accepted, to_mark, to_accept = {}, set(), set(), set(), 0
    for member_id, (wanted, result) in pairs.items():
        want, member = wanted, members.get(member_id)
        if result is not Result.PENDING:
            if result not in AS_PLANNED or agrees(want, member):
                continue
            reopened[member_id] = result
            want &= ~FROM_CLOUD
        if member and member.status == "accepted" and want & (Want.REMOVE | Want.DECLINED | Want.RESET):
            was_accepted.add(member_id)
        if (outcome := outcome_alone(member_id, want, member)) is not None:
            settled.add(outcome)
        elif member and Want.REMOVE not in want:
            to_accept += 1
            if Want.ALREADY_MEMBER not in want:
                to_mark.add(member_id)
    assert compared.named == pairs.keys() & members.keys()
    assert compared.reopened == reopened
    assert sorted(map(repr, settled)) == sorted(repr(each) for alike in compared.settled for each in alike.outcomes())
    assert (set(compared.was_accepted), set(compared.to_mark)) == (was_accepted, to_mark)
    assert compared.to_accept == to_accept


def test_what_is_alike_is_one_record() -> None:
    """A thousand members that were added in the same second are one group."""
    ids = [f"p{number}" for number in range(1000)]
    members = {member_id: Member("i", member_id, "pending", NOW, NOW) for member_id in ids}
    [alike] = compare([(Block("i", ids), Result.PENDING)], members, LISTED, NOW).settled
    assert isinstance(alike, Alike)
    assert (alike.outcome.result, list(alike.member_ids)) == (Result.ALREADY, ids)
