"""The sandbox as tests see the real cloud: served from a thread of its own, seeded with the same users."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from bulkshare.sandbox import Cloud, Sandbox
from tests.cloud import ADMIN, USERS, CloudUnderTest

if TYPE_CHECKING:
    from types import TracebackType

START_SECONDS = 30


class SandboxCloud(CloudUnderTest):
    """A sandbox and what is in it. A context manager: entering starts it, leaving ends it."""

    def __init__(self) -> None:
        super().__init__(auth_url="", endpoint="")  # known once it listens
        self._cloud = Cloud(member_quota=self.image_member_quota)
        self._cloud.admin.password = ADMIN.password
        for user in USERS.values():
            if user is not ADMIN:
                known = {project.name: project.id for project in self._cloud.projects.values()}
                project_id = known.get(user.project) or self.create_project(user.project)
                self._cloud.add_user(user.name, {project_id: user.role}, password=user.password)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._addresses: Future[tuple[str, str]] = Future()
        self._end: Future[None] = Future()

    def __enter__(self) -> Self:
        self._thread.start()
        self.auth_url, self.endpoint = self._addresses.result(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set_result(None)
        self._thread.join()

    def issued_tokens(self) -> list[str]:
        """Return every token that was issued and not revoked."""
        return list(self._cloud.tokens)

    def create_project(self, name: str) -> str:
        """Create a project and return its ID."""
        return self._cloud.add_project(name).id

    def create_application_credential(self, user: str, secret: str) -> str:
        """Create an application credential of the user's for their project and return its ID."""
        owner = next(known for known in self._cloud.users.values() if known.name == user)
        project = self._cloud.projects[self.project_id(user)]
        return self._cloud.add_application_credential(uuid4().hex, owner, project, secret).id

    def create_image(
        self,
        name: str = "an image",
        *,
        owner: str = "alice",
        visibility: str = "shared",
        tags: tuple[str, ...] = (),
        active: bool = True,
        **properties: str,
    ) -> str:
        """Create an image, which the sandbox's API can do, too, but never with data."""
        image = self._cloud.add_image(
            name,
            owner=self.project_id(owner),
            visibility=visibility,
            status="active" if active else "queued",
            tags=tags,
            properties=properties,
        )
        return image.id

    async def _serve(self) -> None:
        try:
            async with Sandbox(self._cloud) as sandbox:
                self._addresses.set_result((sandbox.auth_url, sandbox.endpoint))
                await asyncio.wrap_future(self._end)
        except BaseException as error:
            if not self._addresses.done():
                self._addresses.set_exception(error)
            raise
