"""The ledgers that the suite runs against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a new ledger is to be: a path or a URL."""
    assert request.param == "sqlite"
    return str(tmp_path / "ledger.db")


@pytest.fixture
def open_ledger(place: str) -> Iterator[Callable[[], SqlLedger]]:
    """Return a function that opens the test's ledger, as often as it is called."""
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
