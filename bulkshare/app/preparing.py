"""From a plan as it was written to one that says IDs alone: what its selectors mean on one cloud, today."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from bulkshare.app.places import utc_now
from bulkshare.app.searching import find_images
from bulkshare.errors import DirectoryError, PlanError
from bulkshare.model import CheckProjects, Want
from bulkshare.planner import orders
from bulkshare.selection import (
    check_ids,
    image_query,
    project_ids,
    resolved,
    select_images,
    select_projects,
    selectors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkshare.app.clouds import Line
    from bulkshare.app.voice import Voice
    from bulkshare.model import Account, Entry, Image, ImageSelector, Orders, Plan, Problem, Project, RetryPolicy
    from bulkshare.ports import Directory

    Selector = TypeVar("Selector")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan for one cloud. `plan` has IDs only; `images` are those that were looked up, `labels` are names by ID.

    `unknown` are the plan's project IDs that are no projects.
    """

    plan: Plan
    images: Mapping[str, Image] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, Orders] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()


async def prepare(
    plan: Plan, account: Account, line: Line, directory: Directory, voice: Voice, *, prune_all: bool = False
) -> Prepared:
    """Ask the cloud what the plan's selectors mean. Raises `PlanError` with all that does not fit, `DirectoryError`.

    No write is sent.
    """
    wanted = selectors(plan)
    problems: list[Problem] = []
    images = {selector: await _images(selector, account, line, plan.retry) for selector in wanted.images}
    projects = {
        selector: select_projects(selector, await directory.projects(selector), problems)
        for selector in wanted.projects
    }
    concrete = resolved(plan, _ids(images), _ids(projects), problems)
    unknown = await _unknown(plan, directory, voice)
    if plan.check_projects is CheckProjects.ALWAYS:
        problems += check_ids(plan, project_ids(plan) - unknown)
    if problems:
        raise PlanError(list(dict.fromkeys(problems)))
    concrete = replace(concrete, entries=tuple(_accepting(entry, account) for entry in concrete.entries))
    found = {image.id: image for several in images.values() for image in several}
    labels = {image.id: image.name for image in found.values() if image.name}
    labels |= {project.id: project.name for several in projects.values() for project in several}
    return Prepared(concrete, found, labels, orders(concrete, prune_all=prune_all), unknown)


def _ids(found: Mapping[Selector, Sequence[Image]] | Mapping[Selector, Sequence[Project]]) -> dict[Selector, list[str]]:
    return {selector: [item.id for item in items] for selector, items in found.items()}


async def _images(selector: ImageSelector, account: Account, line: Line, policy: RetryPolicy) -> list[Image]:
    images = await find_images(line.transport, image_query(selector, account.project_id), policy)
    return select_images(selector, images, own_project_id=account.project_id, now=utc_now())


async def _unknown(plan: Plan, directory: Directory, voice: Voice) -> frozenset[str]:
    """Return which of the IDs in the plan are no projects, as far as that may and shall be asked."""
    ids = project_ids(plan)
    if plan.check_projects is CheckProjects.NEVER or not ids:
        return frozenset()
    try:
        return ids - await directory.known(ids)
    except DirectoryError as error:
        if plan.check_projects is CheckProjects.ALWAYS:
            raise
        voice.detail(f"project IDs are not checked: {error}")
        return frozenset()


def _accepting(entry: Entry, account: Account) -> Entry:
    """Decide in whose name memberships are accepted: our own where it may, else each member project's."""
    as_project = not account.admin if entry.accept_as_project is None else entry.accept_as_project
    if not entry.want & Want.ACCEPTED or not as_project:
        return entry
    return replace(entry, want=entry.want | Want.AS_PROJECT)
