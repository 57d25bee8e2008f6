"""From a plan to its pairs: set arithmetic on the lists, without ever holding their product.

The unit is the audience: the projects of an entry, minus its exclusions, and what is wanted of them. An image's members
are the union of the audiences of the entries that name it, so images with the same audiences have the same members:
2,000 images with 500 projects take 2,500 strings, not a million pairs. All functions except `count` take a plan for one
cloud whose selectors are resolved, and raise `ValueError` for any other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import Block, Entry, IdList, Orders, PruneLimit, Want

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

    from bulkshare.model import Plan, ProjectSelector

    Audiences = tuple[int, ...]
    Parts = tuple[tuple[Want, tuple[str, ...]], ...]

CACHED_UNIONS = 16  # few suffice: rebuilding a union costs no more than iterating over it once
NO_ORDERS = Orders()


class Counts(NamedTuple):
    """The size of a plan; `duplicates` counts repeated mentions of a pair.

    `selectors` counts the selectors that only a cloud can resolve; the other numbers don't include what they select.
    `unshared` counts the images that are for no one, which are not among `images`.
    """

    images: int
    projects: int
    pairs: int
    duplicates: int
    selectors: int = 0
    unshared: int = 0


def expand(plan: Plan) -> Iterator[Block]:
    """Yield each pair of the plan once: images in order of first mention, and the members of an image likewise.

    An image's members come in one block per distinct want. A pair that several entries name gets the union of their
    wants. Images share the sequences.
    """
    layout = _resolved(plan)
    parts_of = lru_cache(CACHED_UNIONS)(layout.parts)
    for image_id, named in layout.images.items():
        for want, members in parts_of(named.audiences):
            yield Block(image_id, members, want)


def count(plan: Plan) -> Counts:
    """Count without expanding the product. A plan may still have selectors; then the known part is counted."""
    layout = _Layout(plan)
    images = pairs = unshared = 0
    projects: set[str] = set()
    for audiences, alike in Counter(named.audiences for named in layout.images.values()).items():
        members = layout.members(audiences)
        images += alike if members else 0
        unshared += 0 if layout.name_anyone(audiences) else alike
        pairs += alike * len(members)
        projects.update(members)
    return Counts(images, len(projects), pairs, layout.mentions - pairs, layout.selectors, unshared)


def orders(
    plan: Plan,
    *,
    prune_all: bool = False,
    prune_limit: PruneLimit | None = None,
    selected: Collection[str] = (),
) -> dict[str, Orders]:
    """Return the orders that concern an image as a whole, for each image that has any.

    An image is pruned if an entry that names it says so, or with `prune_all`. The members in these entries' `keep` are
    no extra members, whether it is or not. `prune_limit` takes the place of all limits in the plan. Without it,
    those of the entries count, else the plan's, else the default. `selected` images were chosen by their attributes.
    Images share equal orders.
    """
    layout = _resolved(plan)
    shared: dict[tuple[_Named, bool], Orders] = {}
    found = {}
    for image_id, named in layout.images.items():
        key = named, image_id in selected
        if key not in shared:
            prune = named.pruned(prune_all)
            limits = named.prune_limits or (plan.prune_limit or PruneLimit(),)
            limits = limits if prune_limit is None else (prune_limit,)
            shared[key] = Orders(
                prune=prune,
                fill=named.fill,
                kept=frozenset[str]().union(*layout.keeps_of(named)),
                selected=key[1],
                prune_limits=limits if prune else (),
                make_shared=named.make_shared,
                strict=plan.strict,
            )
        if shared[key] != NO_ORDERS:
            found[image_id] = shared[key]
    return found


def fingerprint(plan: Plan, *, prune_all: bool = False) -> str:
    """Return a SHA-256 hex digest of what the plan asks for; plans that ask for the same have the same digest.

    It covers the set of pairs with their wants, which images are pruned (with `prune_all`: all), filled or made shared,
    what is kept, and whether the plan is strict. It does not depend on order, comments, groups, files or limits.
    """
    layout = _resolved(plan)
    digests: dict[_Named, bytes] = {}
    whole = hashlib.sha256(b"strict" if plan.strict else b"")
    for image_id in sorted(layout.images):
        named = layout.images[image_id]
        digest = digests.get(named)
        if digest is None:
            digest = digests[named] = layout.digest(named._replace(prune=named.pruned(prune_all)))
        if digest:
            whole.update(hashlib.sha256(image_id.encode()).digest() + digest)
    return whole.hexdigest()


def narrow(plan: Plan, wanted: Mapping[str, Container[str]]) -> Plan:
    """Return the plan reduced to the pairs in `wanted`, member IDs by image ID.

    It prunes nothing: it no longer names all members that are to stay.
    """
    ordered = orders(plan)
    entries = []
    for image_id, members, want in expand(plan):
        among = wanted.get(image_id, ())
        if some := tuple(member_id for member_id in members if member_id in among):
            order = ordered.get(image_id, NO_ORDERS)
            entries.append(Entry((image_id,), some, want=want, fill=order.fill, make_shared=order.make_shared))
    return replace(plan, entries=tuple(entries))


class _Named(NamedTuple):
    """How a plan names an image: its audiences and orders. `audiences` and `keeps` are indexes into the layout."""

    audiences: tuple[int, ...] = ()
    prune: bool = False
    fill: bool = False
    make_shared: bool = False
    keeps: tuple[int, ...] = ()
    prune_limits: tuple[PruneLimit, ...] = ()
    received: bool = False

    def pruned(self, prune_all: bool) -> bool:  # noqa: FBT001  as it is passed on
        """Whether members that the plan doesn't name are removed; from another project's image never."""
        return (self.prune or prune_all) and not self.received


class _Layout:
    """The audiences of each image. `mentions` counts pairs with repetitions, `selectors` counts skipped selectors."""

    def __init__(self, plan: Plan) -> None:
        self.images: dict[str, _Named] = {}
        self.mentions = 0
        self._audiences: list[_Audience] = []
        self._keeps: list[frozenset[str]] = []
        self._for_no_one: set[int] = set()  # audiences of entries without projects
        numbers: dict[_Audience, int] = {}
        keep_numbers: dict[frozenset[str], int] = {}
        sizes: list[int] = []
        read = _Reader()
        for entry in plan.entries:
            audience = _Audience(read.ids(entry.projects), read.id_set(entry.excluded), entry.want)
            number = numbers.setdefault(audience, len(numbers))
            if number == len(sizes):
                self._audiences.append(audience)
                sizes.append(sum(1 for _ in audience.members()))
            if not entry.projects:
                self._for_no_one.add(number)
            keep = read.id_set(entry.keep)
            if keep and keep not in keep_numbers:
                keep_numbers[keep] = len(keep_numbers)
                self._keeps.append(keep)
            images = read.ids(entry.images)
            self.mentions += len(images) * sizes[number]
            more = _Named(
                (number,),
                entry.prune,
                entry.fill,
                entry.make_shared,
                (keep_numbers[keep],) if keep else (),
                () if entry.prune_limit is None else (entry.prune_limit,),
                Want.RECEIVED in entry.want,
            )
            if not self.images:
                self.images = dict.fromkeys(images, more)
                continue
            for image_id in images:
                known = self.images.get(image_id)
                self.images[image_id] = more if known is None else _merged(known, more)
        self.selectors = len(read.selectors) + len(plan.receive)

    def members(self, audiences: Audiences) -> tuple[str, ...]:
        """Return the union of audiences, in order of first mention."""
        return tuple(dict.fromkeys(chain.from_iterable(self._audiences[number].members() for number in audiences)))

    def name_anyone(self, audiences: Audiences) -> bool:
        """Whether one of the entries has projects, or selectors for them."""
        return not self._for_no_one.issuperset(audiences)

    def parts(self, audiences: Audiences) -> Parts:
        """Return the union of audiences, grouped by what is wanted of each member, in order of first mention."""
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
        """Return a digest of members, wants and orders; empty if there are none of them."""
        # A plain member is hashed as its ID alone, so that plans without wants keep the digest in existing ledgers.
        lines = [
            member_id if want is Want.MEMBER else f"{member_id} {want.value}"
            for want, members in self.parts(named.audiences)
            for member_id in members
        ]
        lines.sort()
        keep = frozenset[str]().union(*self.keeps_of(named)).difference(self.members(named.audiences))
        # Nor do orders that came later say anything about an image that has none of them.
        shared = [" make_shared"] if named.make_shared and lines else []
        if not (named.prune or named.fill or keep):
            return _digest([*lines, *shared]) if lines else b""
        return _digest([*lines, *shared, f" prune {named.prune} fill {named.fill}", *sorted(keep)])


class _Audience(NamedTuple):
    """The projects of an entry, minus its exclusions, and what is wanted of them."""

    projects: IdList[str]
    excluded: frozenset[str]
    want: Want

    def members(self) -> Iterator[str]:
        """Iterate over the members, with repetitions."""
        if not self.excluded:
            return iter(self.projects)
        return (project_id for project_id in self.projects if project_id not in self.excluded)


def _resolved(plan: Plan) -> _Layout:
    layout = _Layout(plan)
    if layout.selectors:
        raise ValueError(f"{layout.selectors} selectors of the plan have not been resolved")
    return layout


def _merged(known: _Named, more: _Named) -> _Named:
    """Merge two ways in which entries name the same image."""
    return _Named(
        known.audiences if more.audiences[0] in known.audiences else known.audiences + more.audiences,
        known.prune or more.prune,
        known.fill or more.fill,
        known.make_shared or more.make_shared,
        known.keeps if set(more.keeps).issubset(known.keeps) else known.keeps + more.keeps,
        tuple(dict.fromkeys(known.prune_limits + more.prune_limits)),
        known.received or more.received,
    )


class _Reader:
    """Drops the selectors from lists of entries, once per list, so that what entries share stays shared."""

    def __init__(self) -> None:
        self.selectors: set[object] = set()
        self._read: dict[Collection[object], Any] = {}

    def ids(self, items: tuple[object, ...]) -> IdList[str]:
        """Return the IDs among the items: the same list if there is nothing else."""
        return self._only_ids(items, IdList)  # type: ignore[no-any-return]  # of the type that was put in

    def id_set(self, items: frozenset[str | ProjectSelector]) -> frozenset[str]:
        """Return the IDs among the items: the same set if there is nothing else."""
        return self._only_ids(items, frozenset)  # type: ignore[no-any-return]  # as above

    def _only_ids(self, items: Collection[object], make: type[IdList[str] | frozenset[str]]) -> Any:
        if items not in self._read:
            ids: Iterable[object] = items
            if not set(map(type, items)) <= {str}:  # runs at C speed: lists have a million lines
                self.selectors.update(item for item in items if not isinstance(item, str))
                ids = make(item for item in items if isinstance(item, str))
            self._read[items] = ids
        return self._read[items]


def _digest(texts: Sequence[str]) -> bytes:
    # IDs contain no line ends, so joining is unambiguous.
    return hashlib.sha256("\n".join(texts).encode()).digest()
