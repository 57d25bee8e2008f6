"""A cloud's entry with its credentials as text that can be sent to another machine. Knows no way of sending."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from keystoneauth1.loading import get_plugin_loader

from bulkshare.identity.entry import CloudEntry

if TYPE_CHECKING:
    from collections.abc import Mapping


def pack(entry: CloudEntry) -> str:
    """Return an entry as JSON, which has to be kept as secret as the credentials in it."""
    said = {each.name: getattr(entry, each.name) for each in fields(entry) if each.name != "plugin"}
    return json.dumps(said, default=str)


def unpack(packed: str) -> CloudEntry:
    """Return the entry again. Files that it names are looked for on this machine."""
    return entry_of(json.loads(packed))


def entry_of(said: Mapping[str, Any]) -> CloudEntry:
    """Return the entry with these fields; its plugin is made of `auth`."""
    loader: Any = get_plugin_loader(said["auth_type"])
    plugin = loader.load_from_options(**said["auth"])
    return CloudEntry(**{**said, "plugin": plugin, "secrets": tuple(said.get("secrets", ()))})
