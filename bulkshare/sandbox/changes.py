"""PATCH of an image: the changes that a request asks for, in Glance's order of checks, all or none.

The format is that of media type v2.1, a JSON Patch (RFC 6902) of three operations and one-part paths; not its older
brother v2.0, and no locations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.sandbox.members import read_json
from bulkshare.sandbox.policy import may_change, require
from bulkshare.sandbox.schema import BASE_TYPES, READ_ONLY, check_value, is_reserved
from bulkshare.sandbox.wire import SERVER_ERROR, RefusalError, unsupported_media_type

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from bulkshare.sandbox.records import Image, Token
    from bulkshare.sandbox.wire import Ask

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


def read_changes(ask: Ask) -> Sequence[Change]:
    """Read a request. Raises `RefusalError` as Glance answers, which it does before it looks for the image."""
    if ask.content_type == OLD_MEDIA_TYPE:
        raise RefusalError(501, "The sandbox can't do this.")
    if ask.content_type != MEDIA_TYPE:
        known = f"{OLD_MEDIA_TYPE}, {MEDIA_TYPE}"
        detail = f"Image PATCH expects Content-Type one of: {known}"
        raise unsupported_media_type(ask.content_type, detail, headers={"Accept-Patch": known})
    body = read_json(ask.body)
    if not isinstance(body, list):
        raise RefusalError(400, "Request body must be a JSON array of operation objects.")
    return [_read_change(raw) for raw in body]


def apply_changes(changes: Sequence[Change], token: Token, image: Image, now: datetime) -> None:
    """Change the image. Raises `RefusalError` as Glance answers, with the image as it was."""
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
    """Check who may do that; making an image public or community has a policy of its own, which comes first."""
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
    """Return the one field that a JSON pointer names."""
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
