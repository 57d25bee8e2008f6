"""Pruning while other runs begin: no cached number of a string ever stands for nothing, or for another string."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.model import Block, Result, Telemetry
from tests.ledger_fixtures import NOW, begin, finish, outcome, watch_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bulkshare.model import Run


@pytest.fixture
def handles(tmp_path: Path) -> Iterator[tuple[SqlLedger, SqlLedger]]:
    """Return two handles on one ledger, as two processes have them: one prunes, the other runs."""
    place = str(tmp_path / "ledger.db")
    both = SqlLedger.open(place), SqlLedger.open(place)
    yield both
    for ledger in both:
        ledger.close()


def work(ledger: SqlLedger, run: Run, image_id: str = "image") -> None:
    """Enqueue two pairs of a run and settle one."""
    ledger.enqueue(run.id, [Block(image_id, ["member", f"{image_id}'s"])])
    ledger.settle(run.id, [outcome(image_id, "member", reason=f"{image_id}'s reason")])


def rows(ledger: SqlLedger, run: Run) -> list[tuple[str, str, str]]:
    """Return image, member and reason of a run's pairs."""
    return [(row.image_id, row.member_id, row.reason) for row in ledger.outcomes(run.id)]


WORKED = [("image", "member", "image's reason"), ("image", "image's", "")]


def old_run(ledger: SqlLedger) -> Run:
    """Return a finished run with the texts of `work`, whose numbers the handle has cached."""
    run = begin(ledger)
    work(ledger, run)
    ledger.settle_rest(run.id, "image", result=Result.SKIPPED, reason="why", now=NOW)
    return finish(ledger, run.id)


def names(ledger: SqlLedger) -> set[str]:
    """Return the texts in the ledger."""
    with ledger._store.reading() as connection:
        return set(connection.scalars("SELECT text FROM names"))


def before(ledger: SqlLedger, beginning: str, number: int, action: Callable[[], Any]) -> None:
    """Call `action` before the ledger executes the `number`-th statement that begins so."""
    seen = 0

    def listen(statement: str) -> None:
        nonlocal seen
        seen += statement.startswith(beginning)
        if seen == number and statement.startswith(beginning):
            action()

    watch_statements(ledger, before=listen)


def test_a_run_begun_after_the_look_keeps_all_texts(handles: tuple[SqlLedger, SqlLedger]) -> None:
    """The pruner has not seen it, so it may be running with cached numbers of strings that no pair has any more."""
    pruner, worker = handles
    old = old_run(worker)
    new = begin(worker)
    worker.enqueue(new.id, [Block("image", ["member"])])
    assert not pruner.prune([old.id], names_unless_after=old.id)
    assert [run.id for run in pruner.runs()] == [new.id]
    assert "image's reason" in names(pruner)
    work(worker, new)
    assert rows(pruner, new) == WORKED


def test_a_run_that_begins_between_the_deletions(handles: tuple[SqlLedger, SqlLedger]) -> None:
    """The check for newer runs is in the transaction that deletes the strings."""
    pruner, worker = handles
    old = old_run(worker)
    begun: list[Run] = []

    def begin_and_enqueue() -> None:
        begun.append(begin(worker))
        worker.enqueue(begun[0].id, [Block("image", ["member"])])

    before(pruner, "BEGIN IMMEDIATE", 2, begin_and_enqueue)  # the first one deletes the run
    assert not pruner.prune([old.id], names_unless_after=old.id)
    work(worker, begun[0])
    assert rows(pruner, begun[0]) == WORKED


def test_a_run_that_begins_while_texts_are_deleted(handles: tuple[SqlLedger, SqlLedger]) -> None:
    """It waits for the deletion, and then has none of the old numbers cached."""
    pruner, worker = handles
    old = old_run(worker)
    barrier = threading.Barrier(2)
    begun: list[Run] = []

    def begin_and_work() -> None:
        barrier.wait()
        begun.append(begin(worker))
        work(worker, begun[0])

    thread = threading.Thread(target=begin_and_work)
    before(pruner, "DELETE FROM names", 1, barrier.wait)
    thread.start()
    assert pruner.prune([old.id], names_unless_after=old.id)
    thread.join()
    assert rows(pruner, begun[0]) == WORKED


def test_a_handle_that_stays_open_over_a_prune(handles: tuple[SqlLedger, SqlLedger]) -> None:
    """Between its runs another process prunes, and keeps other texts; neither writes or reads one for another."""
    pruner, worker = handles
    old = old_run(worker)
    assert rows(worker, old)[0] == WORKED[0]
    assert pruner.prune([old.id], names_unless_after=old.id)
    other = begin(pruner, "other")
    work(pruner, other, "another image")
    new = begin(worker)
    work(worker, new)
    for ledger in handles:
        assert rows(ledger, new) == WORKED
        assert rows(ledger, other)[0] == ("another image", "member", "another image's reason")


def test_a_run_that_goes_on_after_a_prune(handles: tuple[SqlLedger, SqlLedger]) -> None:
    """Strings that its handle had cached were deleted while it was interrupted."""
    pruner, worker = handles
    run = begin(worker)
    worker.enqueue(run.id, [Block("image", ["member", "image's"])])
    worker.settle(run.id, [outcome("image", "member", reason="passing")])
    work(worker, run)
    finish(worker, run.id)
    assert pruner.prune([], names_unless_after=run.id)
    assert "passing" not in names(pruner)
    worker.reopen(run.id, now=NOW)
    worker.settle(run.id, [outcome("image", "image's", reason="passing")])
    assert rows(pruner, run) == [WORKED[0], ("image", "image's", "passing")]


def test_the_newest_run_is_newer_than_one_that_was_pruned(handles: tuple[SqlLedger, SqlLedger]) -> None:
    """IDs of deleted runs are not reused, so a new run never passes for one that the pruner has seen."""
    pruner, worker = handles
    old = old_run(worker)
    assert pruner.prune([old.id], names_unless_after=None) is False
    new = begin(worker)
    assert new.id > old.id
    assert not pruner.prune([], names_unless_after=old.id)


def test_what_goes_with_a_run(handles: tuple[SqlLedger, SqlLedger]) -> None:
    """Its telemetry at once; the labels of texts that no pair uses when those go; all of other runs stays."""
    pruner, worker = handles
    old, kept = old_run(worker), begin(worker)
    worker.enqueue(kept.id, [Block("image 2", ["member"])])
    for run in (old, kept):
        worker.record_telemetry(run.id, Telemetry(NOW, 1.0))
    worker.label({"image": "ubuntu", "image 2": "debian", "member": "team"})
    finish(worker, kept.id)
    pruner.prune([old.id], names_unless_after=None)
    assert "image" in names(pruner)
    assert [len(pruner.telemetry(run.id)) for run in (old, kept)] == [0, 1]
    pruner.prune([], names_unless_after=kept.id)
    assert names(pruner) == {"image 2", "member"}
    assert pruner.labels(kept.id) == {"image 2": "debian", "member": "team"}
    with pruner._store.reading() as connection:
        assert connection.scalar("SELECT count(*) FROM labels") == 2
