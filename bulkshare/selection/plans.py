"""Plans with selectors in them: what is for one cloud, which selectors there are, and IDs in their place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import ImageSelector
from bulkshare.selection.words import describe, place_of, problem_at

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from bulkshare.model import Entry, Plan, Problem, ProjectSelector

    Selector = ImageSelector | ProjectSelector


class Selectors(NamedTuple):
    """The different selectors of a plan, in order of first mention, each with the entries that have it."""

    images: dict[ImageSelector, list[Entry]]
    projects: dict[ProjectSelector, list[Entry]]


def for_cloud(plan: Plan, cloud: str) -> Plan:
    """Return what of the plan is for one of its clouds: the entries that name it, or none."""
    entries = tuple(entry for entry in plan.entries if entry.cloud in {None, cloud})
    return replace(plan, entries=entries, clouds=(cloud,))


def selectors(plan: Plan) -> Selectors:
    """Return what a cloud has to be asked for; empty where the plan has IDs alone."""
    found = Selectors({}, {})
    known: dict[int, list[Any]] = {}  # by the identity of a list: entries share them
    for entry in plan.entries:
        for images in _among(entry.images, known):
            found.images.setdefault(images, []).append(entry)
        lists = (entry.projects, entry.excluded, entry.keep)
        for projects in dict.fromkeys(selector for items in lists for selector in _among(items, known)):
            found.projects.setdefault(projects, []).append(entry)
    return found


def _among(items: Collection[Any], known: dict[int, list[Any]]) -> list[Any]:
    """Return the different selectors among the items of a list; those of a set by their places."""
    if id(items) not in known:
        found = {} if _only_ids(items) else dict.fromkeys(item for item in items if not isinstance(item, str))
        known[id(items)] = sorted(found, key=place_of) if isinstance(items, frozenset) else list(found)
    return known[id(items)]


def resolved(
    plan: Plan,
    images: Mapping[ImageSelector, Sequence[str]],
    projects: Mapping[ProjectSelector, Sequence[str]],
    problems: list[Problem],
) -> Plan:
    """Return the plan with IDs in the place of its selectors. Lists that entries share stay shared.

    `images` and `projects` have the IDs of each of `selectors(plan)`. A selector without any is a problem unless it may
    be empty, also where it only leaves out or keeps: it is meant to protect somebody. So is an entry that has no
    project left. Problems are added to `problems`; with any, the plan is of no use.
    """
    resolver = _Resolver(dict([*images.items(), *projects.items()]))
    entries = tuple(
        replace(
            entry,
            images=resolver.resolve(entry.images, tuple),
            projects=resolver.resolve(entry.projects, tuple),
            excluded=resolver.resolve(entry.excluded, frozenset),
            keep=resolver.resolve(entry.keep, frozenset),
        )
        for entry in plan.entries
    )
    found = resolver.problems or [
        problem
        for before, after in zip(plan.entries, entries, strict=True)
        if after.excluded.issuperset(after.projects) and (problem := _nobody_left(before)) is not None
    ]
    problems.extend(dict.fromkeys(found))
    return replace(plan, entries=entries)


class _Resolver:
    """Puts IDs in the place of selectors, once for each list, however many entries share it."""

    def __init__(self, found: Mapping[Any, Sequence[str]]) -> None:
        self.problems: list[Problem] = []
        self._found = found
        self._done: dict[int, tuple[object, Any]] = {}  # by identity; the list with it, so that nothing takes its place

    def resolve(self, items: Collection[str | Selector], kind: Callable[[list[str]], Any]) -> Any:
        """Return the IDs that the items come to, as a `kind`; the very same object where it has IDs alone."""
        if id(items) not in self._done:
            self._done[id(items)] = items, items if _only_ids(items) else kind(self._ids(items))
        return self._done[id(items)][1]

    def _ids(self, items: Collection[str | Selector]) -> list[str]:
        ids: list[str] = []
        for item in items:
            if isinstance(item, str):
                ids.append(item)
                continue
            found = self._found[item]
            if not found and not item.allow_empty:
                what = "image" if isinstance(item, ImageSelector) else "project"
                message = f"no {what} fits {describe(item)}; mend it, or add `allow_empty: true`"
                self.problems.append(problem_at(item, message))
            ids.extend(found)
        return ids


def _nobody_left(entry: Entry) -> Problem | None:
    """Return the problem of an entry without projects, at one of its selectors; None where they may be empty."""
    known: dict[int, list[Any]] = {}
    selecting = _among(entry.projects, known)
    if any(selector.allow_empty for selector in selecting):
        return None
    first = next(iter([*selecting, *_among(entry.excluded, known)]), None)
    return None if first is None else problem_at(first, "no project is left over by what `except` leaves out")


def _only_ids(items: Collection[object]) -> bool:
    return set(map(type, items)) <= {str}  # at the speed of C: lists have a million lines
