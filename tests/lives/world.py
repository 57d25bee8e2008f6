"""The clouds of a life: sandboxes in a thread, which can be looked at, changed by others, held and made to fail.

What the tests see of them are plain values (`State`); they share no code with what decides in bulkshare.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiohttp import web

from bulkshare.sandbox import Cloud, FaultRule, Sandbox
from bulkshare.sandbox.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from bulkshare.sandbox.cloud import Project, User
    from tests.forkserver import Command

ANSWER_SECONDS = 30  # for what takes milliseconds
TURNS = 10  # of the event loop, in which a killed client's last bytes are read
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CLOUDS = ("one", "two")


@dataclass(frozen=True)
class ImageState:
    """An image.

    members: the statuses of those it has, or gets back when it is made shared, by project ID.
    changed_at: when these members last changed, by project ID; to the second, as the image service says it.
    """

    id: str
    name: str
    tags: frozenset[str]
    age: int  # days
    visibility: str
    status: str
    owner: str
    members: Mapping[str, str]
    changed_at: Mapping[str, datetime]


@dataclass(frozen=True)
class ProjectState:
    """A project."""

    id: str
    name: str
    domain: str
    tags: frozenset[str]
    enabled: bool


@dataclass(frozen=True)
class State:
    """A cloud at one moment.

    us: the operator's project.
    roles: the projects in which the operator has a role; None: the operator is an admin.
    quota: the number of members that an image may have; negative: any.
    """

    us: str
    roles: frozenset[str] | None
    quota: int
    images: Mapping[str, ImageState]
    projects: Mapping[str, ProjectState]


class Asked(NamedTuple):
    """A request that was answered."""

    method: str
    path: str
    status: int


class _Server(Sandbox):
    """A sandbox that knows how many requests it has not answered; one whose client is gone counts until it is done."""

    in_flight = 0

    async def _serve(self, http_request: web.BaseRequest) -> web.StreamResponse:
        self.in_flight += 1
        try:
            return await super()._serve(http_request)
        except ConnectionResetError:  # the client was killed while it sent the body
            return web.Response()
        finally:
            self.in_flight -= 1


class ServedCloud:
    """One cloud and its server. A hold stops all requests from the n-th on, until it is released."""

    def __init__(self, name: str, password: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.cloud = Cloud(member_quota=-1, clock=lambda: datetime.now(UTC))
        self.cloud.admin.password = password
        self.operator = self.cloud.admin
        self.tenant: tuple[User, Project] | None = None
        self.asked: list[Asked] = []
        self._loop = loop
        self._stack = AsyncExitStack()
        self._arrived_before_hold: int | None = None
        self._released = asyncio.Event()
        self._reached = os.pipe()
        self.sandbox = _Server(
            self.cloud,
            latency_seconds=1.0,
            sleep=self._pause,
            on_response=lambda *each: self.asked.append(Asked(*each)),
        )

    # Called in the loop

    async def start(self) -> None:
        """Serve."""
        await self._stack.enter_async_context(self.sandbox)

    async def stop(self) -> None:
        """Cut what is held, and end."""
        self._released.set()
        await self._stack.aclose()
        for descriptor in self._reached:
            os.close(descriptor)

    async def _pause(self, _seconds: float) -> None:
        if self._arrived_before_hold is None:
            return
        self._arrived_before_hold -= 1
        if self._arrived_before_hold < 0:
            os.write(self._reached[1], b".")
            await self._released.wait()

    async def _settle(self) -> None:
        while True:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if not self.sandbox.in_flight:
                return

    def _release(self) -> None:
        self._arrived_before_hold = None
        self._released.set()

    # Called by the test

    def hold(self, after: int) -> None:
        """Answer `after` more requests, and then none until `release`."""
        while select.select([self._reached[0]], [], [], 0)[0]:
            os.read(self._reached[0], 100)
        self._released.clear()
        self._arrived_before_hold = after

    def wait_for_hold(self, command: Command) -> bool:
        """Wait until a request is held; return False if the command ends before."""
        ready, _, _ = select.select([self._reached[0], command.fileno()], [], [], ANSWER_SECONDS)
        assert ready, f"nothing arrives at cloud {self.name}, and the command goes on"
        return self._reached[0] in ready

    def release(self) -> None:
        """Answer what is held."""
        self._loop.call_soon_threadsafe(self._release)

    def release_after(self, seconds: float) -> None:
        """Answer what is held in so many seconds."""
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._release)

    def settle(self) -> None:
        """Wait until all that has been sent is answered: what a killed client had sent takes effect, too."""
        asyncio.run_coroutine_threadsafe(self._settle(), self._loop).result(ANSWER_SECONDS)

    def fail(self, rules: Sequence[str], seed: int = 0) -> None:
        """Let requests fail by these rules; by none, let all be answered."""
        self.sandbox._faults = Faults([FaultRule.parse(rule) for rule in rules], Random(seed))

    def hire(self, roles: Sequence[str]) -> None:
        """Let the operator be no admin, but a user who has a role in the admin's project and in these."""
        projects = dict.fromkeys([self.cloud.admin_project.id, *roles], "member")
        self.operator = self.cloud.add_user("operator", projects, password=self.cloud.admin.password)

    def hire_tenant(self, project: str) -> None:
        """Let a project have a user, whose entry in clouds.yaml is `tenant-` and the cloud's name."""
        user = self.cloud.add_user("tenant", {project: "member"}, password=self.cloud.admin.password)
        self.tenant = user, self.cloud.projects[project]

    def entries(self) -> dict[str, Any]:
        """Return the entries of clouds.yaml: the operator's, and the tenant's if there is one."""
        entries = {self.name: self.sandbox.entry()}
        entries[self.name]["auth"]["username"] = self.operator.name
        if self.tenant is not None:
            entries[f"tenant-{self.name}"] = self.sandbox.tenant_entry(*self.tenant)
        return entries

    def _roles(self) -> frozenset[str] | None:
        if self.operator is self.cloud.admin:
            return None
        return frozenset(project for project in self.operator.roles if self.cloud.projects[project].enabled)

    def state(self) -> State:
        """Return the cloud as it is now."""
        cloud = self.cloud
        domains = {domain.id: domain.name for domain in cloud.domains.values()}
        return State(
            us=cloud.admin_project.id,
            roles=self._roles(),
            quota=cloud.member_quota,
            images={
                image.id: ImageState(
                    id=image.id,
                    name=image.name or "",
                    tags=frozenset(image.tags),
                    age=(EPOCH - image.created_at).days,
                    visibility=image.visibility,
                    status=image.status,
                    owner=image.owner or "",
                    members={row.member_id: row.status for row in image.rows.values() if row.copies},
                    changed_at={
                        row.member_id: row.updated_at.replace(microsecond=0)
                        for row in image.rows.values()
                        if row.copies
                    },
                )
                for image in cloud.images.values()
            },
            projects={
                project.id: ProjectState(
                    project.id, project.name, domains[project.domain_id], frozenset(project.tags), project.enabled
                )
                for project in cloud.projects.values()
            },
        )

    def doubled(self) -> list[tuple[str, str]]:
        """Return the members that are there twice."""
        images = self.cloud.images.values()
        return [(image.id, row.member_id) for image in images for row in image.rows.values() if row.copies > 1]

    def add_image(
        self, image_id: str, name: str, age: int, tags: Sequence[str], *, visibility: str, status: str
    ) -> None:
        """Add an image of ours that was made `age` days ago."""
        created_at = EPOCH - timedelta(days=age)
        self.cloud.add_image(
            name, image_id=image_id, tags=tags, visibility=visibility, status=status, created_at=created_at
        )

    def set_member(self, image_id: str, project_id: str, status: str | None) -> None:
        """Make a project a member with this status, or with None no member."""
        image = self.cloud.images[image_id]
        row = image.member(project_id)
        if status is None:
            if row is not None:
                image.remove(row)
            return
        row = row or image.insert(project_id, datetime.now(UTC))
        if row.status != status:
            row.status, row.updated_at = status, datetime.now(UTC)


class World:
    """The thread in which the clouds of all lives are served; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def serve(self, name: str, password: str) -> ServedCloud:
        """Start a new cloud."""

        async def start() -> ServedCloud:
            served = ServedCloud(name, password, self._loop)
            await served.start()
            return served

        return asyncio.run_coroutine_threadsafe(start(), self._loop).result(ANSWER_SECONDS)

    def stop(self, served: ServedCloud) -> None:
        """End a cloud."""
        asyncio.run_coroutine_threadsafe(served.stop(), self._loop).result(ANSWER_SECONDS)
