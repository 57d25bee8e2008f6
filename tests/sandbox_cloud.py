"""The sandbox with the interface of the real cloud: served from its own thread, with the same users."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from bulkshare.sandbox import Cloud, Sandbox
from tests.cloud import ADMIN, USERS, CloudUnderTest, LoggedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from tests.cloud import User
    from tests.request_log import Service

START_SECONDS = 30


class SandboxCloud(CloudUnderTest):
    """A running sandbox, as a context manager."""

    def __init__(self) -> None:
        super().__init__(auth_url="", endpoint="")  # set once it listens
        self._log: list[LoggedRequest] = []
        self.on_logged: Callable[[LoggedRequest], None] | None = None  # called before the answer leaves
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

    def create_domain(self, name: str) -> str:
        """Create a domain and return its ID."""
        return self._cloud.add_domain(name).id

    def create_project(
        self,
        name: str,
        *,
        domain_id: str = "default",
        parent_id: str | None = None,
        tags: tuple[str, ...] = (),
        enabled: bool = True,
    ) -> str:
        """Create a project and return its ID."""
        made = self._cloud.add_project(
            name,
            domain=self._cloud.domains[domain_id],
            parent=self._cloud.projects[parent_id] if parent_id else None,
            tags=tags,
            enabled=enabled,
        )
        return made.id

    def disable_project(self, project_id: str) -> None:
        """Disable a project: it remains, but no user gets a token for it."""
        self._cloud.projects[project_id].enabled = False

    def create_user(self, user: User, roles: Mapping[str, str]) -> None:
        """Create a user in the domain Default; `roles` are by project ID."""
        self._cloud.add_user(user.name, roles, password=user.password)
        self.users[user.name] = user

    def create_application_credential(self, user: str, secret: str) -> str:
        """Create an application credential of the user's for their project and return its ID."""
        owner = next(known for known in self._cloud.users.values() if known.name == user)
        project = self._cloud.projects[self.project_id(user)]
        return self._cloud.add_application_credential(uuid4().hex, owner, project, secret).id

    def _all_logged(self, service: Service) -> list[LoggedRequest]:
        root = f"/{service}"
        return [
            LoggedRequest(method, target.removeprefix(root), status)
            for method, target, status in list(self._log)
            if target.startswith(f"{root}/")
        ]

    def _keep(self, method: str, target: str, status: int) -> None:
        request = LoggedRequest(method, target, status)
        self._log.append(request)
        if self.on_logged is not None:
            self.on_logged(request._replace(target=f"/{target[1:].partition('/')[2]}"))

    async def _serve(self) -> None:
        try:
            async with Sandbox(self._cloud, on_response=self._keep) as sandbox:
                self._addresses.set_result((sandbox.auth_url, sandbox.endpoint))
                await asyncio.wrap_future(self._end)
        except BaseException as error:
            if not self._addresses.done():
                self._addresses.set_exception(error)
            raise
