"""A plan beside the members on the cloud."""

from __future__ import annotations

import json

from rich.console import Console

from bulkshare.model import Block, Member, Verdict, VerdictKind, Want
from bulkshare.model.events import MembersListed
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
    comparer = Comparer("nightly", [*blocks(i="ab", j="ab", k="ab", l="a"), Block("i", ("c",), Want.ACCEPTED)])
    comparer.notify(MembersListed("i", members("i", a="accepted", z="pending", b=None)))
    comparer.notify(MembersListed("j", members("j", a="pending", b="accepted")))
    comparer.notify(MembersListed("k", Verdict(VerdictKind.REJECTED, reason="404: no such image")))
    comparer.notify(MembersListed("not-planned", members("not-planned", a="pending")))
    return comparer.comparison()


def test_missing_extra_and_status() -> None:
    """Pairs of images that can't be listed, or were not, are missing; extra members count for planned images only."""
    assert comparison_document(compared()) == {
        "plan": "nightly",
        "planned": 8,
        "present": 4,
        "missing": {"i": ["c"], "k": ["a", "b"], "l": ["a"]},
        "extra": {"i": ["z"]},
        "by_status": {"accepted": 2, "pending": 1, "unknown": 1},
        "unlisted": {"k": "404: no such image", "l": "not listed: stopped before"},
    }
    json.dumps(comparison_document(compared()))


def test_complete_only_if_nothing_is_missing() -> None:
    """Extra members and pending ones don't make a plan incomplete."""
    assert not compared().complete
    comparer = Comparer("nightly", blocks(i="a"))
    comparer.notify(MembersListed("i", members("i", a="pending", b="accepted")))
    assert comparer.comparison().complete


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
        console.print(render_comparison(comparison, {"c": "team-c"}, most=most), crop=False)
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
"""


def test_text_names_the_first_missing_pairs() -> None:
    """The pairs of an image that can't be listed share its one reason; the others are listed by image."""
    assert printed(compared()) == SHOWN
    narrow = printed(compared(), width=60)
    assert narrow.split() == SHOWN.split()
    assert all(len(line) <= 60 for line in narrow.splitlines())


def test_a_long_text_is_cut_with_counts() -> None:
    """Of missing pairs and of images that can't be listed."""
    many = Comparer("nightly", blocks(i="abcdef", j="a"))
    many.notify(MembersListed("i", members("i")))
    many.notify(MembersListed("j", members("j")))
    assert printed(many.comparison(), most=2).splitlines()[-4:] == [
        "image i",
        "    a",
        "    b",
        "... and 5 more; --json has all of them",
    ]
    away = Comparer("nightly", blocks(i="a", j="a", k="a"))
    assert printed(away.comparison(), most=2).splitlines()[-1] == "... and 1 more image"
