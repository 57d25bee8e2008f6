"""The clouds of a plan, ready for work: logged in to, connected, and the plan resolved on each."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.cloud import KeyIdentity, entry_of
from bulkshare.cloud.access_key import AUTH_TYPE
from bulkshare.errors import UsageError
from bulkshare.image_api.ims import has_batches
from bulkshare.model import (
    Api,
    Settings,
)
from bulkshare.operations.endpoint import open_endpoint, open_identity
from bulkshare.operations.resolve import resolve
from bulkshare.operations.results import CloudResult, each, raise_refusals
from bulkshare.plan.selectors import (
    for_cloud,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bulkshare.cloud import CloudEntry, CloudIdentity
    from bulkshare.model import (
        Account,
        Plan,
    )
    from bulkshare.operations.endpoint import ImageEndpoint
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.resolve import ResolvedPlan

    AnyIdentity = CloudIdentity | KeyIdentity

UNLIMITED = -1  # members an image of the run's own sandbox may have


@dataclass(frozen=True, slots=True)
class CloudSession:
    """A cloud that is ready for work.

    result: what became of the plan there so far; filled in by the operation.
    options: what is asked of the operation.
    listener: for reports on this cloud.
    settings: cloud, limits and retries, as they go into the ledger.
    label: the cloud's name if the plan has several clouds, else "".
    """

    result: CloudResult
    options: Options
    listener: Listener
    settings: Settings
    identity: AnyIdentity
    endpoint: ImageEndpoint
    resolved: ResolvedPlan
    label: str = ""

    @property
    def account(self) -> Account:
        """The user and project that requests are sent for, and the endpoint."""
        return self.identity.account


def chosen_api(asked: Api, identity: AnyIdentity) -> Api:
    """Return how members are changed on a cloud: as asked for, as its entry says, or as suits its endpoint."""
    for api in (asked, identity.entry.api):
        if api is not Api.AUTO:
            return api
    return Api.BATCH if has_batches(identity.account.endpoint) else Api.NATIVE


def cloud_names(planned: tuple[str, ...], chosen: str | None) -> tuple[str | None, ...]:
    """Return the clouds.yaml entries to use; None stands for the OS_* variables.

    `chosen` picks one of a plan's clouds. Raises `UsageError` if it is none of them.
    """
    if planned and chosen and chosen not in planned:
        raise UsageError(
            f"the plan is for cloud {', '.join(planned)}, --os-cloud says {chosen}; leave out one of the two"
        )
    if chosen or not planned:
        return (chosen or os.environ.get("OS_CLOUD") or None,)
    return planned


async def open_sessions(
    plan: Plan, options: Options, listener: Listener, stack: AsyncExitStack, *, distinct: bool = True
) -> tuple[list[CloudResult], list[CloudSession]]:
    """Log in to each of a plan's clouds and resolve the plan there; `stack` closes the sessions.

    Return the results of all clouds, in the plan's order, and the sessions. A cloud that can't be reached has no
    session, and its result has the error. Raises `PlanError` or `UsageError` if the plan does not fit one of the
    clouds, or two of them are the same place although they have to be `distinct`.
    """
    names: tuple[str | None, ...] = (None,) if options.sandbox else cloud_names(plan.clouds, options.cloud)
    openings = [_Opening(CloudResult(name), plan, options, listener, stack) for name in names]
    await each(openings, _Opening.open)
    results = [opening.result for opening in openings]
    raise_refusals(results)
    sessions = [opening.session for opening in openings if opening.session is not None]
    if distinct:
        _require_different_places(sessions)
    return results, sessions


@dataclass(slots=True)
class _Opening:
    result: CloudResult
    plan: Plan
    options: Options
    listener: Listener
    stack: AsyncExitStack
    session: CloudSession | None = None

    async def open(self) -> None:
        cloud, options = self.result.cloud, self.options
        label = cloud or "" if len(self.plan.clouds) > 1 else ""
        plan = self.plan if cloud is None else await anyio.to_thread.run_sync(for_cloud, self.plan, cloud)
        settings = Settings(
            cloud=cloud,
            region=plan.region,
            sandbox=options.sandbox,
            limits=options.limits(plan.limits),
            retry=plan.retry,
            check_projects=plan.check_projects,
        )
        where = cloud or ("a sandbox" if options.sandbox else "the cloud")
        async with AsyncExitStack() as opened:
            with self.listener.waiting(f"logging in to {where}"):
                own = await opened.enter_async_context(_sandbox_of(plan, options)) if options.sandbox else None
                patience = min(options.give_up_after_seconds, options.deadline_seconds)
                logged_in = open_identity(
                    settings, credentials=own, listener=self.listener, give_up_after_seconds=patience
                )
                identity = await opened.enter_async_context(logged_in)
                endpoint = await opened.enter_async_context(
                    open_endpoint(identity, settings.limits, give_up_after_seconds=options.give_up_after_seconds)
                )
                settings = replace(settings, api=chosen_api(plan.api, identity))
                found = await resolve(
                    plan,
                    identity.account,
                    endpoint,
                    identity.directory(),
                    self.listener,
                    prune_all=options.prune,
                    prune_limit=options.prune_limit,
                    cloud=label,
                    batches=settings.api is Api.BATCH,
                )
            self.stack.push_async_exit(opened.pop_all())
        self.result.account = identity.account
        self.session = CloudSession(self.result, options, self.listener, settings, identity, endpoint, found, label)


@asynccontextmanager
async def _sandbox_of(plan: Plan, options: Options) -> AsyncIterator[CloudEntry]:
    """Start a cloud that has the plan's images and projects, and a few others for its selectors."""
    from bulkshare.sandbox import Sandbox  # noqa: PLC0415  a run on a cloud needs no web server
    from bulkshare.sandbox.cloud import Cloud  # noqa: PLC0415  a run on a cloud needs no web server
    from bulkshare.sandbox.ims import Behaviour, Dialect  # noqa: PLC0415  a run on a cloud needs no web server

    def example() -> Cloud:
        images = {item: None for entry in plan.entries for item in entry.images if isinstance(item, str)}
        lists = [items for entry in plan.entries for items in (entry.projects, entry.excluded, entry.keep)]
        projects = {item: None for items in lists for item in items if isinstance(item, str)}
        cloud = Cloud.example(images, projects, member_quota=UNLIMITED)
        cloud.rename(plan.names)
        return cloud

    cloud = await anyio.to_thread.run_sync(example)
    async with Sandbox(
        cloud,
        faults=options.faults,
        latency_seconds=options.latency_seconds,
        dialect=Dialect(options.dialect),
        behaviour=Behaviour.parse(options.answers),
    ) as sandbox:
        entry = sandbox.entry()
        auth_type = "v3password" if "project_domain_name" in entry["auth"] else "password"
        yield entry_of(
            {
                "name": "sandbox",
                "auth_type": AUTH_TYPE if "access_key" in entry["auth"] else auth_type,
                "auth_url": sandbox.auth_url,
                "auth": entry["auth"],
                "endpoint_override": entry.get("image_endpoint_override"),
                "api": entry.get("api", Api.AUTO),
            }
        )


def _require_different_places(sessions: Sequence[CloudSession]) -> None:
    """Raise `UsageError` if two clouds are one: each would send the pairs of both, and prune what the other adds."""
    places: dict[tuple[str, str], CloudSession] = {}
    for session in sessions:
        account = session.account
        other = places.setdefault((account.endpoint, account.project_id), session)
        if other is not session:
            raise UsageError(
                f"clouds {other.result.cloud} and {session.result.cloud} are the same place: project "
                f"{account.project} at {account.endpoint}; name one of them, or give each its region_name"
            )
