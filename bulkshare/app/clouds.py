"""The clouds of a plan: those that are configured, or a sandbox that lives as long as the run."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from bulkshare.app.places import utc_now
from bulkshare.errors import UsageError
from bulkshare.identity import CloudIdentity, Identified, entry_of
from bulkshare.pacing import Breaker, Paced
from bulkshare.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bulkshare.model import Limits, Plan, Settings

UNLIMITED = -1  # members an image of the run's own sandbox may have


@dataclass(frozen=True, slots=True)
class Line:
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
async def open_line(identity: CloudIdentity, limits: Limits, *, give_up_after_seconds: float) -> AsyncIterator[Line]:
    """Open the way to the image endpoint."""
    stopping, breaker = anyio.Event(), Breaker(give_up_after_seconds=give_up_after_seconds)
    async with HttpTransport(identity.connection, connections=limits.concurrency) as http:
        paced = Paced(http, limits, breaker=breaker, stopping=stopping, clock=time.monotonic, wall=utc_now)
        yield Line(Identified(paced, identity), paced, stopping)


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
