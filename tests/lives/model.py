"""What a plan means, and what a run of it does, in plain sets: written apart from bulkshare, from its manual.

`meaning` returns what a plan, as the document in its file, wants of each image of a cloud. `foresee` returns what a run
has to do about that, given the cloud as it is. Nothing here knows of requests, rows or phases.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.lives.world import ImageState, State

Document = dict[str, Any]
AS_PLANNED = frozenset({"shared", "already", "accepted", "removed", "absent", "declined", "reset"})
OPEN_TO_ALL = frozenset({"public", "community"})


class PruneLimit(NamedTuple):
    """How many members of an image may be removed: a share of them, but always `least`."""

    share: Fraction
    least: int


# By how a plan and the option write them.
PRUNE_LIMITS = {
    "10%": PruneLimit(Fraction(1, 10), 0),
    "0": PruneLimit(Fraction(0), 0),
    "0.5": PruneLimit(Fraction(1, 2), 0),
    "10%, at least 1": PruneLimit(Fraction(1, 10), 1),
    "2": PruneLimit(Fraction(0), 2),
    "100%": PruneLimit(Fraction(1), 0),
}


class RefusedPlanError(Exception):
    """The plan does not fit: nothing may be sent."""


# What a plan means


@dataclass(frozen=True)
class Wanted:
    """What a plan wants of one image.

    members: the projects it is to be shared with.
    accept, force: those whose membership is to be accepted, and those even if they have rejected it.
    unknown: those that the cloud has no project for.
    kept: who stays besides the members.
    gone: who is to be no member: of a plan that was saved, and of what needs no plan.
    reset: whose membership is to be pending again.
    selected: a selector chose the image, so its status is as the plan wants it.
    limits: each of them has to allow the removals; none of a plan that was saved.
    quota: how many members the plan lets it have; 0 or None: any number.
    strict: an image that every project can use is not as planned.
    """

    members: frozenset[str] = frozenset()
    accept: frozenset[str] = frozenset()
    force: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    prune: bool = False
    fill: bool = False
    make_shared: bool = False
    selected: bool = False
    limits: frozenset[str] = frozenset()
    quota: int | None = None
    strict: bool = False
    reset: frozenset[str] = frozenset()

    def extra(self, image: ImageState) -> frozenset[str]:
        """Return the members that the image is not to have."""
        extra = image.members.keys() - self.members - self.kept if self.prune else frozenset()
        return frozenset(extra | (self.gone & image.members.keys()))

    def allows(self, removals: int, members: int) -> bool:
        """Return whether so many of the image's members may be removed."""
        limits = [PRUNE_LIMITS[limit] for limit in self.limits]
        return all(removals <= limit.least or removals <= limit.share * members for limit in limits)

    def only(self, members: frozenset[str]) -> Wanted:
        """Return the same of these members alone; no one is removed."""
        return replace(
            self,
            members=self.members & members,
            accept=self.accept & members,
            force=self.force & members,
            unknown=self.unknown & members,
            prune=False,
        )

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(
            self.members | other.members,
            self.accept | other.accept,
            self.force | other.force,
            self.unknown | other.unknown,
            self.kept | other.kept,
            self.gone | other.gone,
            self.prune or other.prune,
            self.fill or other.fill,
            self.make_shared or other.make_shared,
            self.selected or other.selected,
            self.limits | other.limits,
            self.quota,
            self.strict,
        )


Meaning = dict[str, Wanted]  # by image ID


class PlanReader:
    """Reads a plan for a cloud, given as the state it is in. `files` are its lists, by name."""

    def __init__(self, document: Document, files: Mapping[str, list[str]], cloud: str, state: State) -> None:
        self._document, self._files, self._cloud, self._state = document, files, cloud, state

    def meaning(self, *, prune_all: bool, prune_limit: str | None) -> Meaning:
        """Return what the plan wants with these options. Raises `RefusedPlanError`."""
        document, found = self._document, dict[str, Wanted]()
        for name in document.get("clouds", ()):
            if all(entry.get("cloud", name) != name for entry in document["share"]):
                raise RefusedPlanError(f"no entry is for {name}")
        for entry in document["share"]:
            if entry.get("cloud", self._cloud) == self._cloud:
                wanted = self._wanted(entry)
                images, selected = self._items(entry["images"], "images")
                for image_id in images:
                    this = replace(wanted, selected=image_id in selected)
                    found[image_id] = found.get(image_id, this) | this
        default = document.get("prune_limit", "10%")
        for image_id, wanted in found.items():
            limits = frozenset({prune_limit}) if prune_limit else wanted.limits or frozenset({default})
            found[image_id] = replace(wanted, limits=limits, prune=wanted.prune or prune_all)
        return found

    def _wanted(self, entry: Document) -> Wanted:
        """Return what an entry wants of each of its images."""
        members = frozenset(self._items(entry["projects"], "projects")[0])
        members -= self._items(entry.get("except", ()), "projects")[0]
        if not members and not self._may_be_empty(entry["projects"]):
            raise RefusedPlanError("an entry has no project left")
        accept = entry.get("accept", False)
        checked = self._document.get("check_projects") != "never" and self._state.roles is None
        return Wanted(
            members,
            accept=members if accept else frozenset(),
            force=members if accept == "force" else frozenset(),
            unknown=members - self._state.projects.keys() if checked else frozenset(),
            kept=frozenset(self._items(entry.get("keep", ()), "projects")[0]),
            prune=entry.get("prune", False),
            fill=entry.get("on_quota") == "fill",
            make_shared=entry.get("make_shared", False),
            limits=frozenset({entry["prune_limit"]} if "prune_limit" in entry else ()),
            quota=self._document.get("limits", {}).get("members_per_image"),
            strict=self._document.get("strict", False),
        )

    def _items(self, items: Iterable[Any], kind: str) -> tuple[set[str], set[str]]:
        """Return the IDs that the items of a list stand for, and which of these were selected."""
        found, selected = set[str](), set[str]()
        for item in items:
            if isinstance(item, str):
                found.add(item)
            elif "file" in item:
                found.update(self._files[item["file"]])
            elif "group" in item:
                inner = self._items(self._document["groups"][kind][item["group"]], kind)
                found |= inner[0]
                selected |= inner[1]
            else:
                matching = self._images(item) if kind == "images" else self._projects(item)
                if not matching and not item.get("allow_empty"):
                    raise RefusedPlanError(f"nothing matches {item}")
                found |= matching
                selected |= matching
        return found, selected

    def _may_be_empty(self, items: Iterable[Any]) -> bool:
        return any(
            item.get("allow_empty", False)
            or ("group" in item and self._may_be_empty(self._document["groups"]["projects"][item["group"]]))
            for item in items
            if not isinstance(item, str)
        )

    def _images(self, selector: Mapping[str, Any]) -> set[str]:
        matching = [
            image
            for image in self._state.images.values()
            if image.owner == self._state.us
            and image.status == selector.get("status", "active")
            and fnmatchcase(image.name, selector.get("name", "*"))
            and selector.get("tag", "") in {"", *image.tags}
        ]
        matching.sort(key=lambda image: image.age)
        return {image.id for image in matching[: selector.get("latest")]}

    def _projects(self, selector: Mapping[str, Any]) -> set[str]:
        return {
            project.id
            for project in self._state.projects.values()
            if fnmatchcase(project.name, selector.get("name", "*"))
            and selector.get("domain") in {None, project.domain}
            and selector.get("tag", "") in {"", *project.tags}
            and selector.get("enabled", True) in {"any", project.enabled}
            and (self._state.roles is None or project.id in self._state.roles)
        }


# What a run does


@dataclass
class Todo:
    """What a run has to do about one image.

    add: who is added.
    accept: whose membership is accepted, also of those who are added.
    unaccepted: who is a member then, but can't be accepted: the operator has no role in the project.
    reset: whose membership becomes pending again.
    remove: who is removed.
    make_shared: the image is made shared first.
    satisfied: who needs nothing.
    refused: for whom nothing can be done.
    unlisted: whose image is not there, which the first request shows.
    hidden: the members that the image gets back when it is made shared, with their statuses.
    most: how many more members the cloud lets it have once the removals are done; None: any number.
    """

    add: set[str] = field(default_factory=set)
    accept: set[str] = field(default_factory=set)
    unaccepted: set[str] = field(default_factory=set)
    reset: set[str] = field(default_factory=set)
    remove: set[str] = field(default_factory=set)
    make_shared: bool = False
    satisfied: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unlisted: set[str] = field(default_factory=set)
    hidden: dict[str, str] = field(default_factory=dict)
    most: int | None = None

    @property
    def new(self) -> set[str]:
        """Who will be added in fact: the others were members before the image became private."""
        return self.add - self.hidden.keys()

    @property
    def everyone(self) -> set[str]:
        """Whoever has a row."""
        changed = self.add | self.accept | self.unaccepted | self.reset | self.remove
        return changed | self.satisfied | self.refused | self.unlisted

    @property
    def to_send(self) -> tuple[object, ...]:
        """Whatever is sent, as far as is known beforehand."""
        return self.add, self.accept, self.unaccepted, self.remove, self.make_shared, self.unlisted

    @property
    def changes(self) -> bool:
        """Whether anything is written."""
        return bool(self.add or self.accept or self.reset or self.remove or self.make_shared)

    @property
    def all_fit(self) -> bool:
        """Whether the cloud takes all that are to be added."""
        return self.most is None or len(self.new) <= self.most

    @property
    def problems(self) -> bool:
        """Whether something can't be done, as far as is known beforehand."""
        return bool(self.refused or self.unlisted or self.unaccepted)


Todos = dict[str, Todo]  # by image ID


def foresee(wanted: Meaning, state: State) -> Todos:
    """Return what a run has to do. If one image would lose too many members, none loses any."""
    todos = {image_id: _foresee(each, state.images.get(image_id)) for image_id, each in wanted.items()}
    if any(
        not wanted[image_id].allows(len(todo.remove), len(state.images[image_id].members))
        for image_id, todo in todos.items()
        if todo.remove
    ):
        for todo in todos.values():
            todo.refused |= todo.remove
            todo.remove = set()
    for image_id, todo in todos.items():
        if image_id in state.images:
            _fit(todo, wanted[image_id], state.images[image_id], state.quota)
        if state.roles is not None:
            todo.unaccepted = todo.accept - state.roles
            todo.accept &= state.roles
    return todos


def _foresee(wanted: Wanted, image: ImageState | None) -> Todo:
    known = set(wanted.members - wanted.unknown)
    todo = Todo(refused=set(wanted.unknown))
    if image is None or image.visibility != "shared":
        todo.refused |= wanted.gone
    if image is None:
        if wanted.prune:  # who would have to be removed is not known, so nothing is tried
            todo.refused |= known
        else:
            todo.unlisted = known
        return todo
    if image.visibility in OPEN_TO_ALL:
        if wanted.strict:
            todo.refused |= known
        else:
            todo.satisfied = known
        return todo
    takes_members = image.status != "deactivated" or wanted.selected
    if image.visibility == "private":
        if wanted.make_shared and takes_members:
            todo.add = known - {image.owner}
            todo.hidden = dict(image.members)
        todo.refused |= known - todo.add
        return todo
    there = known & image.members.keys()
    to_accept = {each for each in there & wanted.accept if _may_accept(image.members[each], each in wanted.force)}
    todo.satisfied = there - to_accept
    todo.remove = set(wanted.extra(image))
    todo.reset = {each for each in wanted.reset & image.members.keys() if image.members[each] != "pending"}
    todo.refused |= (known - todo.satisfied) & {image.owner} if takes_members else known - todo.satisfied
    if not takes_members:
        todo.refused |= todo.reset
        todo.reset = set()
    todo.add = known - there - todo.refused
    todo.accept = to_accept - todo.refused
    return todo


def _may_accept(status: str, force: bool) -> bool:  # noqa: FBT001  a fact of the member, like its status
    return status == "pending" or (status == "rejected" and force)


def _fit(todo: Todo, wanted: Wanted, image: ImageState, quota: int) -> None:
    """Find out who fits, which depends on how many are removed. A private image's members are not known beforehand."""
    stay = len(image.members) - len(todo.remove)
    known = 0 if image.visibility == "private" else stay
    if wanted.quota and known + len(todo.add) > wanted.quota:
        fit = sorted(todo.add)[: max(wanted.quota - known, 0)] if wanted.fill else []
        todo.refused |= todo.add.difference(fit)
        todo.add = set(fit)
    todo.accept |= todo.add & wanted.accept
    todo.make_shared = image.visibility == "private" and bool(todo.add)
    if quota >= 0:
        todo.most = max(quota - stay, 0)
