"""The sandbox's images: list, show, create, change, upload, delete.

Of an upload it keeps size and checksums, not the data, nor does it look whether the data is of the image's format.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from bulkshare.sandbox.changes import apply_changes, read_changes
from bulkshare.sandbox.listing import ListQuery
from bulkshare.sandbox.members import read_json
from bulkshare.sandbox.policy import find_image, may_change, may_see, require
from bulkshare.sandbox.schema import BASE_TYPES, READ_ONLY, check_value, is_reserved
from bulkshare.sandbox.wire import SERVER_ERROR, Answer, RefusalError, answer_json, isotime, unsupported_media_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bulkshare.sandbox.records import Image, Token
    from bulkshare.sandbox.store import Cloud
    from bulkshare.sandbox.wire import Ask


class Images:
    """The images API of one cloud. Every method returns the answer or raises `RefusalError`."""

    def __init__(self, cloud: Cloud, pause: Callable[[], Awaitable[None]], endpoint: str) -> None:
        self._cloud = cloud
        self._pause = pause
        self._endpoint = endpoint

    async def list(self, ask: Ask, token: Token) -> Answer:
        """GET /v2/images."""
        query = ListQuery.parse(ask.query)
        await self._pause()
        require("get_images", allowed=token.is_admin or "reader" in token.roles)
        after = self._marked(token, query.marker) if query.marker is not None else None
        page = query.page((image for image in self._cloud.images.values() if query.matches(token, image)), after)
        return answer_json(200, _listing(dict(ask.query), page, is_full=len(page) == query.limit))

    async def show(self, _: Ask, token: Token, image_id: str) -> Answer:
        """GET /v2/images/{id}."""
        await self._pause()
        return answer_json(200, _view(self._image(token, image_id)))

    async def create(self, ask: Ask, token: Token) -> Answer:
        """POST /v2/images: the image has no data yet and is queued, but can be shared."""
        body = read_json(ask.body)
        if not isinstance(body, dict):
            raise RefusalError(500, SERVER_ERROR)
        _check_new_image(body)
        await self._pause()
        owner = body.get("owner", token.project_id)
        if not token.is_admin and owner != token.project_id:
            detail = f"You are not permitted to create images owned by '{owner}'"
            raise RefusalError(403, "Access was denied to this resource.", detail=detail)
        require("add_image", allowed=token.is_admin or "member" in token.roles)
        require("publicize_image", allowed=token.is_admin or body.get("visibility") != "public")
        image_id = body.get("id", str(uuid.uuid4()))
        if image_id in self._cloud.images or image_id in self._cloud.deleted_images:
            raise RefusalError(409, f"Image ID {image_id} already exists!")
        image = self._cloud.add_image(
            body.get("name"),
            image_id=image_id,
            owner=owner,
            visibility=body.get("visibility", "shared"),
            status="queued",
            tags=body.get("tags", ()),
            properties={name: value for name, value in body.items() if name not in BASE_TYPES},
        )
        image.disk_format, image.container_format = body.get("disk_format"), body.get("container_format")
        image.protected, image.os_hidden = body.get("protected", False), body.get("os_hidden", False)
        image.min_disk, image.min_ram = body.get("min_disk", 0), body.get("min_ram", 0)
        return answer_json(201, _view(image)).adding(Location=f"{self._endpoint}/v2/images/{image.id}")

    async def change(self, ask: Ask, token: Token, image_id: str) -> Answer:
        """PATCH /v2/images/{id}."""
        changes = read_changes(ask)
        await self._pause()
        image = self._image(token, image_id)
        apply_changes(changes, token, image, self._cloud.clock())
        return answer_json(200, _view(image))

    async def upload(self, ask: Ask, token: Token, image_id: str) -> Answer:
        """PUT /v2/images/{id}/file: the image becomes active."""
        if ask.content_type != "application/octet-stream":
            raise unsupported_media_type(ask.content_type, f"Invalid content type {ask.content_type}")
        await self._pause()
        image = self._image(token, image_id)
        require("upload_image", allowed=may_change(token, image))
        if image.status != "queued":
            message = f"Image status transition from {image.status} to saving is not allowed"
            raise RefusalError(409, message)
        missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
        if missing:
            raise RefusalError(400, f"Properties {', '.join(missing)} must be set prior to saving data.")
        image.size, image.status, image.updated_at = len(ask.body), "active", self._cloud.clock()
        image.checksum = hashlib.md5(ask.body, usedforsecurity=False).hexdigest()
        image.sha512 = hashlib.sha512(ask.body).hexdigest()
        return Answer(204)

    async def delete(self, _: Ask, token: Token, image_id: str) -> Answer:
        """DELETE /v2/images/{id}: its members go with it."""
        await self._pause()
        image = find_image(self._cloud, token, image_id)
        if image is None:
            raise RefusalError(404, f"Failed to find image {image_id} to delete")
        require("delete_image", allowed=may_change(token, image))
        if image.protected:
            raise RefusalError(403, f"Image {image_id} is protected and cannot be deleted.")
        self._cloud.delete_image(image_id)
        return Answer(204)

    def _image(self, token: Token, image_id: str) -> Image:
        image = find_image(self._cloud, token, image_id)
        if image is None:
            raise RefusalError(404, f"No image found with ID {image_id}")
        return image

    def _marked(self, token: Token, marker: str) -> Image:
        image = self._cloud.images.get(marker)
        if image is None:
            raise RefusalError(400, f"No image found with ID {marker}")
        if not may_see(token, image):
            raise RefusalError(403, f"Forbidding request, image {marker} not visible")
        return image


def _listing(params: Mapping[str, str], page: Sequence[Image], *, is_full: bool) -> dict[str, Any]:
    """Return a page's body. `next` stands on every full page, and keeps only the last of repeated parameters."""
    kept = {name: value for name, value in params.items() if name != "marker"}
    query = urlencode(kept)
    body: dict[str, Any] = {
        "images": [_view(image) for image in page],
        "first": f"/v2/images?{query}" if query else "/v2/images",
        "schema": "/v2/schemas/images",
    }
    if page and is_full:
        body["next"] = f"/v2/images?{urlencode({**kept, 'marker': page[-1].id})}"
    return body


def _check_new_image(body: Mapping[str, Any]) -> None:
    """Raise what Glance answers to an image it can't make."""
    for name, value in body.items():
        if name in READ_ONLY or name == "stores":
            raise RefusalError(403, f"Attribute '{name}' is read-only.")
        check_value(name, value)
        if is_reserved(name):
            raise RefusalError(403, "Access was denied to this resource.", detail=f"Attribute '{name}' is reserved.")


def _view(image: Image) -> dict[str, Any]:
    return {
        **image.properties,
        "name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "visibility": image.visibility,
        "size": image.size,
        "virtual_size": image.size or None,
        "status": image.status,
        "checksum": image.checksum,
        "protected": image.protected,
        "min_ram": image.min_ram,
        "min_disk": image.min_disk,
        "owner": image.owner,
        "os_hidden": image.os_hidden,
        "os_hash_algo": "sha512" if image.sha512 else None,
        "os_hash_value": image.sha512,
        "id": image.id,
        "created_at": isotime(image.created_at),
        "updated_at": isotime(image.updated_at),
        "tags": list(image.tags),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
        **({"stores": "local"} if image.checksum else {}),
    }
