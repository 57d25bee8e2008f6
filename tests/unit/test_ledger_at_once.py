"""Concurrent use of one ledger: processes, threads with their own handles, readers beside a writer."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.model import Block, Outcome, Result, RunState, Want
from tests.ledger_fixtures import ACCOUNT, NOW, begin, by_pair, finish, open_at_once, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 8
NEW_FILES = 10
ROUNDS = 20
ACCOUNTS = {cloud: replace(ACCOUNT, endpoint=f"https://{cloud}.example") for cloud in ("eu-de", "eu-nl")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the path of a ledger that does not exist yet."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(place: Path) -> Iterator[SqlLedger]:
    """Return a new ledger."""
    opened = SqlLedger.open(str(place))
    yield opened
    opened.close()


def test_a_second_handle_takes_no_locks_away(ledger: SqlLedger, place: Path) -> None:
    """A second process sees what the first handle has written, and closing it leaves the log intact."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i", ["p1", "p2"])])
    SqlLedger.open(str(place)).close()
    for member_id in ("p1", "p2"):
        look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
        query = "SELECT count(*) FROM pairs WHERE result IS NOT NULL"
        ledger.settle(run.id, [outcome("i", member_id)])
        seen = subprocess.run([sys.executable, "-c", look, place, query], capture_output=True, text=True, check=True)
        assert int(seen.stdout) == {"p1": 1, "p2": 2}[member_id]


def test_threads_with_handles_of_their_own(place: Path) -> None:
    """Two threads write the same IDs and new ones at the same time, and each run has all of its own pairs."""
    barrier = threading.Barrier(2)

    def work(cloud: str) -> int:
        ledger = SqlLedger.open(str(place))
        run = ledger.begin(plan="nightly", fingerprint="f", account=ACCOUNTS[cloud], now=NOW, key_suffix=cloud)
        for number in range(ROUNDS):
            barrier.wait()
            image_id = f"i{number}"
            ledger.enqueue(run.id, [Block(image_id, ["p1", cloud, f"{cloud} {number}"], Want.ACCEPTED)])
            ledger.settle(run.id, [outcome(image_id, "p1", reason=f"{cloud} {number}")])
            ledger.mark_listed(run.id, image_id, [cloud])
            ledger.settle_rest(run.id, image_id, result=Result.SKIPPED, reason=cloud, now=NOW)
            ledger.label({"p1": cloud})
        assert finish(ledger, run.id).state is RunState.FINISHED
        ledger.close()
        return run.id

    with ThreadPoolExecutor(2) as threads:
        run_ids = dict(zip(ACCOUNTS, threads.map(work, ACCOUNTS), strict=True))
    ledger = SqlLedger.open(str(place))
    assert {run.key for run in ledger.runs()} == {f"nightly-20260102T030405Z-{cloud}" for cloud in ACCOUNTS}
    for cloud, run_id in run_ids.items():
        expected: dict[tuple[str, str], Outcome] = {}
        for number in range(ROUNDS):
            image_id = f"i{number}"
            skipped = Outcome(image_id, "", Result.SKIPPED, reason=cloud, settled_at=NOW, want=Want.ACCEPTED)
            expected |= by_pair(
                [
                    outcome(image_id, "p1", reason=f"{cloud} {number}", want=Want.ACCEPTED),
                    skipped._replace(member_id=cloud, want=Want.ACCEPTED | Want.ALREADY_MEMBER),
                    skipped._replace(member_id=f"{cloud} {number}"),
                ]
            )
        assert by_pair(ledger.outcomes(run_id)) == expected
    ledger.close()


def test_processes_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """Eight processes create the same file at once; each can use it, and no run is lost."""
    places = [str(tmp_path / f"{number}.db") for number in range(NEW_FILES)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.ledger_fixtures"])
    barrier = context.Barrier(PROCESSES)
    processes = [context.Process(target=open_at_once, args=(barrier, places)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    for place in places:
        ledger = SqlLedger.open(place, create=False)
        assert len(ledger.runs()) == PROCESSES
        ledger.close()


def test_reading_does_not_wait_for_a_writer(ledger: SqlLedger, place: Path) -> None:
    """While a transaction holds the write lock, others can open the ledger and read the last commit."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    with closing(sqlite3.connect(place, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE pairs SET result = 4")
        reader = SqlLedger.open(str(place), create=False)
        assert list(reader.outcomes(run.id)) == [Outcome("i1", "p1", Result.PENDING)]
        assert [found.key for found in reader.runs()] == [run.key]
        reader.close()
        writer.execute("ROLLBACK")


def test_a_reading_left_half_way_does_not_hold_the_log(ledger: SqlLedger, place: Path) -> None:
    """The write-ahead log can be emptied once the generator of a half-read export is closed, and not before."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", [f"p{number}" for number in range(12_000)])])

    def checkpoint() -> bool:
        with closing(sqlite3.connect(place, timeout=0)) as raw:
            busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    rows = ledger.outcomes(run.id)
    assert len(list(islice(rows, 10))) == 10
    ledger.settle_rest(run.id, "i1", result=Result.SKIPPED, reason="why", now=NOW)
    assert not checkpoint()
    rows.close()  # type: ignore[attr-defined]  # it is a generator
    assert checkpoint()
    assert Path(f"{place}-wal").stat().st_size == 0
