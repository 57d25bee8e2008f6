"""Items -> IDs and selectors: replaces references to groups and files by their contents.

Finds what no schema can: groups that are unknown, unused or circular. The data may not be a valid plan: anything that
does not look like an item is skipped, since the schema reports it.
"""

from __future__ import annotations

import difflib
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from bulkshare.model import IdList
from bulkshare.plan.lists import (
    COLUMNS,
    STANDARD_INPUT,
    all_canonical,
    canonical_id,
    describe_outlier,
    id_fault,
    list_file,
    name_beside,
    outliers,
    read_ids,
    read_names,
)
from bulkshare.plan.schema import ImageSelectorItem, ProjectSelectorItem
from bulkshare.plan.yaml import UnreadableError
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bulkshare.model import ImageSelector, Problem, ProjectSelector
    from bulkshare.plan.lists import Row
    from bulkshare.plan.yaml import Document, Location

Selector = TypeVar("Selector")

MOST_IDS = 20_000_000  # in all lists of a kind: nested groups grow exponentially, as nested aliases do
IN_A_HINT = 10  # groups


def image_selector(item: Mapping[str, Any], place: str) -> ImageSelector | None:
    """Return an item as a selector; None if it is not valid."""
    try:
        return ImageSelectorItem.model_validate(item).selector(place)
    except ValidationError:
        return None


def project_selector(item: Mapping[str, Any], place: str) -> ProjectSelector | None:
    """Return an item as a selector; None if it is not valid."""
    try:
        return ProjectSelectorItem.model_validate(item).selector(place)
    except ValidationError:
        return None


def _groups(data: Any, kind: str) -> Mapping[str, Any] | None:
    """Return the groups of a kind, or None if they can't be determined."""
    section = data.get("groups", {}) if isinstance(data, dict) else None
    if not isinstance(section, dict) or section.keys() - COLUMNS.keys():
        return None
    groups = section.get(kind, {})
    return groups if isinstance(groups, dict) else None


def _place(file: str, row: Row) -> str:
    return f"{file}:{row.line}:{row.column}"


class Lists(Generic[Selector]):
    """The lists of one kind. Each group and file is read once, and its problems are reported once.

    `names` gets the names beside IDs: comments in the plan, comments and columns in files. The first of an ID wins.
    With `piped`, a list may come from standard input.
    """

    def __init__(
        self,
        kind: str,
        selector: Callable[[Mapping[str, Any], str], Selector | None],
        document: Document,
        folder: Path,
        problems: list[Problem],
        names: dict[str, str],
        *,
        piped: bool = True,
    ) -> None:
        self._kind = kind
        self._selector = selector
        self._groups = _groups(document.data, kind)
        self._document = document
        self._folder = folder
        self._piped = piped
        self._problems = problems
        self._names = names
        self._resolved: dict[str, IdList[str | Selector]] = {}
        self._sets: dict[IdList[str | Selector], frozenset[str | Selector]] = {}
        self._meant: set[str] = set()  # groups that are close to an unknown name
        self._open: list[str] = []  # the groups being resolved, outermost first
        self._files: dict[tuple[Path, bool], IdList[str | Selector] | UnreadableError] = {}
        self._room = MOST_IDS

    def items(self, items: Any, at: Location) -> IdList[str | Selector]:
        """Return the IDs and selectors that the items at a location stand for, in order, with repetitions."""
        if not isinstance(items, list):
            return IdList()
        if len(items) == 1 and isinstance(items[0], dict):
            return self._named(items[0], (*at, 0))  # the group's own list: a thousand entries can share it
        comments = self._document.comments(at)
        if set(map(type, items)) == {str} and all_canonical(items, self._kind):
            for number, comment in comments.items():
                self._name(items[number], comment)
            return self._within_room(items, at)
        found: list[str | Selector] = []
        written = [(number, item) for number, item in enumerate(items) if isinstance(item, str) and not id_fault(item)]
        for index in outliers([item for _, item in written]):
            number, item = written[index]
            self._report((*at, number), describe_outlier(item, "{name: ...}"))
        for number, item in enumerate(items):
            if isinstance(item, dict):
                found.extend(self._named(item, (*at, number)))
            elif isinstance(item, str):
                found.extend(self._id(item, comments.get(number, ""), (*at, number)))
            if len(found) > self._room:
                return self._within_room(found, (*at, number))
        return self._within_room(found, at)

    def _name(self, known_id: str, comment: str) -> None:
        """Keep the comment on an ID as its name, if there is one."""
        if comment and (name := name_beside(comment)):
            self._names.setdefault(known_id, name)

    def _within_room(self, found: list[str | Selector], at: Location) -> IdList[str | Selector]:
        """Return what was found; nothing, and a problem at a location, if that is too much."""
        if len(found) <= self._room:
            self._room -= len(found)
            return IdList(found)
        if self._room:
            self._report(at, f"the {self._kind} expand to more than {MOST_IDS:,} IDs here; use fewer")
        self._room = 0
        return IdList()

    def item_set(self, items: Any, at: Location) -> frozenset[str | Selector]:
        """Return the same as a set; entries with the same list share it."""
        found = self.items(items, at)
        if found not in self._sets:
            self._sets[found] = frozenset(found)
        return self._sets[found]

    def report_unused(self) -> None:
        """Report groups that nothing uses, and the problems inside them; call it when all entries are resolved."""
        unused = [name for name in self._groups or () if name not in self._resolved]
        for name in unused:
            if name in self._resolved:  # one unused group may use another
                continue
            at: Location = ("groups", self._kind, name)
            if name not in self._meant:
                message = f"group {clean(name, 60)!r} is not used; use it, or remove it"
                self._problems.append(self._document.problem(at, message, at_key=True))
            self._group(name, at)

    def _id(self, text: str, comment: str, at: Location) -> tuple[str, ...]:
        """Return the ID that an item is, if it is one, and keep its comment as its name."""
        fault = id_fault(text)
        if fault is not None:
            self._report(at, fault.message)
            return ()
        known_id = canonical_id(text, self._kind)
        self._name(known_id, comment)
        return (known_id,)

    def _named(self, item: Mapping[str, Any], at: Location) -> IdList[str | Selector]:
        group, file = item.get("group"), item.get("file")
        lists: list[IdList[str | Selector]] = []
        if "group" not in item and "file" not in item:
            selector = self._selector(item, str(self._document.problem(at, "")).removesuffix(": "))
            return IdList(() if selector is None else (selector,))
        if isinstance(group, str) and group:
            lists.append(self._group(group, (*at, "group")))
        if isinstance(file, str) and file:
            lists.append(self._file(file, (*at, "file"), names=item.get("as") == "name"))
        return lists[0] if len(lists) == 1 else IdList(chain.from_iterable(lists))

    def _group(self, name: str, at: Location) -> IdList[str | Selector]:
        if self._groups is None:
            return IdList()
        if name not in self._groups:
            near = difflib.get_close_matches(name, self._groups, n=1, cutoff=0.5)
            self._meant.update(near)
            self._report(at, f"there is no group {clean(name, 60)!r} of {self._kind}; {self._hint(near)}")
            return IdList()
        if name in self._open:
            circle = " -> ".join(clean(part, 60) for part in [*self._open[self._open.index(name) :], name])
            self._report(at, clean(f"groups refer to each other in a circle; remove this reference: {circle}", 1000))
            return IdList()
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
            return f"none is defined; define it in `groups: {{{self._kind}: ...}}`"
        return f"there are: {', '.join(names[:IN_A_HINT])}{', ...' if len(names) > IN_A_HINT else ''}"

    def _file(self, name: str, at: Location, *, names: bool) -> IdList[str | Selector]:
        path, shown = list_file(name, self._folder)
        key = (path, names)
        if path == STANDARD_INPUT and not self._piped:
            self._report(at, f"{shown} has no list here: it is the plan's own, or that of a command that only looks")
            return IdList()
        if key not in self._files:
            try:
                self._files[key] = self._read_names(path, shown) if names else self._read_ids(path, shown)
            except UnreadableError as error:
                self._files[key] = error
        found = self._files[key]
        if isinstance(found, UnreadableError):  # reported wherever the plan names the list
            self._report(at, f"{shown}: {found}")
            return IdList()
        return found

    def _read_ids(self, path: Path, shown: str) -> IdList[str | Selector]:
        return IdList(read_ids(path, shown, self._kind, self._problems, self._names))

    def _read_names(self, path: Path, shown: str) -> IdList[str | Selector]:
        """Return a selector for each name in a list."""
        rows = read_names(path, shown, self._problems)
        found = (self._selector({"name": row.text}, _place(shown, row)) for row in rows)
        return IdList(selector for selector in found if selector is not None)

    def _report(self, at: Location, message: str) -> None:
        self._problems.append(self._document.problem(at, message))
