"""Watching runs that other processes work on, and telling these what to do. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.errors import LockHeldError, UsageError
from bulkshare.ledger import RunLock
from bulkshare.ledger.lock import is_dead
from bulkshare.model import RunState
from bulkshare.model.events import PairsSettled, PhaseStarted
from bulkshare.operations.history import run_status
from bulkshare.progress.tracker import WatchedTracker
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Control, Heartbeat, Run
    from bulkshare.model.events import Event

WATCH_SECONDS = 0.5  # between two looks at the ledger: heartbeats come once a second
SILENT_SECONDS = 5.0  # without a heartbeat, after which this is shown
# Without a heartbeat, after which a free lock proves that a run has ended: a process that lost its server holds none
# either, and tries for a minute to come back.
LOST_SECONDS = 90.0
OBEY_SECONDS = 10.0  # how long `steer` waits for a run's process
OBEY_POLL_SECONDS = 0.2


class WatchedRun:
    """A run that another process works on.

    run: as it was when the watching began.
    clock: monotonic, in seconds.
    """

    def __init__(self, run: Run, clock: Callable[[], float]) -> None:
        self.run = run
        self.tracker = WatchedTracker(run.plan, run.totals, clock, opened=run.opened)
        self.heartbeat: Heartbeat | None = None
        self._clock = clock
        self._heard_at = clock()

    def take(self, heartbeat: Heartbeat | None) -> list[Event]:
        """Take over a heartbeat, and return the events that an observer would have had since the one before."""
        if heartbeat is None or heartbeat == self.heartbeat:
            return []
        began = heartbeat.phase and heartbeat.phase != self.tracker.phase_name
        self.heartbeat, self._heard_at = heartbeat, self._clock()
        self.tracker.take(heartbeat)
        return [*([PhaseStarted(heartbeat.phase, heartbeat.phase_total)] if began else []), PairsSettled(())]

    @property
    def silent_seconds(self) -> float:
        """How long ago its process was last heard of."""
        return self._clock() - self._heard_at

    def pace(self) -> str:
        """Return a short status. May be called from any thread."""
        if self.silent_seconds >= SILENT_SECONDS:
            return f"not heard of for {self.silent_seconds:.0f} s"
        return "starting" if self.heartbeat is None else clean(self.heartbeat.pace)

    def details(self) -> list[str]:
        """Return a line for each worker of a fleet. May be called from any thread."""
        details = self.heartbeat.details if self.heartbeat else ()
        return ["  ".join(map(clean, line.split("  "))) for line in details]


def watch(
    ledger: SqlLedger, watched: Sequence[WatchedRun], *, sleep: Callable[[float], object]
) -> Iterator[tuple[WatchedRun, list[Event]]]:
    """Yield what is new about runs until all of them have ended, or were killed."""
    at_work = {each.run.id: each for each in watched if each.run.state is RunState.RUNNING}
    while at_work:
        for run_id, (state, heartbeat) in ledger.pulses(list(at_work)).items():
            each = at_work[run_id]
            if events := each.take(heartbeat):
                yield each, events
            if state is not RunState.RUNNING or _is_killed(ledger, each):
                del at_work[run_id]
        if at_work:
            sleep(WATCH_SECONDS)


def _is_killed(ledger: SqlLedger, watched: WatchedRun) -> bool:
    """Return whether the run's process has ended without recording it."""
    run = watched.run
    if not is_dead(run) and watched.silent_seconds < LOST_SECONDS:
        return False
    run = watched.run = ledger.find_run(run.key) or run  # it may have been resumed, or have ended
    if run.state is not RunState.RUNNING or is_dead(run):
        return run.state is RunState.RUNNING
    return watched.silent_seconds >= LOST_SECONDS and _is_free(ledger, run.plan)


def _is_free(ledger: SqlLedger, plan: str) -> bool:
    try:
        with RunLock(ledger, plan):
            return True
    except LockHeldError:
        return False


def require_at_work(runs: Sequence[Run]) -> list[Run]:
    """Return those of a command's runs that are at work. Raises `UsageError`, with what to do, if there is none."""
    statuses = [run_status(run) for run in runs]
    at_work = [status.run for status in statuses if status.state == RunState.RUNNING.value]
    if at_work:
        return at_work
    names = " ".join(run.key for run in runs)
    left = [status for status in statuses if status.run.state is not RunState.FINISHED]
    if not left:
        raise UsageError(f"{names} has ended; the next run takes --rate and --concurrency")
    state = "was killed" if left[0].state != RunState.INTERRUPTED.value else "is not at work"
    raise UsageError(
        f"{left[0].run.key} {state}; `bulkshare resume {left[0].run.key}` continues it, and takes --rate and "
        "--concurrency"
    )


def steer(
    ledger: SqlLedger,
    runs: Sequence[Run],
    control: Control,
    *,
    sleep: Callable[[float], object],
    clock: Callable[[], float],
) -> dict[str, Control | None]:
    """Ask runs at work for something, and wait some seconds until their processes have obeyed.

    Return the controls by the runs' keys as the ledger has them then; None: the run ended first.
    """
    asked = {run.key: ledger.ask(run.id, control) for run in runs}
    ids = {run.key: run.id for run in runs}
    until = clock() + OBEY_SECONDS
    while True:
        for key, each in asked.items():
            if each is not None and each.obeyed_at is None:
                asked[key] = next(found for found in ledger.controls(ids[key]) if found.number == each.number)
        waiting = [ids[key] for key, each in asked.items() if each is not None and each.obeyed_at is None]
        states = [state for state, _ in ledger.pulses(waiting).values()] if waiting else []
        if RunState.RUNNING not in states or clock() >= until:
            return asked
        sleep(OBEY_POLL_SECONDS)
