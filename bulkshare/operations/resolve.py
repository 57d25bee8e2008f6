"""What a plan means on one cloud: selectors and names become images and projects there."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio
import anyio.to_thread

from bulkshare.errors import BulkshareError, DirectoryError, PlanError, UsageError
from bulkshare.model import (
    CheckProjects,
    ImageSelector,
    KnownProjects,
    ProjectSelector,
    VerdictKind,
    Want,
)
from bulkshare.model.events import RetryScheduled
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.endpoint import api_client, find_images
from bulkshare.plan.expand import orders
from bulkshare.plan.receive import (
    MemberStatus,
    both_ways,
    owner_selectors,
    received_entries,
    received_query,
    statuses,
)
from bulkshare.plan.selectors import (
    check_ids,
    describe,
    idle_exclusions,
    image_query,
    problem_at,
    project_ids,
    resolved,
    respelled,
    select_images,
    select_projects,
    selectors,
    unchecked_note,
)
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bulkshare.cloud import CloudIdentity, KeyIdentity
    from bulkshare.model import (
        Account,
        Entry,
        Image,
        Orders,
        Plan,
        Problem,
        Project,
        PruneLimit,
        RetryPolicy,
    )
    from bulkshare.model.events import Event
    from bulkshare.operations.endpoint import ImageEndpoint
    from bulkshare.operations.listener import Listener
    from bulkshare.ports import Directory

    AnyIdentity = CloudIdentity | KeyIdentity

S = TypeVar("S")

UUID_WITH_DASHES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UUID_WITHOUT_DASHES = re.compile(r"[0-9a-f]{32}")


class _RetryNotice:
    """Says once that the image endpoint is waited for: there is no run yet whose log would say so."""

    def __init__(self, endpoint: str, listener: Listener) -> None:
        self._endpoint = endpoint
        self._listener = listener
        self._is_said = False

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if isinstance(event, RetryScheduled) and not self._is_said:
            self._is_said = True
            self._listener.note(f"waiting for the image endpoint {self._endpoint}: {event.verdict.reason}")


@dataclass(frozen=True, slots=True)
class ResolvedPlan:
    """What a plan means on one cloud.

    plan: with IDs in the place of selectors.
    images: those that selectors chose, by ID.
    labels: what the cloud calls the plan's images and projects, by ID, as far as they were looked up.
    listed: what it calls all projects that were read.
    orders: what the plan wants of whole images, by ID.
    unknown: IDs in the plan that the cloud has no project for.
    unchecked: which IDs could not be looked up, and why; empty if all were.
    """

    plan: Plan
    images: Mapping[str, Image] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, Orders] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    listed: Mapping[str, str] = field(default_factory=dict)
    unchecked: str = ""


async def resolve(
    plan: Plan,
    account: Account,
    endpoint: ImageEndpoint,
    directory: Directory,
    listener: Listener,
    *,
    prune_all: bool = False,
    prune_limit: PruneLimit | None = None,
    cloud: str = "",
    batches: bool = False,
) -> ResolvedPlan:
    """Look up what the plan's selectors choose. Sends no write. Notes begin with the `cloud` if the plan has several.

    With `batches`, it is a cloud like Huawei's, whose image service has a list of its own.

    Raises `PlanError` with everything that does not fit, and `DirectoryError` if the cloud does not answer.
    """
    wanted = await anyio.to_thread.run_sync(selectors, plan)
    find = partial(
        find_images,
        endpoint.transport,
        policy=plan.retry,
        observer=_RetryNotice(account.endpoint, listener),
        answered_at=lambda: endpoint.paced.answered_at,
        own_list=batches,
    )
    if batches and any(entry.make_shared for entry in plan.entries):
        raise UsageError(
            f"{account.endpoint} shares private images as they are, and doesn't let their visibility be changed: "
            "remove `make_shared` from the plan, or limit its entry to another cloud"
        )
    images = {selector: await find(image_query(selector, account.project_id)) for selector in wanted.images}
    projects = {selector: await directory.projects(selector) for selector in wanted.projects}
    note = partial(_note, listener, cloud)
    received = await _received(plan, account, endpoint, directory, partial(find, own_list=False), note)
    plan, known = await _checked(plan, account, directory, note)
    names = await _names_alike(images, projects, find, directory, account)
    resolve_all = partial(_resolved, plan, account, images, projects, known, received, names)
    found = await anyio.to_thread.run_sync(partial(resolve_all, prune_all=prune_all, prune_limit=prune_limit))
    sharing = replace(found.plan, entries=found.plan.entries[: len(plan.entries)])
    for message in await anyio.to_thread.run_sync(idle_exclusions, plan, sharing, known.known, found.unknown):
        note(message)
    return found


async def _names_alike(
    images: Mapping[ImageSelector, Sequence[Image]],
    projects: Mapping[ProjectSelector, Sequence[Project]],
    find: Callable[[Sequence[tuple[str, str]]], Awaitable[list[Image]]],
    directory: Directory,
    account: Account,
) -> dict[ImageSelector | ProjectSelector, Sequence[str]]:
    """Return the names among which those of selectors without a match may be meant: of our images, of all projects.

    A name is only shown, so what can't be looked up is left out.
    """
    names: dict[ImageSelector | ProjectSelector, Sequence[str]] = {}
    names |= {selector: [one.name for one in found if one.name] for selector, found in images.items()}
    names |= {selector: [one.name for one in found] for selector, found in projects.items()}
    lost = [selector for selector, known in names.items() if selector.name and not known and not selector.allow_empty]
    with suppress(BulkshareError):
        if any(isinstance(selector, ImageSelector) for selector in lost):
            ours = await find(image_query(ImageSelector(), account.project_id))
            known = [image.name for image in ours if image.name]
            names |= {selector: known for selector in lost if isinstance(selector, ImageSelector)}
        if any(isinstance(selector, ProjectSelector) for selector in lost):
            known = [project.name for project in await directory.projects(ProjectSelector())]
            names |= {selector: known for selector in lost if isinstance(selector, ProjectSelector)}
    return names


class _Received(NamedTuple):
    """What others share with us: the memberships to be answered, as entries of a plan, and the images."""

    entries: tuple[Entry, ...] = ()
    images: Mapping[str, Image] = {}


async def _received(
    plan: Plan,
    account: Account,
    endpoint: ImageEndpoint,
    directory: Directory,
    find: Callable[[Sequence[tuple[str, str]]], Awaitable[list[Image]]],
    note: Callable[[str], None],
) -> _Received:
    """Look up the images that a plan receives. Raises `PlanError`, and `DirectoryError` if the cloud doesn't answer."""
    if not plan.receive:
        return _Received()
    problems: list[Problem] = []
    owners: dict[ProjectSelector, list[str]] = {}
    for selector in owner_selectors(plan.receive):
        try:
            projects = await directory.projects(selector)
        except DirectoryError as error:
            raise DirectoryError(f"{error}; name the projects that share images by ID") from error
        owners[selector] = [project.id for project in select_projects(selector, projects, problems)]
        if not owners[selector] and not selector.allow_empty:
            what = f"no project that this account may look up matches {describe(selector)}"
            problems.append(problem_at(selector, f"{what}; name a project by its ID"))
    found: dict[MemberStatus, list[Image]] = {}
    for status in statuses(plan.receive):
        hidden = status is MemberStatus.ANY  # an image that is named may be hidden
        listed = await find(received_query(status))
        found[status] = [*listed, *(await find(received_query(status, hidden=True)) if hidden else [])]
    if account.admin:  # their list has the images of all projects
        found = await _own_memberships(found, account, endpoint, plan.retry, note)
    entries = received_entries(plan.receive, found, owners, problems, own_project_id=account.project_id, now=utc_now())
    if problems:
        raise PlanError(list(dict.fromkeys(problems)))
    ids = {image_id for entry in entries for image_id in entry.images}
    if not ids:
        of_these = " or ".join(status.value for status in found if status is not MemberStatus.ANY)
        which = f" that is {of_these}" if of_these else ""
        note(f"nothing to answer: project {account.project} has no such membership{which}")
    return _Received(entries, {image.id: image for images in found.values() for image in images if image.id in ids})


async def _own_memberships(
    found: Mapping[MemberStatus, Sequence[Image]],
    account: Account,
    endpoint: ImageEndpoint,
    policy: RetryPolicy,
    note: Callable[[str], None],
) -> dict[MemberStatus, list[Image]]:
    """Return the images of which our project is a member with the status asked for, with one GET for each image."""
    own = account.project_id
    images = {image.id: image for listed in found.values() for image in listed if image.owner != own}
    if images:
        note(
            f"asking about {counted(len(images), 'image')} one by one: user {account.user} has the role admin, to "
            "which the cloud lists those that are shared with any project"
        )
    client = api_client(endpoint.transport, policy, answered_at=lambda: endpoint.paced.answered_at)
    member_of: dict[str, str | None] = {}
    for image_id in images:
        verdict = await client.get_member(image_id, own)
        if verdict.kind is VerdictKind.PRESENT:
            member_of[image_id] = verdict.members[0].status
        elif verdict.kind is not VerdictKind.ABSENT:
            raise DirectoryError(f"can't tell whether image {image_id} is shared with us: {verdict.reason}")
    return {
        status: [
            image for image in listed if image.id in member_of and status in {MemberStatus.ANY, member_of[image.id]}
        ]
        for status, listed in found.items()
    }


def _note(listener: Listener, cloud: str, message: str) -> None:
    listener.note(f"cloud {cloud}: {message}" if cloud else message)


def _resolved(
    plan: Plan,
    account: Account,
    found_images: Mapping[ImageSelector, list[Image]],
    found_projects: Mapping[ProjectSelector, Sequence[Project]],
    known: KnownProjects,
    received: _Received,
    names: Mapping[ImageSelector | ProjectSelector, Sequence[str]],
    *,
    prune_all: bool,
    prune_limit: PruneLimit | None,
) -> ResolvedPlan:
    """Put what was found in the place of the selectors. Takes seconds for a plan of a million lines."""
    problems: list[Problem] = []
    images = {
        selector: select_images(selector, found, own_project_id=account.project_id, now=utc_now())
        for selector, found in found_images.items()
    }
    projects = {selector: select_projects(selector, found, problems) for selector, found in found_projects.items()}
    concrete = resolved(plan, _ids(images), _ids(projects), problems, names)
    ids = project_ids(plan)
    unknown = ids - known.known - known.unchecked
    if plan.check_projects is CheckProjects.ALWAYS:
        problems += check_ids(plan, ids - unknown)
    problems += both_ways(received.entries, concrete.entries)
    if problems:
        raise PlanError(list(dict.fromkeys(problems)))
    sharing = tuple(_accepting(entry, account) for entry in concrete.entries)
    concrete = replace(concrete, entries=(*sharing, *received.entries), receive=())
    by_id = {image.id: image for several in images.values() for image in several} | dict(received.images)
    labels = {image.id: image.name for image in by_id.values() if image.name}
    labels |= {project_id: known.names[project_id] for project_id in ids if known.names.get(project_id)}
    labels |= {project.id: project.name for several in projects.values() for project in several}
    labels |= {account.project_id: account.project} if received.entries else {}
    wanted = orders(concrete, prune_all=prune_all, prune_limit=prune_limit, selected=by_id)
    listed = {project.id: project.name for several in found_projects.values() for project in several}
    unchecked = unchecked_note(known.unchecked, len(ids), known.reason) if known.unchecked else ""
    return ResolvedPlan(concrete, by_id, labels, wanted, unknown, {**known.names, **listed}, unchecked)


def _ids(found: Mapping[S, Sequence[Image]] | Mapping[S, Sequence[Project]]) -> dict[S, list[str]]:
    return {selector: [item.id for item in items] for selector, items in found.items()}


async def _checked(
    plan: Plan, account: Account, directory: Directory, report: Callable[[str], None]
) -> tuple[Plan, KnownProjects]:
    """Look up the plan's project IDs. Return the plan, and which of its IDs are projects.

    IDs that are written with dashes lose them if the cloud's have none. IDs that can't be checked are reported. Raises
    `DirectoryError` if the plan requires the check.
    """
    ids = await anyio.to_thread.run_sync(project_ids, plan)
    bare = {project_id: project_id.replace("-", "") for project_id in ids if UUID_WITH_DASHES.fullmatch(project_id)}
    asked = ids.union(bare.values())
    found = await _known(asked, plan.check_projects, directory)
    without_dashes = UUID_WITHOUT_DASHES.fullmatch(account.project_id) is not None
    spellings = {
        dashed: plain
        for dashed, plain in bare.items()
        if dashed not in found.known and (plain in found.known or (without_dashes and dashed in found.unchecked))
    }
    plan = await anyio.to_thread.run_sync(respelled, plan, spellings)
    ids = (ids - spellings.keys()).union(spellings.values())
    unchecked = ids & found.unchecked
    _report_unchecked(unchecked, len(ids), found.reason, plan.check_projects, report)
    return plan, found._replace(known=ids & found.known, unchecked=unchecked)


async def unknown_projects(
    project_ids: frozenset[str], check: CheckProjects, directory: Directory, report: Callable[[str], None]
) -> frozenset[str]:
    """Return which of the IDs are no projects, as far as that is to be checked; report those that can't be checked.

    Raises `DirectoryError` if the check is required.
    """
    found = await _known(project_ids, check, directory)
    _report_unchecked(found.unchecked, len(project_ids), found.reason, check, report)
    return project_ids - found.known - found.unchecked


async def _known(project_ids: frozenset[str], check: CheckProjects, directory: Directory) -> KnownProjects:
    if not project_ids or check is CheckProjects.NEVER:
        return KnownProjects(frozenset(), project_ids, "the plan has check_projects: never")
    try:
        return await directory.known(project_ids)
    except DirectoryError as error:
        if check is CheckProjects.ALWAYS:
            raise
        return KnownProjects(frozenset(), project_ids, str(error))


def _report_unchecked(
    unchecked: frozenset[str], total: int, reason: str, check: CheckProjects, report: Callable[[str], None]
) -> None:
    if not unchecked or check is CheckProjects.NEVER:
        return
    note = unchecked_note(unchecked, total, reason)
    if check is CheckProjects.ALWAYS:
        raise DirectoryError(note)
    report(note)


def _accepting(entry: Entry, account: Account) -> Entry:
    """Decide whether memberships are accepted as admin, or by logging in to each member project."""
    as_project = not account.admin if entry.accept_as_project is None else entry.accept_as_project
    if not entry.want & (Want.ACCEPTED | Want.RESET) or not as_project or Want.RECEIVED in entry.want:
        return entry
    return replace(entry, want=entry.want | Want.AS_PROJECT)
