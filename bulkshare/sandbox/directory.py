"""Who there is in the sandbox's cloud: Keystone's lists of projects, users and domains, read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from bulkshare.sandbox.project_query import is_true, read_project_tests
from bulkshare.sandbox.records import DOMAIN_ID
from bulkshare.sandbox.wire import Answer, RefusalError, answer_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bulkshare.sandbox.records import Domain, Project, Token, User
    from bulkshare.sandbox.store import Cloud
    from bulkshare.sandbox.wire import Ask

    Action = Callable[[Ask, Token], Answer]

Found = TypeVar("Found")


class Directory:
    """The reads of one cloud. An action returns the answer or raises `RefusalError`; an admin may read it all."""

    def __init__(self, cloud: Cloud, auth_url: str) -> None:
        self._cloud = cloud
        self._auth_url = auth_url

    def actions(self, path: Sequence[str]) -> Mapping[str, Action]:
        """Return what can be done at a path below /v3, by method; nothing where there is no such path."""
        match path:
            case ["projects"]:
                return {"GET": self._projects}
            case ["projects", project_id]:
                return {"GET": lambda _, token: self._project(token, project_id)}
            case ["auth", "domains"]:  # nobody has a role in the domain itself
                return {"GET": lambda ask, _: self._list(ask, "domains", [])}
            case ["auth", "projects"]:
                return {"GET": lambda ask, token: self._projects_of(ask, token, token.user.id)}
            case ["users", user_id, "projects"]:
                return {"GET": lambda ask, token: self._projects_of(ask, token, user_id)}
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

    def _projects(self, ask: Ask, token: Token) -> Answer:
        tests = read_project_tests(ask.query)
        _require("list_projects", allowed=token.is_admin)
        if is_true(dict(ask.query).get("is_domain", "false")):
            return self._list(ask, "projects", [self._show_as_project(one) for one in self._cloud.domains.values()])
        found = [project for project in self._cloud.projects.values() if all(test(project) for test in tests)]
        return self._list(ask, "projects", [self._show_project(project) for project in found])

    def _project(self, token: Token, project_id: str) -> Answer:
        """One's own without being an admin."""
        _require("get_project", allowed=token.is_admin or project_id == token.project_id)
        if project_id in self._cloud.domains:
            return answer_json(200, {"project": self._show_as_project(self._cloud.domains[project_id])})
        project = _found(self._cloud.projects, "project", project_id)
        return answer_json(200, {"project": self._show_project(project)})

    def _projects_of(self, ask: Ask, token: Token, user_id: str) -> Answer:
        """Those the user has a role in, closed ones, too; a list that knows no filters and no pages."""
        _require("list_user_projects", allowed=token.is_admin or user_id == token.user.id)
        user = _found(self._cloud.users, "user", user_id)
        projects = [self._show_project(self._cloud.projects[project_id]) for project_id in sorted(user.roles)]
        return answer_json(200, {"projects": projects, "links": self._links(ask)})

    def _users(self, ask: Ask, token: Token) -> Answer:
        _require("list_users", allowed=token.is_admin)
        name = dict(ask.query).get("name")
        users = [self._show_user(user) for user in self._cloud.users.values() if name in {None, user.name}]
        return self._list(ask, "users", users)

    def _user(self, token: Token, user_id: str) -> Answer:
        """Oneself without being an admin."""
        _require("get_user", allowed=token.is_admin or user_id == token.user.id)
        return answer_json(200, {"user": self._show_user(_found(self._cloud.users, "user", user_id))})

    def _domains(self, ask: Ask, token: Token) -> Answer:
        _require("list_domains", allowed=token.is_admin)
        name = dict(ask.query).get("name")
        found = [domain for domain in self._cloud.domains.values() if name in {None, domain.name}]
        return self._list(ask, "domains", [self._show_domain(domain) for domain in found])

    def _domain(self, token: Token, domain_id: str) -> Answer:
        """That of one's project without being an admin."""
        own = token.project.domain_id if token.project else None
        _require("get_domain", allowed=token.is_admin or domain_id == own)
        domain = _found(self._cloud.domains, "domain", domain_id)
        return answer_json(200, {"domain": self._show_domain(domain)})

    def _list(self, ask: Ask, name: str, items: Sequence[Mapping[str, Any]]) -> Answer:
        """Return a list by ID, with its links. With `limit` it is a page, and `next` stands on every full one."""
        params = dict(ask.query)
        marker = params.get("marker", "")
        known = {**self._cloud.projects, **self._cloud.users, **self._cloud.domains}
        if marker and marker not in known:
            raise RefusalError(404, f"Marker {marker} could not be found.")
        rest = sorted((item for item in items if item["id"] > marker), key=lambda item: str(item["id"]))
        limit = params.get("limit", "")
        page = rest[: int(limit)] if limit.isdecimal() and int(limit) else rest
        if not page or not limit.isdecimal() or len(page) < int(limit):
            return answer_json(200, {name: page, "links": self._links(ask)})
        links = self._links(ask, following={**params, "marker": page[-1]["id"]})
        return answer_json(200, {name: page, "links": links, "truncated": True})

    def _links(self, ask: Ask, *, following: Mapping[str, str] | None = None) -> dict[str, str | None]:
        address = f"{self._auth_url}{ask.path.removeprefix('/v3').rstrip('/')}"
        return {
            "next": f"{address}?{urlencode(following)}" if following else None,
            "self": f"{address}?{urlencode(ask.query)}" if ask.query else address,
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
            "domain_id": DOMAIN_ID,
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
        """Show a domain as the project that it is to Keystone, too."""
        links = {"self": f"{self._auth_url}/projects/{domain.id}"}
        return {**self._show_domain(domain), "domain_id": None, "parent_id": None, "is_domain": True, "links": links}


def forbidden(action: str) -> RefusalError:
    """Return the refusal of a policy that is not met; `action` is the policy's name."""
    return RefusalError(403, f"You are not authorized to perform the requested action: identity:{action}.")


def _require(action: str, *, allowed: bool) -> None:
    if not allowed:
        raise forbidden(action)


def _found(known: Mapping[str, Found], kind: str, wanted: str) -> Found:
    if wanted not in known:
        raise RefusalError(404, f"Could not find {kind}: {wanted}.")
    return known[wanted]
