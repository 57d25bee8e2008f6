"""The sandbox's identity service as on Huawei Cloud and Open Telekom Cloud: IAM, which is Keystone's API with changes.

A domain is a customer's account, and its projects are invisible to others. A project is named without its domain;
it has no tags. Lists of projects have numbered pages. Users may have a second factor, or act in another account by an
agency; there are no application credentials. Sentences are the sandbox's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkshare.sandbox.keystone import (
    UNAUTHORIZED,
    Directory,
    Keystone,
    find_domain,
    find_scope,
    find_user,
    forbidden,
    log_in,
    need,
    read_body,
)
from bulkshare.sandbox.wire import RefusalError, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bulkshare.sandbox.cloud import Cloud, Project, Token, User
    from bulkshare.sandbox.keystone import Action
    from bulkshare.sandbox.wire import Request

MOST_IN_PAGE = 5000


class Iam(Keystone):
    """The identity service of one cloud."""

    name = "iam"

    def _make_directory(self) -> Directory:
        return IamDirectory(self._cloud, self._auth_url)

    def _log_in(self, request: Request) -> Token:
        """Issue the requested token. Raises `RefusalError`, which does not reveal the reason."""
        auth = need(read_body(request), "auth", "request body")
        identity = need(auth, "identity", "auth")
        methods, scope = need(identity, "methods", "identity"), auth.get("scope")
        if methods == ["assume_role"]:
            return self._assume(request, need(identity, "assume_role", "identity"), scope)
        if methods == ["token"]:
            return log_in(self._cloud, request)
        if not isinstance(methods, list) or not {"password"} <= set(methods) <= {"password", "totp"}:
            raise RefusalError(401, "Attempted to authenticate with an unsupported method.")
        proof = need(need(identity, "password", "identity"), "user", "password")
        user = find_user(self._cloud, proof)
        if user is None or proof.get("password") != user.password:
            raise RefusalError(401, UNAUTHORIZED)
        if user.passcodes is not None:
            _check_passcode(user, identity)
        return self._cloud.issue_token(user, _find_scope(self._cloud, user, scope), "password")

    def _assume(self, request: Request, proof: Any, scope: Any) -> Token:
        """Issue a token of an agency to a user of another account, who has logged in before."""
        token = self._cloud.token(request.headers.get("X-Auth-Token"))
        named = {"domain": {key: proof.get(f"domain_{key}") for key in ("id", "name")}}
        name = str(proof.get("xrole_name") or proof.get("agency_name"))
        agency = self._cloud.agencies.get((find_domain(self._cloud, named, "assume_role") or "", name))
        if token is None or agency is None or token.user.domain_id == agency.domain_id:
            raise RefusalError(401, UNAUTHORIZED)
        return self._cloud.issue_token(agency, _find_scope(self._cloud, agency, scope), "assume_role")


def _check_passcode(user: User, identity: Mapping[str, Any]) -> None:
    """Use up the passcode of a second factor. The user must be named by ID."""
    proof = identity.get("totp")
    given = proof.get("user") if isinstance(proof, dict) else None
    passcode = given.get("passcode") if isinstance(given, dict) and given.get("id") == user.id else None
    if user.passcodes is None or passcode not in user.passcodes:
        raise RefusalError(401, UNAUTHORIZED)
    user.passcodes.discard(passcode)


def _find_scope(cloud: Cloud, user: User, scope: Any) -> Project | None:
    """Return the project of the requested scope; None for one of the whole account, and without a scope."""
    wanted = scope.get("project") if isinstance(scope, dict) else None
    if wanted is None:
        return None
    if isinstance(wanted, dict) and "id" not in wanted and "domain" not in wanted:
        wanted = {**wanted, "domain": {"id": user.domain_id}}
    return find_scope(cloud, user, {"project": wanted})


class IamDirectory(Directory):
    """Reads of the projects and users of the caller's own account."""

    def actions(self, path: Sequence[str]) -> Mapping[str, Action]:
        """Return the actions at a path below /v3, by method; empty if there is no such path."""
        match path:
            case ["domains", *_]:
                return {}
            case ["auth", "domains"]:
                return {"GET": self._accounts}
            case _:
                return super().actions(path)

    def _accounts(self, request: Request, token: Token) -> Response:
        domain = self._show_domain(self._cloud.domains[_account_of(token)])
        return json_response(200, {"domains": [domain], "links": self._links(request)})

    def _visible(self, token: Token) -> Iterable[Project]:
        return (each for each in self._cloud.projects.values() if each.domain_id == _account_of(token))

    def _project(self, token: Token, project_id: str) -> Response:
        if project_id not in {project.id for project in self._visible(token)}:
            raise forbidden("get_project")
        return super()._project(token, project_id)

    def _list(self, request: Request, name: str, items: Sequence[Mapping[str, Any]]) -> Response:
        """Return a page if `page` and `per_page` are given, which go together; the link to the next one is null."""
        params = dict(request.query)
        numbers = [params.get("page", ""), params.get("per_page", "")]
        found = sorted(items, key=lambda item: str(item["id"]))
        if any(numbers):
            if not all(number.isdecimal() and int(number) for number in numbers) or int(numbers[1]) > MOST_IN_PAGE:
                raise RefusalError(400, "Invalid input for page or per_page.")
            page, size = map(int, numbers)
            found = found[(page - 1) * size : page * size]
        return json_response(200, {name: found, "links": self._links(request)})

    def _show_project(self, project: Project) -> dict[str, Any]:
        shown = super()._show_project(project)
        return {key: value for key, value in shown.items() if key not in {"tags", "options"}}


def _account_of(token: Token) -> str:
    return token.project.domain_id if token.project else token.user.domain_id
