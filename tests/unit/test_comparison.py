"""A plan beside the members on the cloud."""

from __future__ import annotations

import json

from rich.console import Console

from bulkshare.model import Kind, Member, Verdict
from bulkshare.report import Comparer, Comparison, comparison_document, render_comparison


def members(image_id: str, **statuses: str | None) -> Verdict:
    """Return what the listing of an image's members means."""
    return Verdict(Kind.LISTED, members=tuple(Member(image_id, name, status) for name, status in statuses.items()))


def compared() -> Comparison:
    """Return the comparison of a plan of 8 pairs with a cloud that has 4 of them."""
    comparer = Comparer("nightly", [("i", ("a", "b", "c")), ("j", ("a", "b")), ("k", ("a", "b")), ("l", ("a",))])
    comparer.listed("i", members("i", a="accepted", z="pending", b=None))
    comparer.listed("j", members("j", a="pending", b="accepted"))
    comparer.listed("k", Verdict(Kind.REJECTED, reason="404: no such image"))
    comparer.listed("not-planned", members("not-planned", a="pending"))
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
        "unlisted": {"k": "404: no such image", "l": "not asked: stopped before"},
    }
    json.dumps(comparison_document(compared()))


def test_complete_only_where_nothing_is_missing() -> None:
    """Extra members and pending ones don't make a plan incomplete."""
    assert not compared().complete
    comparer = Comparer("nightly", [("i", ("a",))])
    comparer.listed("i", members("i", a="pending", b="accepted"))
    assert comparer.comparison().complete


def test_text_names_the_first_missing_pairs() -> None:
    """The pairs of an image that can't be listed are told by its one reason; the rest is cut with a count."""
    console = Console(width=200, markup=False)
    with console.capture() as capture:
        console.print(render_comparison(compared(), most=20))
    text = capture.get()
    assert "missing: image i, project c" in text
    assert "image k can't be listed, 2 pairs: 404: no such image" in text
    assert "project a" not in text
    many = Comparer("nightly", [("i", tuple("abcdef"))])
    many.listed("i", members("i"))
    with console.capture() as capture:
        console.print(render_comparison(many.comparison(), most=2))
    assert "and 4 more" in capture.get()
