"""Items -> IDs and selectors: groups and files are put in the place of their names.

Finds what no schema can: groups that are unknown, unused or go round in a circle. Takes data that may be no plan: what
has not the form of an item is passed over, the schema tells of it.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from bulkshare.plan.lists import id_trouble, read_ids
from bulkshare.plan.schema import ImageSelectorItem, ProjectSelectorItem
from bulkshare.plan.yaml import UnreadableError
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bulkshare.model import ImageSelector, Problem, ProjectSelector
    from bulkshare.plan.yaml import Document

    Location = tuple[str | int, ...]

Selector = TypeVar("Selector")

COLUMNS = {"images": "image_id", "projects": "project_id"}
MOST_IDS = 20_000_000  # in all lists of a kind: groups of groups grow like aliases of aliases
IN_A_HINT = 10  # groups; more of them are no hint


def image_selector(item: Mapping[str, Any], place: str) -> ImageSelector | None:
    """Return what an item selects; None where it is no good one."""
    try:
        return ImageSelectorItem.model_validate(item).selector(place)
    except ValidationError:
        return None


def project_selector(item: Mapping[str, Any], place: str) -> ProjectSelector | None:
    """Return what an item selects; None where it is no good one."""
    try:
        return ProjectSelectorItem.model_validate(item).selector(place)
    except ValidationError:
        return None


def _groups(data: Any, kind: str) -> Mapping[str, Any] | None:
    """Return the groups of a kind, or None where it can't be told which there are."""
    section = data.get("groups", {}) if isinstance(data, dict) else None
    if not isinstance(section, dict) or section.keys() - COLUMNS.keys():
        return None
    groups = section.get(kind, {})
    return groups if isinstance(groups, dict) else None


class Lists(Generic[Selector]):
    """The lists of one kind. Each group and each file is read once, and its problems are told once."""

    def __init__(
        self,
        kind: str,
        selector: Callable[[Mapping[str, Any], str], Selector | None],
        document: Document,
        folder: Path,
        problems: list[Problem],
    ) -> None:
        self._kind = kind
        self._selector = selector
        self._groups = _groups(document.data, kind)
        self._document = document
        self._folder = folder
        self._problems = problems
        self._resolved: dict[str, tuple[str | Selector, ...]] = {}
        self._sets: dict[int, tuple[object, frozenset[str | Selector]]] = {}  # by the identity of a tuple, with it
        self._meant: set[str] = set()  # the groups that a wrong name is near to
        self._open: list[str] = []  # the groups being resolved, outermost first
        self._files: dict[Path, tuple[str | Selector, ...] | UnreadableError] = {}
        self._room = MOST_IDS

    def items(self, items: Any, at: Location) -> tuple[str | Selector, ...]:
        """Return the IDs and selectors that the items at a location come to, in order, with repetitions."""
        if not isinstance(items, list):
            return ()
        if len(items) == 1 and isinstance(items[0], dict):
            return self._named(items[0], (*at, 0))  # the group's own tuple: a thousand entries can share it
        found: list[str | Selector] = []
        for number, item in enumerate(items):
            if isinstance(item, dict):
                found.extend(self._named(item, (*at, number)))
            elif isinstance(item, str):
                trouble = id_trouble(item)
                if trouble is None:
                    found.append(item)
                else:
                    self._tell((*at, number), trouble.message)
            if len(found) > self._room:
                if self._room:
                    self._tell((*at, number), f"the {self._kind} come to more than {MOST_IDS:,} IDs here; name fewer")
                self._room = 0
                return ()
        self._room -= len(found)
        return tuple(found)

    def item_set(self, items: Any, at: Location) -> frozenset[str | Selector]:
        """Return the same as a set; entries with the same single group or file share it."""
        found = self.items(items, at)
        if id(found) not in self._sets:
            self._sets[id(found)] = found, frozenset(found)
        return self._sets[id(found)][1]

    def tell_unused(self) -> None:
        """Tell of groups that nothing uses, once all entries are resolved, and of what is wrong inside of them."""
        unused = [name for name in self._groups or () if name not in self._resolved]
        for name in unused:
            if name in self._resolved:  # one unused group may use another
                continue
            at: Location = ("groups", self._kind, name)
            if name not in self._meant:
                message = f"group {clean(name, 60)!r} is not used; use it, or take it away"
                self._problems.append(self._document.problem(at, message, at_key=True))
            self._group(name, at)

    def _named(self, item: Mapping[str, Any], at: Location) -> tuple[str | Selector, ...]:
        group, file = item.get("group"), item.get("file")
        found: tuple[str | Selector, ...] = ()
        if "group" not in item and "file" not in item:
            selector = self._selector(item, str(self._document.problem(at, "")).removesuffix(": "))
            return () if selector is None else (selector,)
        if isinstance(group, str) and group:
            found += self._group(group, (*at, "group"))
        if isinstance(file, str) and file:
            found += self._file(file, (*at, "file"))
        return found

    def _group(self, name: str, at: Location) -> tuple[str | Selector, ...]:
        if self._groups is None:
            return ()
        if name not in self._groups:
            near = difflib.get_close_matches(name, self._groups, n=1, cutoff=0.5)
            self._meant.update(near)
            self._tell(at, f"there is no group {clean(name, 60)!r} of {self._kind}; {self._hint(near)}")
            return ()
        if name in self._open:
            circle = " -> ".join(clean(part, 60) for part in [*self._open[self._open.index(name) :], name])
            self._tell(at, clean(f"groups go round in a circle, take this one out: {circle}", 1000))
            return ()
        if name not in self._resolved:
            self._open.append(name)
            self._resolved[name] = self.items(self._groups[name], ("groups", self._kind, name))
            self._open.pop()
        return self._resolved[name]

    def _hint(self, near: list[str]) -> str:
        if near:
            return f"did you mean {clean(near[0], 60)!r}?"
        names = [clean(name, 60) for name in self._groups or ()]
        if not names:
            return f"there are none; define it in `groups: {{{self._kind}: ...}}`"
        return f"there are: {', '.join(names[:IN_A_HINT])}{', ...' if len(names) > IN_A_HINT else ''}"

    def _file(self, name: str, at: Location) -> tuple[str | Selector, ...]:
        path = self._folder / name
        shown = clean(str(path), 1000)
        if path not in self._files:
            try:
                self._files[path] = read_ids(path, shown, COLUMNS[self._kind], self._problems)
            except UnreadableError as error:
                self._files[path] = error
        found = self._files[path]
        if isinstance(found, UnreadableError):  # the place to mend is wherever the plan names the list
            self._tell(at, f"{shown}: {found}")
            return ()
        return found

    def _tell(self, at: Location, message: str) -> None:
        self._problems.append(self._document.problem(at, message))
