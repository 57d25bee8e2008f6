"""The sandbox's identity service on a small cloud, called without a socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bulkshare.sandbox import Cloud
from bulkshare.sandbox.cloud import PASSWORD
from bulkshare.sandbox.keystone import Keystone
from bulkshare.sandbox.wire import Request, Response

START = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
DOMAIN = {"id": "default"}
AUTH_URL = "http://identity/v3"


class SandboxKeystone:
    """A cloud with an admin and alice, who has the role member in one project and reader in another."""

    def __init__(self) -> None:
        self.now = START
        self.cloud = cloud = Cloud(clock=lambda: self.now)
        self.ours = cloud.add_project("ours", tags=["tenant", "eu"])
        self.theirs = cloud.add_project("theirs", tags=["tenant"])
        self.alice = cloud.add_user("alice", {self.ours.id: "member", self.theirs.id: "reader"})
        self.secret = cloud.add_application_credential("night", self.alice, self.ours, "s3cret")
        self.keystone = Keystone(cloud, auth_url=AUTH_URL, endpoint="http://image", pause=self.pause)

    async def pause(self) -> None:
        """Return at once."""

    async def ask(self, method: str, path: str, *, token: str | None = None, subject: str | None = None) -> Response:
        """Send a request with a token, about a subject token."""
        parts = urlsplit(path)
        given = {"X-Auth-Token": token, "X-Subject-Token": subject}
        headers = {name: value for name, value in given.items() if value is not None}
        return await self.keystone.respond(Request(method, parts.path, tuple(parse_qsl(parts.query)), headers))

    async def log_in(self, body: Any, query: str = "", kind: str = "application/json; charset=utf-8") -> Response:
        """Log in; a body of bytes is sent unchanged."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        ask = Request("POST", "/v3/auth/tokens", tuple(parse_qsl(query)), {"Content-Type": kind}, sent)
        return await self.keystone.respond(ask)

    async def token(self, name: str, project_id: str) -> str:
        """Return a token of a user for a project."""
        answer = await self.log_in(by_password({"name": name, "domain": DOMAIN}, {"project": {"id": project_id}}))
        return answer.headers["X-Subject-Token"]

    async def admin(self) -> str:
        """Return a token of the admin."""
        return await self.token("admin", self.cloud.admin_project.id)


def by_password(user: dict[str, Any], scope: Any = None, password: str = PASSWORD) -> dict[str, Any]:
    """Return the body of a log-in by password."""
    identity = {"methods": ["password"], "password": {"user": {**user, "password": password}}}
    return {"auth": {"identity": identity, **({} if scope is None else {"scope": scope})}}


def by(method: str, proof: Any, scope: Any = None) -> dict[str, Any]:
    """Return the body of a log-in by another method."""
    return {"auth": {"identity": {"methods": [method], method: proof}, **({} if scope is None else {"scope": scope})}}


def message(answer: Response) -> str:
    """Return the message of a refusal; checks its form."""
    error = json.loads(answer.body)["error"]
    assert set(error) == {"code", "message", "title"}
    assert error["code"] == answer.status
    assert ("WWW-Authenticate" in answer.headers) == (answer.status == 401)
    return str(error["message"])
