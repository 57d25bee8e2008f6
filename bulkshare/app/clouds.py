"""The cloud of a run: the one that is configured, or a sandbox that lives as long as the run."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from keystoneauth1.identity.v3 import Password

from bulkshare.app.places import utc_now
from bulkshare.errors import UsageError
from bulkshare.identity import CloudEntry, CloudIdentity, Identified
from bulkshare.pacing import Breaker, Paced
from bulkshare.planner import expand
from bulkshare.sandbox import Cloud, Sandbox
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
async def sign_in(settings: Settings, plan: Plan | None = None) -> AsyncIterator[CloudIdentity]:
    """Log in to a run's cloud, or to a sandbox that has the plan's images.

    Raises `UsageError`, `CredentialsRefusedError` or `EndpointRefusedError`.
    """
    async with AsyncExitStack() as stack:
        if settings.sandbox and plan is not None:
            identity = await stack.enter_async_context(_sandbox_of(plan))
        else:
            identity = CloudIdentity.from_config(cloud=settings.cloud, region=settings.region)
        await identity.token()
        yield identity


@asynccontextmanager
async def open_line(identity: CloudIdentity, limits: Limits, *, give_up_after_seconds: float) -> AsyncIterator[Line]:
    """Open the way to the image endpoint."""
    stopping, breaker = anyio.Event(), Breaker(give_up_after_seconds=give_up_after_seconds)
    async with HttpTransport(identity.connection, connections=limits.concurrency) as http:
        paced = Paced(http, limits, breaker=breaker, stopping=stopping, wall=utc_now)
        yield Line(Identified(paced, identity), paced, stopping)


def cloud_name(planned: str | None, os_cloud: str | None) -> str | None:
    """Return the clouds.yaml entry to use; None for the OS_* variables. Raises `UsageError` where two disagree."""
    if planned and os_cloud and planned != os_cloud:
        raise UsageError(f"the plan is for cloud {planned}, --os-cloud says {os_cloud}; take one of the two away")
    return planned or os_cloud or os.environ.get("OS_CLOUD") or None


@asynccontextmanager
async def _sandbox_of(plan: Plan) -> AsyncIterator[CloudIdentity]:
    images: list[str] = []
    projects: dict[str, None] = {}
    for block in expand(plan):
        images.append(block.image_id)
        projects.update(dict.fromkeys(block.member_ids))
    async with Sandbox(Cloud.seeded(images, projects, member_quota=UNLIMITED)) as sandbox:
        admin, project = sandbox.cloud.admin, sandbox.cloud.admin_project
        plugin = Password(
            auth_url=sandbox.auth_url,
            username=admin.name,
            password=admin.password,
            user_domain_name="Default",
            project_name=project.name,
            project_domain_name="Default",
        )
        yield CloudIdentity(CloudEntry(name="sandbox", auth_type="password", auth_url=sandbox.auth_url, plugin=plugin))
