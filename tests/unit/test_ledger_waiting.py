"""A ledger's file: waiting for other processes, durable commits, and caches."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import LedgerError
from bulkshare.ledger import SqlLedger, strings
from bulkshare.ledger import sqlite as file
from bulkshare.model import Block, Result
from tests.ledger_fixtures import NOW, begin, finish, outcome

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the path of a ledger that does not exist yet."""
    return tmp_path / "ledger.db"


def test_a_commit_waits_for_the_disk(place: Path) -> None:
    """Every connection uses the write-ahead log and syncs every commit, in an existing file too."""
    for _ in range(2):
        ledger = SqlLedger.open(str(place))
        with ledger._store.reading() as connection:
            assert connection.scalar("PRAGMA journal_mode") == "wal"
            assert connection.scalar("PRAGMA synchronous") == 2  # FULL
        ledger.close()


def test_a_writer_that_does_not_end_is_reported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout, the message says that another process is writing; the next try works."""
    monkeypatch.setattr(file, "BUSY_SECONDS", 0.01)
    ledger = SqlLedger.open(str(place))
    with closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process has been writing") as caught:
            begin(ledger)
    assert str(place) in str(caught.value)
    assert ledger.find_run(begin(ledger).key) is not None
    ledger.close()


def test_a_new_ledger_waits_for_other_processes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite refuses at once to enable the log while another process uses the new file, so it is retried."""
    with closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr(time, "sleep", sleep)
        ledger = SqlLedger.open(str(place))
        assert begin(ledger).key == ledger.runs()[0].key
        ledger.close()
    assert len(waits) == 1


def test_a_new_ledger_does_not_wait_forever(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout, the message is that of any other wait."""
    monkeypatch.setattr(file, "BUSY_SECONDS", 0.0)
    with closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process has been writing"):
            SqlLedger.open(str(place))


def test_more_texts_than_are_cached(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped texts are looked up again, and a reader in the middle of its rows keeps those it needs."""
    monkeypatch.setattr(strings, "LARGEST_CACHE", 3)
    ledger = SqlLedger.open(str(place))
    run, other = begin(ledger), begin(ledger)
    jobs = [(image_id, f"p{number}") for image_id in ("i1", "i2", "i3") for number in range(5)]
    for image_id, member_id in jobs:
        ledger.enqueue(run.id, [Block(image_id, [member_id])])
        ledger.settle(run.id, [outcome(image_id, member_id, reason=f"{image_id} {member_id}")])
        ledger.enqueue(other.id, [Block(f"other {image_id}", [f"other {member_id}"])])
    found = []
    for row in ledger.outcomes(run.id):
        assert len(list(ledger.outcomes(other.id))) == len(jobs)
        found.append((row.image_id, row.member_id, row.reason))
    assert found == [(image_id, member_id, f"{image_id} {member_id}") for image_id, member_id in jobs]
    assert len(ledger._strings._numbers) < 10
    ledger.close()


def test_runs_that_have_ended_are_not_counted_again(place: Path) -> None:
    """The totals of an ended run are stored with it, so that listing runs does not count their pairs."""
    ledger = SqlLedger.open(str(place))
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    ended = finish(ledger, run.id)
    with closing(sqlite3.connect(place, isolation_level=None)) as raw:
        raw.execute("DELETE FROM pairs")
    assert ledger.runs() == [ended]
    assert ledger.totals(run.id)[Result.PENDING] == 0
    assert ledger.reopen(run.id, now=NOW).totals[Result.PENDING] == 0
    ledger.close()
