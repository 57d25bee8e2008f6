"""The sandbox's identity service: Keystone v3 tokens, and read-only lists of projects, users and domains.

Answers as a real Keystone 30 was observed to. It supports log-in by password, token or application credential, unscoped
or for a project; not system and domain scope, trusts, federation, multi-factor rules, or creating anything.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from bulkshare.sandbox.cloud import REGION, stable_uuid
from bulkshare.sandbox.wire import JSON, RefusalError, Response, json_response, title_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bulkshare.sandbox.cloud import Cloud, Project, Token, User
    from bulkshare.sandbox.wire import Request

    Test = Callable[[Project], bool]
    from bulkshare.sandbox.cloud import Domain

    Action = Callable[[Request, Token], Response]
    from collections.abc import Awaitable
    from datetime import datetime


Found = TypeVar("Found")

# Log-in

UNAUTHORIZED = "The request you have made requires authentication."
DELEGATED = "Using a delegated token to create another token is not allowed."
NO_SUCH_TOKEN = "Could not recognize Fernet token"  # noqa: S105  # a message, not a secret
MALFORMED = (
    "The server could not comply with the request since it is either malformed or otherwise incorrect. "
    "The client is assumed to be in error."
)


def log_in(cloud: Cloud, request: Request) -> Token:
    """Issue the requested token. Raises `RefusalError` with Keystone's answer, which does not reveal the reason."""
    auth = need(read_body(request), "auth", "request body")
    identity = need(auth, "identity", "auth")
    methods = need(identity, "methods", "identity")
    if not isinstance(methods, list) or len(methods) != 1:
        raise RefusalError(401, UNAUTHORIZED)
    if methods[0] not in {"password", "token", "application_credential"}:
        raise RefusalError(401, "Attempted to authenticate with an unsupported method.")
    method = str(methods[0])
    proof = need(identity, method, "identity")
    if method == "application_credential":
        return _by_application_credential(cloud, proof, scope=auth.get("scope"))
    if method == "token":
        token_id = need(proof, "id", "token")
        parent = cloud.token(token_id) if isinstance(token_id, str) else None
        if parent is None:
            raise RefusalError(404, NO_SUCH_TOKEN)
        if "application_credential" in parent.methods:
            raise RefusalError(403, f"You are not authorized to perform the requested action: {DELEGATED}.")
        return cloud.issue_token(parent.user, find_scope(cloud, parent.user, auth.get("scope")), method, parent)
    user = find_user(cloud, need(proof, "user", "password"))
    if user is None or proof["user"].get("password") != user.password:
        raise RefusalError(401, UNAUTHORIZED)
    return cloud.issue_token(user, find_scope(cloud, user, auth.get("scope")), method)


def _by_application_credential(cloud: Cloud, proof: Any, *, scope: Any) -> Token:
    if scope is not None:
        reason = "Application credentials cannot request a scope."
        raise RefusalError(401, f"Error authenticating with application credential: {reason}")
    if "id" in proof:
        credential = cloud.application_credentials.get(str(proof["id"]))
        if credential is None:
            raise RefusalError(404, f"Could not find Application Credential: {proof['id']}.")
    else:
        name, user = need(proof, "name", "application_credential"), find_user(cloud, need(proof, "user", "auth"))
        known = cloud.application_credentials.values()
        credential = next((one for one in known if one.user is user and one.name == name), None)
    if credential is None or proof.get("secret") != credential.secret:
        raise RefusalError(401, UNAUTHORIZED)
    return cloud.issue_token(credential.user, credential.project, "application_credential")


def find_user(cloud: Cloud, wanted: Any) -> User | None:
    """Return the user with this ID, or name and domain; None if there is none."""
    if isinstance(wanted, dict) and "id" in wanted:
        return cloud.users.get(str(wanted["id"]))
    named = need(wanted, "name", "user"), find_domain(cloud, wanted, "user")
    return next((user for user in cloud.users.values() if (user.name, user.domain_id) == named), None)


def find_scope(cloud: Cloud, user: User, scope: Any) -> Project | None:
    """Return the project of the requested scope, None for an unscoped token.

    Refuses a disabled project, and one in which the user has no role.
    """
    if scope is None or scope == "unscoped":
        return None
    wanted = scope.get("project") if isinstance(scope, dict) else None
    if not isinstance(wanted, dict):
        raise RefusalError(401, UNAUTHORIZED)
    if "id" in wanted:
        project = cloud.projects.get(str(wanted["id"]))
    else:
        named = (find_domain(cloud, wanted, "project"), need(wanted, "name", "project"))
        project = next((one for one in cloud.projects.values() if (one.domain_id, one.name) == named), None)
    if project is None or not project.enabled or project.id not in user.roles:
        raise RefusalError(401, UNAUTHORIZED)
    return project


def find_domain(cloud: Cloud, of: Any, where: str) -> str | None:
    """Return the ID of the domain named for a user or project; None if there is none."""
    wanted = need(of, "domain", where)
    if not isinstance(wanted, dict):
        return None
    known = cloud.domains.values()
    return next((one.id for one in known if one.id == wanted.get("id") or one.name == wanted.get("name")), None)


def read_body(request: Request) -> Any:
    """Return the JSON of a request's body, a mapping."""
    if not request.body:
        return {}
    if not request.headers.get("Content-Type", "").startswith(JSON):
        raise _expecting(JSON, "Content-Type header")
    try:
        body = json.loads(request.body.decode())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _expecting("valid JSON", "request body")
    return body


def need(mapping: Any, key: str, where: str) -> Any:
    """Return the value of a key that is required, in Keystone's words."""
    if not isinstance(mapping, dict) or key not in mapping:
        raise _expecting(key, where)
    return mapping[key]


def _expecting(what: str, where: str) -> RefusalError:
    return RefusalError(400, f"Expecting to find {what} in {where}. {MALFORMED}")


# Filters of projects

HEX_UUID = re.compile(r"[0-9a-f]{32}")
FALSE = frozenset({"0", "f", "false", "off", "n", "no"})  # everything else is true, even ""


def read_project_tests(query: Sequence[tuple[str, str]]) -> Sequence[Test]:
    """Return a test for each filter; unknown ones are ignored. Raises `RefusalError` with Keystone's answer."""
    tests = [test for name, value in query if (test := _read_test(name, value)) is not None]
    tags = next((value for name, value in query if name == "tags"), None)  # of a repeated one the first counts
    if tags is not None:
        wanted = frozenset(tags.split(","))
        tests.append(lambda project: wanted.issubset(project.tags))
    return tests


def is_true(text: str) -> bool:
    """Parse a flag as Keystone does."""
    return text.lower() not in FALSE


def _read_test(name: str, value: str) -> Test | None:
    if name in {"name", "domain_id"} and not value:
        raise RefusalError(400, f"Invalid input for field/attribute {name}. Value: . '' should be non-empty")
    if name == "parent_id" and not HEX_UUID.fullmatch(value.replace("-", "")):
        problem = f"Value: {value}. '{value}' is not a 'uuid'"
        raise RefusalError(400, f"Invalid input for field/attribute parent_id. {problem}")
    if name in {"name", "domain_id", "parent_id"}:
        return lambda project: bool(getattr(project, name) == value)
    if name == "enabled":
        return lambda project: project.enabled == is_true(value)
    if name == "name__startswith":
        return lambda project: project.name.startswith(value)
    if "__" in name or name in {"tags-any", "not-tags", "not-tags-any"}:  # Keystone's, and no client here sends them
        raise RefusalError(501, "The sandbox can't do this.")
    return None


# Lists


class Directory:
    """Reads of projects, users and domains. Actions return a response or raise `RefusalError`; admins may read all."""

    def __init__(self, cloud: Cloud, auth_url: str) -> None:
        self._cloud = cloud
        self._auth_url = auth_url

    def actions(self, path: Sequence[str]) -> Mapping[str, Action]:
        """Return the actions at a path below /v3, by method; empty if there is no such path."""
        match path:
            case ["projects"]:
                return {"GET": self._projects}
            case ["projects", project_id]:
                return {"GET": lambda _, token: self._project(token, project_id)}
            case ["auth", "domains"]:  # no user has a role in a domain itself
                return {"GET": lambda request, _: self._list(request, "domains", [])}
            case ["auth", "projects"]:
                return {"GET": lambda request, token: self._projects_of(request, token, token.user.id)}
            case ["users", user_id, "projects"]:
                return {"GET": lambda request, token: self._projects_of(request, token, user_id)}
            case ["users"]:
                return {"GET": self._users}
            case ["users", user_id]:
                return {"GET": lambda _, token: self._user(token, user_id)}
            case ["domains"]:
                return {"GET": self._domains}
            case ["domains", domain_id]:
                return {"GET": lambda _, token: self._domain(token, domain_id)}
            case _:
                return {}

    def _projects(self, request: Request, token: Token) -> Response:
        tests = read_project_tests(request.query)
        require("list_projects", allowed=token.is_admin)
        if is_true(dict(request.query).get("is_domain", "false")):
            return self._list(request, "projects", [self._show_as_project(one) for one in self._cloud.domains.values()])
        found = [project for project in self._visible(token) if all(test(project) for test in tests)]
        return self._list(request, "projects", [self._show_project(project) for project in found])

    def _visible(self, _: Token) -> Iterable[Project]:
        """Return the projects that an admin may list: all."""
        return self._cloud.projects.values()

    def _project(self, token: Token, project_id: str) -> Response:
        """Non-admins may read their own project."""
        require("get_project", allowed=token.is_admin or project_id == token.project_id)
        if project_id in self._cloud.domains:
            return json_response(200, {"project": self._show_as_project(self._cloud.domains[project_id])})
        project = _found(self._cloud.projects, "project", project_id)
        return json_response(200, {"project": self._show_project(project)})

    def _projects_of(self, request: Request, token: Token, user_id: str) -> Response:
        """Projects in which the user has a role, disabled ones included; no filters and no pages."""
        require("list_user_projects", allowed=token.is_admin or user_id == token.user.id)
        user = _found(self._cloud.users, "user", user_id)
        projects = [self._show_project(self._cloud.projects[project_id]) for project_id in sorted(user.roles)]
        return json_response(200, {"projects": projects, "links": self._links(request)})

    def _users(self, request: Request, token: Token) -> Response:
        require("list_users", allowed=token.is_admin)
        name = dict(request.query).get("name")
        users = [self._show_user(user) for user in self._cloud.users.values() if name in {None, user.name}]
        return self._list(request, "users", users)

    def _user(self, token: Token, user_id: str) -> Response:
        """Non-admins may read themselves."""
        require("get_user", allowed=token.is_admin or user_id == token.user.id)
        return json_response(200, {"user": self._show_user(_found(self._cloud.users, "user", user_id))})

    def _domains(self, request: Request, token: Token) -> Response:
        require("list_domains", allowed=token.is_admin)
        name = dict(request.query).get("name")
        found = [domain for domain in self._cloud.domains.values() if name in {None, domain.name}]
        return self._list(request, "domains", [self._show_domain(domain) for domain in found])

    def _domain(self, token: Token, domain_id: str) -> Response:
        """Non-admins may read the domain of their project."""
        own = token.project.domain_id if token.project else None
        require("get_domain", allowed=token.is_admin or domain_id == own)
        domain = _found(self._cloud.domains, "domain", domain_id)
        return json_response(200, {"domain": self._show_domain(domain)})

    def _list(self, request: Request, name: str, items: Sequence[Mapping[str, Any]]) -> Response:
        """Return a list sorted by ID, with links. With `limit` it is a page, and every full page has a `next`."""
        params = dict(request.query)
        marker = params.get("marker", "")
        known = {**self._cloud.projects, **self._cloud.users, **self._cloud.domains}
        if marker and marker not in known:
            raise RefusalError(404, f"Marker {marker} could not be found.")
        rest = sorted((item for item in items if item["id"] > marker), key=lambda item: str(item["id"]))
        limit = params.get("limit", "")
        page = rest[: int(limit)] if limit.isdecimal() and int(limit) else rest
        if not page or not limit.isdecimal() or len(page) < int(limit):
            return json_response(200, {name: page, "links": self._links(request)})
        links = self._links(request, following={**params, "marker": page[-1]["id"]})
        return json_response(200, {name: page, "links": links, "truncated": True})

    def _links(self, request: Request, *, following: Mapping[str, str] | None = None) -> dict[str, str | None]:
        address = f"{self._auth_url}{request.path.removeprefix('/v3').rstrip('/')}"
        return {
            "next": f"{address}?{urlencode(following)}" if following else None,
            "self": f"{address}?{urlencode(request.query)}" if request.query else address,
            "previous": None,
        }

    def _show_project(self, project: Project) -> dict[str, Any]:
        return {
            "id": project.id,
            "name": project.name,
            "domain_id": project.domain_id,
            "description": project.description,
            "enabled": project.enabled,
            "parent_id": project.parent_id,
            "is_domain": False,
            "tags": list(project.tags),
            "options": {},
            "links": {"self": f"{self._auth_url}/projects/{project.id}"},
        }

    def _show_user(self, user: User) -> dict[str, Any]:
        return {
            "id": user.id,
            "name": user.name,
            "domain_id": user.domain_id,
            "enabled": True,
            "password_expires_at": None,
            "options": {},
            "links": {"self": f"{self._auth_url}/users/{user.id}"},
        }

    def _show_domain(self, domain: Domain) -> dict[str, Any]:
        return {
            "id": domain.id,
            "name": domain.name,
            "description": domain.description,
            "enabled": True,
            "tags": [],
            "options": {},
            "links": {"self": f"{self._auth_url}/domains/{domain.id}"},
        }

    def _show_as_project(self, domain: Domain) -> dict[str, Any]:
        """Show a domain as the project that it also is in Keystone."""
        links = {"self": f"{self._auth_url}/projects/{domain.id}"}
        return {**self._show_domain(domain), "domain_id": None, "parent_id": None, "is_domain": True, "links": links}


def forbidden(action: str) -> RefusalError:
    """Return the refusal of a policy; `action` is the policy's name."""
    return RefusalError(403, f"You are not authorized to perform the requested action: identity:{action}.")


def require(action: str, *, allowed: bool) -> None:
    """Raise the refusal of a policy unless that is allowed."""
    if not allowed:
        raise forbidden(action)


def _found(known: Mapping[str, Found], kind: str, wanted: str) -> Found:
    if wanted not in known:
        raise RefusalError(404, f"Could not find {kind}: {wanted}.")
    return known[wanted]


# The service

NO_SUCH_PATH = (
    b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not "
    b"found on the server. If you entered the URL manually please check your spelling and try again.</p>\n"
)


class Keystone:
    """The identity service of one cloud.

    auth_url: its own URL, with /v3.
    endpoint: the image service's URL.
    pause: awaited once per request, for the latency of a real server.
    """

    name = "keystone"  # in the catalog

    def __init__(self, cloud: Cloud, *, auth_url: str, endpoint: str, pause: Callable[[], Awaitable[None]]) -> None:
        self._cloud = cloud
        self._auth_url = auth_url
        self._endpoint = endpoint
        self._pause = pause
        self._directory = self._make_directory()

    def _make_directory(self) -> Directory:
        return Directory(self._cloud, self._auth_url)

    def _log_in(self, request: Request) -> Token:
        return log_in(self._cloud, request)

    async def respond(self, request: Request) -> Response:
        """Respond to a request; never raises."""
        await self._pause()
        try:
            response = self._dispatch(request)
        except RefusalError as refusal:
            return self.refuse(request, refusal)
        return response.with_headers(Vary="X-Auth-Token", x_openstack_request_id=_request_id())

    def refuse(self, _: Request, refusal: RefusalError) -> Response:
        """Return a refusal in Keystone's words."""
        error = {"code": refusal.status, "message": refusal.explanation, "title": title_of(refusal.status)}
        headers = {"Content-Type": JSON, "Vary": "X-Auth-Token", "x-openstack-request-id": _request_id()}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = f'Keystone uri="{self._auth_url}"'
        body = json.dumps({"error": error}, separators=(",", ":"), ensure_ascii=False)
        return Response(refusal.status, f"{body}\n".encode(), {**headers, **refusal.headers})

    def _dispatch(self, request: Request) -> Response:
        match request.path.strip("/").split("/"):
            case [""]:
                versions = {"versions": {"values": [self._version()]}}
                return json_response(300, versions).with_headers(Location=f"{self._auth_url}/")
            case ["v3"]:
                return json_response(200, {"version": self._version()})
            case ["v3", "auth", "tokens"] if request.method == "POST":
                token = self._log_in(request)
                shown = self._show_token(token, with_catalog="nocatalog" not in dict(request.query))
                return json_response(201, shown).with_headers(X_Subject_Token=token.id)
            case ["v3", *rest]:
                return self._read(request, rest)
            case _:
                return _no_such_path()

    def _read(self, request: Request, path: Sequence[str]) -> Response:
        actions = self._actions(path)
        if not actions:
            return _no_such_path()
        action = actions.get("GET" if request.method == "HEAD" else request.method)
        if action is None:
            refusal = json_response(405, {"message": "The method is not allowed for the requested URL."})
            return refusal.with_headers(Allow=", ".join((*actions, "HEAD", "OPTIONS")))
        token = self._cloud.token(request.headers.get("X-Auth-Token"))
        if token is None:
            raise RefusalError(401, UNAUTHORIZED)
        return action(request, token)

    def _actions(self, path: Sequence[str]) -> Mapping[str, Action]:
        match path:
            case ["auth", "tokens"]:
                return {"GET": self._validate, "DELETE": self._revoke}
            case ["auth", "catalog"]:
                return {"GET": lambda _, __: json_response(200, {"catalog": self._catalog()})}
            case _:
                return self._directory.actions(path)

    def _validate(self, request: Request, token: Token) -> Response:
        subject = self._subject(request, token, "validate_token")
        return json_response(200, self._show_token(subject)).with_headers(X_Subject_Token=subject.id)

    def _revoke(self, request: Request, token: Token) -> Response:
        del self._cloud.tokens[self._subject(request, token, "revoke_token").id]
        return Response(204)

    def _subject(self, request: Request, token: Token, action: str) -> Token:
        """Return the token that the request is about: the user's own, or any for an admin."""
        subject_id = request.headers.get("X-Subject-Token")
        subject = self._cloud.token(subject_id)
        if subject is not None and (token.is_admin or subject.user is token.user):
            return subject
        if subject is None and (subject_id or token.is_admin):
            raise RefusalError(404, NO_SUCH_TOKEN)
        raise forbidden(action)

    def _version(self) -> dict[str, Any]:
        media = {"base": JSON, "type": "application/vnd.openstack.identity-v3+json"}
        return {
            "id": "v3.14",
            "status": "stable",
            "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": f"{self._auth_url}/"}],
            "media-types": [media],
        }

    def _show_token(self, token: Token, *, with_catalog: bool = True) -> dict[str, Any]:
        domain = self._show_domain(token.user.domain_id)
        shown: dict[str, Any] = {
            "methods": list(token.methods),
            "user": {"domain": domain, "id": token.user.id, "name": token.user.name, "password_expires_at": None},
            "audit_ids": list(token.audit_ids),
            "expires_at": _isotime(token.expires_at),
            "issued_at": _isotime(token.issued_at),
        }
        if token.project is not None:
            domain = self._show_domain(token.project.domain_id)
            shown["project"] = {"domain": domain, "id": token.project.id, "name": token.project.name}
            shown["is_domain"] = False
            shown["roles"] = [{"id": stable_uuid(f"role {role}").hex, "name": role} for role in token.roles]
            if with_catalog:
                shown["catalog"] = self._catalog()
        return {"token": shown}

    def _show_domain(self, domain_id: str) -> dict[str, str]:
        return {"id": domain_id, "name": self._cloud.domains[domain_id].name}

    def _catalog(self) -> Sequence[dict[str, Any]]:
        services = ((self.name, "identity", self._auth_url), ("glance", "image", self._endpoint))
        return [
            {
                "endpoints": [
                    {
                        "id": stable_uuid(f"endpoint {kind} {interface}").hex,
                        "interface": interface,
                        "region_id": REGION,
                        "url": url,
                        "region": REGION,
                    }
                    for interface in ("public", "internal", "admin")
                ],
                "id": stable_uuid(f"service {kind}").hex,
                "type": kind,
                "name": name,
            }
            for name, kind, url in services
        ]


def _isotime(moment: datetime) -> str:
    """Format a UTC time as Keystone does, with zero microseconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000000Z"


def _no_such_path() -> Response:
    return Response(404, NO_SUCH_PATH, {"Content-Type": "text/html; charset=utf-8"})


def _request_id() -> str:
    return f"req-{uuid.uuid4()}"
