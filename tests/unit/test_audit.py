"""What `audit` finds on one cloud, from its members and the plans."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from bulkshare.model import Block, Image, KnownProjects, Member, Want
from bulkshare.report.audit import (
    COLUMNS,
    Audited,
    CloudAudit,
    Kind,
    Named,
    audit_csv,
    audit_document,
    audit_markdown,
    audited,
    render_audit,
)
from tests.ledger_fixtures import ACCOUNT, NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

WEEK = timedelta(days=7)


def cloud(members: dict[str, Sequence[str | Member]], *named: Named, **fields: Any) -> Audited:
    """Return a cloud with images that have these members, accepted unless they say otherwise."""
    whole = {
        image_id: [
            Member(image_id, each, "accepted", NOW, NOW) if isinstance(each, str) else each._replace(image_id=image_id)
            for each in several
        ]
        for image_id, several in members.items()
    }
    known = frozenset(member.member_id for several in whole.values() for member in several)
    seen = Audited(
        ACCOUNT,
        NOW,
        images={image_id: Image(image_id, f"name-{image_id}", owner="own") for image_id in whole},
        members=whole,
        unlisted={},
        private=frozenset(),
        projects=KnownProjects(known),
        quota=None,
        named=named or (Named("a", ()),),
    )
    return replace(seen, **fields)


def found(seen: Audited) -> set[tuple[Kind, str, str]]:
    """Return the findings."""
    audit = audited(seen, pending_for_seconds=WEEK.total_seconds())
    return {(each.kind, each.image_id, each.member_id) for each in audit.findings}


def test_members_are_compared_with_all_plans() -> None:
    """What any of them names or keeps is planned; what it wants of us, as a receiver, is not about our images."""
    one = Named("one", [Block("i1", ("p1", "p2")), Block("i9", ("p1",), Want.RECEIVED)], {"i1": frozenset({"kept"})})
    two = Named("two", [Block("i1", ("p3", "own")), Block("i2", ("p1",))])
    seen = cloud({"i1": ["p1", "p3", "kept", "p4"], "i2": [], "i3": ["p5"]}, one, two)
    assert found(seen) == {
        (Kind.UNPLANNED, "i1", "p4"),
        (Kind.UNPLANNED, "i3", "p5"),
        (Kind.MISSING, "i1", "p2"),
        (Kind.MISSING, "i2", "p1"),
    }


def test_a_private_image_has_no_members() -> None:
    """What a plan wants of it is missing."""
    seen = cloud({}, Named("one", [Block("i1", ("p1",))]), images={"i1": Image("i1")}, private=frozenset({"i1", "i2"}))
    assert found(seen) == {(Kind.MISSING, "i1", "p1")}


@pytest.mark.parametrize(("seconds", "late"), [(0, False), (1, True)])
def test_a_member_is_pending_for_too_long(seconds: int, late: bool) -> None:  # noqa: FBT001  a parameter
    """From the time of its last change; one that has been accepted is not; without a time it is not checked."""
    changed = NOW - WEEK - timedelta(seconds=seconds)
    old = Member("", "p1", "pending", NOW - 9 * WEEK, changed)
    seen = cloud(
        {"i1": [old, old._replace(member_id="p2", status="accepted")]}, Named("one", [Block("i1", ("p1", "p2"))])
    )
    assert found(seen) == ({(Kind.PENDING, "i1", "p1")} if late else set())
    undated = cloud({"i1": [Member("", "p1", "pending")]}, Named("one", [Block("i1", ("p1",))]))
    assert "since when 1 member is pending" in audited(undated, pending_for_seconds=1).not_checked[0]


def test_members_that_are_no_projects() -> None:
    """Or disabled ones; those that can't be looked up are not checked, and with `never` none is."""
    plan = Named("one", [Block("i1", ("p1", "p2", "p3", "p4"))])
    projects = KnownProjects(frozenset({"p1", "p2"}), frozenset({"p3"}), "403", disabled=frozenset({"p2"}))
    seen = cloud({"i1": ["p1", "p2", "p3", "p4"]}, plan, projects=projects)
    assert found(seen) == {(Kind.DISABLED, "i1", "p2"), (Kind.UNKNOWN, "i1", "p4")}
    assert audited(seen, pending_for_seconds=1).not_checked == ("whether 1 member is a project: 403",)
    without = audited(replace(seen, projects=None), pending_for_seconds=1)
    assert (without.findings, without.not_checked) == ((), ())
    assert "check_projects: never" in without.notes[0]


@pytest.mark.parametrize(
    ("limits", "quota", "members", "full"),
    [
        ((10,), None, 9, False),
        ((10,), None, 10, True),
        ((100, 10), None, 10, True),
        ((None,), 10, 10, True),
        ((0,), None, 10, False),
        ((None,), None, 10, None),
    ],
)
def test_images_that_are_nearly_full(
    limits: tuple[int | None, ...],
    quota: int | None,
    members: int,
    full: bool | None,  # noqa: FBT001  a parameter
) -> None:
    """More than 90 % of the smallest limit that is known; if none is, that is said."""
    ids = tuple(f"p{number}" for number in range(members))
    plans = [Named(f"plan-{number}", [Block("i1", ids)], limit=limit) for number, limit in enumerate(limits)]
    audit = audited(cloud({"i1": ids}, *plans, quota=quota), pending_for_seconds=1)
    assert [each.kind for each in audit.findings] == ([Kind.QUOTA] if full else [])
    assert any("members_per_image" in note for note in audit.notes) is (full is None)


def example() -> CloudAudit:
    """Return an audit with a finding and an image that was not listed."""
    seen = cloud({"i1": ["=p|4"]}, unlisted={"i2": "403 Forbidden"})
    return audited(seen, pending_for_seconds=1)


def test_every_format_has_all() -> None:
    """The findings, and what was not checked; cells can't break out of theirs."""
    audit = example()
    document = audit_document(["one"], [audit])
    assert [tuple(row) for row in document["findings"]] == [COLUMNS]
    assert document["clouds"][0]["counts"]["unplanned"] == 1
    assert document["clouds"][0]["not_checked"] == ["the members of image i2: 403 Forbidden"]
    (row,) = csv.DictReader(io.StringIO("".join(audit_csv([audit]))))
    assert (row["finding"], row["image_name"], row["project_id"]) == ("unplanned", "name-i1", "'=p|4")
    markdown = audit_markdown([audit])
    assert "| unplanned | `i1 name-i1` | <code>&#61;p&#124;4</code> | `no plan names the image` |" in markdown
    assert "not checked**: `the members of image i2: 403 Forbidden`" in markdown
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        for part in render_audit(audit):
            console.print(part)
    assert "members that no plan names: 1" in captured.get()
    assert "not checked: the members of image i2: 403 Forbidden" in captured.get()
