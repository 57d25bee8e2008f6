"""The certificate of an offboarding, in each of its forms."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Account
from bulkshare.report.certificate import (
    Certificate,
    CloudPart,
    Listing,
    Membership,
    NamedIn,
    certificate_document,
    certificate_text,
)

AT = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
ACCOUNT = Account("prod", "RegionOne", "https://glance", "ops", "images", "f" * 32)
ONE = Membership("i-1", "ubuntu", "p-1", "accepted")
NONE_LEFT = Listing(AT, 3, (), {}, private=1, usable_by_all=2)
BEFORE = replace(NONE_LEFT, memberships=(ONE,))
DONE = CloudPart("prod", ACCOUNT, {"p-1": "team-a"}, frozenset(), "offboard-1", BEFORE, NONE_LEFT)


def certificate(*parts: CloudPart) -> Certificate:
    """Return the certificate of these clouds."""
    named = (NamedIn("golden.yaml", "golden", "names it"),)
    return Certificate("team-a", AT, "1.0", parts, named, ("old.yaml: is not valid YAML",))


@pytest.mark.parametrize(
    ("part", "verdict"),
    [
        (DONE, "complete: no membership is left in 3 images"),
        (replace(DONE, after=BEFORE), "not complete: 1 membership left"),
        (replace(DONE, after=replace(NONE_LEFT, unlisted={"i-2": "403"})), "not complete: 1 cloud could not be"),
        (replace(DONE, after=None, not_checked="Keystone is down"), "not complete: 1 cloud could not be"),
        (replace(DONE, not_checked="it has no project of this name"), "not complete: 1 cloud could not be"),
    ],
)
def test_only_what_was_checked_is_complete(part: CloudPart, verdict: str) -> None:
    """One cloud that is not leaves the whole incomplete; another name for a place changes nothing."""
    alias = CloudPart("again", None, {}, frozenset(), "", None, None, same_as="prod")
    for parts in ([part], [part, alias], [DONE, part]):
        made = certificate(*parts)
        assert made.is_done is (part is DONE)
        assert certificate_document(made)["complete"] is made.is_done
    assert certificate(part).verdict.startswith(verdict)


def test_as_text() -> None:
    """Who, when, what before and after, and what no listing shows."""
    assert certificate_text(certificate(DONE), ".txt") == (
        "Offboarding of team-a\n"
        "\n"
        "Cloud prod\n"
        f"  asked by user ops of project images ({'f' * 32}) at https://glance\n"
        "  project p-1  team-a\n"
        "  removed by run offboard-1\n"
        "  before: 1 membership in 3 images of the account, 2026-11-26T09:30:00Z\n"
        "    i-1  ubuntu  p-1  accepted\n"
        "  after: none in 3 images of the account, 2026-11-26T09:30:00Z\n"
        "  every project can use 2 public or community images\n"
        "  no project can use 1 private image; members from before they were made private don't show, and would come "
        "back if they were shared again\n"
        "\n"
        "Plans that would make it a member again:\n"
        "  golden.yaml (plan golden) names it\n"
        "  not read: old.yaml: is not valid YAML\n"
        "\n"
        "Complete: no membership is left in 3 images; made at 2026-11-26T09:30:00Z by bulkshare 1.0\n"
    )


@given(st.text(max_size=40))
def test_whatever_names_hold(name: str) -> None:
    """No name ends a line, a cell or a span of code, and JSON has it as it is."""
    hostile = f"{name}\x1b[2J\n| `<b>`"
    part = replace(
        DONE,
        before=replace(BEFORE, memberships=(ONE._replace(image_name=hostile),)),
        after=replace(NONE_LEFT, unlisted={"i-9": hostile}),
        projects={"p-1": hostile},
    )
    made = certificate(part)
    text, markdown = certificate_text(made, ""), certificate_text(made, ".md")
    assert all(line.isprintable() for line in (text + markdown).split("\n"))
    plain = certificate_text(certificate(replace(part, projects={"p-1": "x"})), ".md")
    assert markdown.count("\n") == plain.count("\n")
    assert "<b>" not in markdown
    (row,) = (line for line in markdown.split("\n") if line.startswith("| `i-1`"))
    assert row.count("|") == 5
    read = json.loads(certificate_text(made, ".json"))
    assert read["clouds"][0]["before"]["memberships"][0]["image_name"] == hostile
