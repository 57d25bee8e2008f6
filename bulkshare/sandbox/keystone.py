"""The sandbox's identity service: Keystone v3 tokens, and who there is: projects, users, domains. Read-only.

Follows what a real Keystone 30 was seen to answer. It has password, token and application-credential log-ins, unscoped
or for a project; not system and domain scope, trusts, federation, multi-factor rules, and creating anything.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from bulkshare.sandbox.directory import Directory, forbidden
from bulkshare.sandbox.login import NO_SUCH_TOKEN, UNAUTHORIZED, log_in
from bulkshare.sandbox.records import DOMAIN_ID, REGION, stable_uuid
from bulkshare.sandbox.wire import JSON, Answer, RefusalError, answer_json, title_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from bulkshare.sandbox.records import Token
    from bulkshare.sandbox.store import Cloud
    from bulkshare.sandbox.wire import Ask

    Action = Callable[[Ask, Token], Answer]

NO_SUCH_PATH = (
    b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not "
    b"found on the server. If you entered the URL manually please check your spelling and try again.</p>\n"
)


class Keystone:
    """The identity service of one cloud.

    `auth_url` is its own address with /v3, `endpoint` the image service's. `pause` is awaited once in every request: it
    is the time that a real server would take.
    """

    def __init__(self, cloud: Cloud, *, auth_url: str, endpoint: str, pause: Callable[[], Awaitable[None]]) -> None:
        self._cloud = cloud
        self._auth_url = auth_url
        self._endpoint = endpoint
        self._pause = pause
        self._directory = Directory(cloud, auth_url)

    async def answer(self, ask: Ask) -> Answer:
        """Answer a request; never raises."""
        await self._pause()
        try:
            answer = self._dispatch(ask)
        except RefusalError as refusal:
            return self.refuse(ask, refusal)
        return answer.adding(Vary="X-Auth-Token", x_openstack_request_id=_request_id())

    def refuse(self, _: Ask, refusal: RefusalError) -> Answer:
        """Word a refusal as Keystone does."""
        error = {"code": refusal.status, "message": refusal.explanation, "title": title_of(refusal.status)}
        headers = {"Content-Type": JSON, "Vary": "X-Auth-Token", "x-openstack-request-id": _request_id()}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = f'Keystone uri="{self._auth_url}"'
        body = json.dumps({"error": error}, separators=(",", ":"), ensure_ascii=False)
        return Answer(refusal.status, f"{body}\n".encode(), {**headers, **refusal.headers})

    def _dispatch(self, ask: Ask) -> Answer:
        match ask.path.strip("/").split("/"):
            case [""]:
                versions = {"versions": {"values": [self._version()]}}
                return answer_json(300, versions).adding(Location=f"{self._auth_url}/")
            case ["v3"]:
                return answer_json(200, {"version": self._version()})
            case ["v3", "auth", "tokens"] if ask.method == "POST":
                token = log_in(self._cloud, ask)
                shown = self._show_token(token, with_catalog="nocatalog" not in dict(ask.query))
                return answer_json(201, shown).adding(X_Subject_Token=token.id)
            case ["v3", *rest]:
                return self._read(ask, rest)
            case _:
                return _no_such_path()

    def _read(self, ask: Ask, path: Sequence[str]) -> Answer:
        actions = self._actions(path)
        if not actions:
            return _no_such_path()
        action = actions.get("GET" if ask.method == "HEAD" else ask.method)
        if action is None:
            refusal = answer_json(405, {"message": "The method is not allowed for the requested URL."})
            return refusal.adding(Allow=", ".join((*actions, "HEAD", "OPTIONS")))
        token = self._cloud.token(ask.headers.get("X-Auth-Token"))
        if token is None:
            raise RefusalError(401, UNAUTHORIZED)
        return action(ask, token)

    def _actions(self, path: Sequence[str]) -> Mapping[str, Action]:
        match path:
            case ["auth", "tokens"]:
                return {"GET": self._validate, "DELETE": self._revoke}
            case ["auth", "catalog"]:
                return {"GET": lambda _, __: answer_json(200, {"catalog": self._catalog()})}
            case _:
                return self._directory.actions(path)

    def _validate(self, ask: Ask, token: Token) -> Answer:
        subject = self._subject(ask, token, "validate_token")
        return answer_json(200, self._show_token(subject)).adding(X_Subject_Token=subject.id)

    def _revoke(self, ask: Ask, token: Token) -> Answer:
        del self._cloud.tokens[self._subject(ask, token, "revoke_token").id]
        return Answer(204)

    def _subject(self, ask: Ask, token: Token, action: str) -> Token:
        """Return the token that the request is about: one's own, or for an admin anybody's."""
        subject_id = ask.headers.get("X-Subject-Token")
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
        domain = self._show_domain(DOMAIN_ID)
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
        services = (("keystone", "identity", self._auth_url), ("glance", "image", self._endpoint))
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
    """Write a UTC time as Keystone does: microseconds, which it cuts off."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000000Z"


def _no_such_path() -> Answer:
    return Answer(404, NO_SUCH_PATH, {"Content-Type": "text/html; charset=utf-8"})


def _request_id() -> str:
    return f"req-{uuid.uuid4()}"
