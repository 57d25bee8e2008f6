"""Where things are kept when nobody says otherwise, and what time it is."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_state_path

from bulkshare.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike


def default_ledger() -> str:
    """Return the path of the user's ledger: ledger.db below XDG_STATE_HOME/bulkshare, or what the system has for it."""
    return str(user_state_path("bulkshare") / "ledger.db")


@contextmanager
def open_ledger(where: str | PathLike[str] | None, *, create: bool) -> Iterator[SqlLedger]:
    """Open the ledger at a path or URL, or the default one, for a while. Raises `LedgerError`."""
    ledger = SqlLedger.open(os.fspath(where or default_ledger()), create=create)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def throwaway_ledger() -> Iterator[SqlLedger]:
    """Open a ledger that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="bulkshare-") as folder,
        open_ledger(str(Path(folder) / "ledger.db"), create=True) as ledger,
    ):
        yield ledger


def utc_now() -> datetime:
    """Return the time of day, aware and UTC."""
    return datetime.now(UTC)
