"""Groups and files -> IDs. Finds what no schema can: groups that are unknown, unused or go round in a circle."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from bulkshare.model import Entry, Limits, Plan, RetryPolicy
from bulkshare.plan.lists import id_trouble, read_ids
from bulkshare.plan.schema import FileItem, GroupItem
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bulkshare.model import Problem
    from bulkshare.plan.document import Document
    from bulkshare.plan.schema import Item, PlanFile

    Location = tuple[str | int, ...]

COLUMNS = {"images": "image_id", "projects": "project_id"}


def resolve(file: PlanFile, document: Document, folder: Path, problems: list[Problem]) -> Plan:
    """Return the plan; it is of use only where no problem was added to `problems`. Files are relative to `folder`."""
    images = _Lists("images", file.groups.images, document, folder, problems)
    projects = _Lists("projects", file.groups.projects, document, folder, problems)
    entries = []
    for number, section in enumerate(file.share):
        at: Location = ("share", number)
        before = len(problems)
        entry = Entry(
            images=images.ids(section.images, (*at, "images")),
            projects=projects.ids(section.projects, (*at, "projects")),
            excluded=frozenset(projects.ids(section.excluded or (), (*at, "except"))),
        )
        if len(problems) == before and entry.excluded.issuperset(entry.projects):
            problems.append(document.problem((*at, "except"), "leaves no project over; take the entry away"))
        entries.append(entry)
    images.finish()
    projects.finish()
    return Plan(
        name=file.name,
        entries=tuple(entries),
        cloud=file.cloud,
        region=file.region,
        limits=Limits(file.limits.concurrency, file.limits.rate, file.limits.per_image),
        retry=RetryPolicy(file.retry.attempts, file.retry.base, file.retry.cap),
    )


class _Lists:
    """The lists of one kind. Each group and each file is read once, and its problems are told once."""

    def __init__(
        self, kind: str, groups: Mapping[str, Sequence[Item]], document: Document, folder: Path, problems: list[Problem]
    ) -> None:
        self._kind = kind
        self._groups = groups
        self._document = document
        self._folder = folder
        self._problems = problems
        self._resolved: dict[str, tuple[str, ...]] = {}
        self._open: list[str] = []  # the groups being resolved, outermost first
        self._files: dict[Path, tuple[str, ...] | None] = {}

    def ids(self, items: Sequence[Item], at: Location) -> tuple[str, ...]:
        """Return the IDs that the items at a location come to, in order, with repetitions."""
        found: list[str] = []
        for number, item in enumerate(items):
            if isinstance(item, GroupItem):
                found.extend(self._group(item.group, (*at, number, "group")))
            elif isinstance(item, FileItem):
                found.extend(self._file(item.file, (*at, number, "file")))
            elif (trouble := id_trouble(item)) is None:
                found.append(item)
            else:
                self._tell((*at, number), trouble)
        return tuple(found)

    def finish(self) -> None:
        """Tell of groups that nothing uses, once all entries are resolved, and of what is wrong inside of them."""
        unused = [name for name in self._groups if name not in self._resolved]
        for name in unused:
            if name not in self._resolved:  # one unused group may use another
                self._tell(
                    ("groups", self._kind, name), f"group {clean(name)!r} is not used; take it away", at_key=True
                )
                self._group(name, ("groups", self._kind, name))

    def _group(self, name: str, at: Location) -> tuple[str, ...]:
        if name not in self._groups:
            near = difflib.get_close_matches(name, self._groups, n=1, cutoff=0.5)
            known = ", ".join(map(clean, self._groups)) or "none"
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {known}"
            self._tell(at, f"there is no group {clean(name)!r} of {self._kind}; {hint}")
            return ()
        if name in self._open:
            circle = " -> ".join(map(clean, [*self._open[self._open.index(name) :], name]))
            self._tell(at, f"groups go round in a circle: {circle}")
            return ()
        if name not in self._resolved:
            self._open.append(name)
            self._resolved[name] = self.ids(self._groups[name], ("groups", self._kind, name))
            self._open.pop()
        return self._resolved[name]

    def _file(self, name: str, at: Location) -> tuple[str, ...]:
        path = self._folder / name
        if path not in self._files:
            before = len(self._problems)
            self._files[path] = read_ids(path, clean(str(path), 1000), COLUMNS[self._kind], self._problems)
            if self._files[path] is None:
                # The list as a whole is the trouble: the place to mend is where the plan names it.
                self._problems[before:] = [
                    self._document.problem(at, f"{problem.file}: {problem.message}")
                    if problem.line is None
                    else problem
                    for problem in self._problems[before:]
                ]
        return self._files[path] or ()

    def _tell(self, at: Location, message: str, *, at_key: bool = False) -> None:
        self._problems.append(self._document.problem(at, message, at_key=at_key))
