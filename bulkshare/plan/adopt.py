"""A plan, as YAML, of the members that one or several clouds have today. Pure.

Each set of projects stands once, with all images that have exactly these members. Members that have accepted are kept
apart from the others, because a plan asks for acceptance by entry. So `diff` of the plan finds nothing to do.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import yaml

from bulkshare.plan.lists import LOOKS_LIKE_AN_ID, id_fault
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from bulkshare.model import Member

PLAIN = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*"
)  # needs no quotes in YAML, unless it is a number or a word like `null`
LONGEST_NAME = 80  # characters of a name in a comment: as many as plans take for one


class _Audience(NamedTuple):
    """Projects that are members of the same images."""

    projects: frozenset[str]
    accepted: bool


class AdoptedPlan:
    """Collects the members of a cloud's images, one image after another; the images come in any order."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[_Audience, ...]] = {}
        self._audiences: dict[_Audience, _Audience] = {}  # one object for equal ones
        self._ids: dict[str, str] = {}  # likewise

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._members)

    @property
    def member_ids(self) -> frozenset[str]:
        """All members."""
        return frozenset(self._ids)

    def add(self, image_id: str, members: Iterable[Member]) -> None:
        """Add the members of an image."""
        by_acceptance: dict[bool, list[str]] = {True: [], False: []}
        for member in members:
            member_id = self._ids.setdefault(member.member_id, member.member_id)
            by_acceptance[member.status == "accepted"].append(member_id)
        found = (_Audience(frozenset(ids), accepted) for accepted, ids in by_acceptance.items() if ids)
        self._members[image_id] = tuple(self._audiences.setdefault(audience, audience) for audience in found)

    def left_out(self, unknown: Collection[str]) -> set[str]:
        """Return the members that can't be in a plan: those whose IDs it can't have, and those that are no projects.

        A plan that names the latter could never be achieved.
        """
        faulty = {member_id for member_id in self._ids if id_fault(member_id)}
        return faulty.union(unknown).intersection(self._ids)

    def entries(self, left_out: Collection[str]) -> dict[_Audience, list[str]]:
        """Return the images of each audience without the members that are left out."""
        entries: defaultdict[_Audience, list[str]] = defaultdict(list)
        for image_id, audiences in self._members.items():
            for audience in audiences if id_fault(image_id) is None else ():
                for projects in _alike(audience.projects.difference(left_out)):
                    entries[audience._replace(projects=projects)].append(image_id)
        return entries


class CloudPart(NamedTuple):
    """What a plan has of one cloud.

    cloud: the clouds.yaml entry to name in it; None only if there is one part.
    names: of images and projects by ID, for comments.
    left_out: members that are not to be in it.
    """

    cloud: str | None
    adopted: AdoptedPlan
    names: Mapping[str, str]
    left_out: Collection[str] = ()


def plan_lines(name: str, parts: Sequence[CloudPart], *, comments: Iterable[str] = ()) -> Iterator[str]:
    """Yield the plan's lines; `comments` are lines above it. Each part has members that are not left out."""
    yield from (f"# {clean(comment, 1000)}\n" for comment in comments)
    yield f"version: 1\nname: {name}\n"
    clouds = [quoted(part.cloud) for part in parts if part.cloud is not None]
    if clouds:
        yield f"clouds: [{', '.join(clouds)}]\n" if len(clouds) > 1 else f"cloud: {clouds[0]}\n"
    entries = [part.adopted.entries(part.left_out) for part in parts]
    audiences = [_sorted(found, _order(part.names)) for part, found in zip(parts, entries, strict=True)]
    uses = Counter((number, audience.projects) for number, several in enumerate(audiences) for audience in several)
    repeated = (use for use, count in uses.items() if count > 1)
    groups = {use: f"members-{number}" for number, use in enumerate(repeated, 1)}
    if groups:
        yield "\ngroups:\n  projects:\n"
        for (number, projects), group in groups.items():
            yield f"    {group}:\n"
            yield from _items(projects, parts[number].names)
    yield "\nshare:\n"
    for number, part in enumerate(parts):
        for audience in audiences[number]:
            for image_ids in _alike(entries[number][audience]):
                yield from _entry(audience, image_ids, groups.get((number, audience.projects)), part.names)
                if len(parts) > 1:
                    yield f"    cloud: {quoted(part.cloud or '')}\n"


def _sorted(
    entries: Mapping[_Audience, Collection[str]], order: Callable[[str], tuple[bool, str, str]]
) -> list[_Audience]:
    """Return the audiences by the names of their first images and projects."""
    firsts = {
        audience: (order(min(image_ids, key=order)), audience.accepted, order(min(audience.projects, key=order)))
        for audience, image_ids in entries.items()
    }
    return sorted(entries, key=firsts.__getitem__)


def _alike(ids: Iterable[str]) -> list[frozenset[str]]:
    """Return the IDs that are UUIDs and those that aren't, as far as there are any.

    In one list with UUIDs, another text is taken for a mistake.
    """
    uuids = frozenset(filter(LOOKS_LIKE_AN_ID.fullmatch, ids))
    return [found for found in (uuids, frozenset(ids) - uuids) if found]


def _entry(
    audience: _Audience, image_ids: Collection[str], group: str | None, names: Mapping[str, str]
) -> Iterator[str]:
    yield f"  # {counted(len(image_ids), 'image')} with {counted(len(audience.projects), 'project')}\n"
    yield "  - images:\n"
    yield from _items(image_ids, names)
    if group is not None:
        yield f"    projects: [{{group: {group}}}]\n"
    else:
        yield "    projects:\n"
        yield from _items(audience.projects, names)
    if audience.accepted:
        yield "    accept: true\n"


def _items(ids: Iterable[str], names: Mapping[str, str]) -> Iterator[str]:
    for known in sorted(ids, key=_order(names)):
        label = clean(names.get(known) or "", LONGEST_NAME)
        yield f"      - {quoted(known)}{f' # {label}' if label else ''}\n"


def _order(names: Mapping[str, str]) -> Callable[[str], tuple[bool, str, str]]:
    """Return a key that sorts IDs by their names; those without one come last."""
    return lambda known: (not names.get(known), names.get(known) or "", known)


def quoted(text: str) -> str:
    """Return a text as YAML reads it back."""
    if LOOKS_LIKE_AN_ID.fullmatch(text) or (PLAIN.fullmatch(text) and yaml.safe_load(text) == text):
        return text
    return json.dumps(text)
