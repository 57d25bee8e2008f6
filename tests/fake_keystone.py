"""A small identity service, with answers scripted by the test."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web
from keystoneauth1.identity.v3 import Password

from bulkshare.cloud import CloudEntry, CloudIdentity
from bulkshare.cloud.keystone import RetryTime

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
    """An identity service with one user.

    answers: the answers to the first log-ins; later ones get a token.
    closed: projects for which a log-in is refused.
    reads: answers every GET, in place of the version document.
    intercept: answers any request in its place, unless it returns None.
    hold: log-ins wait for this event.
    notes: what its identities tell the user.
    """

    url: str = ""
    answers: list[web.Response] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lifetime_seconds: float = 3600.0
    issued: datetime = datetime(1999, 12, 31, tzinfo=UTC)  # deliberately far from the client's clock
    endpoints: list[tuple[str, str]] = field(default_factory=lambda: [("eu-de", GLANCE + "/v2/")])
    roles: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    reads: Callable[[web.BaseRequest], web.Response] | None = None
    intercept: Callable[[web.BaseRequest], web.Response | None] = lambda _: None
    in_flight: int = 0
    most_in_flight: int = 0
    hold: asyncio.Event | None = None
    notes: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a GET, or a log-in."""
        if (instead := self.intercept(request)) is not None:
            return instead
        if request.method == "GET" and self.reads is not None:
            return self.reads(request)
        if request.method == "GET":
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": self.url}]}
            return web.json_response({"version": version})
        self.bodies.append(await request.json())
        number, scope = len(self.bodies), self.bodies[-1]["auth"].get("scope", {})
        self.arrived.set()
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        if self.hold is not None:
            await self.hold.wait()
        self.in_flight -= 1
        if self.answers:
            return self.answers.pop(0)
        project = scope.get("project", {}).get("id", "p1")
        return web.json_response(REFUSED, status=401) if project in self.closed else self.token(project, number)

    def token(self, project: str = "p1", number: int = 0) -> web.Response:
        """Return the answer to a log-in that succeeds."""
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
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def identity_of(keystone: FakeKeystone, *, clock: Clock | None = None, **entry: Any) -> CloudIdentity:
    """Return an identity at the fake; with a clock of the test's it does not retry."""
    password = Password(keystone.url, username="ann", password="hush-hush", project_id="p1")
    fields: dict[str, Any] = {"secrets": ("hush-hush",), "plugin": password, **entry}
    cloud = CloudEntry("fake", "password", keystone.url, **fields)
    seconds = 0.0 if clock else 20.0
    retry_time = RetryTime(seconds, seconds, 0.001, clock or Clock())
    return CloudIdentity(cloud, retry_time=retry_time, note=keystone.notes.append)


def message_of(error: pytest.ExceptionInfo[BulkshareError]) -> str:
    """Return the error's message; checks that it is printable, one line, and without the password."""
    message = str(error.value)
    assert message.isprintable()
    assert "hush" not in message
    return message


def auth(url: str = "http://127.0.0.1:1/v3", **more: object) -> dict[str, Any]:
    """Return the `auth` of a clouds.yaml entry."""
    names = {"username": "ann", "password": "hush-hush", "project_name": "demo"}
    return {"auth_url": url, "user_domain_name": "D", "project_domain_name": "D", **names, **more}
