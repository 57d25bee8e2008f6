"""The sandbox's image members: the five requests of Glance's members API, in its order of checks.

Where Glance differs by database, this is one with PostgreSQL or MySQL: a member that is no string, has a NUL or over
255 characters is a 500 (SQLite takes it). Two POSTs of a pair at once can both succeed and leave two rows, and can
overshoot the quota, because Glance too looks first and inserts later; `pause` is the time between.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bulkshare.sandbox.policy import find_image, may_change, owns, require
from bulkshare.sandbox.records import MEMBER_STATUSES
from bulkshare.sandbox.schema import FOUR_BYTE
from bulkshare.sandbox.wire import SERVER_ERROR, Answer, RefusalError, answer_json, isotime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.sandbox.records import Image, MemberRow, Token
    from bulkshare.sandbox.store import Cloud
    from bulkshare.sandbox.wire import Ask

LONGEST_MEMBER = 255  # characters; the column's width


def read_json(body: bytes) -> Any:
    """Return the request's JSON object or array, or raise the refusal that Glance answers."""
    if not body:
        raise RefusalError(400, "Body expected in request.")
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise RefusalError(400, "Malformed JSON in request body.") from None
    if not isinstance(document, dict | list):
        raise RefusalError(400, "Unexpected body type. Expected list/dict.")
    return document


class Members:
    """The members API of one cloud. Every method returns the answer or raises `RefusalError`."""

    def __init__(self, cloud: Cloud, pause: Callable[[], Awaitable[None]]) -> None:
        self._cloud = cloud
        self._pause = pause

    async def add(self, ask: Ask, token: Token, image_id: str) -> Answer:
        """POST .../members."""
        member_id = _named_member(read_json(ask.body))
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(403, f"Not allowed to create members for image {image_id}.")
        require("add_member", allowed=may_change(token, image))
        self._check_quota(image)
        if not isinstance(member_id, str) or "\0" in member_id or len(member_id) > LONGEST_MEMBER:
            raise RefusalError(500, SERVER_ERROR)
        if image.member(member_id) is not None:
            raise RefusalError(409, f"Member {member_id} is duplicated for image {image_id}")
        if FOUR_BYTE.search(member_id):
            raise RefusalError(400, "Member can't contain 4 byte unicode characters.")
        await self._pause()
        return answer_json(200, _view(image, image.insert(member_id, self._cloud.clock())))

    async def list(self, _: Ask, token: Token, image_id: str) -> Answer:
        """GET .../members: all for the owner and an admin, a member finds itself only. Never paginated."""
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            reason = "Only shared images have members."
            raise RefusalError(403, f"Not allowed to list members for image {image_id}: {reason}")
        everything = token.is_admin or owns(token, image)
        rows = (row for row in image.rows.values() if everything or row.member_id == token.project_id)
        members = [_view(image, row) for row in rows for _copy in range(row.copies)]
        return answer_json(200, {"members": members, "schema": "/v2/schemas/members"})

    async def show(self, _: Ask, token: Token, image_id: str, member_id: str) -> Answer:
        """GET .../members/{member}."""
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(404, "Only shared images have members.")
        return answer_json(200, _view(image, self._row(token, image, member_id)))

    async def update(self, ask: Ask, token: Token, image_id: str, member_id: str) -> Answer:
        """PUT .../members/{member}: the member itself says whether it accepts; the owner may not."""
        body = read_json(ask.body)
        if not isinstance(body, dict):
            raise RefusalError(400, 'Expected a status in the form: {"status": "status"}')
        if "status" not in body:
            raise RefusalError(400, "Status not specified")
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(403, f"Not allowed to update members for image {image_id}.")
        row = self._row(token, image, member_id)
        is_member = "member" in token.roles and not owns(token, image)
        require("modify_member", allowed=token.is_admin or is_member)
        if body["status"] not in MEMBER_STATUSES:
            raise RefusalError(400, 'Incorrect request: Status must be "pending", "accepted" or "rejected".')
        if row.status != body["status"]:
            row.status, row.updated_at = body["status"], self._cloud.clock()
        return answer_json(200, _view(image, row))

    async def remove(self, _: Ask, token: Token, image_id: str, member_id: str) -> Answer:
        """DELETE .../members/{member}."""
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(403, f"Not allowed to delete members for image {image_id}.")
        row = self._row(token, image, member_id)
        require("delete_member", allowed=may_change(token, image))
        image.remove(row)
        return Answer(204)

    def _image(self, token: Token, image_id: str) -> Image:
        image = find_image(self._cloud, token, image_id)
        if image is None:
            raise RefusalError(404, f"Image {image_id} not found.")
        return image

    def _row(self, token: Token, image: Image, member_id: str) -> MemberRow:
        row = image.member(member_id)
        if row is None or not (token.is_admin or owns(token, image) or row.member_id == token.project_id):
            raise RefusalError(404, f"{member_id} not found in the member list of the image {image.id}.")
        return row

    def _check_quota(self, image: Image) -> None:
        attempted, maximum = image.member_count + 1, self._cloud.member_quota
        if 0 <= maximum < attempted:
            limit = (
                "The limit has been exceeded on the number of allowed image members for this image. "
                f"Attempted: {attempted}, Maximum: {maximum}"
            )
            raise RefusalError(413, f"Image member limit exceeded for image {image.id}: {limit}:")


def _named_member(body: Any) -> Any:
    """Return what the body names as the member: anything but an empty value."""
    if not isinstance(body, dict):
        raise RefusalError(400, 'Expected a member in the form: {"member": "image_id"}')
    if "member" not in body:
        raise RefusalError(400, "Member to be added not specified")
    if not body["member"]:
        raise RefusalError(400, "Member can't be empty")
    return body["member"]


def _view(image: Image, row: MemberRow) -> dict[str, str]:
    return {
        "member_id": row.member_id,
        "image_id": image.id,
        "status": row.status,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
        "schema": "/v2/schemas/member",
    }
