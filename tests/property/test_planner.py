"""The planner against plain set arithmetic, for any plan."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Entry, Plan
from bulkshare.planner import count, expand, fingerprint

if TYPE_CHECKING:
    import random

IMAGES = st.lists(st.sampled_from("uvwxyz"), max_size=6).map(tuple)
PROJECTS = st.lists(st.sampled_from("abcdef"), max_size=6).map(tuple)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw entries that overlap, repeat, leave out, and share lists as entries with the same group do."""
    lists = draw(st.lists(PROJECTS, min_size=1, max_size=3))
    entry = st.builds(
        Entry, IMAGES, st.one_of(st.sampled_from(lists), PROJECTS), st.frozensets(st.sampled_from("abcdef"), max_size=3)
    )
    return Plan(name="n", entries=tuple(draw(st.lists(entry, max_size=6))))


def mentions_of(plan: Plan) -> list[tuple[str, str]]:
    """Return every pair as often as the plan names it, by the definition: the product of each entry, less except."""
    return [
        (image_id, project_id)
        for entry in plan.entries
        for image_id, project_id in product(entry.images, entry.projects)
        if project_id not in entry.excluded
    ]


@given(plans())
def test_expansion_is_set_arithmetic(plan: Plan) -> None:
    """Each pair comes exactly once, images and each image's members in the order of first mention."""
    expected: dict[str, dict[str, None]] = {}
    for entry in plan.entries:  # an image's place is that of its first mention, even where that gives it no member
        for image_id in entry.images:
            expected.setdefault(image_id, {})
    for image_id, project_id in mentions_of(plan):
        expected[image_id][project_id] = None
    expanded = [(image_id, list(members)) for image_id, members in expand(plan)]
    assert expanded == [(image_id, list(members)) for image_id, members in expected.items() if members]


@given(plans())
def test_count_agrees_with_the_expansion(plan: Plan) -> None:
    """The counts are those of the expansion, and duplicates are the mentions beyond the first."""
    pairs = [(image_id, member_id) for image_id, members in expand(plan) for member_id in members]
    counts = count(plan)
    assert counts.pairs == len(pairs) == len(set(pairs))
    assert counts.images == len({image_id for image_id, _ in pairs})
    assert counts.projects == len({member_id for _, member_id in pairs})
    assert counts.duplicates == len(mentions_of(plan)) - len(pairs)


@given(plans(), plans(), st.randoms(use_true_random=False))
def test_fingerprint_is_equal_where_the_pairs_are(one: Plan, other: Plan, chance: random.Random) -> None:
    """Two plans have the same fingerprint exactly where they share the same; in any order of entries."""
    assert (fingerprint(one) == fingerprint(other)) == (set(mentions_of(one)) == set(mentions_of(other)))
    shuffled = list(one.entries)
    chance.shuffle(shuffled)
    assert fingerprint(Plan(name="n", entries=tuple(shuffled))) == fingerprint(one)
