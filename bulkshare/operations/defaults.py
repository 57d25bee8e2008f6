"""Default paths, ledgers opened by path or URL, the configured clouds, and the current time."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_state_path

from bulkshare.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike


def default_ledger() -> str:
    """Return the path of the user's ledger: ledger.db in XDG_STATE_HOME/bulkshare, or the system's equivalent."""
    return str(user_state_path("bulkshare") / "ledger.db")


def configured_clouds() -> list[str]:
    """Return the names of the entries of clouds.yaml, sorted. Raises `UsageError`."""
    from bulkshare.cloud.config import cloud_names  # noqa: PLC0415  keystoneauth1 is slow to import

    return cloud_names()


@contextmanager
def open_ledger(where: str | PathLike[str] | None, *, create: bool) -> Iterator[SqlLedger]:
    """Open the ledger at a path or URL, by default the user's own, and close it at the end. Raises `LedgerError`."""
    ledger = SqlLedger.open(os.fspath(where or default_ledger()), create=create)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def temporary_ledger() -> Iterator[SqlLedger]:
    """Open a new ledger that is deleted at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="bulkshare-") as folder,
        open_ledger(Path(folder) / "ledger.db", create=True) as ledger,
    ):
        yield ledger


utc_now = partial(datetime.now, UTC)  # the current time, aware; called for every pair, so not a Python function
