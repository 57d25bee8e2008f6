"""From a plan to its pairs: plain set arithmetic on the lists, never on their product.

An image's members are the union, over the entries that name it, of their projects less what each leaves out. Images
that stand in the same entries have the same members, so that one sequence serves them all: 2,000 images with 500
projects are 2,500 strings and no million of anything.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bulkshare.model import Entry, Plan


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
    named_in: dict[str, list[int]] = {}
    for number, entry in enumerate(plan.entries):
        for image_id in dict.fromkeys(entry.images):
            named_in.setdefault(image_id, []).append(number)
    members: dict[tuple[int, ...], tuple[str, ...]] = {}
    for image_id, numbers in named_in.items():
        signature = tuple(numbers)
        if signature not in members:
            members[signature] = _union([plan.entries[number] for number in numbers])
        if members[signature]:
            yield image_id, members[signature]


def _union(entries: list[Entry]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(project for entry in entries for project in _shared_with(entry)))


def _shared_with(entry: Entry) -> list[str]:
    return [project for project in entry.projects if project not in entry.excluded]


def count(plan: Plan) -> Counts:
    """Count without expanding the product."""
    sizes: Counter[int] = Counter()
    projects: set[str] = set()
    seen: dict[int, int] = {}
    for _, members in expand(plan):
        if id(members) not in seen:
            seen[id(members)] = len(members)
            projects.update(members)
        sizes[id(members)] += 1
    pairs = sum(seen[key] * images for key, images in sizes.items())
    named = sum(len(entry.images) * len(_shared_with(entry)) for entry in plan.entries)
    return Counts(images=sizes.total(), projects=len(projects), pairs=pairs, duplicates=named - pairs)


def fingerprint(plan: Plan) -> str:
    """Return a SHA-256 hex digest of the set of pairs: two plans have the same one when they share the same.

    It does not depend on order, comments, groups or files, nor on limits.
    """
    digests: dict[int, bytes] = {}
    whole = hashlib.sha256()
    for image_id, members in sorted(expand(plan)):
        if id(members) not in digests:
            digests[id(members)] = _digest(sorted(members))
        whole.update(_digest([image_id]) + digests[id(members)])
    return whole.hexdigest()


def _digest(texts: list[str]) -> bytes:
    # No ID has a line end in it, so that the joined text tells the IDs apart.
    return hashlib.sha256("\n".join(texts).encode()).digest()
