"""A run's settings as a JSON object and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bulkshare.model import Limits, RetryPolicy, Settings


def pack_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values; the names are the fields'."""
    return asdict(settings)


def unpack_settings(kept: dict[str, Any]) -> Settings:
    """Return what `pack_settings` was given."""
    return Settings(**{**kept, "limits": Limits(**kept["limits"]), "retry": RetryPolicy(**kept["retry"])})
