"""What the database counts of many nights is what reading every row would give, and takes a few rows."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkshare.ledger import SqlLedger, sightings
from bulkshare.ledger.sqlite import FileConnection
from bulkshare.model import Block, Result, Want
from tests.ledger_fixtures import NOW, begin, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.model import Sighting

PAIRS = [("i1", "p1"), ("i1", "p2"), ("i2", "p1")]
KINDS: list[dict[str, Any] | None] = [
    None,  # pending
    {"result": Result.SHARED},
    {"result": Result.ALREADY, "reason": ""},
    {"result": Result.ALREADY, "reason": "", "status": "accepted"},
    {"result": Result.FAILED, "http_status": None, "created_at": None, "status": None},
    {"result": Result.REMOVED},
]
NIGHT = st.lists(st.sampled_from(range(len(KINDS))), min_size=len(PAIRS), max_size=len(PAIRS))


def record(ledger: SqlLedger, nights: list[list[int]], hours: int) -> None:
    """Begin a run every few hours, which settles the last pair 3 hours later; with fewer hours, runs overlap."""
    for number, kinds in enumerate(nights):
        at = NOW + timedelta(hours=hours * number)
        run = begin(ledger, now=at)
        for index, ((image, project), kind) in enumerate(zip(PAIRS, kinds, strict=True)):
            ledger.enqueue(run.id, [Block(image, [project], Want.ACCEPTED if kind % 2 else Want.MEMBER)])
            if (fields := KINDS[kind]) is not None:
                settled_at = at + timedelta(hours=1 + index)
                ledger.settle(run.id, [outcome(image, project, settled_at=settled_at)._replace(**fields)])
        ledger.finish(run.id, now=at + timedelta(hours=3), requests=0, retries=0, seconds=0)


def seen(ledger: SqlLedger) -> list[list[list[Sighting]]]:
    """Return what was recorded, by image and by project."""
    runs = ledger.run_refs()
    return [ledger.sightings_of_images(["i1", "i2"], runs), ledger.sightings_of_projects(["p1"], runs)]


@settings(deadline=None)
@given(st.lists(NIGHT, max_size=9), st.sampled_from([2, 24]), st.sampled_from([2, 3, 100]))
def test_counts_are_what_the_rows_say(nights: list[list[int]], hours: int, at_once: int) -> None:
    """Whatever the nights were, and however many of them one query takes."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqlLedger.open(f"{folder}/ledger.db")
        record(ledger, nights, hours)
        with patch.object(sightings, "RUNS_AT_ONCE", at_once):
            counted = seen(ledger)
        with patch.object(sightings, "_overlap", lambda _: True):
            assert counted == seen(ledger)
        ledger.close()


def test_rows_that_are_alike_are_not_read(tmp_path: Path) -> None:
    """However many nights there are, a pair takes a row for each kind."""
    ledger = SqlLedger.open(str(tmp_path / "ledger.db"))
    record(ledger, [[1, 1, 1], *[[2, 2, 3]] * 60], 24)
    taken = 0
    rows = FileConnection.rows

    def count(connection: FileConnection, sql: str, /, **parameters: Any) -> list[Any]:
        nonlocal taken
        found = rows(connection, sql, **parameters)
        taken += len(found) if "FROM pairs" in sql else 0
        return found

    runs = ledger.run_refs()
    with patch.object(FileConnection, "rows", count):
        found = ledger.sightings_of_images(["i1"], runs)
    assert [[each.times for each in pair] for pair in found] == [[1, 60], [1, 60]]
    assert taken == 4
    ledger.close()
