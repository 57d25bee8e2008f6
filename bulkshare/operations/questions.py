"""Who can use an image, and what can a project use: as the ledger knows it. Blocking."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from bulkshare.errors import UsageError
from bulkshare.plan.arguments import argument_for, image_arguments, project_arguments
from bulkshare.plan.selectors import describe
from bulkshare.report.access import Access, access_of
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import ImageSelector, ProjectSelector, RunRef, Sighting

RUNS_SEARCHED = 50  # for IDs and names like a mistyped one


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of the pairs that a question is about.

    names: of images and projects, by ID.
    unlisted: why the cloud did not list the members of images, by ID.
    """

    accesses: list[Access]
    names: Mapping[str, str]
    unlisted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CloudQuestion:
    """A question to the cloud: about an image, or about a project as the member of the images of `owner`.

    asked: as `plan.arguments` reads it.
    owner: "self", "any" or a project ID; only for a project.
    """

    kind: Literal["image", "project"]
    asked: str
    owner: str = "self"


def who(ledger: SqlLedger, image: str, note: Callable[[str], None]) -> Answer:
    """Return what the ledger knows of the projects that can use an image.

    image: as `plan.arguments` reads it; a name may be that of several.
    note: gets a message if only runs on a sandbox know it.

    Raises `UsageError` if the ledger does not know the image, with those that are named like it.
    """
    return _answer(ledger, "image", image, image_arguments([image]), note)


def what(ledger: SqlLedger, project: str, note: Callable[[str], None]) -> Answer:
    """Return what the ledger knows of the images that a project can use, like `who`."""
    return _answer(ledger, "project", project, project_arguments([project]), note)


def _answer(
    ledger: SqlLedger,
    kind: str,
    asked: str,
    items: Sequence[str | ImageSelector | ProjectSelector],
    note: Callable[[str], None],
) -> Answer:
    names = ledger.all_labels()
    ids = _ids(items, names)
    read = ledger.sightings_of_images if kind == "image" else ledger.sightings_of_projects
    runs = ledger.run_refs()
    found = read(ids, [run for run in runs if not run.sandbox])
    if not found and (found := _newest_cloud(read(ids, [run for run in runs if run.sandbox]))):
        last = _last_run(found)
        note(f"only a run on a sandbox, which ended with it, knows this {kind}: {last.key}")
    if not found:
        raise UsageError(_unknown(ledger, kind, asked, runs, names))
    return Answer([access_of(each, _last_run([each]).account) for each in found], names)


def _ids(items: Sequence[str | ImageSelector | ProjectSelector], names: Mapping[str, str]) -> dict[str, None]:
    """Return the IDs that arguments stand for. Raises `UsageError` for selectors that only a cloud can evaluate."""
    ids: dict[str, None] = {}
    for item in items:
        if isinstance(item, str):
            ids[item] = None
            continue
        if item.name is None or replace(item, name=None, place="") != type(item)():
            raise UsageError(
                f"the ledger knows IDs and names only, not {describe(item)}; give one of these, or add --cloud"
            )
        ids[item.name] = None  # an ID that does not look like one
        ids.update((known_id, None) for known_id, name in names.items() if fnmatchcase(name, item.name))
    return ids


def _newest_cloud(found: list[list[Sighting]]) -> list[list[Sighting]]:
    """Return the pairs on the cloud that was seen last: of the sandboxes only the last one is of interest."""
    if not found:
        return []
    endpoint = _last_run(found).account.endpoint
    return [pair for pair in found if _last_run([pair]).account.endpoint == endpoint]


def _last_run(found: Collection[Sequence[Sighting]]) -> RunRef:
    return max((run for pair in found if (run := pair[-1].last_run) is not None), key=lambda run: run.id)


def _unknown(ledger: SqlLedger, kind: str, asked: str, runs: Sequence[RunRef], names: Mapping[str, str]) -> str:
    """Return that the ledger does not know an image or a project, and what is named like it."""
    images, projects = ledger.known_ids([run.id for run in runs[-RUNS_SEARCHED:]])
    ids = images if kind == "image" else projects
    known = sorted({*ids, *(names[known_id] for known_id in ids if known_id in names)})
    close = get_close_matches(asked, known, n=3)
    found = f"did you mean {' or '.join(clean(argument_for(each), 100) for each in close)}? " if close else ""
    article = "an" if kind == "image" else "a"
    return f"no run in the ledger has {article} {kind} {clean(asked, 100)!r}; {found}--cloud asks the cloud"
