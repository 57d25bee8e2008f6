"""Who there is in the sandbox's cloud: Keystone's lists of projects, users and domains, read-only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from bulkshare.sandbox.records import DOMAIN_ID, DOMAIN_NAME
from bulkshare.sandbox.wire import Answer, RefusalError, answer_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bulkshare.sandbox.records import Project, Token, User
    from bulkshare.sandbox.store import Cloud
    from bulkshare.sandbox.wire import Ask

    Action = Callable[[Ask, Token], Answer]

Found = TypeVar("Found")

HEX_UUID = re.compile(r"[0-9a-f]{32}")


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
        filters = dict(ask.query)
        parent_id = filters.get("parent_id")
        if parent_id is not None and not HEX_UUID.fullmatch(parent_id.replace("-", "")):
            problem = f"Value: {parent_id}. '{parent_id}' is not a 'uuid'"
            raise RefusalError(400, f"Invalid input for field/attribute parent_id. {problem}")
        _require("list_projects", allowed=token.is_admin)
        tags = {tag for tag in filters.get("tags", "").split(",") if tag}
        enabled = filters.get("enabled", "").lower()
        projects = [
            project
            for project in sorted(self._cloud.projects.values(), key=lambda project: project.id)
            if filters.get("name", project.name) == project.name
            and filters.get("domain_id", project.domain_id) == project.domain_id
            and (parent_id or project.parent_id) == project.parent_id
            and (not enabled or project.enabled == (enabled not in {"false", "0"}))
            and tags <= set(project.tags)
        ]
        return self._list(ask, "projects", [self._show_project(project) for project in projects])

    def _project(self, token: Token, project_id: str) -> Answer:
        """One's own without being an admin."""
        _require("get_project", allowed=token.is_admin or project_id == token.project_id)
        project = _found(self._cloud.projects, "project", project_id)
        return answer_json(200, {"project": self._show_project(project)})

    def _projects_of(self, ask: Ask, token: Token, user_id: str) -> Answer:
        """Those the user has a role in."""
        _require("list_user_projects", allowed=token.is_admin or user_id == token.user.id)
        user = _found(self._cloud.users, "user", user_id)
        projects = [self._show_project(self._cloud.projects[project_id]) for project_id in user.roles]
        return self._list(ask, "projects", projects)

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
        return self._list(ask, "domains", [self._show_domain()] if name in {None, DOMAIN_NAME} else [])

    def _domain(self, token: Token, domain_id: str) -> Answer:
        """One's own without being an admin."""
        _require("get_domain", allowed=token.is_admin or domain_id == DOMAIN_ID)
        return answer_json(200, {"domain": _found({DOMAIN_ID: self._show_domain()}, "domain", domain_id)})

    def _list(self, ask: Ask, name: str, items: Sequence[Mapping[str, Any]]) -> Answer:
        """Return a list with its links. With `limit` it is a page, and `next` leads on while there is more."""
        params = dict(ask.query)
        address = f"{self._auth_url}{ask.path.removeprefix('/v3').rstrip('/')}"
        start = 0
        if "marker" in params:
            start = next((number for number, item in enumerate(items, 1) if item["id"] == params["marker"]), len(items))
        limit = params.get("limit", "")
        page = items[start : start + int(limit)] if limit.isdecimal() and int(limit) else items[start:]
        more = len(page) < len(items) - start
        links = {
            "next": f"{address}?{urlencode({**params, 'marker': page[-1]['id']})}" if more else None,
            "self": f"{address}?{urlencode(ask.query)}" if ask.query else address,
            "previous": None,
        }
        return answer_json(200, {name: page, "links": links, **({"truncated": True} if more else {})})

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

    def _show_domain(self) -> dict[str, Any]:
        return {
            "id": DOMAIN_ID,
            "name": DOMAIN_NAME,
            "description": "The default domain",
            "enabled": True,
            "tags": [],
            "options": {},
            "links": {"self": f"{self._auth_url}/domains/{DOMAIN_ID}"},
        }


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
