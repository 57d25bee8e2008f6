"""Which run the user means: the one last worked on, and what is left to finish."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import UsageError
from bulkshare.ledger import SqlLedger
from bulkshare.model import Block, Settings
from bulkshare.operations.history import find_run, runs_to_resume
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, NOW, finish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bulkshare.model import Account, Run

ELSEWHERE = replace(ACCOUNT, endpoint="https://elsewhere.example")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """Return an empty ledger."""
    ledger = SqlLedger.open(str(tmp_path / "ledger.db"))
    yield ledger
    ledger.close()


def begin(
    ledger: SqlLedger, plan: str, hours: int, *, account: Account = ACCOUNT, sandbox: bool = False, left: bool = True
) -> Run:
    """Return a run begun some hours after the start, interrupted with a pair left, or finished."""
    now = NOW + timedelta(hours=hours)
    settings = Settings(sandbox=sandbox)
    run = ledger.begin(plan=plan, fingerprint=FINGERPRINT, account=account, now=now, settings=settings)
    if left:
        ledger.enqueue(run.id, [Block("i", ["p"])])
    return ledger.finish(run.id, now=now, requests=0, retries=0, seconds=0)


def found(ledger: SqlLedger, name: str | None = None) -> tuple[str, list[str]]:
    """Return the key of the run that a name means, and the messages."""
    notes: list[str] = []
    return find_run(ledger, name, notes.append).key, notes


def test_the_last_run_is_the_one_last_worked_on(ledger: SqlLedger) -> None:
    """Not the one begun last: an older one may have been resumed since. By a plan's name, too."""
    old, new = begin(ledger, "golden", 1), begin(ledger, "golden", 2, account=ELSEWHERE)
    other = begin(ledger, "silver", 3)
    assert found(ledger) == (other.key, [])
    assert found(ledger, "golden") == (new.key, [])
    ledger.reopen(old.id, now=NOW + timedelta(hours=4))
    assert found(ledger) == found(ledger, "golden") == (old.key, [])
    ledger.finish(new.id, now=NOW + timedelta(hours=5), requests=0, retries=0, seconds=0)
    assert found(ledger) == found(ledger, "golden") == (new.key, [])


@pytest.mark.parametrize("name", [None, "golden"])
def test_a_sandbox_is_not_meant_while_there_is_another_run(ledger: SqlLedger, name: str | None) -> None:
    """Neither without a name nor by the plan's; a message names the run that is passed over."""
    tried = begin(ledger, "golden", 1, sandbox=True)
    assert found(ledger, name) == (tried.key, [])
    real, again = begin(ledger, "golden", 2), begin(ledger, "golden", 3, sandbox=True)
    assert found(ledger, name) == (
        real.key,
        [f"run {again.key} is newer, but was on a sandbox; name it to use it"],
    )
    assert found(ledger, again.key) == (again.key, [])


def to_resume(ledger: SqlLedger) -> list[str]:
    """Return the keys of the runs that `resume` means without a name."""
    return [run.key for run in runs_to_resume(ledger, lambda _message: None)]


def test_the_unfinished_run_is_resumed(ledger: SqlLedger) -> None:
    """Whatever was finished since, or was tried on a sandbox; with all of its plan's clouds."""
    one, elsewhere = begin(ledger, "golden", 1), begin(ledger, "golden", 2, account=ELSEWHERE)
    begin(ledger, "silver", 3, left=False)
    begin(ledger, "bronze", 4, sandbox=True)
    assert sorted(to_resume(ledger)) == sorted([one.key, elsewhere.key])
    finish(ledger, one.id)
    again = begin(ledger, "golden", 5, left=False)  # which takes the place of the first
    assert to_resume(ledger) == [elsewhere.key]
    begin(ledger, "golden", 6, account=ELSEWHERE, left=False)
    assert again.key not in to_resume(ledger)


def test_without_an_unfinished_run_the_last_one_is_meant(ledger: SqlLedger) -> None:
    """So that its result can be told; an empty ledger is reported."""
    with pytest.raises(UsageError, match="no runs yet"):
        to_resume(ledger)
    begin(ledger, "golden", 1, left=False)
    last = begin(ledger, "silver", 2, left=False)
    assert to_resume(ledger) == [last.key]


def test_several_that_could_be_meant_are_listed(ledger: SqlLedger) -> None:
    """The one last worked on first; a run in progress is not among them, unless there is no other."""
    keys = [begin(ledger, f"plan-{number}", number).key for number in range(7)]
    with pytest.raises(UsageError, match=rf"^7 plans have .*: {keys[6]}, .*{keys[2]} and 2 more; .*resume {keys[6]}`$"):
        to_resume(ledger)
    for run in ledger.runs()[:-1]:
        ledger.reopen(run.id, now=NOW)
    assert ledger.runs()[0].pid == os.getpid()
    assert to_resume(ledger) == [keys[0]]
