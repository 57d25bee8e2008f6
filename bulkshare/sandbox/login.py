"""The sandbox's log-in: POST /v3/auth/tokens, from the body to a token.

One method at a time: password, token or application credential; unscoped or for a project. A refused log-in says
nothing about why, as with Keystone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bulkshare.sandbox.records import DOMAIN_ID
from bulkshare.sandbox.wire import JSON, RefusalError

if TYPE_CHECKING:
    from bulkshare.sandbox.records import Project, Token, User
    from bulkshare.sandbox.store import Cloud
    from bulkshare.sandbox.wire import Ask

UNAUTHORIZED = "The request you have made requires authentication."
DELEGATED = "Using a delegated token to create another token is not allowed."
NO_SUCH_TOKEN = "Could not recognize Fernet token"  # noqa: S105  # a message, not a secret
MALFORMED = (
    "The server could not comply with the request since it is either malformed or otherwise incorrect. "
    "The client is assumed to be in error."
)


def log_in(cloud: Cloud, ask: Ask) -> Token:
    """Issue the token that the request asks for. Raises `RefusalError` as Keystone answers."""
    auth = _need(_read_body(ask), "auth", "request body")
    identity = _need(auth, "identity", "auth")
    methods = _need(identity, "methods", "identity")
    if not isinstance(methods, list) or len(methods) != 1:
        raise RefusalError(401, UNAUTHORIZED)
    if methods[0] not in {"password", "token", "application_credential"}:
        raise RefusalError(401, "Attempted to authenticate with an unsupported method.")
    method = str(methods[0])
    proof = _need(identity, method, "identity")
    if method == "application_credential":
        return _by_application_credential(cloud, proof, scope=auth.get("scope"))
    if method == "token":
        token_id = _need(proof, "id", "token")
        parent = cloud.token(token_id) if isinstance(token_id, str) else None
        if parent is None:
            raise RefusalError(404, NO_SUCH_TOKEN)
        if "application_credential" in parent.methods:
            raise RefusalError(403, f"You are not authorized to perform the requested action: {DELEGATED}.")
        return cloud.issue_token(parent.user, _find_scope(cloud, parent.user, auth.get("scope")), method, parent)
    user = _find_user(cloud, _need(proof, "user", "password"))
    if user is None or proof["user"].get("password") != user.password:
        raise RefusalError(401, UNAUTHORIZED)
    return cloud.issue_token(user, _find_scope(cloud, user, auth.get("scope")), method)


def _by_application_credential(cloud: Cloud, proof: Any, *, scope: Any) -> Token:
    if scope is not None:
        reason = "Application credentials cannot request a scope."
        raise RefusalError(401, f"Error authenticating with application credential: {reason}")
    if "id" in proof:
        credential = cloud.application_credentials.get(str(proof["id"]))
        if credential is None:
            raise RefusalError(404, f"Could not find Application Credential: {proof['id']}.")
    else:
        name, user = _need(proof, "name", "application_credential"), _find_user(cloud, _need(proof, "user", "auth"))
        known = cloud.application_credentials.values()
        credential = next((one for one in known if one.user is user and one.name == name), None)
    if credential is None or proof.get("secret") != credential.secret:
        raise RefusalError(401, UNAUTHORIZED)
    return cloud.issue_token(credential.user, credential.project, "application_credential")


def _find_user(cloud: Cloud, wanted: Any) -> User | None:
    if isinstance(wanted, dict) and "id" in wanted:
        return cloud.users.get(str(wanted["id"]))
    name, domain_id = _need(wanted, "name", "user"), _find_domain(cloud, wanted, "user")
    return next((user for user in cloud.users.values() if domain_id == DOMAIN_ID and user.name == name), None)


def _find_scope(cloud: Cloud, user: User, scope: Any) -> Project | None:
    """Return the project the token shall be for, None for an unscoped one.

    Refuses a project that is closed, and one the user has no role in.
    """
    if scope is None or scope == "unscoped":
        return None
    wanted = scope.get("project") if isinstance(scope, dict) else None
    if not isinstance(wanted, dict):
        raise RefusalError(401, UNAUTHORIZED)
    if "id" in wanted:
        project = cloud.projects.get(str(wanted["id"]))
    else:
        named = (_find_domain(cloud, wanted, "project"), _need(wanted, "name", "project"))
        project = next((one for one in cloud.projects.values() if (one.domain_id, one.name) == named), None)
    if project is None or not project.enabled or project.id not in user.roles:
        raise RefusalError(401, UNAUTHORIZED)
    return project


def _find_domain(cloud: Cloud, of: Any, where: str) -> str | None:
    """Return the ID of the domain that a user or project says it is of; None where there is none."""
    wanted = _need(of, "domain", where)
    if not isinstance(wanted, dict):
        return None
    known = cloud.domains.values()
    return next((one.id for one in known if one.id == wanted.get("id") or one.name == wanted.get("name")), None)


def _read_body(ask: Ask) -> Any:
    if not ask.body:
        return {}
    if not ask.headers.get("Content-Type", "").startswith(JSON):
        raise _expecting(JSON, "Content-Type header")
    try:
        body = json.loads(ask.body.decode())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _expecting("valid JSON", "request body")
    return body


def _need(mapping: Any, key: str, where: str) -> Any:
    if not isinstance(mapping, dict) or key not in mapping:
        raise _expecting(key, where)
    return mapping[key]


def _expecting(what: str, where: str) -> RefusalError:
    return RefusalError(400, f"Expecting to find {what} in {where}. {MALFORMED}")
