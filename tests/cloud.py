"""A cloud under test, real or sandbox, as its users see it over HTTP.

It uses only the Identity v3 and Image v2 APIs; `tests.realcloud` and `tests.sandbox_cloud` start the services. The
methods block: call them from synchronous tests and fixtures, or from asynchronous tests whose event loop does not
serve the cloud.
"""

from __future__ import annotations

import http.client
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import yaml

from tests.request_log import LoggedRequest, count
from tests.tenants import ACCEPTOR, OWNER, Tenant, Tenants, create_tenants
from tests.users import ADMIN, ALICE, BOB, RITA, USERS, User

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from pathlib import Path

    from tests.request_log import Service

__all__ = [
    "ACCEPTOR",
    "ADMIN",
    "ALICE",
    "BOB",
    "OWNER",
    "REGION",
    "RITA",
    "USERS",
    "Answer",
    "CloudUnderTest",
    "LogIn",
    "LoggedRequest",
    "RefusedError",
    "Tenant",
    "Tenants",
    "User",
    "call",
    "password_log_in",
]

REGION = "RegionOne"


class Answer(NamedTuple):
    """An HTTP response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)


class RefusedError(Exception):
    """The cloud refused a request that prepares a test."""


class LogIn(NamedTuple):
    """A token with its user and project."""

    token: str
    user_id: str
    project_id: str


def password_log_in(user: User, project_id: str | None = None) -> dict[str, Any]:
    """Return the body of a log-in by password, scoped to the user's project or to another one."""
    domain = {"name": "Default"}
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": user.name, "domain": domain, "password": user.password}},
    }
    project = {"id": project_id} if project_id else {"name": user.project, "domain": domain}
    return {"auth": {"identity": identity, "scope": {"project": project}}}


class CloudUnderTest:
    """A cloud with its users, by their names in `users`; images and projects go by their IDs.

    auth_url: ends in /v3.
    endpoint: the image endpoint without /v2 and trailing slash.
    """

    def __init__(self, *, auth_url: str, endpoint: str, image_member_quota: int = 128) -> None:
        self.auth_url = auth_url
        self.endpoint = endpoint
        self.image_member_quota = image_member_quota
        self.users = dict(USERS)
        self._log_ins: dict[tuple[str, str | None], LogIn] = {}
        self._marks: dict[Service, int] = {}

    @cached_property
    def tenants(self) -> Tenants:
        """The tenants of `tests.tenants`, with `OWNER` and `ACCEPTOR`; created on first use."""
        return create_tenants(self)

    def write_clouds_yaml(self, path: Path) -> Path:
        """Write a clouds.yaml with one entry for each user, named after them; return `path`."""
        clouds = {
            user.name: {
                "region_name": REGION,
                "identity_api_version": 3,
                "auth": {
                    "auth_url": self.auth_url,
                    "username": user.name,
                    "password": user.password,
                    "project_name": user.project,
                    "user_domain_name": "Default",
                    "project_domain_name": "Default",
                },
            }
            for user in self.users.values()
        }
        path.write_text(yaml.safe_dump({"clouds": clouds}), "utf-8")
        return path

    def token(self, user: str, project_id: str | None = None) -> str:
        """Return a token of the user for their project or another one; each is fetched once."""
        return self._log_in(user, project_id).token

    def project_id(self, user: str) -> str:
        """Return the ID of the user's project."""
        return self._log_in(user).project_id

    def create_domain(self, name: str) -> str:
        """Create a domain and return its ID."""
        return self._make("domain", name=name)

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
        fields: dict[str, Any] = {"name": name, "domain_id": domain_id, "tags": list(tags), "enabled": enabled}
        return self._make("project", **fields, **({"parent_id": parent_id} if parent_id else {}))

    def disable_project(self, project_id: str) -> None:
        """Disable a project: it remains, but no user gets a token for it."""
        self._ask("PATCH", f"{self.auth_url}/projects/{project_id}", {"project": {"enabled": False}})

    def create_user(self, user: User, roles: Mapping[str, str]) -> None:
        """Create a user in the domain Default; `roles` are by project ID."""
        user_id = self._make("user", name=user.name, password=user.password, domain_id="default")
        known = {role["name"]: role["id"] for role in self._ask("GET", f"{self.auth_url}/roles")["roles"]}
        for project_id, role in roles.items():
            self._ask("PUT", f"{self.auth_url}/projects/{project_id}/users/{user_id}/roles/{known[role]}")
        self.users[user.name] = user

    def create_projects(self, count: int, prefix: str) -> list[str]:
        """Create `count` projects, named after `prefix`, and return their IDs."""
        return [self.create_project(f"{prefix}-{number:03}") for number in range(count)]

    def create_application_credential(self, user: str, secret: str) -> str:
        """Create an application credential of the user's for their project and return its ID."""
        owner = self._log_in(user)
        url = f"{self.auth_url}/users/{owner.user_id}/application_credentials"
        wanted = {"application_credential": {"name": uuid4().hex, "secret": secret}}
        made = self._ask("POST", url, wanted, token=owner.token)
        return str(made["application_credential"]["id"])

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
        """Create an image of the project of the user `owner`, queued unless `active`, and return its ID."""
        image = {
            "name": name,
            "owner": self.project_id(owner),
            "visibility": visibility,
            "tags": list(tags),
            "disk_format": "raw",
            "container_format": "bare",
            **properties,
        }
        image_id = str(self._ask("POST", f"{self.endpoint}/v2/images", image)["id"])
        if active:
            self._ask("PUT", f"{self.endpoint}/v2/images/{image_id}/file", b"data")
        return image_id

    def add_member(self, image_id: str, member_id: str) -> None:
        """Make the project a member of the image."""
        self._ask("POST", f"{self.endpoint}/v2/images/{image_id}/members", {"member": member_id})

    def remove_member(self, image_id: str, member_id: str) -> None:
        """End the project's membership of the image."""
        self._ask("DELETE", f"{self.endpoint}/v2/images/{image_id}/members/{member_id}")

    def set_status(self, image_id: str, member_id: str, status: str) -> None:
        """Set the status of the project's membership of the image."""
        self._ask("PUT", f"{self.endpoint}/v2/images/{image_id}/members/{member_id}", {"status": status})

    def members(self, image_id: str) -> list[dict[str, str]]:
        """Return the image's members, as the Image API lists them to the admin."""
        listed: list[dict[str, str]] = self._ask("GET", f"{self.endpoint}/v2/images/{image_id}/members")["members"]
        return listed

    def member_ids(self, image_id: str) -> list[str]:
        """Return the sorted IDs of the image's members, including duplicates."""
        return sorted(member["member_id"] for member in self.members(image_id))

    def mark(self) -> None:
        """Limit `logged`, `counted` and `requests` to what is answered from now on."""
        self._marks = {"image": len(self._all_logged("image")), "identity": len(self._all_logged("identity"))}

    def logged(self, service: Service = "image") -> list[LoggedRequest]:
        """Return the requests that a service has answered since the last mark, in order; never incomplete.

        A real image service validates each new token at the identity service: GET /v3/auth/tokens.
        """
        return self._all_logged(service)[self._marks.get(service, 0) :]

    def counted(self, service: Service = "image") -> Counter[str]:
        """Count the logged requests by method and template, as in "POST /v2/images/{image}/members"."""
        return count(self.logged(service))

    def requests(self, method: str, part: str = "") -> int:
        """Count the image service's requests with this method and `part` in their path or query."""
        return sum(request.method == method and part in request.target for request in self.logged())

    def _all_logged(self, service: Service) -> list[LoggedRequest]:
        raise NotImplementedError

    def _log_in(self, name: str, project_id: str | None = None) -> LogIn:
        if (name, project_id) not in self._log_ins:
            body = password_log_in(self.users[name], project_id)
            answer = call("POST", f"{self.auth_url}/auth/tokens", body=body)
            if answer.status != 201:
                raise RefusedError(f"log-in of {name}: {answer}")
            token = answer.json()["token"]
            log_in = LogIn(answer.headers["x-subject-token"], token["user"]["id"], token["project"]["id"])
            self._log_ins[name, project_id] = log_in
        return self._log_ins[name, project_id]

    def _make(self, kind: str, **fields: Any) -> str:
        """Create a resource of the identity service and return its ID."""
        return str(self._ask("POST", f"{self.auth_url}/{kind}s", {kind: fields})[kind]["id"])

    def _ask(self, method: str, url: str, body: object = None, *, token: str | None = None) -> Any:
        """Send a request, by default as the admin, and return the answer's JSON, or None without a body."""
        answer = call(method, url, token=token or self.token(ADMIN.name), body=body)
        if not 200 <= answer.status < 300:
            raise RefusedError(f"{method} {url}: {answer}")
        return answer.json() if answer.body else None


def call(method: str, url: str, *, token: str | None = None, body: object = None) -> Answer:
    """Send one request on its own connection. A body of bytes is sent unchanged, any other as JSON."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["X-Auth-Token"] = token
    if isinstance(body, bytes):
        headers["Content-Type"] = "application/octet-stream"
    elif body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body).encode()
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request(method, f"{parts.path}?{parts.query}".rstrip("?"), body, headers)
        response = connection.getresponse()
        lowered = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, lowered, response.read())
    finally:
        connection.close()
