"""Undo gives back the cloud as it was before a run, except where someone has changed it since; and so does its undo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.image_api.glance import parse_member
from bulkshare.model import AS_PLANNED, Block, Orders, Outcome, Plan, PruneLimit, Result, Want
from bulkshare.plan.expand import expand
from bulkshare.plan.undo import Left, Reversal, changed_something, reversal
from tests.engine.fakes import FakeCloud
from tests.engine.harness import ACCOUNT, EngineHarness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bulkshare.model import Member

Pair = tuple[str, str]

IMAGES, PROJECTS = "ij", "abcd"
PAIRS = st.tuples(st.sampled_from(IMAGES), st.sampled_from(PROJECTS))
STATUSES = st.sampled_from(["pending", "accepted", "rejected"])
WANTS = st.sampled_from([Want.MEMBER, Want.ACCEPTED, Want.ACCEPTED | Want.FORCED, Want.REMOVE])
CHANGES = st.sampled_from(["pending", "accepted", "rejected", "removed", "removed and added", "accepted and pending"])
ADMIN = replace(ACCOUNT, admin=True)
ALL = Orders(prune=True, prune_limits=(PruneLimit(1.0),))


def run(cloud: FakeCloud, blocks: Iterable[Block], *, pruned: Iterable[str] = ()) -> list[Outcome]:
    """Run an engine on pairs; return the outcomes, all of which are as planned."""
    harness = EngineHarness(cloud=cloud, account=ADMIN, orders=dict.fromkeys(pruned, ALL))
    harness.ledger.enqueue(1, blocks)
    harness.run()
    outcomes = list(harness.ledger.rows.values())
    assert {outcome.result for outcome in outcomes} <= AS_PLANNED
    return outcomes


def members_of(cloud: FakeCloud) -> dict[str, dict[str, Member]]:
    """Return the members of all images, as a listing has them."""
    members: dict[str, dict[str, Member]] = {image_id: {} for image_id in IMAGES}
    for image_id, member_id in cloud.statuses:
        member = parse_member(cloud._document((image_id, member_id)), image_id)
        assert member is not None
        members[image_id][member_id] = member
    return members


def undo(
    cloud: FakeCloud, outcomes: Iterable[Outcome], *, later: Mapping[Pair, str] | None = None, force: bool = False
) -> tuple[Reversal, list[Outcome]]:
    """Undo outcomes on a cloud; return what that was to be, and its own outcomes."""
    done = [outcome for outcome in outcomes if changed_something(outcome)]
    back = reversal(done, members_of(cloud), unlisted={}, later=later or {}, force=force)
    plan = Plan("undo", back.entries(None))
    return back, run(cloud, expand(plan))


def change(cloud: FakeCloud, pair: Pair, what: str) -> None:
    """Change a pair as someone else would; a project that is no member can only be added."""
    if pair not in cloud.statuses:
        cloud.write(pair, "pending")
        return
    for step in what.split(" and "):
        if step == "removed":
            del cloud.statuses[pair]
        else:
            cloud.write(pair, "pending" if step == "added" else step)


def taken_back(outcome: Outcome, before: Mapping[Pair, str]) -> str | None:
    """Return the status that undo gives back to a pair; None: it is no member. It can't reject for a project."""
    status = before.get((outcome.image_id, outcome.member_id))
    return "pending" if status == "rejected" else status


@given(
    before=st.dictionaries(PAIRS, STATUSES),
    wants=st.dictionaries(PAIRS, WANTS),
    pruned=st.sets(st.sampled_from(IMAGES)),
    foreign=st.dictionaries(PAIRS, CHANGES, max_size=4),
)
def test_undo_gives_back_what_no_one_has_changed(
    before: dict[Pair, str], wants: dict[Pair, Want], pruned: set[str], foreign: dict[Pair, str]
) -> None:
    """A pair that someone has changed since stays as they left it, and is named if the run had changed it, too."""
    cloud = FakeCloud(statuses=dict(before), ticking=True)
    outcomes = run(cloud, [Block(image, (member,), want) for (image, member), want in wants.items()], pruned=pruned)
    after = dict(cloud.statuses)
    for pair, what in foreign.items():
        change(cloud, pair, what)
    changed = dict(cloud.statuses)
    times = dict(cloud.changes)
    back, undone = undo(cloud, outcomes)

    done = {(outcome.image_id, outcome.member_id): outcome for outcome in outcomes if changed_something(outcome)}
    expected = dict(changed)
    named = set()
    for pair, outcome in done.items():
        if pair in foreign and pair in changed:
            back_already = outcome.result is Result.ACCEPTED and changed[pair] == "pending"
            named |= {pair} if pair in after and not back_already else set()
            continue
        status = taken_back(outcome, before)
        if pair in changed or outcome.result is Result.REMOVED:
            expected.pop(pair, None)
            if status is not None:
                expected[pair] = status
    assert cloud.statuses == expected
    assert {(left.image_id, left.member_id) for left in back.left} == named
    assert len(done) == len(back.wants) + len(back.left) + back.undone
    assert all(cloud.changes[pair] == times[pair] for pair in times if pair not in back.wants)

    # The undo of the undo gives back what it found, as far as a membership can be given back.
    once_more, _ = undo(cloud, undone)
    assert not once_more.left
    assert cloud.statuses.keys() == changed.keys()
    for pair, status in changed.items():
        assert cloud.statuses[pair] == status or (status == "rejected" and pair in back.wants)


@given(
    before=st.dictionaries(PAIRS, STATUSES),
    wants=st.dictionaries(PAIRS, WANTS),
    foreign=st.dictionaries(PAIRS, CHANGES),
)
def test_force_takes_back_all_that_can_be(
    before: dict[Pair, str], wants: dict[Pair, Want], foreign: dict[Pair, str]
) -> None:
    """Who the members are is as before for every pair that the run added or removed, whatever happened since."""
    cloud = FakeCloud(statuses=dict(before), ticking=True)
    outcomes = run(cloud, [Block(image, (member,), want) for (image, member), want in wants.items()])
    for pair, what in foreign.items():
        change(cloud, pair, what)
    later = dict.fromkeys(foreign, "other-run")
    undo(cloud, outcomes, later=later, force=True)
    for outcome in outcomes:
        pair = outcome.image_id, outcome.member_id
        if outcome.result in {Result.SHARED, Result.REMOVED}:
            assert (pair in cloud.statuses) == (pair in before)


def test_what_a_later_run_changed_is_left_and_named() -> None:
    """Even if the cloud looks the same: it is that run's now."""
    cloud = FakeCloud(ticking=True)
    outcomes = run(cloud, [Block("i", ("a", "b"))])
    back, _ = undo(cloud, outcomes, later={("i", "a"): "golden-2"})
    assert back.left == (Left("i", "a", "changed since by run golden-2", changed=True),)
    assert cloud.statuses.keys() == {("i", "a")}


def test_a_member_that_was_added_and_could_not_be_accepted_is_removed() -> None:
    """The run's result is a failure, but it did add the member."""
    row = Outcome("i", "a", Result.REJECTED, want=Want.ACCEPTED | Want.ALREADY_MEMBER | Want.ADDED)
    cloud = FakeCloud(statuses={("i", "a"): "pending"}, ticking=True)
    back, _ = undo(cloud, [row])
    assert back.wants == {("i", "a"): Want.REMOVE}
    assert not cloud.statuses
