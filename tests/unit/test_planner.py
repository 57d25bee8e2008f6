"""From a plan to its pairs: order, repeats, what is left out, and what is never held."""

from __future__ import annotations

import pytest

from bulkshare.model import Entry, Plan
from bulkshare.planner import Counts, count, expand, fingerprint, narrow


def plan_of(*entries: Entry) -> Plan:
    """Return a plan of these entries."""
    return Plan(name="n", entries=entries)


def expansion(*entries: Entry) -> list[tuple[str, list[str]]]:
    """Return what the plan of these entries expands to, as lists."""
    return [(image_id, list(members)) for image_id, members in expand(plan_of(*entries))]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], []),
        ([Entry(("i",), ("p",))], [("i", ["p"])]),
        ([Entry(("j", "i"), ("q", "p"))], [("j", ["q", "p"]), ("i", ["q", "p"])]),
        ([Entry(("i", "i"), ("p", "q", "p"))], [("i", ["p", "q"])]),
        ([Entry(("i",), ("p", "q"), frozenset("p"))], [("i", ["q"])]),
        ([Entry(("i",), ("p",), frozenset("p"))], []),
        ([Entry(("i",), ("p",), frozenset("z"))], [("i", ["p"])]),
        # What one entry leaves out, another may name; each `except` is of its own entry only.
        ([Entry(("i",), ("p", "q"), frozenset("p")), Entry(("i",), ("p",))], [("i", ["q", "p"])]),
        (
            [Entry(("i", "j"), ("p",)), Entry(("k", "i"), ("q", "p"))],
            [("i", ["p", "q"]), ("j", ["p"]), ("k", ["q", "p"])],
        ),
    ],
)
def test_expansion(entries: list[Entry], expected: list[tuple[str, list[str]]]) -> None:
    """Images and members come once, in the order of first mention."""
    assert expansion(*entries) == expected


@pytest.mark.parametrize(
    ("entries", "counts"),
    [
        ([], Counts(0, 0, 0, 0)),
        ([Entry(("i", "j"), ("p", "q", "r"))], Counts(2, 3, 6, 0)),
        ([Entry(("i", "i"), ("p", "q", "p"))], Counts(1, 2, 2, 4)),
        ([Entry(("i",), ("p", "q", "p"), frozenset("p"))], Counts(1, 1, 1, 0)),
        ([Entry(("i",), ("p",), frozenset("p"))], Counts(0, 0, 0, 0)),
        ([Entry(("i", "j"), ("p",)), Entry(("j", "k"), ("p", "q"))], Counts(3, 2, 5, 1)),
        ([Entry(("i",), ("p", "q"))] * 3, Counts(1, 2, 2, 4)),
    ],
)
def test_counts(entries: list[Entry], counts: Counts) -> None:
    """A duplicate is a pair that is named again, within an entry or by another one."""
    assert count(plan_of(*entries)) == counts


def test_images_of_one_audience_share_one_sequence() -> None:
    """2,000 images with 500 projects are 500 references, not a million, however many entries name them."""
    projects = tuple(f"p{n}" for n in range(500))
    entries = [Entry((f"i{n}",), projects) for n in range(2000)]
    assert len({id(members) for _, members in expand(plan_of(*entries))}) == 1
    assert count(plan_of(*entries)) == Counts(2000, 500, 1_000_000, 0)


def test_expansion_streams() -> None:
    """Only a few of the distinct unions are alive at a time."""
    entries = [Entry((f"i{n}",), (f"p{n}", "q")) for n in range(500)]
    shown = iter(expand(plan_of(*entries)))
    assert next(shown) == ("i0", ("p0", "q"))
    assert sum(1 for _ in shown) == 499


def test_fingerprint_is_of_the_pairs() -> None:
    """Order, repeats and how pairs are spread over entries don't matter; the name and limits neither."""
    plan = plan_of(Entry(("i", "j"), ("p", "q")))
    same = [
        plan_of(Entry(("j", "i", "j"), ("q", "p"))),
        plan_of(Entry(("i",), ("p", "q")), Entry(("j",), ("q", "p"))),
        plan_of(Entry(("i", "j"), ("p",)), Entry(("i", "j"), ("q",))),
        plan_of(Entry(("i", "j"), ("p", "q", "r"), frozenset("r")), Entry(("k",), ("p",), frozenset("p"))),
        Plan("other", plan.entries, clouds=("prod",), region="eu-de"),
    ]
    assert {fingerprint(other) for other in same} == {fingerprint(plan)}


def test_fingerprint_tells_plans_apart() -> None:
    """A pair more, a pair less, or images and projects the other way round give another one."""
    plans = [
        plan_of(),
        plan_of(Entry(("i",), ("p",))),
        plan_of(Entry(("p",), ("i",))),
        plan_of(Entry(("i",), ("p", "q"))),
        plan_of(Entry(("i", "j"), ("p",))),
        plan_of(Entry(("i",), ("p",)), Entry(("j",), ("q",))),
        plan_of(Entry(("i",), ("q",)), Entry(("j",), ("p",))),
    ]
    assert len({fingerprint(plan) for plan in plans}) == len(plans)
    assert all(len(fingerprint(plan)) == 64 for plan in plans)


def test_narrowed_to_some_pairs() -> None:
    """Only pairs that are both planned and wanted stay; all else of the plan is as it was."""
    plan = Plan("n", (Entry(("i", "j"), ("p", "q", "r"), frozenset("r")), Entry(("k",), ("p",))), clouds=("prod",))
    narrowed = narrow(plan, {"i": {"q", "r", "z"}, "k": {"p"}, "no-longer-planned": {"p"}, "j": set()})
    assert list(expand(narrowed)) == [("i", ("q",)), ("k", ("p",))]
    assert narrowed.clouds == ("prod",)
    assert narrow(plan, {}).entries == ()
