"""What an image may say of itself: Glance's image schema, as far as requests can break it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bulkshare.sandbox.records import VISIBILITIES
from bulkshare.sandbox.wire import RefusalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
FOUR_BYTE = re.compile("[^\u0000-\uffff]")  # what MySQL's three-byte UTF-8 can't hold
LONGEST_TEXT = 255  # characters of a name or a tag
READ_ONLY = frozenset(
    {"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema"}
    | {"os_hash_algo", "os_hash_value"}
)
RESERVED = frozenset({"location", "deleted", "deleted_at"})
# The fields of an image that are no properties of its own, with their types, and the values where they are few.
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
    """Whether Glance keeps a property of that name to itself."""
    return name in RESERVED or name.startswith("os_glance")


def check_value(name: str, value: Any) -> None:
    """Raise what Glance answers to a value that a field can't have; a schema's message is cut after its first line."""
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
