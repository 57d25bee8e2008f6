"""A cloud's entry with its credentials as a value that can be sent to another machine. Knows no way of sending."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from keystoneauth1.loading import get_plugin_loader

from bulkshare.identity.entry import CloudEntry

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a `CloudEntry` says, and the options of its auth plugin, which itself can't be sent."""

    said: Mapping[str, Any] = field(repr=False)

    def unpack(self) -> CloudEntry:
        """Return the entry. Files that it names are looked for on this machine."""
        loader: Any = get_plugin_loader(self.said["auth_type"])
        return CloudEntry(plugin=loader.load_from_options(**self.said["auth"]), **self.said)


def pack(entry: CloudEntry) -> Parcel:
    """Return an entry as a parcel, which has to be kept as secret as the credentials in it."""
    return Parcel({each.name: getattr(entry, each.name) for each in fields(entry) if each.name != "plugin"})
