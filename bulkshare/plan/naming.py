"""Whether a plan makes a project a member. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bulkshare.model import Want
from bulkshare.plan.selectors import describe, select_projects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bulkshare.model import Entry, Plan, Project


def how_named(plan: Plan, ids: Collection[str], projects: Collection[Project]) -> str:
    """Return how a plan names one of some projects, so that a run would add it; empty if it doesn't.

    ids: of the projects, in all of their spellings.
    projects: those that still exist. A selector's domain, tags and parent are not compared: it "may choose" them.
    """
    for entry in plan.entries:
        if not entry.want & Want.REMOVE:
            for how in _hows(entry, ids, projects):
                return how
    return ""


def _hows(entry: Entry, ids: Collection[str], projects: Collection[Project]) -> Iterator[str]:
    left = [known_id for known_id in ids if known_id not in entry.excluded]
    items = frozenset(item for item in entry.projects if isinstance(item, str))
    if any(known_id in items for known_id in left):
        yield "names it"
    remaining = [project for project in projects if project.id in left]
    for item in entry.projects:
        if isinstance(item, str):
            continue
        alike = replace(item, tags=frozenset(), parent=None, enabled=None, domain=None)
        if select_projects(alike, remaining, []):
            yield f"may choose it by {describe(item)}"
