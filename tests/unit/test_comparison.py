"""A plan beside the members on the cloud."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console

from bulkshare.model import Block, Image, Member, Orders, Verdict, VerdictKind, Want
from bulkshare.model.events import ImageInspected, MembersListed
from bulkshare.report import Comparer, Comparison, comparison_document, render_comparison


def members(image_id: str, **statuses: str | None) -> Verdict:
    """Return what the listing of an image's members means."""
    return Verdict(
        VerdictKind.LISTED, members=tuple(Member(image_id, name, status) for name, status in statuses.items())
    )


def blocks(**members: str) -> list[Block]:
    """Return the pairs of images whose members have names of one letter."""
    return [Block(image_id, tuple(names)) for image_id, names in members.items()]


def compared() -> Comparison:
    """Return the comparison of a plan of 8 pairs with a cloud that has 4 of them."""
    pairs = [*blocks(i="ab", j="ab", k="ab", l="a"), Block("i", ("c",), Want.ACCEPTED)]
    comparer = Comparer("nightly", pairs, labels={"c": "team-c", "z": "zeppelin"})
    comparer.notify(MembersListed("i", members("i", a="accepted", z="pending", b=None)))
    comparer.notify(MembersListed("j", members("j", a="pending", b="accepted")))
    comparer.notify(MembersListed("k", Verdict(VerdictKind.REJECTED, reason="404: no such image")))
    comparer.notify(MembersListed("not-planned", members("not-planned", a="pending")))
    return comparer.comparison()


def test_missing_extra_and_status() -> None:
    """Pairs of images that can't be listed, or were not, are missing; extra members count for planned images only."""
    assert comparison_document(compared()) == {
        "plan": "nightly",
        "cloud": "",
        "planned": 8,
        "present": 4,
        "missing": {"i": ["c"], "k": ["a", "b"], "l": ["a"]},
        "extra": {"i": ["z"]},
        "by_status": {"accepted": 2, "pending": 1, "unknown": 1},
        "unlisted": {"k": "404: no such image", "l": "not listed: stopped before"},
        "names": {"c": "team-c", "z": "zeppelin"},
    }
    named = replace(compared(), labels={"i": "ubuntu", "z": "zeta", "b": "", "not-planned": "x"})
    assert comparison_document(named)["names"] == {"i": "ubuntu", "z": "zeta"}
    json.dumps(comparison_document(compared()))


def test_complete_only_if_nothing_is_missing() -> None:
    """Extra members and pending ones don't make a plan incomplete."""
    assert not compared().complete
    comparer = Comparer("nightly", blocks(i="a"))
    comparer.notify(MembersListed("i", members("i", a="pending", b="accepted")))
    assert comparer.comparison().complete
    assert comparer.comparison().agrees()
    assert not comparer.comparison().agrees(strict=True)


def test_members_that_the_plan_keeps_are_not_extra() -> None:
    """Unless they are to be removed: orders don't tell them from members that are to stay."""
    pairs = [*blocks(i="a"), Block("i", ("left",), Want.REMOVE)]
    comparer = Comparer("nightly", pairs, {"i": Orders(prune=True, kept=frozenset({"a", "left", "friend"}))})
    comparer.notify(MembersListed("i", members("i", a="accepted", friend="pending", left="pending")))
    assert comparer.comparison().extra == {"i": ["left"]}


@pytest.mark.parametrize("visibility", ["public", "community", "shared", "private"])
@pytest.mark.parametrize("strict", [True, False])
def test_every_project_can_use_public_and_community_images(visibility: str, *, strict: bool) -> None:
    """Nothing is missing there, although no member is listed, unless the plan is strict."""
    comparer = Comparer("nightly", blocks(i="ab", j="a"), {"i": Orders(strict=strict), "j": Orders(strict=strict)})
    for image_id in "ij":
        comparer.notify(MembersListed(image_id, Verdict(VerdictKind.REJECTED, reason="403: no")))
    comparer.notify(ImageInspected(Image("i", "ubuntu", visibility=visibility)))
    found = comparer.comparison()
    assert found.labels == {"i": "ubuntu"}
    if strict or visibility in {"shared", "private"}:
        assert (found.present, found.missing) == (0, {"i": ("a", "b"), "j": ("a",)})
        assert set(found.unlisted) == {"i", "j"}
    else:
        assert (found.present, found.missing, set(found.unlisted)) == (2, {"j": ("a",)}, {"j"})
        assert found.by_status == {visibility: 2}


def test_a_private_image_that_is_to_have_no_members_has_none() -> None:
    """The cloud lists none of it, which is no fault; one that is to have members lacks them."""
    comparer = Comparer("nightly", [Block("i", ()), Block("j", ()), *blocks(k="a")])
    for image_id in "ijk":
        comparer.notify(MembersListed(image_id, Verdict(VerdictKind.REJECTED, reason="403: only shared images")))
    comparer.notify(ImageInspected(Image("i", "ubuntu", visibility="private")))
    comparer.notify(ImageInspected(Image("j", "debian", visibility="shared")))
    comparer.notify(ImageInspected(Image("k", "alpine", visibility="private")))
    comparison = comparer.comparison()
    assert set(comparison.unlisted) == {"j", "k"}
    assert comparison.missing == {"k": ("a",)}


def test_pairs_that_were_to_be_removed_are_planned_to_be_absent() -> None:
    """A saved plan names them. One that is still there is an extra member; an unlisted image leaves it unknown."""
    removal = [Block("i", ("a",)), Block("i", ("gone", "left"), Want.REMOVE), Block("j", ("gone",), Want.REMOVE)]
    comparer = Comparer("nightly", removal)
    comparer.notify(MembersListed("i", members("i", a="accepted", left="pending")))
    assert not comparer.comparison().complete
    comparer.notify(MembersListed("j", members("j")))
    comparison = comparer.comparison()
    assert (comparison.planned, comparison.present, comparison.missing) == (1, 1, {})
    assert comparison.extra == {"i": ["left"]}
    assert comparison.complete


def printed(comparison: Comparison, *, most: int = 20, width: int = 200) -> str:
    """Return what a console without a terminal prints."""
    console = Console(width=width, markup=False)
    with console.capture() as capture:
        console.print(render_comparison(comparison, most=most), crop=False)
    return capture.get()


SHOWN = """\
nightly on the cloud
  present  4  on the cloud: 2 accepted, 1 pending, 1 unknown
  missing  4  in the plan, not on the cloud
  extra    1  members that the plan does not name
  planned  8
Can't be listed:
image k
  2 pairs: 404: no such image
  -> no such image, or this account can't see it: check the ID and the image's owner
image l
  1 pair: not listed: stopped before
Missing:
image i
    c  team-c
Extra:
image i
    z  zeppelin
"""


def test_text_names_the_first_missing_and_extra_members() -> None:
    """The pairs of an image that can't be listed share its one reason; the others are listed by image."""
    assert printed(compared()) == SHOWN
    narrow = printed(compared(), width=60)
    assert narrow.split() == SHOWN.split()
    assert all(len(line) <= 60 for line in narrow.splitlines())


def test_a_long_text_is_cut_with_counts() -> None:
    """Of missing pairs and of images that can't be listed."""
    many = Comparer("nightly", blocks(i="abcdef", j="a"), labels={"c": "team-c"})
    many.notify(MembersListed("i", members("i")))
    many.notify(MembersListed("j", members("j")))
    assert printed(many.comparison(), most=2).splitlines()[-4:] == [
        "image i",
        "    c  team-c",
        "    a",
        "... and 5 more; --json has all of them",
    ]
    away = Comparer("nightly", blocks(i="a", j="a", k="a"))
    assert printed(away.comparison(), most=2).splitlines()[-1] == "... and 1 more image"


def test_an_unlisted_image_may_have_no_pairs() -> None:
    """Of a saved plan that only removes: it is shown with its reason, and nothing is missing."""
    comparer = Comparer("nightly", [Block("i", ("gone",), Want.REMOVE)])
    comparer.notify(MembersListed("i", Verdict(VerdictKind.TRANSIENT, reason="503: later")))
    comparison = comparer.comparison()
    assert (comparison.complete, comparison.missing) == (False, {})
    assert "image i\n  503: later\n" in printed(comparison)


@pytest.mark.parametrize(
    ("want", "status"), [(Want.ACCEPTED, "accepted"), (Want.DECLINED, "rejected"), (Want.RESET, "pending")]
)
def test_our_own_membership_has_the_status_that_is_wanted(want: Want, status: str) -> None:
    """Else it is missing; the image's other members are its owner's business."""
    for found in ("pending", "accepted", "rejected"):
        comparer = Comparer("n", [Block("i", ["ours"], Want.RECEIVED | want)])
        members = (Member("i", "ours", found), Member("i", "another", "pending"))
        comparer.notify(MembersListed("i", Verdict(VerdictKind.LISTED, members=members)))
        comparison = comparer.comparison()
        assert (comparison.missing, comparison.extra) == ({} if found == status else {"i": ["ours"]}, {})
