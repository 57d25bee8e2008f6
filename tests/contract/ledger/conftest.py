"""The ledgers that the suite runs against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger
from tests.databases import SHARED_DATABASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import DatabaseServer


@pytest.fixture(params=["sqlite", *SHARED_DATABASES])
def place(request: pytest.FixtureRequest, tmp_path: Path, database_server: Callable[[str], DatabaseServer]) -> str:
    """Return the location of a new ledger: a path or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return database_server(request.param).new_database()


@pytest.fixture
def open_ledger(place: str) -> Iterator[Callable[[], SqlLedger]]:
    """Return a function that opens the test's ledger; each call returns another handle."""
    opened: list[SqlLedger] = []

    def open_one() -> SqlLedger:
        opened.append(SqlLedger.open(place))
        return opened[-1]

    yield open_one
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: Callable[[], SqlLedger]) -> SqlLedger:
    """Return a new ledger."""
    return open_ledger()
