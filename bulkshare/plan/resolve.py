"""Groups and files -> IDs. Finds what no schema can: groups that are unknown, unused or go round in a circle.

Where the schema has found something, this reads what is left, so that a bad ID is told along with a misspelled key.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from bulkshare.model import Entry, Limits, Plan, RetryPolicy
from bulkshare.plan.files import UnreadableError
from bulkshare.plan.lists import id_trouble, read_ids
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bulkshare.model import Problem
    from bulkshare.plan.document import Document
    from bulkshare.plan.schema import PlanFile

    Location = tuple[str | int, ...]

COLUMNS = {"images": "image_id", "projects": "project_id"}
MOST_IDS = 20_000_000  # in all lists of a kind: groups of groups grow like aliases of aliases
IN_A_HINT = 10  # groups; more of them are no hint


def resolve(file: PlanFile | None, document: Document, folder: Path, problems: list[Problem]) -> Plan | None:
    """Return the plan; it is of use only where no problem was added to `problems`. Files are relative to `folder`.

    `file` is None where the schema has found problems: then this only looks for more of them.
    """
    images = _Lists("images", document, folder, problems)
    projects = _Lists("projects", document, folder, problems)
    entries = []
    share = document.data.get("share") if isinstance(document.data, dict) else None
    for number, section in enumerate(share if isinstance(share, list) else ()):
        if not isinstance(section, dict):
            continue
        at: Location = ("share", number)
        before = len(problems)
        entry = Entry(
            images=images.ids(section.get("images"), (*at, "images")),
            projects=projects.ids(section.get("projects"), (*at, "projects")),
            excluded=frozenset(projects.ids(section.get("except"), (*at, "except"))),
        )
        if file is not None and len(problems) == before and entry.excluded.issuperset(entry.projects):
            problems.append(document.problem((*at, "except"), "leaves no project over; take the entry away"))
        entries.append(entry)
    if file is None:
        return None
    images.tell_unused()
    projects.tell_unused()
    return Plan(
        name=file.name,
        entries=tuple(entries),
        clouds=(file.cloud,) if file.cloud else (),
        region=file.region or None,
        limits=Limits(file.limits.concurrency, file.limits.rate, file.limits.per_image),
        retry=RetryPolicy(file.retry.attempts, file.retry.base, file.retry.cap),
    )


def _groups(data: Any, kind: str) -> Mapping[str, Any] | None:
    """Return the groups of a kind, or None where it can't be told which there are."""
    section = data.get("groups", {}) if isinstance(data, dict) else None
    if not isinstance(section, dict) or section.keys() - COLUMNS.keys():
        return None
    groups = section.get(kind, {})
    return groups if isinstance(groups, dict) else None


class _Lists:
    """The lists of one kind. Each group and each file is read once, and its problems are told once."""

    def __init__(self, kind: str, document: Document, folder: Path, problems: list[Problem]) -> None:
        self._kind = kind
        self._groups = _groups(document.data, kind)
        self._document = document
        self._folder = folder
        self._problems = problems
        self._resolved: dict[str, tuple[str, ...]] = {}
        self._meant: set[str] = set()  # the groups that a wrong name is near to
        self._open: list[str] = []  # the groups being resolved, outermost first
        self._files: dict[Path, tuple[str, ...] | UnreadableError] = {}
        self._room = MOST_IDS

    def ids(self, items: Any, at: Location) -> tuple[str, ...]:
        """Return the IDs that the items at a location come to, in order, with repetitions.

        What has not the form of an item is passed over: the schema tells of it.
        """
        if not isinstance(items, list):
            return ()
        if len(items) == 1 and isinstance(items[0], dict):
            return self._selected(items[0], (*at, 0))  # the group's own tuple: a thousand entries can share it
        found: list[str] = []
        for number, item in enumerate(items):
            if isinstance(item, dict):
                found.extend(self._selected(item, (*at, number)))
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

    def _selected(self, item: Mapping[str, Any], at: Location) -> tuple[str, ...]:
        group, file = item.get("group"), item.get("file")
        found: tuple[str, ...] = ()
        if isinstance(group, str) and group:
            found += self._group(group, (*at, "group"))
        if isinstance(file, str) and file:
            found += self._file(file, (*at, "file"))
        return found

    def _group(self, name: str, at: Location) -> tuple[str, ...]:
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
            self._resolved[name] = self.ids(self._groups[name], ("groups", self._kind, name))
            self._open.pop()
        return self._resolved[name]

    def _hint(self, near: list[str]) -> str:
        if near:
            return f"did you mean {clean(near[0], 60)!r}?"
        names = [clean(name, 60) for name in self._groups or ()]
        if not names:
            return f"there are none; define it in `groups: {{{self._kind}: ...}}`"
        return f"there are: {', '.join(names[:IN_A_HINT])}{', ...' if len(names) > IN_A_HINT else ''}"

    def _file(self, name: str, at: Location) -> tuple[str, ...]:
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
