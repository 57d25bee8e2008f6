"""The sandbox's images: list, show, create, delete. No image data, and no PATCH."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from bulkshare.sandbox.listing import ListQuery
from bulkshare.sandbox.members import FOUR_BYTE, read_json
from bulkshare.sandbox.policy import find_image, may_change, may_see, require
from bulkshare.sandbox.store import VISIBILITIES
from bulkshare.sandbox.wire import SERVER_ERROR, Answer, RefusalError, answer_json, isotime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bulkshare.sandbox.store import Cloud, Image, Token
    from bulkshare.sandbox.wire import Ask

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
READ_ONLY = frozenset(
    {"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema"}
    | {"os_hash_algo", "os_hash_value", "stores"}
)
RESERVED = frozenset({"location", "deleted", "deleted_at"})
# What a new image may say of itself, apart from properties of its own: the type, and the values where they are few.
NULLABLE = (str, type(None))
BASE_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "name": NULLABLE,
    "owner": NULLABLE,
    "visibility": str,
    "tags": list,
    "protected": bool,
    "os_hidden": bool,
    "min_disk": int,
    "min_ram": int,
    "container_format": NULLABLE,
    "disk_format": NULLABLE,
}
CONTAINER_FORMATS = (None, "ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
DISK_FORMATS = (None, "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")


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
        image = find_image(self._cloud, token, image_id)
        if image is None:
            raise RefusalError(404, f"No image found with ID {image_id}")
        return answer_json(200, _view(image))

    async def create(self, ask: Ask, token: Token) -> Answer:
        """POST /v2/images: the image has no data and stays queued, but can be shared."""
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
        if image_id in self._cloud.images:
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

    async def delete(self, _: Ask, token: Token, image_id: str) -> Answer:
        """DELETE /v2/images/{id}: its members go with it."""
        await self._pause()
        image = find_image(self._cloud, token, image_id)
        if image is None:
            raise RefusalError(404, f"Failed to find image {image_id} to delete")
        require("delete_image", allowed=may_change(token, image))
        if image.protected:
            raise RefusalError(403, f"Image {image_id} is protected and cannot be deleted.")
        del self._cloud.images[image_id]
        return Answer(204)

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
    """Raise what Glance answers to an image it can't make; the schema's messages are cut after the first line."""
    for name, value in body.items():
        if name in READ_ONLY:
            raise RefusalError(403, f"Attribute '{name}' is read-only.")
        wrong = not isinstance(value, BASE_TYPES.get(name, str))
        if wrong or (isinstance(value, bool) and BASE_TYPES.get(name) is int):
            raise _schema_refusal(f"{value!r} is not of the right type for {name!r}")
        if isinstance(value, str) and FOUR_BYTE.search(value):
            raise RefusalError(400, f"{name.title()} can't contain 4 byte unicode characters.")
        if name in RESERVED or name.startswith("os_glance"):
            raise RefusalError(403, "Access was denied to this resource.", detail=f"Attribute '{name}' is reserved.")
    _check_one_of(body.get("visibility", "shared"), VISIBILITIES)
    _check_one_of(body.get("container_format"), CONTAINER_FORMATS)
    _check_one_of(body.get("disk_format"), DISK_FORMATS)
    if "id" in body and not UUID.fullmatch(body["id"]):
        raise _schema_refusal(f"{body['id']!r} does not match the pattern of a UUID")
    for value in (body.get("name"), *body.get("tags", ())):
        if value is not None and (not isinstance(value, str) or len(value) > 255):
            raise _schema_refusal(f"{value!r} is too long")


def _check_one_of(value: Any, known: Sequence[Any]) -> None:
    if value not in known:
        raise _schema_refusal(f"{value!r} is not one of {list(known)!r}")


def _schema_refusal(problem: str) -> RefusalError:
    return RefusalError(400, f"Provided object does not match schema 'image': {problem}")


def _view(image: Image) -> dict[str, Any]:
    return {
        **image.properties,
        "name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "visibility": image.visibility,
        "size": image.size,
        "virtual_size": None,
        "status": image.status,
        "checksum": None,
        "protected": image.protected,
        "min_ram": image.min_ram,
        "min_disk": image.min_disk,
        "owner": image.owner,
        "os_hidden": image.os_hidden,
        "os_hash_algo": None,
        "os_hash_value": None,
        "id": image.id,
        "created_at": isotime(image.created_at),
        "updated_at": isotime(image.updated_at),
        "tags": list(image.tags),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }
