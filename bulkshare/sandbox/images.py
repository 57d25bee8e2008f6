"""The sandbox's images API: who may do what, the image schema, list filters, changes, uploads.

Of an upload only size and checksums are kept, and its format is not checked. The policy is Glance 33's default, from
glance/policies/image.py and glance/db/utils.py.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from bulkshare.sandbox.cloud import MEMBER_STATUSES, VISIBILITIES
from bulkshare.sandbox.wire import SERVER_ERROR, RefusalError, Response, isotime, json_response, unsupported_media_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bulkshare.sandbox.cloud import Cloud, Image, Token

    Test = Callable[[Image], bool]
    from collections.abc import Awaitable

    from bulkshare.sandbox.wire import Request


# Policy


def owns(token: Token, image: Image) -> bool:
    """Return whether the image belongs to the token's project."""
    return image.owner is not None and image.owner == token.project_id


def may_see(token: Token, image: Image) -> bool:
    """Return whether the image is visible to this token: for a member in every status, even before accepting it."""
    if token.is_admin:
        return True
    if "reader" not in token.roles:
        return False
    return (
        image.visibility in {"public", "community"}
        or owns(token, image)
        or (image.visibility == "shared" and image.member(token.project_id) is not None)
    )


def find_image(cloud: Cloud, token: Token, image_id: str) -> Image | None:
    """Return the image if it is visible to this token."""
    image = cloud.images.get(image_id)
    return image if image is not None and may_see(token, image) else None


def require(action: str, *, allowed: bool) -> None:
    """Raise the refusal of a policy unless allowed; `action` is the policy's name."""
    if not allowed:
        raise RefusalError(403, f"You are not authorized to complete {action} action.")


def may_change(token: Token, image: Image) -> bool:
    """Return whether the token may change the image and its members: admins, and members of its project, may."""
    return token.is_admin or ("member" in token.roles and owns(token, image))


# The image schema

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
FOUR_BYTE = re.compile("[^\u0000-\uffff]")  # not in MySQL's three-byte UTF-8
LONGEST_TEXT = 255  # characters of a name or a tag
READ_ONLY = frozenset(
    {"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema"}
    | {"os_hash_algo", "os_hash_value"}
)
RESERVED = frozenset({"location", "deleted", "deleted_at"})
# The base fields of an image (everything else is a property) with their types, and their values if limited.
NULLABLE = (str, type(None))
BASE_TYPES: Mapping[str, type | tuple[type, ...]] = {
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
FEW_VALUES: Mapping[str, Sequence[str | None]] = {
    "visibility": VISIBILITIES,
    "container_format": CONTAINER_FORMATS,
    "disk_format": DISK_FORMATS,
}


def is_reserved(name: str) -> bool:
    """Return whether Glance reserves this property name."""
    return name in RESERVED or name.startswith("os_glance")


def check_value(name: str, value: Any) -> None:
    """Raise Glance's refusal of a value that a field can't have; of a schema's message only the first line."""
    kind = BASE_TYPES.get(name, str)
    is_right = isinstance(value, kind) and not (isinstance(value, bool) and kind is int)
    if not is_right:
        raise _refusal(f"{value!r} is not of the right type for {name!r}")
    if isinstance(value, str) and FOUR_BYTE.search(value):
        raise RefusalError(400, f"{name.title()} can't contain 4 byte unicode characters.")
    if name in FEW_VALUES and value not in FEW_VALUES[name]:
        raise _refusal(f"{value!r} is not one of {list(FEW_VALUES[name])!r}")
    if name == "id" and not UUID.fullmatch(value):
        raise _refusal(f"{value!r} does not match the pattern of a UUID")
    for text in value if name == "tags" else [value] if name == "name" and value is not None else []:
        if not isinstance(text, str) or len(text) > LONGEST_TEXT:
            raise _refusal(f"{text!r} is too long")


def _refusal(problem: str) -> RefusalError:
    return RefusalError(400, f"Provided object does not match schema 'image': {problem}")


# Queries of the list

PAGE, LARGEST_PAGE = 25, 1000  # limit_param_default and api_limit_max in glance-api.conf, their defaults
SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq, "neq": ne}
FLAGS = frozenset({"os_hidden", "protected"})
TIMES = frozenset({"created_at", "updated_at"})
# Filters of Glance that no client here sends.
NOT_HERE = frozenset({"checksum", "changes-since", "os_hash_algo", "os_hash_value"}).union(
    f"{column}{bound}" for column in ("min_disk", "min_ram", "size") for bound in ("", "_min", "_max")
)
IN_COLUMNS = frozenset({"name", "id", "status", "container_format", "disk_format"})
NOT_FILTERS = frozenset(
    {"limit", "marker", "member_status", "tag", "visibility", "sort", "sort_key", "sort_dir", "deleted"}
)
IN_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"(?:,|$)|([^",]+)(?:,|$)')


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A valid list request. `order` has (column, descending) pairs and is total."""

    visibility: str | None
    member_status: str
    tags: frozenset[str]
    tests: Sequence[Test]
    order: Sequence[tuple[str, bool]]
    marker: str | None
    limit: int

    @classmethod
    def parse(cls, query: Sequence[tuple[str, str]]) -> ListQuery:
        """Parse the parameters; of a repeated one the last counts, except tag and the sort parameters.

        Raises `RefusalError` with Glance's answer to invalid ones.
        """
        params = dict(query)
        member_status = params.get("member_status", "accepted")
        if member_status not in {*MEMBER_STATUSES, "all"}:
            raise RefusalError(400, f"Invalid status: {member_status}")
        visibility = params.get("visibility")
        if visibility and visibility not in {*VISIBILITIES, "all"}:
            raise RefusalError(400, f"Invalid visibility value: {visibility}")
        return cls(
            visibility=visibility,
            member_status=member_status,
            tags=frozenset(value.strip() for name, value in query if name == "tag"),
            tests=_read_tests(params),
            order=_read_order(query),
            marker=params.get("marker"),
            limit=_read_limit(params.get("limit")),
        )

    def matches(self, token: Token, image: Image) -> bool:
        """Return whether the list for this token contains the image."""
        return self._offers(token, image) and self.tags <= set(image.tags) and all(test(image) for test in self.tests)

    def page(self, images: Iterable[Image], after: Image | None) -> Sequence[Image]:
        """Sort the images and return up to `limit` of them after `after`, which need not be among them."""
        ordered = list(images)
        if after is not None and after not in ordered:
            ordered.append(after)
        for column, descending in reversed(self.order):
            ordered.sort(key=lambda image: _sortable(image, column), reverse=descending)
        start = ordered.index(after) + 1 if after is not None else 0
        return ordered[start : start + self.limit]

    def _offers(self, token: Token, image: Image) -> bool:
        """Return whether visibility allows it: not for a pending member, unless that status is requested."""
        if not token.is_admin and image.visibility not in {"public", "community"} and not owns(token, image):
            row = image.member(token.project_id) if image.visibility == "shared" else None
            if row is None or self.member_status not in {row.status, "all"}:
                return False
        if self.visibility is None:  # by default without community images of others, even for admins
            return image.visibility != "community" or owns(token, image)
        return self.visibility in {image.visibility, "all"}


def _read_tests(params: Mapping[str, str]) -> Sequence[Test]:
    """Return a test for each filter; unknown names are image properties."""
    tests: list[Test] = []
    for name, value in {"os_hidden": "false", **params}.items():
        if name in FLAGS:
            tests.append(_is_flag(name, value))
        elif name in TIMES:
            tests.append(_compares_time(name, value))
        elif name in IN_COLUMNS:
            tests.append(_is_one_of(name, _read_values(value)))
        elif name in NOT_HERE:
            raise RefusalError(501, "The sandbox can't do this.")
        elif name == "owner":
            tests.append(_is_one_of(name, {value}))
        elif name not in NOT_FILTERS:
            tests.append(_has_property(name, value))
    return tests


def _is_one_of(column: str, values: set[str]) -> Test:
    return lambda image: str(getattr(image, column)) in values


def _has_property(name: str, value: str) -> Test:
    return lambda image: image.properties.get(name) == value


def _is_flag(column: str, value: str) -> Test:
    flag = value.lower() if column == "os_hidden" else value
    if flag not in {"true", "false"}:
        known = "Valid values are 'true' or 'false'."
        raise RefusalError(400, f"Invalid value '{flag}' for '{column}' filter. {known}")
    return lambda image: getattr(image, column) is (flag == "true")


def _compares_time(column: str, value: str) -> Test:
    operator, text = _split_operator(value)
    try:
        threshold = datetime.fromisoformat(text)
    except ValueError:
        raise RefusalError(400, f'Bad "{column}" query filter format. Use ISO 8601 DateTime notation.') from None
    if operator not in COMPARISONS:
        raise RefusalError(400, "Unable to filter on a unknown operator.")
    threshold = threshold if threshold.tzinfo else threshold.replace(tzinfo=UTC)
    return lambda image: COMPARISONS[operator](getattr(image, column), threshold)


def _split_operator(value: str) -> tuple[str, str]:
    """Split `gt:2026-...` or `in:a,b`; without an operator it is eq. Times contain colons, too."""
    left, colon, right = value.partition(":")
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return (left, right) if colon else ("eq", value)
    return "eq", value


def _read_values(value: str) -> set[str]:
    """Return the accepted values of a column: one, or those of `in:a,"b,c"`."""
    operator, wanted = _split_operator(value)
    if operator == "eq":
        return {wanted}
    if operator != "in":
        raise RefusalError(400, f"Unable to filter by unknown operator '{operator}'.")
    if wanted.replace('\\"', "").count('"') % 2:
        raise RefusalError(400, f"Invalid filter value {wanted}. The quote is not closed.")
    return {quoted or plain for quoted, plain in IN_VALUE.findall(wanted)}


def _read_order(query: Sequence[tuple[str, str]]) -> Sequence[tuple[str, bool]]:
    keys, directions = _read_sorting(query)
    for key in keys:
        if key not in SORT_KEYS:
            known = ", ".join(SORT_KEYS)
            raise RefusalError(400, f"Invalid sort key: {key}. It must be one of the following: {known}.")
    for direction in directions:
        if direction not in {"asc", "desc"}:
            raise RefusalError(400, f"Invalid sort direction: {direction}")
    if len(directions) > 1 and len(directions) != len(keys):
        raise RefusalError(400, "Number of sort dirs does not match the number of sort keys")
    default = directions[0] if len(directions) == 1 else "desc"
    order = dict(zip(keys, directions if len(directions) > 1 else [default] * len(keys), strict=True))
    for key in ("created_at", "id"):  # makes the order total, so that a marker is unambiguous
        order.setdefault(key, default)
    return [(key, direction == "desc") for key, direction in order.items()]


def _read_sorting(query: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return sort keys and directions from either of Glance's two syntaxes."""
    params = dict(query)
    if "sort" not in params:
        keys = [value.strip() for name, value in query if name == "sort_key"]
        return keys, [value.strip() for name, value in query if name == "sort_dir"]
    if "sort_key" in params or "sort_dir" in params:
        raise RefusalError(400, "Old and new sorting syntax cannot be combined")
    pairs = [part.partition(":") for part in params["sort"].strip().split(",")]
    return [key.strip() for key, _, _ in pairs], [direction.strip() or "desc" for _, _, direction in pairs]


def _read_limit(text: str | None) -> int:
    if text is None:
        return PAGE
    try:
        limit = int(text)
    except ValueError:
        raise RefusalError(400, "limit param must be an integer") from None
    if limit < 0:
        raise RefusalError(400, "limit param must be positive")
    return min(limit, LARGEST_PAGE)


def _sortable(image: Image, column: str) -> Any:
    value = getattr(image, column)
    return value if value is not None else (0 if column == "size" else "")


# Changes

OLD_MEDIA_TYPE = "application/openstack-images-v2.0-json-patch"
MEDIA_TYPE = "application/openstack-images-v2.1-json-patch"
OPERATIONS = ("add", "remove", "replace")
DENIED = "Access was denied to this resource."
CONFLICT = "There was a conflict when trying to complete your request."


class Change(NamedTuple):
    """One operation on a field or property; what is removed has no value."""

    operation: str
    name: str
    value: Any


def read_changes(request: Request) -> Sequence[Change]:
    """Parse a PATCH request. Raises `RefusalError`, as Glance does before it looks up the image."""
    if request.content_type == OLD_MEDIA_TYPE:
        raise RefusalError(501, "The sandbox can't do this.")
    if request.content_type != MEDIA_TYPE:
        known = f"{OLD_MEDIA_TYPE}, {MEDIA_TYPE}"
        detail = f"Image PATCH expects Content-Type one of: {known}"
        raise unsupported_media_type(request.content_type, detail, headers={"Accept-Patch": known})
    body = read_json(request.body)
    if not isinstance(body, list):
        raise RefusalError(400, "Request body must be a JSON array of operation objects.")
    return [_read_change(raw) for raw in body]


def apply_changes(changes: Sequence[Change], token: Token, image: Image, now: datetime) -> None:
    """Apply changes to an image. Raises `RefusalError`, and then leaves the image unchanged."""
    fields: dict[str, Any] = {}
    properties = dict(image.properties)
    for change in changes:
        _check_policy(change, token, image)
        is_field = change.name in BASE_TYPES
        if change.operation == "remove" and is_field:
            raise RefusalError(403, DENIED, detail=f"Property {change.name} may not be removed.")
        if change.operation != "add" and not is_field and change.name not in properties:
            raise RefusalError(409, CONFLICT, detail=f"Property {change.name} does not exist.")
        if change.operation == "remove":
            del properties[change.name]
        elif not is_field:
            properties[change.name] = change.value
        elif change.name in {"disk_format", "container_format"} and image.status != "queued":
            raise RefusalError(403, f"Attribute {change.name} can be only replaced for a queued image.")
        else:
            fields[change.name] = tuple(dict.fromkeys(change.value)) if change.name == "tags" else change.value
    if changes:
        image.properties, image.updated_at = properties, now
        for name, value in fields.items():
            setattr(image, name, value)


def _check_policy(change: Change, token: Token, image: Image) -> None:
    """Check the policies; making an image public or community has its own, which is checked first."""
    if change.operation == "replace" and change.name == "owner" and not token.is_admin:
        raise RefusalError(403, DENIED, detail="Owner can't be updated by non admin.")
    if change.name == "visibility" and change.value == "public":
        require("publicize_image", allowed=token.is_admin)
    if change.name == "visibility" and change.value == "community":
        require("communitize_image", allowed=may_change(token, image))
    require("modify_image", allowed=may_change(token, image))


def _read_change(raw: Any) -> Change:
    if not isinstance(raw, dict):
        raise RefusalError(400, "Operations must be JSON objects.")
    operation, known = raw.get("op"), ", ".join(OPERATIONS)
    if operation is None:
        message = "Unable to find `op` in JSON Schema change. It must be one of the following"
        raise RefusalError(400, f"{message}: {known}.")
    if operation not in OPERATIONS:
        raise RefusalError(400, f"Invalid operation: `{operation}`. It must be one of the following: {known}.")
    if "path" not in raw:
        raise RefusalError(400, "Unable to find 'path' in JSON Schema change")
    name = _read_pointer(raw["path"])
    if operation != "remove" and "value" not in raw:
        raise RefusalError(400, f'Operation "{operation}" requires a member named "value".')
    if name in READ_ONLY or name == "id":
        raise RefusalError(403, f"Attribute '{name}' is read-only.")
    if is_reserved(name):
        raise RefusalError(403, f"Attribute '{name}' is reserved.")
    if name == "locations":
        raise RefusalError(501, "The sandbox can't do this.")
    if operation != "remove":
        check_value(name, raw["value"])
    return Change(operation, name, raw.get("value"))


def _read_pointer(pointer: Any) -> str:
    """Return the field that a JSON pointer refers to."""
    if not isinstance(pointer, str):
        raise RefusalError(500, SERVER_ERROR)
    if not pointer.startswith("/"):
        raise RefusalError(400, f'Pointer `{pointer}` does not start with "/".')
    if len(pointer) > 1 and pointer.endswith("/"):
        raise RefusalError(400, f'Pointer `{pointer}` end with "/".')
    if re.search("~(?![01])", pointer):
        raise RefusalError(400, f'Pointer `{pointer}` contains "~" not part of a recognized escape sequence.')
    parts = [part.replace("~1", "/").replace("~0", "~").strip() for part in pointer[1:].split("/")]
    if len(parts) != 1:
        raise RefusalError(400, f"Invalid JSON pointer for this resource: '{pointer}'")
    return parts[0]


# The API


def read_json(body: bytes) -> Any:
    """Return the request's JSON object or array, or raise Glance's refusal."""
    if not body:
        raise RefusalError(400, "Body expected in request.")
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise RefusalError(400, "Malformed JSON in request body.") from None
    if not isinstance(document, dict | list):
        raise RefusalError(400, "Unexpected body type. Expected list/dict.")
    return document


class Images:
    """The images API of one cloud. Every method returns a response or raises `RefusalError`."""

    def __init__(self, cloud: Cloud, pause: Callable[[], Awaitable[None]], endpoint: str) -> None:
        self._cloud = cloud
        self._pause = pause
        self._endpoint = endpoint

    async def list(self, request: Request, token: Token) -> Response:
        """GET /v2/images."""
        query = ListQuery.parse(request.query)
        await self._pause()
        require("get_images", allowed=token.is_admin or "reader" in token.roles)
        after = self._marked(token, query.marker) if query.marker is not None else None
        page = query.page((image for image in self._cloud.images.values() if query.matches(token, image)), after)
        return json_response(200, _listing(dict(request.query), page, is_full=len(page) == query.limit))

    async def show(self, _: Request, token: Token, image_id: str) -> Response:
        """GET /v2/images/{id}."""
        await self._pause()
        return json_response(200, _view(self._image(token, image_id)))

    async def create(self, request: Request, token: Token) -> Response:
        """POST /v2/images: the image has no data yet and is queued, but may be shared."""
        body = read_json(request.body)
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
        return json_response(201, _view(image)).with_headers(Location=f"{self._endpoint}/v2/images/{image.id}")

    async def change(self, request: Request, token: Token, image_id: str) -> Response:
        """PATCH /v2/images/{id}."""
        changes = read_changes(request)
        await self._pause()
        image = self._image(token, image_id)
        apply_changes(changes, token, image, self._cloud.clock())
        return json_response(200, _view(image))

    async def upload(self, request: Request, token: Token, image_id: str) -> Response:
        """PUT /v2/images/{id}/file: the image becomes active."""
        if request.content_type != "application/octet-stream":
            raise unsupported_media_type(request.content_type, f"Invalid content type {request.content_type}")
        await self._pause()
        image = self._image(token, image_id)
        require("upload_image", allowed=may_change(token, image))
        if image.status != "queued":
            message = f"Image status transition from {image.status} to saving is not allowed"
            raise RefusalError(409, message)
        missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
        if missing:
            raise RefusalError(400, f"Properties {', '.join(missing)} must be set prior to saving data.")
        image.size, image.status, image.updated_at = len(request.body), "active", self._cloud.clock()
        image.checksum = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
        image.sha512 = hashlib.sha512(request.body).hexdigest()
        return Response(204)

    async def delete(self, _: Request, token: Token, image_id: str) -> Response:
        """DELETE /v2/images/{id}: its members go with it."""
        await self._pause()
        image = find_image(self._cloud, token, image_id)
        if image is None:
            raise RefusalError(404, f"Failed to find image {image_id} to delete")
        require("delete_image", allowed=may_change(token, image))
        if image.protected:
            raise RefusalError(403, f"Image {image_id} is protected and cannot be deleted.")
        self._cloud.delete_image(image_id)
        return Response(204)

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
