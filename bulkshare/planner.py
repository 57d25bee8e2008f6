"""From a plan to its pairs: plain set arithmetic on the lists, never holding their product.

The unit is the audience: the projects of an entry, less what it leaves out. An image's members are the union of the
audiences of the entries that name it, so that images with the same audiences have the same members: 2,000 images with
500 projects are 2,500 strings and no million of anything. Must not know where IDs come from and what a cloud says.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import Entry

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from bulkshare.model import Plan

    Audiences = tuple[int, ...]  # numbers of audiences, in the order in which the plan mentions them

# Unions kept at hand. To make one again costs no more than to go through it once, so that few are enough.
UNIONS_KEPT = 16


class Counts(NamedTuple):
    """What a plan comes to; `duplicates` is how often a pair is named again."""

    images: int
    projects: int
    pairs: int
    duplicates: int


def expand(plan: Plan) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each image that has members once, in order of first mention, with its members in theirs.

    The sequences are shared between images: don't change them.
    """
    layout = _Layout(plan)
    members_of = lru_cache(UNIONS_KEPT)(layout.members)
    for image_id, audiences in layout.images.items():
        if members := members_of(audiences):
            yield image_id, members


def count(plan: Plan) -> Counts:
    """Count without expanding the product."""
    layout = _Layout(plan)
    images = pairs = 0
    projects: set[str] = set()
    for audiences, alike in Counter(layout.images.values()).items():
        members = layout.members(audiences)
        images += alike if members else 0
        pairs += alike * len(members)
        projects.update(members)
    return Counts(images, len(projects), pairs, duplicates=layout.mentions - pairs)


def fingerprint(plan: Plan) -> str:
    """Return a SHA-256 hex digest of the set of pairs: two plans have the same one when they share the same.

    It does not depend on order, comments, groups or files, nor on limits.
    """
    layout = _Layout(plan)
    digests: dict[Audiences, bytes | None] = {}
    whole = hashlib.sha256()
    for image_id in sorted(layout.images):
        audiences = layout.images[image_id]
        if audiences not in digests:
            members = layout.members(audiences)
            digests[audiences] = _digest(sorted(members)) if members else None
        if digest := digests[audiences]:
            whole.update(_digest([image_id]) + digest)
    return whole.hexdigest()


def narrow(plan: Plan, wanted: Mapping[str, Container[str]]) -> Plan:
    """Return the plan with only those of its pairs whose image ID and member ID `wanted` has."""
    entries = []
    for image_id, members in expand(plan):
        among = wanted.get(image_id, ())
        if kept := tuple(member_id for member_id in members if member_id in among):
            entries.append(Entry((image_id,), kept))
    return replace(plan, entries=tuple(entries))


class _Layout:
    """Which audiences each image has. `mentions` counts the pairs with every repeat."""

    def __init__(self, plan: Plan) -> None:
        self.images: dict[str, Audiences] = {}
        self.mentions = 0
        self._audiences: list[Entry] = []
        # Entries with the same single group or file share its tuple: its identity tells that the audience is the same.
        numbers: dict[tuple[int, frozenset[str]], int] = {}
        sizes: list[int] = []
        for entry in plan.entries:
            number = numbers.setdefault((id(entry.projects), entry.excluded), len(numbers))
            if number == len(sizes):
                self._audiences.append(entry)
                sizes.append(sum(1 for _ in _audience(entry)))
            self.mentions += len(entry.images) * sizes[number]
            for image_id in entry.images:
                known = self.images.get(image_id, ())
                if number not in known:
                    self.images[image_id] = (*known, number)

    def members(self, audiences: Audiences) -> tuple[str, ...]:
        """Return the union of audiences, in order of first mention."""
        return tuple(dict.fromkeys(chain.from_iterable(_audience(self._audiences[number]) for number in audiences)))


def _audience(entry: Entry) -> Iterator[str]:
    """Go through the projects of an entry, repeats included."""
    if not entry.excluded:
        return iter(entry.projects)
    return (project_id for project_id in entry.projects if project_id not in entry.excluded)


def _digest(texts: list[str]) -> bytes:
    # No ID has a line end in it, so that the joined text tells the IDs apart.
    return hashlib.sha256("\n".join(texts).encode()).digest()
