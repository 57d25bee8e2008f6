"""From a document to a `Plan`.

Where the schema has found something, this reads what is left, so that a bad ID is told along with a misspelled key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bulkshare.model import Entry, Limits, Plan, RetryPolicy, Want
from bulkshare.plan.clouds import clouds_of
from bulkshare.plan.groups import Lists, image_selector, project_selector

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.model import Problem
    from bulkshare.plan.document import Document
    from bulkshare.plan.sections import EntrySection, PlanFile

    Location = tuple[str | int, ...]


def resolve(file: PlanFile | None, document: Document, folder: Path, problems: list[Problem]) -> Plan | None:
    """Return the plan; it is of use only where no problem was added to `problems`. Files are relative to `folder`.

    `file` is None where the schema has found problems: then this only looks for more of them.
    """
    images = Lists("images", image_selector, document, folder, problems)
    projects = Lists("projects", project_selector, document, folder, problems)
    entries = []
    share = document.data.get("share") if isinstance(document.data, dict) else None
    for number, section in enumerate(share if isinstance(share, list) else ()):
        if not isinstance(section, dict):
            continue
        at: Location = ("share", number)
        before = len(problems)
        entry = Entry(
            images=images.items(section.get("images"), (*at, "images")),
            projects=projects.items(section.get("projects"), (*at, "projects")),
            excluded=projects.item_set(section.get("except"), (*at, "except")),
            keep=projects.item_set(section.get("keep"), (*at, "keep")),
        )
        if file is None:
            continue
        entries.append(_with_orders(entry, file.share[number]))
        if len(problems) == before and _leaves_nobody(entry):
            problems.append(document.problem((*at, "except"), "leaves no project over; take the entry away"))
    clouds = clouds_of(document, problems)
    if file is None:
        return None
    images.tell_unused()
    projects.tell_unused()
    limits, retry = file.limits, file.retry
    return Plan(
        name=file.name,
        entries=tuple(entries),
        clouds=clouds,
        region=file.region or None,
        limits=Limits(limits.concurrency, limits.rate, limits.per_image, limits.members_per_image),
        retry=RetryPolicy(retry.attempts, retry.base, retry.cap),
        check_projects=file.check_projects,
    )


def _with_orders(entry: Entry, section: EntrySection) -> Entry:
    """Return the entry with what is to become of its pairs and images."""
    want = Want.MEMBER
    if section.accept:
        want |= Want.ACCEPTED
    if section.accept == "force":
        want |= Want.FORCED
    if section.make_shared:
        want |= Want.OPENED
    return replace(
        entry,
        want=want,
        accept_as_project={"self": False, "project": True}.get(section.accept_as),
        prune=section.prune,
        fill=section.on_quota == "fill",
        cloud=section.cloud or None,
    )


def _leaves_nobody(entry: Entry) -> bool:
    """Whether it is known without a cloud that an entry has no project."""
    return entry.excluded.issuperset(entry.projects)
