"""The sandbox's server: one loopback port, with the identity service at /identity and the image service at /image.

The only module of the sandbox that knows aiohttp and waits. It also injects latency and faults.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from contextlib import AsyncExitStack
from random import Random
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import yaml
from aiohttp import web

from bulkshare.sandbox.cloud import ACCESS_KEY, DOMAIN_NAME, REGION, SECRET_KEY
from bulkshare.sandbox.faults import Effect, Faults
from bulkshare.sandbox.gateway import Gateway
from bulkshare.sandbox.glance import Glance
from bulkshare.sandbox.iam import Iam
from bulkshare.sandbox.ims import AS_DOCUMENTED, Dialect, Ims
from bulkshare.sandbox.keystone import Keystone
from bulkshare.sandbox.wire import RefusalError, Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from bulkshare.sandbox.cloud import Cloud, Project, User
    from bulkshare.sandbox.faults import FaultRule
    from bulkshare.sandbox.ims import Behaviour

    Service = Glance | Keystone

HOST = "127.0.0.1"
# The services' paths, as in DevStack.
IDENTITY, IMAGE = "/identity", "/image"
TARGETS = (
    ("batches", re.compile(r"/image/v1/cloudimages/members/?")),
    ("jobs", re.compile(r"/image/v1/(cloudimages/job|[^/]+/jobs)/[^/]+")),
    ("members", re.compile(r"/image/v2[.\d]*/images/[^/]+/members/?")),
    ("member", re.compile(r"/image/v2[.\d]*/images/[^/]+/members/.+")),
    ("images", re.compile(r"/image/v2[.\d]*/images(/[^/]*)?")),
    ("tokens", re.compile(r"/identity/v3/auth/tokens/?")),
    ("projects", re.compile(r"/identity/v3/(auth/)?projects(/[^/]*)?")),
)
BACKLOG = 1024  # connections waiting to be accepted: benchmarks open many at once
SHUTDOWN_SECONDS = 0.1  # for responses in flight when it stops
PROXY_PAGE = b"<html><head><title>Gateway</title></head><body><h1>Please wait</h1></body></html>\n"


class Sandbox:
    """A server for `cloud` on 127.0.0.1; an async context manager.

    port: 0 for a free one.
    faults: rules, of which the first that applies to a request counts.
    latency_seconds: of every request; in adding a member, between the check and the insert, as in Glance.
    dialect: which cloud it plays.
    behaviour: how Huawei Cloud's image service answers where the documentation is silent.
    seed: of the faults, so that equal requests meet equal faults on every run.
    sleep: waits for the latency.
    on_response: called with method, path with query, and status before each response leaves.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        port: int = 0,
        faults: Sequence[FaultRule] = (),
        latency_seconds: float = 0.0,
        dialect: Dialect = Dialect.OPENSTACK,
        behaviour: Behaviour = AS_DOCUMENTED,
        seed: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_response: Callable[[str, str, int], None] | None = None,
    ) -> None:
        self.cloud = cloud
        self.requests: Counter[str] = Counter()  # by method and target: "POST members"
        self._port = port
        self._latency_seconds = latency_seconds
        self._sleep = sleep
        self._on_response = on_response
        self._faults = Faults(faults, Random(seed))  # noqa: S311  # faults must be repeatable, not secret
        self.dialect = dialect
        self._behaviour = behaviour
        self._services: dict[str, Service] = {}
        self._gateway = Gateway(cloud)
        self._closing = asyncio.Event()
        self._stop = AsyncExitStack()
        self._base = ""

    @property
    def auth_url(self) -> str:
        """Keystone's address, with /v3."""
        return f"{self._base}{IDENTITY}/v3"

    @property
    def endpoint(self) -> str:
        """The image service's address, without /v2: on Huawei Cloud and Open Telekom Cloud it is a host's root."""
        return f"{self._base}{IMAGE}" if self.dialect is Dialect.OPENSTACK else self._base

    def entry(self) -> dict[str, Any]:
        """Return an entry of clouds.yaml for the admin."""
        if self.dialect is Dialect.HUAWEI:
            return {
                "region_name": REGION,
                "api": "batch",
                "image_endpoint_override": self.endpoint,
                "auth": {
                    "auth_url": self.auth_url,
                    "project_id": self.cloud.admin_project.id,
                    "access_key": ACCESS_KEY,
                    "secret_key": SECRET_KEY,
                },
            }
        # The project of a log-in to Open Telekom Cloud needs no domain: it is one of the user's own account.
        project_domain = {"project_domain_name": DOMAIN_NAME} if self.dialect is Dialect.OPENSTACK else {}
        return {
            "region_name": REGION,
            "identity_api_version": 3,
            "auth": {
                "auth_url": self.auth_url,
                "username": self.cloud.admin.name,
                "password": self.cloud.admin.password,
                "project_name": self.cloud.admin_project.name,
                "user_domain_name": DOMAIN_NAME,
                **project_domain,
            },
        }

    def tenant_entry(self, user: User, project: Project) -> dict[str, Any]:
        """Return an entry of clouds.yaml for a user of a project."""
        entry = self.entry()
        if self.dialect is Dialect.HUAWEI:
            pair = self.cloud.add_key_pair(f"{ACCESS_KEY}-{user.name}", f"{SECRET_KEY}-{user.name}", user, project)
            key = {"project_id": project.id, "access_key": pair.access, "secret_key": pair.secret}
            return entry | {"auth": entry["auth"] | key}
        auth = entry["auth"] | {"username": user.name, "password": user.password, "project_name": project.name}
        if self.dialect is Dialect.OPENSTACK:
            auth["project_domain_name"] = self.cloud.domains[project.domain_id].name
        return entry | {"auth": auth}

    def clouds_yaml(self, tenant: tuple[User, Project] | None = None) -> str:
        """Return a clouds.yaml with the entry `sandbox`, for the admin, and `tenant` for a project's user if given."""
        entries = {"sandbox": self.entry()} | ({"tenant": self.tenant_entry(*tenant)} if tenant else {})
        return yaml.safe_dump({"clouds": entries}, sort_keys=False)

    async def __aenter__(self) -> Self:
        """Start to listen. Raises `OSError` if the port is not available."""
        listener = socket.create_server((HOST, self._port), backlog=BACKLOG)
        self._base = f"http://{HOST}:{listener.getsockname()[1]}"
        identity = Keystone if self.dialect is Dialect.OPENSTACK else Iam
        self._services = {
            IDENTITY: identity(self.cloud, auth_url=self.auth_url, endpoint=self.endpoint, pause=self._pause),
            IMAGE: self._image_service(),
        }
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        self._stop.push_async_callback(runner.cleanup)
        self._stop.callback(self._closing.set)
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        return self

    def _image_service(self) -> Glance:
        urls = {"auth_url": self.auth_url, "endpoint": self.endpoint}
        if self.dialect is Dialect.OPENSTACK:
            return Glance(self.cloud, pause=self._pause, **urls)
        clock = asyncio.get_running_loop().time
        return Ims(self.cloud, pause=self._pause, dialect=self.dialect, behaviour=self._behaviour, clock=clock, **urls)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and cut the connections of requests in progress."""
        await self._stop.aclose()

    async def _serve(self, http_request: web.BaseRequest) -> web.StreamResponse:
        response = await self._respond(http_request)
        if self._on_response is not None:
            self._on_response(http_request.method, http_request.rel_url.raw_path_qs, response.status)
        return response

    async def _respond(self, http_request: web.BaseRequest) -> web.StreamResponse:
        path = unquote(http_request.rel_url.raw_path, encoding="latin-1")
        if self.dialect is not Dialect.OPENSTACK and not path.startswith(f"{IDENTITY}/"):
            path = IMAGE + path
        target = next((name for name, pattern in TARGETS if pattern.fullmatch(path)), "other")
        self.requests[f"{http_request.method} {target}"] += 1
        body = await http_request.read()
        root = "/" + path[1:].partition("/")[0]
        service = self._services.get(root)
        if service is None:
            return web.Response(status=404, text=f"The services are at {self.auth_url} and {self.endpoint}\n")
        headers = self._gateway.admit(
            http_request.method,
            http_request.rel_url.raw_path,
            http_request.rel_url.raw_query_string,
            http_request.headers,
            body,
        )
        if isinstance(headers, Response):
            return _to_response(headers)
        query = tuple(http_request.rel_url.query.items())
        request = Request(http_request.method, path.removeprefix(root), query, headers, body)
        fault = self._faults.draw(request.method, target)
        if fault is None:
            return _to_response(await service.respond(request))
        response = await service.respond(request) if fault.done else Response(500)
        if fault.effect is Effect.HANG:
            await self._closing.wait()
        if fault.effect in {Effect.HANG, Effect.RESET}:
            _cut(http_request)
        if fault.effect is Effect.TRUNCATE:
            response = Response(response.status, response.body[: len(response.body) // 2], response.headers)
        if fault.effect is Effect.STATUS:
            response = _injected(service, request, fault)
        return _to_response(response)

    async def _pause(self) -> None:
        if self._latency_seconds:
            await self._sleep(self._latency_seconds)


def _injected(service: Service, request: Request, fault: FaultRule) -> Response:
    """Return the response of a rule with a status."""
    retry_after = {} if fault.retry_after_seconds is None else {"Retry-After": str(fault.retry_after_seconds)}
    if fault.status < 400:
        moved = {"Location": "/elsewhere"} if fault.status >= 300 else {}
        return Response(fault.status, PROXY_PAGE, {"Content-Type": "text/html", **moved, **retry_after})
    return service.refuse(
        request, RefusalError(fault.status, "A fault rule of the sandbox makes this fail.", headers=retry_after)
    )


def _cut(http_request: web.BaseRequest) -> None:
    """End the connection with a TCP reset, so that the client sees it broken rather than closed."""
    if http_request.transport is not None:
        connection = http_request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http_request.transport.abort()


def _to_response(response: Response) -> web.Response:
    return web.Response(status=response.status, body=response.body, headers=response.headers)
