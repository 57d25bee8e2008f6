"""A client that talks to a cloud as bulkshare does: aiohttp, JSON, a token. Checks only what holds for every answer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from tests.cloud import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from tests.cloud import CloudUnderTest

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NO_TOKEN = ""
JSON_PATCH = "application/openstack-images-v2.1-json-patch"


class Refusal(NamedTuple):
    """The status and the message of a refusal."""

    status: int
    message: str


class DetailedRefusal(NamedTuple):
    """The status, the message and the detail of a refusal."""

    status: int
    message: str
    detail: str


class Client:
    """Sends requests to a cloud's image service, or to its identity service if the path begins with /v3."""

    def __init__(self, session: aiohttp.ClientSession, cloud: CloudUnderTest) -> None:
        self._session = session
        self._cloud = cloud

    async def ask(
        self,
        method: str,
        path: str,
        *,
        user: str = "alice",
        token: str | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request with the user's token, a given one, or none (`NO_TOKEN`). Bytes are sent unchanged."""
        root = self._cloud.auth_url.removesuffix("/v3") if path.startswith("/v3") else self._cloud.endpoint
        sent = {"Accept": "application/json", **(headers or {})}
        if token is None:
            token = self._cloud.token(user)
        if token != NO_TOKEN:
            sent["X-Auth-Token"] = token
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self._session.request(method, root + path, data=data, headers=sent, allow_redirects=False) as reply:
            lowered = {name.lower(): value for name, value in reply.headers.items()}
            return Answer(reply.status, lowered, await reply.read())

    async def add(self, image_id: str, member_id: object, *, user: str = "alice") -> Answer:
        """POST a member."""
        return await self.ask("POST", members_path(image_id), user=user, body={"member": member_id})

    async def patch(self, image_id: str, *changes: object, user: str = "alice", media_type: str = JSON_PATCH) -> Answer:
        """PATCH an image."""
        headers = {"Content-Type": media_type}
        return await self.ask("PATCH", f"/v2/images/{image_id}", user=user, body=list(changes), headers=headers)

    async def upload(self, image_id: str, data: bytes, *, user: str = "alice") -> Answer:
        """PUT an image's data."""
        headers = {"Content-Type": "application/octet-stream"}
        return await self.ask("PUT", f"/v2/images/{image_id}/file", user=user, body=data, headers=headers)

    async def set_status(self, image_id: str, member_id: str, status: object, *, user: str) -> Answer:
        """PUT a member's status."""
        return await self.ask("PUT", members_path(image_id, member_id), user=user, body={"status": status})


def members_path(image_id: str, member_id: str | None = None) -> str:
    """Return the path of an image's members, or of one of them, whose ID has to be quoted."""
    one = "" if member_id is None else f"/{member_id}"
    return f"/v2/images/{image_id}/members{one}"


def refusal(answer: Answer) -> Refusal:
    """Return Glance's refusal; checks the form that all but those with 401 share."""
    status, message, detail = detailed_refusal(answer)
    assert not detail
    return Refusal(status, message)


def detailed_refusal(answer: Answer) -> DetailedRefusal:
    """Return Glance's refusal with its detail; checks the form as `refusal` does."""
    assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert body.keys() == {"message", "code", "title"}
    assert body["code"] == f"{answer.status} {body['title']}"
    message, line_break, rest = body["message"].partition("<br /><br />\n")
    assert line_break
    return DetailedRefusal(answer.status, message.rstrip("\n"), rest.strip())


def identity_refusal(answer: Answer) -> Refusal:
    """Return Keystone's refusal; checks the form that all of them share."""
    assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "title"}
    assert error["code"] == answer.status
    return Refusal(answer.status, error["message"])


def replace(name: str, value: object) -> dict[str, object]:
    """Return the change of a PATCH that sets a field."""
    return {"op": "replace", "path": f"/{name}", "value": value}


async def names(client: Client, query: str, *, user: str = "alice") -> list[str]:
    """Return the names of the listed images, in order."""
    answer = await client.ask("GET", f"/v2/images?{query}", user=user)
    assert answer.status == 200, answer
    return [image["name"] for image in answer.json()["images"]]
