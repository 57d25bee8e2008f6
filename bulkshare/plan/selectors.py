"""Selectors: what to ask a cloud for, which of its images and projects match, and plans with IDs in their place.

The cloud's own filters only save it work. Its answers are filtered again here, because some databases compare without
case, and because the later pages of an image list keep only one of several tags. Knows nothing of how a cloud is asked.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import IdList, ImageSelector, Problem, ProjectSelector
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bulkshare.model import Entry, Image, Plan, Project

    Selector = ImageSelector | ProjectSelector
    Items = Collection[str | Selector]

DAY_SECONDS = 86_400
GLOB = re.compile(r"[*?\[]")
PAGE = 1000  # images: Glance's largest page by default (api_limit_max)
# Names that `GET /v2/images` does not take for image properties: its own parameters, and the columns and methods of its
# images (dir() of glance.db.sqlalchemy.models.Image, Glance 33), which can't be compared with text. Some make it fail.
NOT_A_PROPERTY = re.compile(
    r"_.*|.*_(min|max)|changes-since|created_at|delete|deleted|deleted_at|get|id|items|iteritems|keys|limit|locations|"
    r"marker|member_status|members|metadata|min_disk|min_ram|name|next|os_hidden|owner|properties|protected|registry|"
    r"save|size|sort|sort_dir|sort_key|status|tag|tags|to_dict|update|updated_at|values|virtual_size|visibility"
)
NEVER = datetime.min.replace(tzinfo=UTC)
MOST_NAMED = 10  # projects in a problem
MOST_ALIKE = 3  # names in a problem
MOST_PROBLEMS = 20  # of unknown IDs; the rest are counted


def describe(selector: Selector) -> str:
    """Return a selector as one line, in the keys of a plan."""
    parts: list[tuple[str, object]] = [("name", selector.name)]
    if isinstance(selector, ProjectSelector):
        parts.append(("domain", selector.domain))
    parts += [("tag", tag) for tag in sorted(selector.tags)]
    if isinstance(selector, ImageSelector):
        parts += [*selector.properties, ("owner", selector.owner), ("status", selector.status)]
        ages = (("newer_than", selector.newer_than_seconds), ("older_than", selector.older_than_seconds))
        parts += [(key, f"{seconds / DAY_SECONDS:g}d") for key, seconds in ages if seconds is not None]
        parts += [("skip_latest", selector.skip_latest), ("latest", selector.latest), ("per", selector.per)]
    else:
        enabled = "any" if selector.enabled is None else str(selector.enabled).lower()
        parts += [("enabled", enabled), ("parent", selector.parent)]
    return clean("{" + ", ".join(f"{key}: {value}" for key, value in parts if value is not None) + "}")


def problem_at(selector: Selector, message: str) -> Problem:
    """Return a problem at a selector's position."""
    file, line, column = place_of(selector)
    return Problem(file, line or None, column or None, message)


def place_of(selector: Selector) -> tuple[str, int, int]:
    """Return file, line and column; the numbers are 0 for a selector that comes from no file."""
    file, *numbers = selector.place.rsplit(":", 2)
    if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
        return file, int(numbers[0]), int(numbers[1])
    return selector.place or "the plan", 0, 0


def image_query(selector: ImageSelector, own_project_id: str) -> list[tuple[str, str]]:
    """Return the query of GET /v2/images for all images that a selector may match, newest first, in pages.

    It does not filter by visibility: images that can't be shared are reported once it is known which images match.
    """
    query = [("status", selector.status)]
    if selector.owner != "any":
        query.append(("owner", _owner(selector, own_project_id)))
    if selector.name is not None and not GLOB.search(selector.name):
        # Text before a colon is taken for an operator: a bare debian:12 is a 400.
        query.append(("name", f"eq:{selector.name}" if ":" in selector.name else selector.name))
    query += [("tag", tag) for tag in sorted(selector.tags)]
    query += [(name, value) for name, value in selector.properties if not NOT_A_PROPERTY.fullmatch(name)]
    return [*query, ("sort_key", "created_at"), ("sort_dir", "desc"), ("limit", str(PAGE))]


def select_images(
    selector: ImageSelector, images: Iterable[Image], *, own_project_id: str, now: datetime
) -> list[Image]:
    """Return the images that match, newest first, ties by descending ID, as Glance sorts them.

    First `skip_latest` leaves out the newest ones, so that they stay however old they get; then the ages apply; then
    `latest` takes the newest of the rest. With `per`, both count per value of that property, and images without it are
    left out; every text of an image is a property, including its name. If the selector has an age, images without a
    creation time are left out.
    """
    owner = _owner(selector, own_project_id)
    fitting = {
        image.id: image
        for image in images
        if image.status == selector.status
        and owner in {"any", image.owner}
        and _is_named(selector.name, image.name)
        and selector.tags <= image.tags
        and all(image.properties.get(name) == value for name, value in selector.properties)
    }
    newest_first = sorted(fitting.values(), key=lambda image: (image.created_at or NEVER, image.id), reverse=True)
    if selector.skip_latest is not None:
        newest_first = _ranked(newest_first, selector.per, range(selector.skip_latest, len(newest_first)))
    aged = [image for image in newest_first if _has_age(image, selector, now)]
    return aged if selector.latest is None else _ranked(aged, selector.per, range(selector.latest))


def select_projects(selector: ProjectSelector, projects: Iterable[Project], problems: list[Problem]) -> list[Project]:
    """Return the projects that match, sorted by name. `projects` are already limited to the selector's domain.

    A plain name that matches several projects is a problem, which is added to `problems`.
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
        problems.append(problem_at(selector, f"{message}; add `domain` or `parent`, or use an ID"))
    return found


def _owner(selector: ImageSelector, own_project_id: str) -> str:
    return own_project_id if selector.owner == "self" else selector.owner


def _is_named(wanted: str | None, name: str | None) -> bool:
    return wanted is None or (name is not None and fnmatchcase(name, wanted))


def _has_age(image: Image, selector: ImageSelector, now: datetime) -> bool:
    newer_than, older_than = selector.newer_than_seconds, selector.older_than_seconds
    if image.created_at is None:
        return newer_than is None and older_than is None
    age = (now - image.created_at).total_seconds()
    return (newer_than is None or age <= newer_than) and (older_than is None or age > older_than)


def _ranked(newest_first: list[Image], per: str | None, ranks: range) -> list[Image]:
    """Return the images with one of these ranks, 0 for the newest, per value of `per` if given."""
    seen: Counter[str] = Counter()
    found = []
    for image in newest_first:
        value = "" if per is None else image.properties.get(per)
        if value is not None:
            if seen[value] in ranks:
                found.append(image)
            seen[value] += 1
    return found


class Selectors(NamedTuple):
    """The distinct selectors of a plan, in order of first mention, each with the entries that contain it."""

    images: dict[ImageSelector, list[Entry]]
    projects: dict[ProjectSelector, list[Entry]]


def for_cloud(plan: Plan, cloud: str) -> Plan:
    """Return the part of a plan that is for one cloud: the entries that name it, and those that name no cloud."""
    entries = tuple(entry for entry in plan.entries if entry.cloud in {None, cloud})
    receive = tuple(each for each in plan.receive if each.cloud in {None, cloud})
    return replace(plan, entries=entries, receive=receive, clouds=(cloud,))


def selectors(plan: Plan) -> Selectors:
    """Return what a cloud has to be asked for; empty if the plan consists of IDs alone."""
    found = Selectors({}, {})
    known: dict[Items, list[Any]] = {}  # entries share lists
    for entry in plan.entries:
        for images in _among(entry.images, known):
            found.images.setdefault(images, []).append(entry)
        lists = (entry.projects, entry.excluded, entry.keep)
        for projects in dict.fromkeys(selector for items in lists for selector in _among(items, known)):
            found.projects.setdefault(projects, []).append(entry)
    return found


def _among(items: Items, known: dict[Items, list[Any]]) -> list[Any]:
    """Return the distinct selectors among the items: of a list in order, of a set by position."""
    if items not in known:
        found = {} if _only_ids(items) else dict.fromkeys(item for item in items if not isinstance(item, str))
        known[items] = sorted(found, key=place_of) if isinstance(items, frozenset) else list(found)
    return known[items]


def resolved(
    plan: Plan,
    images: Mapping[ImageSelector, Sequence[str]],
    projects: Mapping[ProjectSelector, Sequence[str]],
    problems: list[Problem],
    names: Mapping[Selector, Sequence[str]] | None = None,
) -> Plan:
    """Return the plan with IDs in place of its selectors. Lists that entries share stay shared.

    `images` and `projects` map each of `selectors(plan)` to its IDs. A selector without IDs is a problem unless it has
    `allow_empty`, also under `except` and `keep`, which protect projects. An entry without projects is a
    problem, too. Problems are added to `problems`; if there are any, the returned plan must not be used. `names` has
    those among which a problem names the ones that are like a selector's.
    """
    resolver = _Resolver(dict([*images.items(), *projects.items()]), names or {})
    entries = tuple(
        replace(
            entry,
            images=resolver.resolve(entry.images, IdList),
            projects=resolver.resolve(entry.projects, IdList),
            excluded=resolver.resolve(entry.excluded, frozenset),
            keep=resolver.resolve(entry.keep, frozenset),
        )
        for entry in plan.entries
    )
    found = resolver.problems or [
        problem
        for before, after in zip(plan.entries, entries, strict=True)
        if before.projects
        if after.excluded.issuperset(after.projects) and (problem := _no_project_left(before)) is not None
    ]
    problems.extend(dict.fromkeys(found))
    return replace(plan, entries=entries)


class _Resolver:
    """Replaces selectors by IDs, once per list, however many entries share it."""

    def __init__(self, found: Mapping[Any, Sequence[str]], names: Mapping[Any, Sequence[str]]) -> None:
        self.problems: list[Problem] = []
        self._found = found
        self._names = names
        self._done: dict[Items, Any] = {}

    def resolve(self, items: Items, make: type[IdList[str] | frozenset[str]]) -> Any:
        """Return the IDs that the items stand for, as a `make`; the same object if they are IDs alone."""
        if items not in self._done:
            self._done[items] = items if _only_ids(items) else make(self._ids(items))
        return self._done[items]

    def _ids(self, items: Items) -> list[str]:
        ids: list[str] = []
        for item in items:
            if isinstance(item, str):
                ids.append(item)
                continue
            found = self._found[item]
            if not found and not item.allow_empty:
                what = "image" if isinstance(item, ImageSelector) else "project"
                in_file = place_of(item)[1] > 0
                advice = "correct the selector, or add `allow_empty: true`" if in_file else "correct it"
                message = f"no {what} matches {describe(item)}{self._alike(item)}; {advice}"
                self.problems.append(problem_at(item, message))
            ids.extend(found)
        return ids

    def _alike(self, selector: Selector) -> str:
        alike = difflib.get_close_matches(selector.name or "", dict.fromkeys(self._names.get(selector, ())), MOST_ALIKE)
        return f"; like it: {', '.join(repr(clean(name, 60)) for name in alike)}" if alike else ""


def _no_project_left(entry: Entry) -> Problem | None:
    """Return the problem of an entry without projects, at one of its selectors; None if they may be empty."""
    known: dict[Items, list[Any]] = {}
    selecting = _among(entry.projects, known)
    if any(selector.allow_empty for selector in selecting):
        return None
    first = next(iter([*selecting, *_among(entry.excluded, known)]), None)
    return None if first is None else problem_at(first, "`except` leaves no project")


def _only_ids(items: Collection[object]) -> bool:
    return set(map(type, items)) <= {str}  # runs at C speed: lists have a million lines


def project_ids(plan: Plan) -> frozenset[str]:
    """Return the project IDs in the plan: under `projects`, `except` or `keep`."""
    distinct = dict.fromkeys(items for entry in plan.entries for items in _lists(entry))
    return frozenset(item for items in distinct for item in items if isinstance(item, str))


def respelled(plan: Plan, spellings: Mapping[str, str]) -> Plan:
    """Return the plan with project IDs replaced as in `spellings`. Lists that entries share stay shared."""
    if not spellings:
        return plan
    done: dict[Items, Any] = {}

    def respell(items: Items, make: type[IdList[Any] | frozenset[Any]]) -> Any:
        if items not in done:
            done[items] = make(spellings.get(item, item) if isinstance(item, str) else item for item in items)
        return done[items]

    entries = (
        replace(
            entry,
            projects=respell(entry.projects, IdList),
            excluded=respell(entry.excluded, frozenset),
            keep=respell(entry.keep, frozenset),
        )
        for entry in plan.entries
    )
    names = {spellings.get(known_id, known_id): name for known_id, name in plan.names.items()}
    return replace(plan, entries=tuple(entries), names=names)


def idle_exclusions(plan: Plan, resolved_plan: Plan, known: frozenset[str], unknown: frozenset[str]) -> list[str]:
    """Return a sentence for each way in which exclusions of a plan match nothing.

    These are IDs under `except` or `keep` that are `unknown`, and IDs under `except` that are not known to be projects
    and exclude none of the entry's.
    """
    among: dict[Items, frozenset[str]] = {}  # entries share lists
    excluded: dict[str, None] = {}
    kept: dict[str, None] = {}
    for entry, concrete in zip(plan.entries, resolved_plan.entries, strict=True):
        doubtful = {item for item in entry.excluded if isinstance(item, str)} - known
        if doubtful - unknown and concrete.projects not in among:
            among[concrete.projects] = frozenset(concrete.projects)  # type: ignore[arg-type]  # it is resolved
        excluded.update(
            (item, None) for item in sorted(doubtful) if item in unknown or item not in among[concrete.projects]
        )
        kept.update((item, None) for item in sorted(unknown & entry.keep))
    found = ((excluded, "except", "excludes no project"), (kept, "keep", "keeps no member"))
    return [
        f"`{key}` matches nothing with {_some(list(ids))}: {effect}; correct or remove it"
        for ids, key, effect in found
        if ids
    ]


def _some(ids: Sequence[str]) -> str:
    named = ", ".join(clean(each, 64) for each in ids[:MOST_NAMED])
    return f"{named} and {len(ids) - MOST_NAMED:,} more" if len(ids) > MOST_NAMED else named


def unchecked_note(unchecked: frozenset[str], total: int, reason: str) -> str:
    """Return what to report about project IDs that could not be checked, of `total` that were to be."""
    return f"{len(unchecked):,} of {counted(total, 'project ID')} not checked ({_some(sorted(unchecked))}): {reason}"


def check_ids(plan: Plan, known: frozenset[str]) -> list[Problem]:
    """Return a problem for each of `project_ids(plan)` that is not in `known`; for the first ones if there are many.

    An ID under `except` or `keep` must be a project, too: a mistyped one would protect no one. For plans whose
    selectors are not resolved yet; the projects they select are known to exist.
    """
    unknown = project_ids(plan) - known
    if not unknown:
        return []
    naming = dict.fromkeys(sorted(unknown), 0)
    among: dict[Items, frozenset[str]] = {}  # entries share lists
    for entry in plan.entries:
        named: set[str] = set()
        for items in _lists(entry):
            if items not in among:
                among[items] = unknown.intersection(item for item in items if isinstance(item, str))
            named |= among[items]
        for project_id in named:
            naming[project_id] += 1
    where = f"plan {plan.name}"
    problems = [
        Problem(
            where, None, None, f"{project_id} is not a project; it is named by {counted(count, 'entry', 'entries')}"
        )
        for project_id, count in islice(naming.items(), MOST_PROBLEMS)
    ]
    if (more := len(unknown) - MOST_PROBLEMS) > 0:
        problems.append(
            Problem(where, None, None, f"{counted(more, 'more ID')} that {'is' if more == 1 else 'are'} not a project")
        )
    return problems


def _lists(entry: Entry) -> tuple[Items, ...]:
    return entry.projects, entry.excluded, entry.keep
