"""From a plan to its pairs: plain set arithmetic on the lists, never holding their product.

The unit is the audience: the projects of an entry, less what it leaves out, and what is wanted of them. An image's
members are the union of the audiences of the entries that name it, so that images with the same audiences have the
same members: 2,000 images with 500 projects are 2,500 strings and no million of anything. Must not know where IDs come
from and what a cloud says: but for `count`, all take a plan for one cloud whose selectors are resolved, and raise
`ValueError` for any other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from bulkshare.model import Block, Entry, Orders, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence

    from bulkshare.model import Plan, ProjectSelector

    Audiences = tuple[int, ...]
    Parts = tuple[tuple[Want, tuple[str, ...]], ...]


Kind = TypeVar("Kind", tuple[str, ...], frozenset[str])
# Unions kept at hand. To make one again costs no more than to go through it once, so that few are enough.
UNIONS_KEPT = 16
NO_ORDERS = Orders()


class Counts(NamedTuple):
    """What a plan comes to; `duplicates` is how often a pair is named again.

    `selectors` is how many selectors only a cloud can resolve; what they select is in none of the other numbers.
    """

    images: int
    projects: int
    pairs: int
    duplicates: int
    selectors: int = 0


def expand(plan: Plan) -> Iterator[Block]:
    """Yield the pairs of the plan, each once: images in order of first mention, and an image's members in theirs.

    An image's members are in one block, or in one for each different want. A pair that several entries name gets the
    union of their wants. The sequences are shared between images: don't change them.
    """
    layout = _resolved(plan)
    parts_of = lru_cache(UNIONS_KEPT)(layout.parts)
    for image_id, named in layout.images.items():
        for want, members in parts_of(named.audiences):
            yield Block(image_id, members, want)


def count(plan: Plan) -> Counts:
    """Count without expanding the product. Takes a plan with selectors, too, and counts what is known of it."""
    layout = _Layout(plan)
    images = pairs = 0
    projects: set[str] = set()
    for audiences, alike in Counter(named.audiences for named in layout.images.values()).items():
        members = layout.members(audiences)
        images += alike if members else 0
        pairs += alike * len(members)
        projects.update(members)
    return Counts(images, len(projects), pairs, layout.mentions - pairs, layout.selectors)


def orders(plan: Plan, *, prune_all: bool = False) -> dict[str, Orders]:
    """Return what is ordered of images as a whole, for those images of which something is.

    An image is pruned where an entry that names it says so, or with `prune_all`; kept are then all its members in the
    plan and what these entries keep. The sets are shared between images.
    """
    layout = _resolved(plan)
    kept: dict[_Named, frozenset[str]] = {}
    found = {}
    for image_id, named in layout.images.items():
        prune = named.prune or prune_all
        if prune and named not in kept:
            kept[named] = frozenset(layout.members(named.audiences)).union(*layout.keeps_of(named))
        if prune or named.fill:
            found[image_id] = Orders(prune, named.fill, kept[named] if prune else frozenset())
    return found


def fingerprint(plan: Plan, *, prune_all: bool = False) -> str:
    """Return a SHA-256 hex digest of what the plan asks for: two plans have the same one when they ask for the same.

    That is the set of pairs with their wants, which images are pruned (with `prune_all`: each) or filled, and what is
    kept. It does not depend on order, comments, groups or files, nor on limits.
    """
    layout = _resolved(plan)
    digests: dict[_Named, bytes] = {}
    whole = hashlib.sha256()
    for image_id in sorted(layout.images):
        named = layout.images[image_id]
        named = replace(named, prune=named.prune or prune_all)
        if named not in digests:
            digests[named] = layout.digest(named)
        if digests[named]:
            whole.update(_digest([image_id]) + digests[named])
    return whole.hexdigest()


def narrow(plan: Plan, wanted: Mapping[str, Container[str]]) -> Plan:
    """Return the plan with only those of its pairs whose image ID and member ID `wanted` has.

    Nothing in it is pruned: it does not name all who are to stay.
    """
    filled = orders(plan)
    entries = []
    for image_id, members, want in expand(plan):
        among = wanted.get(image_id, ())
        if some := tuple(member_id for member_id in members if member_id in among):
            fill = filled.get(image_id, NO_ORDERS).fill
            entries.append(Entry((image_id,), some, want=want, fill=fill))
    return replace(plan, entries=tuple(entries))


@dataclass(frozen=True, slots=True)
class _Named:
    """How a plan names an image: which audiences it has, and what is ordered; `keeps` has numbers of keep lists."""

    audiences: Audiences = ()
    prune: bool = False
    fill: bool = False
    keeps: tuple[int, ...] = ()


class _Layout:
    """Which audiences each image has. `mentions` counts pairs with every repeat, `selectors` what was passed over."""

    def __init__(self, plan: Plan) -> None:
        self.images: dict[str, _Named] = {}
        self.mentions = 0
        self._audiences: list[_Audience] = []
        self._keeps: list[frozenset[str]] = []
        # Entries with the same single group or file share its tuple: its identity tells that the audience is the same.
        numbers: dict[tuple[int, frozenset[str], Want], int] = {}
        keep_numbers: dict[frozenset[str], int] = {}
        sizes: list[int] = []
        read = _Reader()
        for entry in plan.entries:
            audience = _Audience(read.ids(entry.projects), read.id_set(entry.excluded), entry.want)
            number = numbers.setdefault((id(audience.projects), audience.excluded, audience.want), len(numbers))
            if number == len(sizes):
                self._audiences.append(audience)
                sizes.append(sum(1 for _ in audience.members()))
            keep = read.id_set(entry.keep)
            if keep and keep not in keep_numbers:
                keep_numbers[keep] = len(keep_numbers)
                self._keeps.append(keep)
            images = read.ids(entry.images)
            self.mentions += len(images) * sizes[number]
            more = _Named((number,), entry.prune, entry.fill, (keep_numbers[keep],) if keep else ())
            for image_id in images:
                known = self.images.get(image_id)
                self.images[image_id] = more if known is None else _joined(known, more)
        self.selectors = len(read.selectors)

    def members(self, audiences: Audiences) -> tuple[str, ...]:
        """Return the union of audiences, in order of first mention."""
        return tuple(dict.fromkeys(chain.from_iterable(self._audiences[number].members() for number in audiences)))

    def parts(self, audiences: Audiences) -> Parts:
        """Return the union of audiences by what is wanted of each member, in order of first mention."""
        wants = {self._audiences[number].want for number in audiences}
        if len(wants) == 1:
            members = self.members(audiences)
            return ((wants.pop(), members),) if members else ()
        wanted: dict[str, Want] = {}
        for number in audiences:
            want = self._audiences[number].want
            for member_id in self._audiences[number].members():
                wanted[member_id] = wanted.get(member_id, want) | want
        parts: dict[Want, list[str]] = {}
        for member_id, want in wanted.items():
            parts.setdefault(want, []).append(member_id)
        return tuple((want, tuple(members)) for want, members in parts.items())

    def keeps_of(self, named: _Named) -> list[frozenset[str]]:
        """Return the keep lists of the entries that name an image."""
        return [self._keeps[number] for number in named.keeps]

    def digest(self, named: _Named) -> bytes:
        """Return a digest of the members, of what is wanted of them, and of the orders; empty where all that is not."""
        # A member by its ID alone has no want beyond itself, so that such plans have the digest they always had.
        lines = [
            member_id if want is Want.MEMBER else f"{member_id} {want.value}"
            for want, members in self.parts(named.audiences)
            for member_id in members
        ]
        lines.sort()
        keep = frozenset[str]().union(*self.keeps_of(named)).difference(self.members(named.audiences))
        if not (named.prune or named.fill or keep):
            return _digest(lines) if lines else b""
        return _digest([*lines, f" prune {named.prune} fill {named.fill}", *sorted(keep)])


class _Audience(NamedTuple):
    """The projects of an entry, less those it leaves out, and what is wanted of them."""

    projects: tuple[str, ...]
    excluded: frozenset[str]
    want: Want

    def members(self) -> Iterator[str]:
        """Go through the members, repeats included."""
        if not self.excluded:
            return iter(self.projects)
        return (project_id for project_id in self.projects if project_id not in self.excluded)


def _resolved(plan: Plan) -> _Layout:
    layout = _Layout(plan)
    if layout.selectors:
        raise ValueError(f"{layout.selectors} selectors of the plan have not been resolved")
    return layout


def _joined(known: _Named, more: _Named) -> _Named:
    """Return how an image is named that was named before."""
    return _Named(
        known.audiences if more.audiences[0] in known.audiences else known.audiences + more.audiences,
        known.prune or more.prune,
        known.fill or more.fill,
        known.keeps if set(more.keeps).issubset(known.keeps) else known.keeps + more.keeps,
    )


class _Reader:
    """Reads lists of entries as lists of IDs, each list once, so that what entries share stays shared."""

    def __init__(self) -> None:
        self.selectors: set[object] = set()
        self._read: dict[int, tuple[object, Any]] = {}  # by identity; the list with it, so that nothing takes its place

    def ids(self, items: Sequence[object]) -> tuple[str, ...]:
        """Return the IDs among the items; the very same tuple where there is nothing else."""
        return self._only_ids(items, tuple)

    def id_set(self, items: frozenset[str | ProjectSelector]) -> frozenset[str]:
        """Return the IDs among the items; the very same set where there is nothing else."""
        return self._only_ids(items, frozenset)

    def _only_ids(self, items: Collection[object], kind: Callable[[Iterable[str]], Kind]) -> Kind:
        if id(items) not in self._read:
            ids: object = items
            if not set(map(type, items)) <= {str}:  # at the speed of C: lists have a million lines
                self.selectors.update(item for item in items if not isinstance(item, str))
                ids = kind(item for item in items if isinstance(item, str))
            self._read[id(items)] = items, ids
        return self._read[id(items)][1]  # type: ignore[no-any-return]  # of the kind that was put in


def _digest(texts: Sequence[str]) -> bytes:
    # No ID has a line end in it, so that the joined text tells the IDs apart.
    return hashlib.sha256("\n".join(texts).encode()).digest()
