"""One cloud of a plan: log-in, the way to its image endpoint, and what the plan means there today."""

from __future__ import annotations

import os
import random
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import anyio

from bulkshare.cloud import CloudIdentity, Identified, entry_of
from bulkshare.cloud.http import HttpTransport
from bulkshare.errors import BulkshareError, DirectoryError, PlanError, UsageError
from bulkshare.image_api.glance import find_request, images_path, interpret
from bulkshare.model import RETRYABLE, CheckProjects, RetryPolicy, RetryState, Settings, Step, VerdictKind, Want
from bulkshare.operations.defaults import utc_now
from bulkshare.pacing import Breaker, Paced
from bulkshare.plan.expand import orders
from bulkshare.plan.selectors import (
    check_ids,
    for_cloud,
    image_query,
    project_ids,
    resolved,
    select_images,
    select_projects,
    selectors,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from bulkshare.model import Account, Entry, Image, ImageSelector, Limits, Orders, Plan, Problem, Project, Verdict
    from bulkshare.operations.listener import Listener
    from bulkshare.ports import Directory, Transport

    Selector = TypeVar("Selector")
    from collections.abc import Awaitable, Callable

    from bulkshare.operations.options import Options


UNLIMITED = -1  # members an image of the run's own sandbox may have


@dataclass(frozen=True, slots=True)
class ImageEndpoint:
    """The way to the image endpoint: the transport, and the layer of it that paces and counts.

    Once `stopping` is set it lets nothing more through.
    """

    transport: Identified
    paced: Paced
    stopping: anyio.Event


@asynccontextmanager
async def sign_in(
    settings: Settings, plan: Plan | None = None, *, identity: CloudIdentity | None = None
) -> AsyncIterator[CloudIdentity]:
    """Log in to a run's cloud, or to a sandbox that has the plan's images; as `identity` where that is given.

    Raises `UsageError`, `CredentialsRefusedError` or `EndpointRefusedError`.
    """
    async with AsyncExitStack() as stack:
        if identity is None and settings.sandbox and plan is not None:
            identity = await stack.enter_async_context(_sandbox_of(plan))
        elif identity is None:
            identity = CloudIdentity.from_config(cloud=settings.cloud, region=settings.region)
        await identity.token()
        yield identity


@asynccontextmanager
async def open_line(
    identity: CloudIdentity, limits: Limits, *, give_up_after_seconds: float
) -> AsyncIterator[ImageEndpoint]:
    """Open the way to the image endpoint."""
    stopping, breaker = anyio.Event(), Breaker(give_up_after_seconds=give_up_after_seconds)
    async with HttpTransport(identity.connection, connections=limits.concurrency) as http:
        paced = Paced(http, limits, breaker=breaker, stopping=stopping, clock=time.monotonic, wall=utc_now)
        yield ImageEndpoint(Identified(paced, identity), paced, stopping)


def cloud_names(planned: tuple[str, ...], os_cloud: str | None) -> tuple[str | None, ...]:
    """Return the clouds.yaml entries to use; None for the OS_* variables.

    Of a plan for several clouds `os_cloud` chooses one. Raises `UsageError` where the two disagree.
    """
    if planned and os_cloud and os_cloud not in planned:
        raise UsageError(
            f"the plan is for cloud {', '.join(planned)}, --os-cloud says {os_cloud}; take one of the two away"
        )
    if os_cloud or not planned:
        return (os_cloud or os.environ.get("OS_CLOUD") or None,)
    return planned


@asynccontextmanager
async def _sandbox_of(plan: Plan) -> AsyncIterator[CloudIdentity]:
    """Start a cloud that has the plan's images and projects, beside a small world for selectors."""
    from bulkshare.sandbox import Cloud, Sandbox  # noqa: PLC0415  a run on a cloud needs no web server

    images = {item: None for entry in plan.entries for item in entry.images if isinstance(item, str)}
    lists = [items for entry in plan.entries for items in (entry.projects, entry.excluded, entry.keep)]
    projects = {item: None for items in lists for item in items if isinstance(item, str)}
    async with Sandbox(Cloud.example(images, projects, member_quota=UNLIMITED)) as sandbox:
        admin, project = sandbox.cloud.admin, sandbox.cloud.admin_project
        auth = {
            "auth_url": sandbox.auth_url,
            "username": admin.name,
            "password": admin.password,
            "user_domain_name": "Default",
            "project_name": project.name,
            "project_domain_name": "Default",
        }
        said = {"name": "sandbox", "auth_type": "v3password", "auth_url": sandbox.auth_url, "auth": auth}
        yield CloudIdentity(entry_of(said))


async def find_images(transport: Transport, query: Sequence[tuple[str, str]], policy: RetryPolicy) -> list[Image]:
    """Return the images that `GET /v2/images` finds for a query. Raises `DirectoryError` where it does not answer.

    The list is whole: images may be pruned by what it lacks.
    """
    images: list[Image] = []
    path: str | None = images_path(query)
    asked: set[str] = set()
    while path is not None:
        if path in asked:
            raise DirectoryError("the image service's list of images leads back to itself, so that nobody sees all")
        asked.add(path)
        verdict = await _page(transport, path, policy)
        if verdict.kind is not VerdictKind.FOUND:
            raise DirectoryError(f"the image service does not tell which images there are: {verdict.reason}")
        images += verdict.images
        path = verdict.next_path
    return images


async def _page(transport: Transport, path: str, policy: RetryPolicy) -> Verdict:
    state = RetryState(policy, random.random)
    while True:
        reply = await transport.send(find_request(path))
        verdict = interpret(Step.FIND, "", "", reply, utc_now())
        delay_seconds = state.next_delay(verdict.retry_after) if verdict.kind in RETRYABLE else None
        if delay_seconds is None:
            return verdict
        await anyio.sleep(delay_seconds)


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
    plan: Plan, account: Account, line: ImageEndpoint, directory: Directory, voice: Listener, *, prune_all: bool = False
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


async def _images(selector: ImageSelector, account: Account, line: ImageEndpoint, policy: RetryPolicy) -> list[Image]:
    images = await find_images(line.transport, image_query(selector, account.project_id), policy)
    return select_images(selector, images, own_project_id=account.project_id, now=utc_now())


async def _unknown(plan: Plan, directory: Directory, voice: Listener) -> frozenset[str]:
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


@dataclass(frozen=True, slots=True)
class CloudSession:
    """A cloud that is ready for work. `cloud` is the clouds.yaml entry, None for the OS_* variables or a sandbox.

    `label` is its name where the plan has several, else "".
    """

    cloud: str | None
    label: str
    settings: Settings
    identity: CloudIdentity
    line: ImageEndpoint
    prepared: Prepared
    voice: Listener

    @property
    def account(self) -> Account:
        """As whom and where the run acts."""
        return self.identity.account


async def on_each_cloud(
    plan: Plan,
    action: Callable[[CloudSession], Awaitable[None]],
    voice: Listener,
    options: Options,
    *,
    approve: Callable[[CloudSession], Awaitable[None]] | None = None,
) -> dict[str | None, BulkshareError | None]:
    """Do something on each of a plan's clouds; return what ended it early there, by cloud.

    A cloud that can't be reached keeps no other from its work. Raises `PlanError` or `UsageError`, before anything is
    done anywhere, where the plan does not fit one of them, `approve` raises that for one, or two are the same place.
    """
    names: tuple[str | None, ...] = (None,) if options.sandbox else cloud_names(plan.clouds, options.cloud)
    errors: dict[str | None, BulkshareError | None] = dict.fromkeys(names)
    start = _Start(len(names))

    async def visit(cloud: str | None) -> None:
        settings = Settings(
            cloud=cloud,
            region=plan.region,
            sandbox=options.sandbox,
            limits=options.limits(plan.limits),
            retry=plan.retry,
        )
        arrived = False
        part = plan if cloud is None else for_cloud(plan, cloud)
        try:
            with ExitStack() as waiting:
                waiting.enter_context(
                    voice.waiting(f"logging in to {cloud or ('a sandbox' * options.sandbox) or 'the cloud'}")
                )
                async with (
                    sign_in(settings, part) as identity,
                    open_line(identity, settings.limits, give_up_after_seconds=options.give_up_after_seconds) as line,
                ):
                    prepared = await prepare(
                        part, identity.account, line, identity.directory(), voice, prune_all=options.prune
                    )
                    waiting.close()
                    label = cloud or "" if len(plan.clouds) > 1 else ""
                    site = CloudSession(cloud, label, settings, identity, line, prepared, voice)
                    if approve is not None:
                        await approve(site)
                    arrived = True
                    if await start.ready(site):
                        await action(site)
        except BulkshareError as error:
            errors[cloud] = error
            if not arrived:
                start.failed(error)

    async with anyio.create_task_group() as visits:
        for name in names:
            visits.start_soon(visit, name)
    start.raise_problems()
    return errors


class _Start:
    """Lets all begin together, or nobody where the plan does not fit one of the clouds."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._all_here = anyio.Event()
        self._problems: list[Problem] = []
        self._errors: list[UsageError] = []
        self._places: dict[tuple[str, str], CloudSession] = {}

    def failed(self, error: BulkshareError) -> None:
        """Take note of a cloud that does not begin."""
        if isinstance(error, PlanError):
            self._problems += error.problems
        elif isinstance(error, UsageError):
            self._errors.append(error)
        self._arrived()

    async def ready(self, site: CloudSession) -> bool:
        """Wait for the others; return whether to begin."""
        account = site.account
        other = self._places.setdefault((account.endpoint, account.project_id), site)
        if other is not site:  # each would send the pairs of both, and remove what the other adds
            both = f"clouds {other.cloud} and {site.cloud}"
            self._errors.append(
                UsageError(
                    f"{both} are the same place: project {account.project} at {account.endpoint}; name one of them, or "
                    "give each its region_name"
                )
            )
        self._arrived()
        await self._all_here.wait()
        return not (self._problems or self._errors)

    def raise_problems(self) -> None:
        """Raise what kept all from beginning."""
        if self._problems:
            raise PlanError(list(dict.fromkeys(self._problems)))
        if self._errors:
            raise self._errors[0]

    def _arrived(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
