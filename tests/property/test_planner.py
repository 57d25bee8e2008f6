"""The planner against plain set arithmetic, for any plan."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Entry, Orders, Plan, PruneLimit, Want
from bulkshare.plan.expand import count, expand, fingerprint, narrow, orders

if TYPE_CHECKING:
    import random

IMAGES = st.lists(st.sampled_from("uvwxyz"), max_size=6).map(tuple)
PROJECTS = st.lists(st.sampled_from("abcdef"), max_size=6).map(tuple)
SETS = st.frozensets(st.sampled_from("abcdef"), max_size=3)
LIMITS = st.none() | st.sampled_from([PruneLimit(), PruneLimit(0.5), PruneLimit(0.0, 5), PruneLimit(0.1, 1)])
WANTS = st.sampled_from([Want.MEMBER, Want.MEMBER, Want.ACCEPTED, Want.ACCEPTED | Want.FORCED])


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw entries that overlap, repeat and exclude, and that share lists as entries with the same group do."""
    lists = draw(st.lists(PROJECTS, min_size=1, max_size=3))
    entry = st.builds(
        Entry,
        IMAGES,
        st.one_of(st.sampled_from(lists), PROJECTS),
        SETS,
        WANTS,
        prune=st.booleans(),
        keep=SETS,
        fill=st.booleans(),
        prune_limit=LIMITS,
        make_shared=st.booleans(),
    )
    entries = tuple(draw(st.lists(entry, max_size=6)))
    return Plan(name="n", entries=entries, prune_limit=draw(LIMITS), strict=draw(st.booleans()))


def mentions_of(plan: Plan) -> list[tuple[str, str, Want]]:
    """Return every pair as often as the plan names it: the product of each entry, without its exceptions."""
    return [
        (str(image_id), str(project_id), entry.want)
        for entry in plan.entries
        for image_id, project_id in product(entry.images, entry.projects)
        if project_id not in entry.excluded
    ]


def pairs_of(plan: Plan) -> dict[tuple[str, str], Want]:
    """Return each pair with the union of its wants, in the order of first mention."""
    pairs: dict[tuple[str, str], Want] = {}
    for image_id, member_id, want in mentions_of(plan):
        pairs[image_id, member_id] = pairs.get((image_id, member_id), want) | want
    return pairs


def orders_of(
    plan: Plan,
    *,
    prune_all: bool = False,
    prune_limit: PruneLimit | None = None,
    selected: frozenset[str] = frozenset(),
) -> dict[str, Orders]:
    """Return each image's orders by their definition."""
    found = {}
    for image_id in {image_id for entry in plan.entries for image_id in entry.images}:
        entries = [entry for entry in plan.entries if image_id in entry.images]
        prune, fill = prune_all or any(entry.prune for entry in entries), any(entry.fill for entry in entries)
        kept = frozenset(str(member_id) for entry in entries for member_id in entry.keep)
        own = dict.fromkeys(entry.prune_limit for entry in entries if entry.prune_limit is not None)
        limits = (prune_limit,) if prune_limit else tuple(own) or (plan.prune_limit or PruneLimit(0.1, 0),)
        make_shared = any(entry.make_shared for entry in entries)
        if prune or fill or kept or make_shared or plan.strict or image_id in selected:
            found[str(image_id)] = Orders(
                prune=prune,
                fill=fill,
                kept=kept,
                prune_limits=limits if prune else (),
                make_shared=make_shared,
                strict=plan.strict,
                selected=image_id in selected,
            )
    return found


@given(plans())
def test_expansion_is_set_arithmetic(plan: Plan) -> None:
    """Each pair comes exactly once, with all its wants; the blocks of an image are adjacent."""
    blocks = list(expand(plan))
    expanded = [(block.image_id, member_id, block.want) for block in blocks for member_id in block.member_ids]
    assert sorted(expanded) == sorted((*pair, want) for pair, want in pairs_of(plan).items())
    assert all(block.member_ids for block in blocks)
    assert len({(block.image_id, block.want) for block in blocks}) == len(blocks)
    # An image is ordered by its first mention, even if that gives it no member.
    mentioned = list(dict.fromkeys(image_id for entry in plan.entries for image_id in entry.images))
    places = [mentioned.index(block.image_id) for block in blocks]
    assert places == sorted(places)


@given(plans())
def test_members_come_in_the_order_of_first_mention(plan: Plan) -> None:
    """Within a block the members are in the plan's order."""
    order = list(pairs_of(plan))
    for block in expand(plan):
        places = [order.index((block.image_id, member_id)) for member_id in block.member_ids]
        assert places == sorted(places)


@given(plans())
def test_count_agrees_with_the_expansion(plan: Plan) -> None:
    """The counts are those of the expansion, and duplicates are the mentions beyond the first."""
    pairs = pairs_of(plan)
    counts = count(plan)
    assert counts.pairs == len(pairs)
    assert counts.images == len({image_id for image_id, _ in pairs})
    assert counts.projects == len({member_id for _, member_id in pairs})
    assert counts.duplicates == len(mentions_of(plan)) - len(pairs)
    assert counts.selectors == 0


@given(plans(), st.booleans(), LIMITS, st.frozensets(st.sampled_from("uvw")))
def test_orders_are_set_arithmetic(
    plan: Plan,
    prune_all: bool,  # noqa: FBT001  # hypothesis passes by name
    limit: PruneLimit | None,
    selected: frozenset[str],
) -> None:
    """An image is pruned, filled or made shared if any entry says so; members that any entry keeps stay.

    The prune limits of its entries hold, without any the plan's, without that 10%; one that is given replaces them all.
    """
    expected = orders_of(plan, prune_all=prune_all, prune_limit=limit, selected=selected)
    assert orders(plan, prune_all=prune_all, prune_limit=limit, selected=selected) == expected


@given(plans(), plans(), st.randoms(use_true_random=False))
def test_equal_plans_have_equal_fingerprints(one: Plan, other: Plan, chance: random.Random) -> None:
    """Two plans have the same fingerprint exactly if they ask for the same, in any order of entries."""

    def asked(plan: Plan) -> object:
        everywhere, shared = orders_of(plan, prune_all=True), {image_id for image_id, _ in pairs_of(plan)}
        planned = {image_id: {member_id for i, member_id in pairs_of(plan) if i == image_id} for image_id in everywhere}
        kept = {
            image_id: order.kept - planned[image_id]
            for image_id, order in everywhere.items()
            if order.kept - planned[image_id]
        }
        flags = {
            image_id: (order.prune, order.fill, order.make_shared and image_id in shared)
            for image_id, order in orders_of(plan).items()
        }
        given = {image_id: orders for image_id, orders in flags.items() if any(orders)}
        return pairs_of(plan), kept, given, plan.strict

    assert (fingerprint(one) == fingerprint(other)) == (asked(one) == asked(other))
    shuffled = list(one.entries)
    chance.shuffle(shuffled)
    assert fingerprint(replace(one, entries=tuple(shuffled))) == fingerprint(one)


@given(plans(), st.dictionaries(st.sampled_from("uvwxyz"), SETS))
def test_a_narrowed_plan_is_the_intersection(plan: Plan, wanted: dict[str, frozenset[str]]) -> None:
    """Its pairs are the plan's that were asked for, with the same wants; none of its images is pruned."""
    expected = {pair: want for pair, want in pairs_of(plan).items() if pair[1] in wanted.get(pair[0], ())}
    narrowed = narrow(plan, wanted)
    assert pairs_of(narrowed) == expected
    named = {image_id for image_id, _ in expected}
    left = {
        image_id: Orders(fill=order.fill, make_shared=order.make_shared, strict=plan.strict)
        for image_id, order in orders_of(plan).items()
        if image_id in named
    }
    assert orders(narrowed) == {image_id: order for image_id, order in left.items() if order != Orders()}
