"""From a plan to its pairs: order, repeats, what is left out, and what is never held."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bulkshare.model import Block, Entry, ImageSelector, Orders, Plan, ProjectSelector, PruneLimit, Want
from bulkshare.plan.expand import Counts, count, expand, fingerprint, narrow, orders

if TYPE_CHECKING:
    from collections.abc import Callable


def plan_of(*entries: Entry) -> Plan:
    """Return a plan of these entries."""
    return Plan(name="n", entries=entries)


def expansion(*entries: Entry) -> list[tuple[str, list[str]]]:
    """Return what the plan of these entries expands to, as lists."""
    return [(block.image_id, list(block.member_ids)) for block in expand(plan_of(*entries))]


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
        ([Entry(("i", "j"), (), prune=True), Entry(("j",), ("p",))], Counts(1, 1, 1, 0, unshared=1)),
    ],
)
def test_counts(entries: list[Entry], counts: Counts) -> None:
    """A duplicate is a pair that is named again, within an entry or by another one."""
    assert count(plan_of(*entries)) == counts


def test_images_of_one_audience_share_one_sequence() -> None:
    """2,000 images with 500 projects are 500 references, not a million, however many entries name them."""
    projects = tuple(f"p{n}" for n in range(500))
    entries = [Entry((f"i{n}",), projects) for n in range(2000)]
    assert len({id(block.member_ids) for block in expand(plan_of(*entries))}) == 1
    assert count(plan_of(*entries)) == Counts(2000, 500, 1_000_000, 0)


def test_expansion_streams() -> None:
    """Only a few of the distinct unions are alive at a time."""
    entries = [Entry((f"i{n}",), (f"p{n}", "q")) for n in range(500)]
    shown = iter(expand(plan_of(*entries)))
    assert next(shown) == Block("i0", ("p0", "q"))
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
        plan_of(Entry(("i",), ("p", "q")), Entry(("j",), ("p", "q"), cloud="prod", accept_as_project=True)),
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
    share = Entry(("i", "j"), ("p", "q"))
    plans += [
        plan_of(share),
        plan_of(replace(share, want=Want.ACCEPTED)),
        plan_of(replace(share, want=Want.ACCEPTED | Want.FORCED)),
        plan_of(replace(share, images=("i",), want=Want.ACCEPTED), replace(share, images=("j",))),
        plan_of(replace(share, prune=True)),
        plan_of(replace(share, fill=True)),
        plan_of(replace(share, prune=True, keep=frozenset("r"))),
        plan_of(replace(share, prune=True, keep=frozenset("rs"))),
        plan_of(replace(share, projects=(), prune=True)),
    ]
    assert len({fingerprint(plan) for plan in plans}) == len(plans)
    assert all(len(fingerprint(plan)) == 64 for plan in plans)


def test_the_fingerprint_of_a_plan_that_only_shares_stays() -> None:
    """Runs in the ledgers of users can be continued by a later version."""
    assert fingerprint(plan_of(Entry(("i", "j"), ("p", "q")))) == (
        "8e5e33508c8b405e8e5432a88c0e5172e80dc6d0a4668de5a4049e8aade02974"
    )


def test_pruning_all_gives_another_fingerprint() -> None:
    """It is that of the plan whose entries all say so."""
    share = Entry(("i",), ("p", "q"), keep=frozenset("x"))
    pruned = replace(share, prune=True)
    assert fingerprint(plan_of(share), prune_all=True) == fingerprint(plan_of(pruned)) != fingerprint(plan_of(share))


def test_keeping_a_member_keeps_no_other() -> None:
    """Members in the plan stay in any case."""
    share = Entry(("i",), ("p", "q"), prune=True)
    assert fingerprint(plan_of(replace(share, keep=frozenset("p")))) == fingerprint(plan_of(share))


def test_what_is_wanted_of_a_pair_adds_up() -> None:
    """A pair that several entries name gets the wants of all; each pair comes once, in blocks of one want."""
    entries = [
        Entry(("i", "j"), ("p", "q", "r"), frozenset("r")),
        Entry(("i",), ("q", "s"), want=Want.ACCEPTED),
        Entry(("i",), ("q", "t"), want=Want.FORCED),
        Entry(("j",), ("p", "q"), want=Want.ACCEPTED),
    ]
    assert list(expand(plan_of(*entries))) == [
        Block("i", ("p",)),
        Block("i", ("q",), Want.ACCEPTED | Want.FORCED),
        Block("i", ("s",), Want.ACCEPTED),
        Block("i", ("t",), Want.FORCED),
        Block("j", ("p", "q"), Want.ACCEPTED),
    ]
    assert count(plan_of(*entries)) == Counts(2, 4, 6, 4)


def test_orders() -> None:
    """What one entry says of an image holds for it; what its entries keep is no extra member, pruned or not."""
    entries = [
        Entry(("i", "j"), ("p", "q"), prune=True, keep=frozenset("x")),
        Entry(("i", "k"), ("r",), fill=True, keep=frozenset("y")),
        Entry(("l",), ("p",), keep=frozenset("z")),
        Entry(("k", "m"), ("p",), make_shared=True),
    ]
    assert orders(plan_of(*entries)) == {
        "i": Orders(prune=True, prune_limits=(PruneLimit(),), fill=True, kept=frozenset("xy")),
        "j": Orders(prune=True, prune_limits=(PruneLimit(),), kept=frozenset("x")),
        "k": Orders(fill=True, kept=frozenset("y"), make_shared=True),
        "l": Orders(kept=frozenset("z")),
        "m": Orders(make_shared=True),
    }
    assert orders(plan_of(*entries), prune_all=True) == {
        "i": Orders(prune=True, prune_limits=(PruneLimit(),), fill=True, kept=frozenset("xy")),
        "j": Orders(prune=True, prune_limits=(PruneLimit(),), kept=frozenset("x")),
        "k": Orders(prune=True, prune_limits=(PruneLimit(),), fill=True, kept=frozenset("y"), make_shared=True),
        "l": Orders(prune=True, prune_limits=(PruneLimit(),), kept=frozenset("z")),
        "m": Orders(prune=True, prune_limits=(PruneLimit(),), make_shared=True),
    }


def test_images_of_one_audience_share_what_is_kept() -> None:
    """2,000 images that are pruned hold one set."""
    projects = tuple(f"p{n}" for n in range(500))
    entries = [Entry((f"i{n}",), projects, prune=True, keep=frozenset({"legacy"})) for n in range(2000)]
    found = orders(plan_of(*entries))
    assert len(found) == 2000
    assert len({id(order.kept) for order in found.values()}) == 1


def test_an_image_without_members_may_be_pruned() -> None:
    """An entry whose projects are all gone has no pairs, and still says what is to become of the others."""
    plan = plan_of(Entry(("i",), (), prune=True, keep=frozenset("x")))
    assert list(expand(plan)) == []
    assert orders(plan) == {"i": Orders(prune=True, prune_limits=(PruneLimit(),), kept=frozenset("x"))}


SELECTING = plan_of(
    Entry(("i", ImageSelector(name="a*")), ("p", "q", ProjectSelector(name="b*")), frozenset({ProjectSelector()})),
    Entry((ImageSelector(name="a*", place="elsewhere"), "j"), ("p",), keep=frozenset({ProjectSelector(domain="d")})),
)


@pytest.mark.parametrize("use", [lambda plan: list(expand(plan)), orders, fingerprint, lambda plan: narrow(plan, {})])
def test_selectors_have_to_be_resolved_first(use: Callable[[Plan], object]) -> None:
    """What a plan with selectors asks for is not known without a cloud."""
    with pytest.raises(ValueError, match="4 selectors of the plan have not been resolved"):
        use(SELECTING)


def test_counting_what_is_known() -> None:
    """A selector is counted once, and what it may select is in no other number."""
    assert count(SELECTING) == Counts(images=2, projects=2, pairs=3, duplicates=0, selectors=4)


def test_narrowed_to_some_pairs() -> None:
    """Only pairs that are both planned and wanted stay; all else of the plan is as it was."""
    plan = Plan("n", (Entry(("i", "j"), ("p", "q", "r"), frozenset("r")), Entry(("k",), ("p",))), clouds=("prod",))
    narrowed = narrow(plan, {"i": {"q", "r", "z"}, "k": {"p"}, "no-longer-planned": {"p"}, "j": set()})
    assert list(expand(narrowed)) == [Block("i", ("q",)), Block("k", ("p",))]
    assert narrowed.clouds == ("prod",)
    assert narrow(plan, {}).entries == ()


def test_nothing_is_pruned_in_a_narrowed_plan() -> None:
    """It names only some of those who are to stay. What is wanted of its pairs stays, and so do other orders."""
    plan = plan_of(
        Entry(("i",), ("p", "q"), want=Want.ACCEPTED, prune=True, fill=True, keep=frozenset("x")),
        Entry(("i",), ("p",), want=Want.FORCED, make_shared=True),
    )
    narrowed = narrow(plan, {"i": {"p", "q"}})
    assert list(expand(narrowed)) == [
        Block("i", ("p",), Want.ACCEPTED | Want.FORCED),
        Block("i", ("q",), Want.ACCEPTED),
    ]
    assert orders(narrowed) == {"i": Orders(fill=True, make_shared=True)}
