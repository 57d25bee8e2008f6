"""Runs that can't be undone are refused before any log-in, with what to do."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.ledger import SqlLedger
from bulkshare.model import Block, Result, Settings
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, NOW, begin, finish, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result as Done


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlLedger]:
    """Return the ledger of the commands, which is empty."""
    path = str(tmp_path / "ledger.db")
    monkeypatch.setenv("BULKSHARE_LEDGER", path)
    ledger = SqlLedger.open(path)
    yield ledger
    ledger.close()


def undo(*args: str) -> Done:
    """Run the command."""
    return CliRunner().invoke(main, ["undo", *args])


def test_a_run_at_work_is_to_be_stopped_first(ledger: SqlLedger) -> None:
    """Also another one of its plan, which would make the same changes again; with its process."""
    old, new = begin(ledger), begin(ledger)
    finish(ledger, old.id)
    for key in (old.key, new.key):
        done = undo(key, "--unfinished")
        assert done.exit_code == 2
        assert f"run {new.key} of plan nightly is at work" in done.stderr
        assert f"`kill -INT {os.getpid()}` on {socket.gethostname()}" in done.stderr


def test_an_unfinished_run_is_to_be_finished_first(ledger: SqlLedger) -> None:
    """Or to be undone as far as it got."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i", ["p", "q"])])
    finish(ledger, run.id)
    done = undo("nightly")
    assert done.exit_code == 2
    assert (
        f"unfinished, with 2 pairs pending: finish it with `bulkshare resume {run.key}`, or add --unfin" in done.stderr
    )


def test_a_sandbox_is_gone(ledger: SqlLedger) -> None:
    """There is nothing left of it."""
    run = ledger.begin(plan="quick", fingerprint=FINGERPRINT, account=ACCOUNT, now=NOW, settings=Settings(sandbox=True))
    finish(ledger, run.id)
    done = undo("quick")
    assert (done.exit_code, "ended with the run" in done.stderr) == (2, True)


def test_a_run_that_changed_nothing_needs_no_log_in(ledger: SqlLedger) -> None:
    """It is said, and the exit code is 0."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i", ["p"])])
    ledger.settle(run.id, [outcome("i", "p", Result.ALREADY)])
    finish(ledger, run.id)
    done = undo("nightly")
    assert (done.exit_code, f"there is nothing to undo of {run.key}" in done.stderr) == (0, True)


def test_the_run_has_to_be_named(ledger: SqlLedger) -> None:
    """The last run is not taken for granted where something is removed."""
    assert "Missing argument" in undo().stderr
    finish(ledger, begin(ledger).id)
    assert "did you mean nightly" in undo("nightli").stderr
