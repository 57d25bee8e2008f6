"""Selectors: what to ask a cloud for, which of its images and projects match, and plans with IDs in their place."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import ImageSelector, Problem, ProjectSelector
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    Selector = ImageSelector | ProjectSelector
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from bulkshare.model import Entry, Image, Plan, Project


DAY_SECONDS = 86_400


def describe(selector: Selector) -> str:
    """Say what a selector means, on one line and in the words of a plan."""
    parts: list[tuple[str, object]] = [("name", selector.name)]
    if isinstance(selector, ProjectSelector):
        parts.append(("domain", selector.domain))
    parts += [("tag", tag) for tag in sorted(selector.tags)]
    if isinstance(selector, ImageSelector):
        parts += [*selector.properties, ("owner", selector.owner), ("status", selector.status)]
        if selector.newer_than_seconds is not None:
            parts.append(("newer_than", f"{selector.newer_than_seconds / DAY_SECONDS:g}d"))
        parts += [("latest", selector.latest), ("per", selector.per)]
    else:
        enabled = "any" if selector.enabled is None else str(selector.enabled).lower()
        parts += [("enabled", enabled), ("parent", selector.parent)]
    return clean("{" + ", ".join(f"{key}: {value}" for key, value in parts if value is not None) + "}")


def problem_at(selector: Selector, message: str) -> Problem:
    """Return a problem at the place where a selector stands."""
    file, line, column = place_of(selector)
    return Problem(file, line or None, column or None, message)


def place_of(selector: Selector) -> tuple[str, int, int]:
    """Return file, line and column; the numbers are 0 where a selector does not stand in a file."""
    file, *numbers = selector.place.rsplit(":", 2)
    if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
        return file, int(numbers[0]), int(numbers[1])
    return selector.place or "the plan", 0, 0


GLOB = re.compile(r"[*?\[]")
PAGE = 1000  # images: Glance's largest page by default (api_limit_max)
# What `GET /v2/images` takes for no image property: its own parameters, and the columns and methods of its images
# (dir() of glance.db.sqlalchemy.models.Image, Glance 33) that a text is not to be compared with. Some make it fail.
NOT_A_PROPERTY = re.compile(
    r"_.*|.*_(min|max)|changes-since|created_at|delete|deleted|deleted_at|get|id|items|iteritems|keys|limit|locations|"
    r"marker|member_status|members|metadata|min_disk|min_ram|name|next|os_hidden|owner|properties|protected|registry|"
    r"save|size|sort|sort_dir|sort_key|status|tag|tags|to_dict|update|updated_at|values|virtual_size|visibility"
)
NEVER = datetime.min.replace(tzinfo=UTC)
MOST_NAMED = 10  # projects in a problem


def image_query(selector: ImageSelector, own_project_id: str) -> list[tuple[str, str]]:
    """Return the query of GET /v2/images that gets all images a selector may mean, newest first, in pages.

    Visibility is of no matter: what can't be shared is found out, and told, once it is known what is meant.
    """
    query = [("status", selector.status)]
    if selector.owner != "any":
        query.append(("owner", _owner(selector, own_project_id)))
    if selector.name is not None and not GLOB.search(selector.name):
        # What stands before a colon is taken for an operator: debian:12 alone is a 400.
        query.append(("name", f"eq:{selector.name}" if ":" in selector.name else selector.name))
    query += [("tag", tag) for tag in sorted(selector.tags)]
    query += [(name, value) for name, value in selector.properties if not NOT_A_PROPERTY.fullmatch(name)]
    return [*query, ("sort_key", "created_at"), ("sort_dir", "desc"), ("limit", str(PAGE))]


def select_images(
    selector: ImageSelector, images: Iterable[Image], *, own_project_id: str, now: datetime
) -> list[Image]:
    """Return those images that are meant, newest first; of one time, the greater ID first, as Glance sorts them.

    With `per`, `latest` counts for each value of that property, and images that lack it are left out; all texts of an
    image are properties, its name, too. Where the age matters, images without a time of creation are left out.
    """
    owner = _owner(selector, own_project_id)
    since = NEVER if selector.newer_than_seconds is None else now - timedelta(seconds=selector.newer_than_seconds)
    fitting = {
        image.id: image
        for image in images
        if image.status == selector.status
        and owner in {"any", image.owner}
        and _is_named(selector.name, image.name)
        and selector.tags <= image.tags
        and all(image.properties.get(name) == value for name, value in selector.properties)
        and (image.created_at or NEVER) >= since
    }
    newest_first = sorted(fitting.values(), key=lambda image: (image.created_at or NEVER, image.id), reverse=True)
    return newest_first if selector.latest is None else _latest(newest_first, selector.latest, selector.per)


def select_projects(selector: ProjectSelector, projects: Iterable[Project], problems: list[Problem]) -> list[Project]:
    """Return those projects that are meant, by name; `projects` are of the selector's domain already.

    A name that is no pattern and fits several projects is a problem, and added to `problems`.
    """
    fitting = {
        project.id: project
        for project in projects
        if _is_named(selector.name, project.name)
        and selector.tags <= project.tags
        and selector.enabled in {None, project.enabled}
        and selector.parent in {None, project.parent_id}
    }
    found = sorted(fitting.values(), key=lambda project: (project.name, project.id))
    if len(found) > 1 and selector.name is not None and not GLOB.search(selector.name):
        named = ", ".join(f"{clean(p.id, 64)} of domain {clean(p.domain_id, 64)}" for p in found[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
        message = f"{len(found):,} projects have the name {clean(selector.name, 60)!r}: {named}{more}"
        problems.append(problem_at(selector, f"{message}; add `domain` or `parent`, or take an ID"))
    return found


def _owner(selector: ImageSelector, own_project_id: str) -> str:
    return own_project_id if selector.owner == "self" else selector.owner


def _is_named(wanted: str | None, name: str | None) -> bool:
    return wanted is None or (name is not None and fnmatchcase(name, wanted))


def _latest(newest_first: list[Image], latest: int, per: str | None) -> list[Image]:
    """Return the newest so many, for each value of `per` where that is given."""
    if per is None:
        return newest_first[:latest]
    taken: dict[str, int] = {}
    found = []
    for image in newest_first:
        value = image.properties.get(per)
        if value is not None and taken.setdefault(value, 0) < latest:
            taken[value] += 1
            found.append(image)
    return found


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


MOST_PROBLEMS = 20  # nobody reads the thousandth


def project_ids(plan: Plan) -> frozenset[str]:
    """Return the project IDs that stand in the plan: shared with, left out or kept."""
    distinct = {id(items): items for entry in plan.entries for items in _lists(entry)}
    return frozenset(item for items in distinct.values() for item in items if isinstance(item, str))


def check_ids(plan: Plan, known: frozenset[str]) -> list[Problem]:
    """Return a problem for each of `project_ids(plan)` that is not among the `known` ones; for the first, if many.

    An ID that is only left out or kept has to be a project's, too: mistyped, it would protect nobody. Made for plans
    whose selectors are not resolved yet; what they select is known.
    """
    unknown = project_ids(plan) - known
    if not unknown:
        return []
    naming = dict.fromkeys(sorted(unknown), 0)
    among: dict[int, frozenset[str]] = {}  # by the identity of a list: entries share them
    for entry in plan.entries:
        named: set[str] = set()
        for items in _lists(entry):
            if id(items) not in among:
                among[id(items)] = unknown.intersection(item for item in items if isinstance(item, str))
            named |= among[id(items)]
        for project_id in named:
            naming[project_id] += 1
    where = f"plan {plan.name}"
    problems = [
        Problem(where, None, None, f"{project_id} is no project, and named by {counted(count, 'entry', 'entries')}")
        for project_id, count in islice(naming.items(), MOST_PROBLEMS)
    ]
    if (more := len(unknown) - MOST_PROBLEMS) > 0:
        problems.append(
            Problem(where, None, None, f"{counted(more, 'more ID')} that {'is' if more == 1 else 'are'} no project")
        )
    return problems


def _lists(entry: Entry) -> tuple[Iterable[str | ProjectSelector], ...]:
    return entry.projects, entry.excluded, entry.keep
