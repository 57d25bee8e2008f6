"""`receive` in a plan: what it may say, which images it chooses, and what never follows from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.errors import PlanError
from bulkshare.model import (
    Entry,
    Image,
    ImageSelector,
    Member,
    Outcome,
    Plan,
    Problem,
    ProjectSelector,
    Receive,
    Result,
    Want,
)
from bulkshare.plan.expand import count, expand, fingerprint, orders
from bulkshare.plan.load import load_plan
from bulkshare.plan.receive import MemberStatus, both_ways, received_entries, statuses
from bulkshare.plan.selectors import for_cloud
from bulkshare.plan.undo import changed_something, reversal

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OWN = "ours"
HEAD = "version: 1\nname: n\n"


def image(number: int, owner: str, name: str) -> Image:
    """Return an active image."""
    return Image(f"i{number}", name, "active", "shared", owner)


IMAGES = st.lists(st.tuples(st.sampled_from([OWN, "a", "b"]), st.sampled_from(["ubuntu", "debian"])), max_size=6).map(
    lambda found: [image(number, *each) for number, each in enumerate(found)]
)
RECEIVE = st.builds(
    Receive,
    st.lists(st.sampled_from(["i0", "i1", ImageSelector(name="ub*"), ImageSelector(name="debian")]), max_size=2).map(
        tuple
    ),
    st.lists(st.sampled_from(["a", "b", ProjectSelector(name="both")]), max_size=2).map(tuple),
    st.booleans(),
    st.booleans(),
)


def answers(receive: list[Receive], found: dict[MemberStatus, list[Image]]) -> tuple[list[Entry], list[Problem]]:
    """Return the entries, and the problems."""
    problems: list[Problem] = []
    owners = {ProjectSelector(name="both"): ["a", "b"]}
    return list(received_entries(receive, found, owners, problems, own_project_id=OWN, now=NOW)), problems


@given(st.lists(RECEIVE, max_size=3), IMAGES, st.data())
def test_each_image_of_others_is_answered_once(
    receive: list[Receive], images: list[Image], data: st.DataObject
) -> None:
    """By the first that it matches, for our project alone; what is named and not shared with us is a problem."""
    member = {each.id: data.draw(st.sampled_from(["pending", "accepted", "rejected"])) for each in images}
    found = {
        status: [each for each in images if status is MemberStatus.ANY or status == member[each.id]]
        for status in statuses(receive)
    }
    entries, problems = answers(receive, found)
    expected: dict[str, Want] = {}
    unknown = set()
    for each in receive:
        owners = {"a", "b"} if not each.owners or ProjectSelector(name="both") in each.owners else set(each.owners)
        there = {known.id: known for known in images if known.owner in owners}
        unknown |= {item for item in each.images if isinstance(item, str) and item not in there}
        wanted = "accepted" if each.hidden else "pending"
        for known in there.values():
            named = known.id in each.images
            selected = not each.images or any(
                isinstance(item, ImageSelector) and known.name is not None and known.name.startswith(str(item.name)[:2])
                for item in each.images
            )
            if named or (selected and member[known.id] == wanted):
                want = Want.DECLINED if each.declined or each.hidden else Want.ACCEPTED
                expected.setdefault(
                    known.id, Want.RECEIVED | want | (Want.FORCED if named and want is Want.ACCEPTED else Want.MEMBER)
                )
    assert {problem.file for problem in problems} == {f"image {known}" for known in unknown}
    blocks = list(expand(Plan("n", tuple(entries))))
    assert {block.image_id: block.want for block in blocks} == expected
    assert len(blocks) == len(expected)
    assert all(tuple(block.member_ids) == (OWN,) for block in blocks)


def test_pruning_never_reaches_anothers_image() -> None:
    """Neither by `--prune`, nor by an entry of the same image; and the digest of the plan says so."""
    entries, _ = answers([Receive()], {MemberStatus.PENDING: [image(0, "a", "ubuntu")]})
    plan = Plan("n", tuple(entries))
    assert not any(order.prune for order in orders(plan, prune_all=True).values())
    assert fingerprint(plan) == fingerprint(plan, prune_all=True)
    shared = Entry(("i0",), ("p",), prune=True)
    assert [str(problem) for problem in both_ways(entries, [shared])] == [
        "image i0: is under both `share` and `receive`; leave it out of one of them"
    ]


def test_a_plan_may_only_receive(tmp_path: Path) -> None:
    """All keys; what is received counts as something that only the cloud can tell."""
    path = tmp_path / "plan.yaml"
    path.write_text(
        f"{HEAD}clouds: [north, south]\nreceive:\n"
        "  - {images: [{name: 'win-*'}], status: rejected, cloud: north}\n"
        "  - {from: [a], hide: true}\n"
    )
    plan = load_plan(path)
    first, second = plan.receive
    assert (first.declined, first.hidden, first.owners) == (True, False, ())
    assert (second.declined, second.hidden, tuple(second.owners), second.images) == (False, True, ("a",), ())
    assert len(for_cloud(plan, "north").receive) == 2
    assert len(for_cloud(plan, "south").receive) == 1
    assert count(plan).selectors == len(plan.receive)
    with pytest.raises(ValueError, match="not been resolved"):
        list(expand(plan))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: `share` is missing; add it here"),
        ("receive: []\n", "3:10: the list is empty; add at least one item, or remove it"),
        ("receive:\n- {staus: accepted}\n", "4:4: unknown key 'staus'; did you mean 'status'?"),
        ("receive:\n- {status: pending}\n", "4:12: expected 'accepted' or 'rejected', found 'pending'"),
        ("receive:\n- {hide: true, status: accepted}\n", "4:24: `hide` sets the status to rejected; remove this"),
        ("receive:\n- {from: [a b]}\n", "4:11: 'a b' contains white space, which no ID may contain"),
        ("cloud: x\nreceive:\n- {}\n- {cloud: y}\n", "6:11: 'y' is not one of the plan's clouds; they are: x"),
        ("receive:\n- {cloud: y}\n- {}\n", "5:3: has no `cloud`, but other entries do"),
    ],
)
def test_what_is_wrong_with_receive(tmp_path: Path, text: str, problem: str) -> None:
    """With its place, and what to do."""
    path = tmp_path / "plan.yaml"
    path.write_text(f"{HEAD}{text}")
    with pytest.raises(PlanError) as raised:
        load_plan(path)
    assert str(raised.value.problems[0]).removeprefix(f"{path}:").startswith(problem)


@pytest.mark.parametrize(
    ("want", "result", "status", "back"),
    [
        (Want.RECEIVED | Want.ACCEPTED, Result.ACCEPTED, "accepted", Want.RECEIVED | Want.RESET),
        (Want.RECEIVED | Want.DECLINED, Result.DECLINED, "rejected", Want.RECEIVED | Want.RESET),
        (
            Want.RECEIVED | Want.DECLINED | Want.WAS_ACCEPTED,
            Result.DECLINED,
            "rejected",
            Want.RECEIVED | Want.ACCEPTED | Want.FORCED,
        ),
    ],
)
def test_an_answer_is_taken_back(want: Want, result: Result, status: str, back: Want) -> None:
    """What was accepted is accepted again; any other answer becomes pending again. No one is ever removed."""
    done = Outcome("i", OWN, result, status=status, want=want)
    members = {"i": {OWN: Member("i", OWN, status)}}
    found = reversal([done], members, unlisted={}, later={})
    assert changed_something(done)
    assert (found.wants, found.left) == ({("i", OWN): back}, ())
    assert reversal([done], {"i": {}}, unlisted={}, later={}).undone == 1
