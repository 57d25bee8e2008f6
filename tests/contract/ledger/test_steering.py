"""Heartbeats of runs at work, and what was asked of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from bulkshare.model import Action, Control, Heartbeat, Result, RunState
from tests.ledger_fixtures import NOW, begin, finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.ledger import SqlLedger

BEAT = Heartbeat(
    NOW,
    planned=50_000,
    totals={Result.SHARED: 1234, Result.FAILED: 1},
    opened=2,
    requests=1300,
    retries=3,
    batches=7,
    batched_pairs=650,
    elapsed_seconds=61.5,
    phase="sharing",
    phase_done=1,
    phase_total=4,
    rate=19.6,
    allowed_rate=20.0,
    concurrency=8,
    seconds_left=None,
    cooling_seconds=2.5,
    paused=True,
    pace="“paused”, 3 in flight",
    details=("tcp://10.0.0.1:4242  9.8/s of 10/s",),
)
SLOWER = Control(NOW, "alice", "ops1", rate=20.0, concurrency=8)


def test_a_heartbeat_comes_back_as_it_was(ledger: SqlLedger, open_ledger: Callable[[], SqlLedger]) -> None:
    """Each replaces the one before, in a row for each run, and another process reads it."""
    run, other = begin(ledger), begin(ledger)
    watching = open_ledger()
    assert watching.pulses([run.id]) == {run.id: (RunState.RUNNING, None)}
    for number in range(3):
        later = replace(BEAT, at=NOW + timedelta(seconds=number), seconds_left=1.5 * number)
        assert ledger.beat(run.id, later) == []
        assert watching.pulses([run.id, other.id]) == {
            run.id: (RunState.RUNNING, later),
            other.id: (RunState.RUNNING, None),
        }
    assert watching.pulses([]) == {}


def test_controls_are_told_until_they_are_obeyed(ledger: SqlLedger, open_ledger: Callable[[], SqlLedger]) -> None:
    """In order, to the run they are for; the record of them stays."""
    run, other = begin(ledger), begin(ledger)
    asking = open_ledger()
    asked = [
        asking.ask(run.id, control) for control in (SLOWER, Control(NOW, action=Action.PAUSE), Control(NOW, rate=0.5))
    ]
    assert [control and control.number for control in asked] == [1, 2, 3]
    assert ledger.beat(other.id, BEAT) == []
    assert ledger.beat(run.id, BEAT) == asked
    ledger.mark_obeyed(run.id, [1, 2], NOW + timedelta(seconds=1))
    assert ledger.beat(run.id, BEAT) == asked[2:]
    assert [control.obeyed_at for control in asking.controls(run.id)] == [NOW + timedelta(seconds=1)] * 2 + [None]
    assert [control.words for control in asking.controls(run.id)] == ["rate=20 concurrency=8", "pause", "rate=0.5"]


@pytest.mark.parametrize("killed", [False, True])
def test_who_goes_on_starts_afresh(ledger: SqlLedger, *, killed: bool) -> None:
    """What was asked of an earlier process and not obeyed in time never is; its heartbeat is forgotten."""
    run = begin(ledger)
    ledger.beat(run.id, BEAT)
    ledger.ask(run.id, SLOWER)
    if not killed:
        finish(ledger, run.id)
        assert ledger.pulses([run.id]) == {run.id: (RunState.FINISHED, None)}
        assert ledger.ask(run.id, SLOWER) is None
    ledger.reopen(run.id, now=NOW)
    assert ledger.pulses([run.id]) == {run.id: (RunState.RUNNING, None)}
    assert ledger.beat(run.id, BEAT) == []
    assert [control.obeyed_at for control in ledger.controls(run.id)] == [None]
    again = ledger.ask(run.id, SLOWER)
    assert ledger.beat(run.id, BEAT) == [again]


def test_what_ended_a_run_early_is_kept_until_it_goes_on(ledger: SqlLedger) -> None:
    """Its exit code and the sentence."""
    run = begin(ledger)
    ended = ledger.finish(
        run.id, now=NOW, requests=1, retries=0, seconds=1.0, exit_code=5, ended_because="the deadline"
    )
    assert (ended.exit_code, ended.ended_because) == (5, "the deadline")
    again = ledger.reopen(run.id, now=NOW)
    assert (again.exit_code, again.ended_because) == (None, "")


def test_a_deleted_run_leaves_none_of_it(ledger: SqlLedger) -> None:
    """Its heartbeat and controls go with it; another run's stay."""
    run, other = begin(ledger), begin(ledger)
    for each in (run, other):
        ledger.beat(each.id, BEAT)
        ledger.ask(each.id, SLOWER)
    ledger.prune([run.id], names_unless_after=None)
    assert ledger.controls(run.id) == []
    assert ledger.pulses([run.id, other.id]) == {other.id: (RunState.RUNNING, BEAT)}
    assert len(ledger.controls(other.id)) == 1
