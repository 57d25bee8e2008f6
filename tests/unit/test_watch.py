"""Watching runs that other processes work on, and telling them what to do."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.cli import main
from bulkshare.cli.steering import read_control
from bulkshare.errors import PlanError
from bulkshare.ledger import RunLock, SqlLedger
from bulkshare.model import Action, Block, Control, Heartbeat, Result, Run
from bulkshare.operations import watch as watching
from bulkshare.operations.watch import LOST_SECONDS, SILENT_SECONDS, WatchedRun, watch
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, NOW, begin, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BEAT = Heartbeat(
    NOW,
    planned=2,
    totals={Result.SHARED: 1},
    phase="sharing",
    phase_total=2,
    rate=19.5,
    allowed_rate=20.0,
    concurrency=8,
    seconds_left=30.0,
    elapsed_seconds=12.0,
    pace="3 of 8 in flight, at the rate limit",
)


class Clock:
    """A clock that sleeping advances; at some seconds something happens."""

    def __init__(self) -> None:
        self.now = 0.0
        self.later: list[tuple[float, Callable[[], object]]] = []

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the time."""
        self.now += seconds
        due, self.later = (
            [each for each in self.later if each[0] <= self.now],
            [each for each in self.later if each[0] > self.now],
        )
        for _, action in due:
            action()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have the commands use a virtual clock."""
    clock = Clock()
    monkeypatch.setattr("bulkshare.cli.steering.time.sleep", clock.sleep)
    monkeypatch.setattr("bulkshare.cli.steering.time.monotonic", clock)
    return clock


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """Return a ledger."""
    ledger = SqlLedger.open(str(tmp_path / "ledger.db"))
    yield ledger
    ledger.close()


@pytest.fixture
def run(ledger: SqlLedger) -> Run:
    """Return a run of this process, with two pairs of which one is settled."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("image", ["one", "two"])])
    ledger.settle(run.id, [outcome("image", "one")])
    return run


def elsewhere(ledger: SqlLedger, run: Run) -> None:
    """Make a run another host's."""
    with ledger._store.writing() as connection:
        connection.execute("UPDATE runs SET host = 'far-away' WHERE id = :id", id=run.id)


def killed(ledger: SqlLedger, run: Run) -> None:
    """Make a run that of a process that is gone."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    with ledger._store.writing() as connection:
        connection.execute("UPDATE runs SET pid = :pid WHERE id = :id", id=run.id, pid=child)


def bulkshare(tmp_path: Path, *args: str) -> tuple[int, str, str]:
    """Run a command; return exit code, stdout and stderr."""
    done = CliRunner().invoke(main, [*args, "--ledger", str(tmp_path / "ledger.db")])
    return done.exit_code, done.stdout, done.stderr


def finish(ledger: SqlLedger, run: Run, exit_code: int | None = None, because: str = "") -> None:
    """End a run, and what is left of it unless that ended it early."""
    if exit_code is None:
        ledger.settle(run.id, [outcome("image", "two")])
    ledger.finish(run.id, now=NOW, requests=4, retries=1, seconds=5.0, exit_code=exit_code, ended_because=because)


@pytest.mark.parametrize(
    ("exit_code", "because", "status", "err"),
    [
        (None, "", 0, ""),
        (5, "the deadline has passed; go on", 5, "bulkshare: the deadline has passed; go on\n"),
        (130, "interrupted; go on", 130, "bulkshare: interrupted; go on\n"),
        (3, "https://images.example refuses", 3, "bulkshare: https://images.example refuses\n"),
        (1, "image i: not pruned", 1, "bulkshare: image i: not pruned\n"),
    ],
)
def test_watching_ends_as_the_run(
    tmp_path: Path,
    ledger: SqlLedger,
    run: Run,
    clock: Clock,
    exit_code: int | None,
    because: str,
    status: int,
    err: str,
) -> None:
    """Its results, what ended it, its exit code: when it ends, and as well if it has."""
    ledger.beat(run.id, BEAT)
    clock.later = [(20.0, lambda: finish(ledger, run, exit_code, because))]
    for _ in range(2):
        found, out, told = bulkshare(tmp_path, "watch", "nightly")
        assert (found, told[-len(err) :] if err else "") == (status, err)
        assert f"shared   {2 if exit_code is None else 1}" in out
        assert clock.now == 20.0


def test_watching_without_a_terminal(tmp_path: Path, ledger: SqlLedger, run: Run, clock: Clock) -> None:
    """The phase, and a line now and then; with --json an object for each heartbeat, and one at the end."""
    beats = [replace(BEAT, at=NOW.replace(second=second), requests=second) for second in range(25)]
    clock.later = [(1.0 + beat.requests, lambda beat=beat: ledger.beat(run.id, beat)) for beat in beats]  # type: ignore[misc]
    clock.later.append((30.0, lambda: finish(ledger, run)))
    _, out, err = bulkshare(tmp_path, "watch", "--json")
    *lines, last = map(json.loads, out.splitlines())
    assert [line["requests"] for line in lines] == list(range(25))
    assert lines[0] == {
        "run": run.key,
        "at": "2026-01-02T03:04:00Z",
        "planned": 2,
        "shared": 1,
        **dict.fromkeys(
            ("accepted", "already", "rejected", "failed", "skipped", "removed", "absent", "declined", "reset"), 0
        ),
        "opened": 0,
        "requests": 0,
        "retries": 0,
        "batches": 0,
        "batched_pairs": 0,
        "seconds": 12.0,
        "seconds_left": 30.0,
        "phase": "sharing",
        "phase_done": 0,
        "phase_total": 2,
        "rate": 19.5,
        "allowed_rate": 20.0,
        "concurrency": 8,
        "cooling_seconds": 0.0,
        "paused": False,
        "pace": "3 of 8 in flight, at the rate limit",
        "workers": [],
    }
    assert (last["run"], last["shared"], last["requests"]) == (run.key, 2, 4)
    assert err.count(" sharing ") == 1
    assert err.count(" progress ") == 2


def test_a_killed_run_is_called_so(tmp_path: Path, ledger: SqlLedger, run: Run, clock: Clock) -> None:
    """At once if its process is gone from this host."""
    ledger.beat(run.id, replace(BEAT, requests=1234))
    killed(ledger, run)
    status, out, err = bulkshare(tmp_path, "watch")
    assert (status, err.splitlines()[-1]) == (
        5,
        f"bulkshare: run {run.key} was killed; `bulkshare resume {run.key}` continues it",
    )
    assert "shared   1" in out
    assert "1,234 requests, 12.0 s" in out
    assert clock.now == 0.0


@pytest.mark.parametrize("locked", [False, True])
def test_another_hosts_run_that_is_silent(ledger: SqlLedger, run: Run, *, locked: bool) -> None:
    """It counts as killed once it was silent for long and its lock is free; until then as silent."""
    elsewhere(ledger, run)
    clock, lock = Clock(), RunLock(ledger, run.plan)
    (seen,) = (WatchedRun(each, clock) for each in ledger.find_runs(run.key))
    paces: list[str] = []
    clock.later = [(SILENT_SECONDS, lambda: paces.append(seen.pace())), (500.0, lambda: finish(ledger, run))]
    if locked:
        assert lock.try_acquire()
    ledger.beat(run.id, BEAT)
    list(watch(ledger, [seen], sleep=clock.sleep))
    lock.release()
    assert paces == [f"not heard of for {SILENT_SECONDS:.0f} s"]
    assert clock.now == (500.0 if locked else LOST_SECONDS)


def test_a_resumed_run_is_watched_on(ledger: SqlLedger, run: Run) -> None:
    """A run whose process is gone, and which another has taken up, is not killed."""
    killed(ledger, run)
    clock = Clock()
    (seen,) = (WatchedRun(each, clock) for each in ledger.find_runs(run.key))
    ledger.reopen(run.id, now=NOW)
    ledger.beat(run.id, BEAT)
    clock.later = [(50.0, lambda: finish(ledger, run))]
    assert len(list(watch(ledger, [seen], sleep=clock.sleep))) == 1
    assert clock.now == 50.0


def test_the_display_shows_what_the_run_shows(ledger: SqlLedger, run: Run) -> None:
    """Counts, rate, time and pace are the heartbeat's; its time goes on until the next one."""
    clock = Clock()
    seen = WatchedRun(run, clock)
    seen.take(BEAT)
    clock.now += 1.0
    tracker = seen.tracker
    assert (tracker.done, tracker.planned, tracker.rate(), tracker.allowed_rate) == (1, 2, 19.5, 20.0)
    assert (tracker.elapsed_seconds(), tracker.seconds_left(), seen.pace()) == (13.0, 29.0, BEAT.pace)
    clock.now += 60.0
    assert tracker.seconds_left() is None
    assert seen.pace() == "not heard of for 61 s"
    seen.take(replace(BEAT, pace="\x1b[2Jgone", details=("\x1b[1mworker",)))
    assert "\x1b" not in seen.pace() + "".join(seen.details())
    del ledger


# --- ctl -------------------------------------------------------------------------------------------------------------


def obeying(ledger: SqlLedger, run: Run) -> Callable[[], None]:
    """Return what a run's process does in a second."""

    def obey() -> None:
        if waiting := ledger.beat(run.id, BEAT):
            ledger.mark_obeyed(run.id, [control.number for control in waiting], NOW)

    return obey


@pytest.mark.parametrize("words", [["nightly"], []])
def test_what_is_asked_is_obeyed_and_kept(
    tmp_path: Path, ledger: SqlLedger, run: Run, clock: Clock, words: list[str]
) -> None:
    """With the run's name or without; who asked for what is shown."""
    clock.later = [(1.0, obeying(ledger, run))]
    status, out, err = bulkshare(tmp_path, "ctl", *words, "rate=20", "concurrency=8", "pause")
    assert (status, out, err) == (0, f"{run.key}: rate=20 concurrency=8 pause, obeyed\n", "")
    assert clock.now < 2
    _, shown, _ = bulkshare(tmp_path, "show")
    (control,) = ledger.controls(run.id)
    assert (control.rate, control.concurrency, control.action) == (20.0, 8, Action.PAUSE)
    assert f"{control.at:%H:%M:%S} UTC {control.os_user} on {control.host}: rate=20 concurrency=8 pause\n" in shown
    assert "sharing at 19.5/s of 20/s, 3 of 8 in flight, at the rate limit, 30.0 s left; last heard of" in shown
    document = json.loads(bulkshare(tmp_path, "show", "--json")[1])
    assert document["controls"][0]["obeyed_at"] == "2026-01-02T03:04:05Z"
    assert document["heartbeat"]["seconds_left"] == 30.0


def test_a_run_that_does_not_answer(tmp_path: Path, ledger: SqlLedger, run: Run, clock: Clock) -> None:
    """What is asked stays; the message says so. If the run ends first, it says that."""
    status, out, err = bulkshare(tmp_path, "ctl", "pause")
    assert (status, out) == (1, "")
    assert "not obeyed yet" in err
    assert watching.OBEY_SECONDS <= clock.now < watching.OBEY_SECONDS + 1
    clock.later = [(clock.now + 1.0, lambda: finish(ledger, run))]
    status, _, err = bulkshare(tmp_path, "ctl", "stop")
    assert (status, err) == (1, f"{run.key}: has ended before it could obey\n")
    assert "pause; not obeyed" in bulkshare(tmp_path, "show")[1]


def test_all_clouds_of_a_command_obey(tmp_path: Path, ledger: SqlLedger, clock: Clock) -> None:
    """One named alone obeys alone."""
    runs = [
        ledger.begin(
            plan="nightly",
            fingerprint=FINGERPRINT,
            account=replace(ACCOUNT, cloud=cloud),
            now=NOW,
            key_suffix=cloud,
            invocation="one",
        )
        for cloud in ("east", "west")
    ]
    clock.later = [(1.0 + number, obeying(ledger, run)) for number, run in enumerate(runs)]
    status, out, _ = bulkshare(tmp_path, "ctl", "nightly", "pause")
    assert (status, out) == (0, "".join(f"{run.key}: pause, obeyed\n" for run in runs))
    clock.later = [(clock.now + 1.0, obeying(ledger, runs[1]))]
    assert bulkshare(tmp_path, "ctl", runs[1].key, "go")[0] == 0
    assert [len(ledger.controls(run.id)) for run in runs] == [1, 2]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("finished", "{key} has ended; the next run takes --rate and --concurrency"),
        ("interrupted", "{key} is not at work; `bulkshare resume {key}` continues it, and takes --rate and"),
        ("killed", "{key} was killed; `bulkshare resume {key}` continues it, and takes --rate and"),
    ],
)
def test_a_run_that_is_not_at_work_is_refused(
    tmp_path: Path, ledger: SqlLedger, run: Run, state: str, message: str
) -> None:
    """With what to do instead; nothing is recorded."""
    if state == "killed":
        killed(ledger, run)
    else:
        finish(ledger, run, None if state == "finished" else 130)
    status, _, err = bulkshare(tmp_path, "ctl", "nightly", "rate=5")
    assert status == 2
    assert message.format(key=run.key) in err
    assert ledger.controls(run.id) == []


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, ledger: SqlLedger, run: Run) -> None:
    """Each word with what it has to be."""
    status, out, err = bulkshare(tmp_path, "ctl", "nightly", "rate=0", "concurrency=1.5", "pause", "rate=5", "go", "x")
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "rate=0: must be a number from 0.001 to 1,000,000",
        "concurrency=1.5: must be a whole number from 1 to 1000",
        "rate=5: rate is given twice",
        "x: not something to do: give rate=R, concurrency=N, pause, go or stop",
        "pause go: only one of pause, go and stop",
        "5 problems; nothing was sent",
    ]
    status, _, err = bulkshare(tmp_path, "ctl", "slower")
    assert (status, "slower: taken for a run, with nothing to do: give rate=R" in err) == (2, True)
    assert ledger.controls(run.id) == []


@given(
    rate=st.none() | st.floats(allow_nan=True) | st.text(max_size=3),
    concurrency=st.none() | st.integers(-5, 2000) | st.floats() | st.text(max_size=3),
    action=st.none() | st.sampled_from(list(Action)),
)
def test_only_limits_that_a_plan_may_have_are_asked_for(
    rate: float | str | None, concurrency: float | str | None, action: Action | None
) -> None:
    """Whatever is written, what is read is within the limits of plans, or refused."""
    words = [f"rate={rate}"] if rate is not None else []
    words += [f"concurrency={concurrency}"] if concurrency is not None else []
    words += [action.value] if action else []
    try:
        control = read_control(words)
    except PlanError:
        return
    assert (control.rate is None) == (rate is None)
    assert control.rate is None or 0.001 <= control.rate <= 1_000_000
    assert control.concurrency is None or 1 <= control.concurrency <= 1000
    assert control.action == action
    assert control == replace(control, number=0, obeyed_at=None)
    assert isinstance(control, Control)
