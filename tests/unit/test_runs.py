"""The runs of a ledger, as people and programs read them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from bulkshare.model import Account, Origin, Outcome, Result, Run, RunState
from bulkshare.operations.defaults import open_ledger
from bulkshare.report import (
    RunStatus,
    cause_document,
    causes_of,
    render_run,
    render_runs,
    run_document,
    run_status_of,
    show_document,
    total_document,
    total_of,
)
from tests.ledger_fixtures import begin, finish

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACCOUNT = Account("prod", "eu-de", "https://image.example.com", "alice", "golden", "p" * 32)
LATER = NOW + timedelta(seconds=90)


def run(state: RunState = RunState.FINISHED, *, requests: int = 0, seconds: float = 0.0, **totals: int) -> Run:
    """Return a run with these counts."""
    return Run(
        7,
        "golden-nightly-20260102T030405Z",
        "golden-nightly",
        "f",
        ACCOUNT,
        state,
        NOW,
        requests=requests,
        seconds=seconds,
        totals={Result(name): count for name, count in totals.items()},
    )


def printed(what: object, width: int = 200) -> str:
    """Return what a console without a terminal prints."""
    console = Console(width=width, markup=False)
    with console.capture() as capture:
        console.print(what, crop=False)
    return capture.get()


DONE = run_status_of(run(requests=33, seconds=1.25, shared=29, already=0, failed=1))
RUNNING = run_status_of(run(RunState.RUNNING, pending=1), now=LATER)
INTERRUPTED = run_status_of(run(RunState.INTERRUPTED, requests=5, seconds=2.0, pending=1))
KILLED = run_status_of(run(RunState.RUNNING, pending=30), dead=True, now=LATER)


def test_runs_on_a_line_each() -> None:
    """Results that don't occur take no room, and what is not known yet is no zero."""
    assert printed(render_runs([[status] for status in (DONE, RUNNING, KILLED)])) == (
        "run                              state        took  pairs  results              cloud\n"
        "golden-nightly-20260102T030405Z  finished    1.2 s     30  29 shared, 1 failed  prod eu-de\n"
        "golden-nightly-20260102T030405Z  running   0:01:30      1  1 pending            prod eu-de\n"
        "golden-nightly-20260102T030405Z  killed          -     30  30 pending           prod eu-de\n"
    )


@pytest.mark.parametrize("width", [60, 80])
def test_runs_take_two_lines_each_on_a_narrow_terminal(width: int) -> None:
    """The name stays whole."""
    text = printed(render_runs([[status] for status in (DONE, RUNNING)]), width=width)
    assert text == (
        "golden-nightly-20260102T030405Z  finished    1.2 s\n"
        "    30 pairs: 29 shared, 1 failed; cloud prod eu-de\n"
        "golden-nightly-20260102T030405Z  running   0:01:30\n"
        "    1 pair: 1 pending; cloud prod eu-de\n"
    )


def on_cloud(status: RunStatus, cloud: str, *, begun: str = "20260102T030405Z") -> RunStatus:
    """Return the same on a cloud, as one of several runs of a command."""
    account = replace(ACCOUNT, cloud=cloud)
    return replace(status, run=replace(status.run, key=f"golden-nightly-{begun}-{cloud}", account=account))


def test_runs_of_one_command_stand_together() -> None:
    """Below their total, whose name means all of them; a run that is alone has none."""
    assert printed(render_runs([[on_cloud(DONE, "east"), on_cloud(DONE, "eu-de")], [DONE]])) == (
        "run                                      state      took  pairs  results              cloud\n"
        "golden-nightly-20260102T030405Z          finished  1.2 s     60  58 shared, 2 failed  2 clouds\n"
        "  golden-nightly-20260102T030405Z-east   finished  1.2 s     30  29 shared, 1 failed  east eu-de\n"
        "  golden-nightly-20260102T030405Z-eu-de  finished  1.2 s     30  29 shared, 1 failed  eu-de eu-de\n"
        "golden-nightly-20260102T030405Z          finished  1.2 s     30  29 shared, 1 failed  prod eu-de\n"
    )


@pytest.mark.parametrize(
    ("statuses", "state", "seconds", "requests"),
    [
        ((DONE, DONE), "finished", 1.25, 66),
        ((DONE, INTERRUPTED), "interrupted", 2.0, 38),
        ((INTERRUPTED, KILLED), "killed", None, None),
        ((KILLED, DONE, RUNNING), "running", None, None),
        ((DONE,), "finished", 1.25, 33),
    ],
)
def test_total_of_several_clouds(
    statuses: tuple[RunStatus, ...], state: str, seconds: float | None, requests: int | None
) -> None:
    """It has the sums, the longest time, and the state of the least finished; what one does not know, it doesn't."""
    total = total_of(statuses)
    assert (total.state, total.seconds, total.requests) == (state, seconds, requests)
    for result in Result:
        expected = sum(status.run.totals.get(result, 0) for status in statuses)
        assert total.run.totals.get(result, 0) == expected


@pytest.mark.parametrize(
    ("clouds", "begun", "name"),
    [
        (("east", "west"), ("20260102T030405Z", "20260102T030405Z"), "golden-nightly-20260102T030405Z"),
        (("eu-de", "eu-nl"), ("20260102T030405Z", "20260102T030405Z"), "golden-nightly-20260102T030405Z"),
        (("east", "west"), ("20260102T030405Z", "20260102T030406Z"), "golden-nightly"),  # one of them went on
    ],
)
def test_the_name_of_several_runs(clouds: tuple[str, ...], begun: tuple[str, ...], name: str) -> None:
    """It is the plan and the time if they were begun together, else the plan's name."""
    statuses = [on_cloud(DONE, cloud, begun=time) for cloud, time in zip(clouds, begun, strict=True)]
    assert total_of(statuses).run.key == name


def test_document_of_several_clouds() -> None:
    """Sums, all causes, and what is known of each cloud; what differs between them is null."""
    causes = causes_of([Outcome("i", "m", Result.FAILED, reason="gave up")])
    statuses = [on_cloud(DONE, "east"), on_cloud(DONE, "west")]
    document = total_document(statuses, [show_document(status, causes) for status in statuses])
    assert (document["run"], document["planned"], document["failed"]) == ("golden-nightly-20260102T030405Z", 60, 2)
    assert (document["cloud"], document["endpoint"], len(document["causes"])) == (None, None, 2)
    assert [part["cloud"] for part in document["clouds"]] == ["east", "west"]


@pytest.mark.parametrize(
    ("status", "known"),
    [
        (DONE, ("finished", 1.25, 33)),
        (RUNNING, ("running", 90.0, None)),
        (KILLED, ("killed", None, None)),
        (run_status_of(run(RunState.RUNNING, requests=5, seconds=2.0), now=LATER), ("running", 2.0, 5)),
        (run_status_of(run(RunState.INTERRUPTED, requests=5, seconds=2.0), dead=True), ("interrupted", 2.0, 5)),
    ],
)
def test_status_of_a_run(status: RunStatus, known: tuple[str, float | None, int | None]) -> None:
    """A first invocation at work has no effort but its time; a dead process says nothing of a run that has ended."""
    assert (status.state, status.seconds, status.requests) == known


def test_documents() -> None:
    """Names as documented; None for unknown values."""
    document = run_document(KILLED)
    assert document == {
        "run": "golden-nightly-20260102T030405Z",
        "invocation": None,
        "plan": "golden-nightly",
        "state": "killed",
        "cloud": "prod",
        "region": "eu-de",
        "endpoint": "https://image.example.com",
        "user": "alice",
        "project": "golden",
        "project_id": "p" * 32,
        "started_at": "2026-01-02T03:04:05Z",
        "finished_at": None,
        "planned": 30,
        "shared": 0,
        "accepted": 0,
        "already": 0,
        "rejected": 0,
        "failed": 0,
        "skipped": 0,
        "pending": 30,
        "removed": 0,
        "absent": 0,
        "declined": 0,
        "reset": 0,
        "opened": 0,
        "awaiting_acceptance": 0,
        "requests": None,
        "retries": None,
        "seconds": None,
        "origins": [],
    }
    causes = causes_of([Outcome("i", "m", Result.FAILED, reason="gave up")])
    shown = show_document(DONE, causes, {"i": "ubuntu"})
    assert shown["causes"] == [cause_document(causes[0], {"i": "ubuntu"})]
    json.dumps(shown)


def test_show_says_where_a_run_comes_from() -> None:
    """Who began it and who continued it, with which command; nothing of it moves the cursor."""
    first = Origin("/etc/golden.yaml", "0f" * 32, "0.1.0", "bulkshare run golden.yaml", "ops\x1b[2J", "mgmt-1")
    run = replace(RUNNING.run, origins=(first, Origin(version="0.1.1", os_user="root", host="mgmt-2")))
    status = replace(RUNNING, run=run)
    assert (
        "  begun by ops [2J on mgmt-1, with bulkshare 0.1.0: bulkshare run golden.yaml\n"
        "  continued by root on mgmt-2, with bulkshare 0.1.1\n"
    ) in printed(render_run(status, ()), width=80)
    assert [origin["host"] for origin in run_document(status)["origins"]] == ["mgmt-1", "mgmt-2"]


def test_show_tells_the_name_once() -> None:
    """Who acted and where, then the results; a run at work has no requests yet."""
    assert printed(render_run(RUNNING, ()), width=60) == (
        "run golden-nightly-20260102T030405Z  running\n"
        "  started 2026-01-02 03:04:05 UTC\n"
        "  as alice of project golden, cloud prod eu-de\n"
        "  at https://image.example.com\n"
        "  shared   0  added by this run\n"
        "  already  0  was already a member\n"
        "  pending  1  not finished\n"
        "  planned  1  0:01:30 so far\n"
    )


def test_a_run_that_was_counted_before_there_was_a_result(tmp_path: Path) -> None:
    """A result that a later state of this version knows is counted anew, not missed."""
    with open_ledger(tmp_path / "ledger.db", create=True) as ledger:
        finish(ledger, begin(ledger).id)
        with sqlite3.connect(tmp_path / "ledger.db") as connection:
            connection.execute("UPDATE runs SET totals = json_remove(totals, '$.reset')")
        connection.close()
        found = ledger.find_run()
    assert found is not None
    assert found.totals == dict.fromkeys(Result, 0)
