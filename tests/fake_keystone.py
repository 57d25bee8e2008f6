"""A small identity service for the tests of `bulkshare.identity`: what it answers is up to the test."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web
from keystoneauth1.identity.v3 import Password

from bulkshare.cloud import CloudEntry, CloudIdentity

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

    from bulkshare.errors import BulkshareError

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

GLANCE = "http://127.0.0.1:9292"
REFUSED = {"error": {"code": 401, "message": "The request you have made requires authentication."}}


@dataclass
class FakeKeystone:
    """An identity service with one user. `answers` are given first, one for each log-in; then it gives tokens.

    There is none for the projects in `closed`. `reads` answers what is asked beyond the version and the log-in.
    """

    url: str = ""
    answers: list[web.Response] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lifetime_seconds: float = 3600.0
    issued: datetime = datetime(1999, 12, 31, tzinfo=UTC)  # far from our own clock, on purpose
    endpoints: list[tuple[str, str]] = field(default_factory=lambda: [("eu-de", GLANCE + "/v2/")])
    roles: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    reads: Callable[[web.BaseRequest], web.Response] | None = None
    busy: int = 0  # log-ins at once ...
    busiest: int = 0  # ... at most so far
    hold: asyncio.Event | None = None  # a log-in waits for it
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Tell the version, or log in."""
        if request.method == "GET" and self.reads is not None:
            return self.reads(request)
        if request.method == "GET":
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": self.url}]}
            return web.json_response({"version": version})
        self.bodies.append(await request.json())
        number, scope = len(self.bodies), self.bodies[-1]["auth"].get("scope", {})
        self.arrived.set()
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        if self.hold is not None:
            await self.hold.wait()
        self.busy -= 1
        if self.answers:
            return self.answers.pop(0)
        project = scope.get("project", {}).get("id", "p1")
        return web.json_response(REFUSED, status=401) if project in self.closed else self.token(project, number)

    def token(self, project: str = "p1", number: int = 0) -> web.Response:
        """Give a token."""
        kind = {"type": "image", "id": "s", "name": "glance"}
        endpoints = [
            {"id": f"e{number}", "interface": "public", "region": region, "region_id": region, "url": url}
            for number, (region, url) in enumerate(self.endpoints)
        ]
        body = {
            "methods": ["password"],
            "user": {"id": "u1", "name": "ann", "domain": {"id": "d", "name": "D"}},
            "project": {"id": project, "name": "demo", "domain": {"id": "d", "name": "D"}},
            "roles": [{"id": name, "name": name} for name in self.roles],
            "issued_at": self.issued.isoformat(),
            "expires_at": (self.issued + timedelta(seconds=self.lifetime_seconds)).isoformat(),
            "catalog": [kind | {"endpoints": endpoints}],
        }
        headers = {"X-Subject-Token": f"token-{number}"}
        return web.json_response({"token": body}, status=201, headers=headers)


@asynccontextmanager
async def served(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve every path with `handler` on a loopback port, and yield its URL."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def identity_of(keystone: FakeKeystone, *, clock: Clock | None = None, **entry: Any) -> CloudIdentity:
    """An identity at the fake, which is impatient where it is told the time."""
    password = Password(keystone.url, username="ann", password="hush-hush", project_id="p1")
    fields: dict[str, Any] = {"secrets": ("hush-hush",), "plugin": password, **entry}
    cloud = CloudEntry("fake", "password", keystone.url, **fields)
    return CloudIdentity(cloud, retry_seconds=0.0 if clock else 20.0, backoff_seconds=0.001, clock=clock or Clock())


def said(error: pytest.ExceptionInfo[BulkshareError]) -> str:
    """Return the message, which has to be one clean line without the password."""
    message = str(error.value)
    assert message.isprintable()
    assert "hush" not in message
    return message


def auth(url: str = "http://127.0.0.1:1/v3", **more: object) -> dict[str, Any]:
    """The `auth` of an entry."""
    names = {"username": "ann", "password": "hush-hush", "project_name": "demo"}
    return {"auth_url": url, "user_domain_name": "D", "project_domain_name": "D", **names, **more}
