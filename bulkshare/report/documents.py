"""The JSON of commands: its version. Pure.

Within a version keys are only added, so programs should ignore those that they don't know. `report.schemas` has the
schemas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = 1


def versioned(clouds: Sequence[Mapping[str, Any]], *, several: bool) -> dict[str, Any]:
    """Return the documents of some clouds as the one object that a command prints."""
    return {"version": VERSION, "clouds": list(clouds)} if several else {"version": VERSION, **clouds[0]}
