"""The runs in a ledger: found by the names that users give them, described, and pruned. Blocking."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.errors import LockHeldError, UsageError
from bulkshare.ledger import RunLock
from bulkshare.ledger.lock import is_dead
from bulkshare.model import RunState
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.retention import reasons_to_keep
from bulkshare.report import SETTLED_BADLY, causes_of, run_status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run
    from bulkshare.operations.retention import Kept, Retention
    from bulkshare.ports import Ledger
    from bulkshare.report import Cause, RunStatus

MOST_SHOWN = 5  # runs in an error
MOST_OUTCOMES = 100_000  # read in search of causes; more would hardly change the order
MOST_RUNS = 100  # to look through for the last run, or for names like a mistyped one


def find_run(ledger: SqlLedger, name: str | None, note: Callable[[str], None]) -> Run:
    """Return the run that `name` means: its key, the beginning of its key, or a plan's name for its last run. Blocking.

    None means the last run, which is the one last worked on; one on a sandbox only if there are no others, and `note`
    gets a message if one is passed over. Raises `UsageError` if there is no such run.
    """
    last = _last_run(ledger, name, note)
    if last is not None:
        return last
    if name is None:
        raise UsageError("the ledger has no runs yet")
    run = ledger.find_run(name)
    if run is None:
        known = [each for run in ledger.runs(limit=MOST_RUNS) for each in (run.key, run.plan)]
        close = get_close_matches(name, list(dict.fromkeys(known)), n=3)
        instead = f"did you mean {' or '.join(close)}?" if close else "`bulkshare runs` lists them"
        raise UsageError(f"there is no run or plan {name!r}; {instead}")
    return run


def find_runs(ledger: SqlLedger, name: str | None, note: Callable[[str], None]) -> list[Run]:
    """Return the runs that `name` means, at least one, in the order in which they were begun. Blocking.

    A plan's name or no name means the runs on all clouds that the last command worked on, and the beginning that the
    keys of several have in common those that one command began. Otherwise like `find_run`.
    """
    run = find_run(ledger, name, note)
    return ledger.runs_with(run) if name is None or name == run.plan else ledger.find_runs(name)


def unfinished_runs(ledger: SqlLedger, plan: str, *, sandbox: bool) -> list[Run]:
    """Return the newest run of a plan at each place, as far as these are unfinished. Blocking."""
    return _unfinished(ledger.runs(plan=plan), sandbox=sandbox)


def _unfinished(runs: Iterable[Run], *, sandbox: bool) -> list[Run]:
    newest: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        if run.settings.sandbox == sandbox:
            newest.setdefault((run.plan, run.account.endpoint, run.account.project_id), run)
    return [run for run in newest.values() if run.state is not RunState.FINISHED]


def runs_to_resume(ledger: SqlLedger, note: Callable[[str], None]) -> list[Run]:
    """Return the runs that are left to finish, all of one plan; without any, the last run. Blocking.

    A run in progress counts only if there is no other, and so does one on a sandbox, which ended with the run. Raises
    `UsageError` if several plans have runs left.
    """
    left: dict[str, list[Run]] = {}
    for run in _unfinished(ledger.runs(), sandbox=False):
        left.setdefault(run.plan, []).append(run)
    idle = [
        runs for runs in left.values() if not any(run.state is RunState.RUNNING and not is_dead(run) for run in runs)
    ]
    plans = sorted(idle or left.values(), key=_worked_at, reverse=True)
    if len(plans) > 1:
        shown = ", ".join(runs[0].key for runs in plans[:MOST_SHOWN])
        more = f" and {len(plans) - MOST_SHOWN} more" if len(plans) > MOST_SHOWN else ""
        raise UsageError(
            f"{len(plans)} plans have unfinished runs: {shown}{more}; name the one to finish, e.g. "
            f"`bulkshare resume {plans[0][0].key}`"
        )
    return plans[0] if plans else find_runs(ledger, None, note)


def _worked_at(runs: list[Run]) -> datetime:
    return max(run.worked_at or run.started_at for run in runs)


def _last_run(ledger: SqlLedger, plan: str | None, note: Callable[[str], None]) -> Run | None:
    runs = ledger.worked_on(plan=plan, limit=MOST_RUNS)
    other = next((run for run in runs if not run.settings.sandbox), None)
    if other is not None and other is not runs[0]:
        note(f"run {runs[0].key} is newer, but was on a sandbox; name it to use it")
    return other or next(iter(runs), None)


def run_status(run: Run) -> RunStatus:
    """Return a run with what is known of its process now."""
    return run_status_of(run, dead=run.state is RunState.RUNNING and is_dead(run), now=utc_now())


def status_at_work(ledger: SqlLedger, run: Run) -> RunStatus:
    """Return a run with what is known of its process now: its last heartbeat, and what was asked of it."""
    _, heartbeat = ledger.pulses([run.id]).get(run.id, (run.state, None))
    heard = 0.0 if heartbeat is None else max((utc_now() - heartbeat.at).total_seconds(), 0.0)
    controls = tuple(ledger.controls(run.id))
    status = replace(run_status(run), heartbeat=heartbeat, heard_seconds=heard, controls=controls)
    if heartbeat is None or status.state != RunState.RUNNING.value:
        return status
    before = run.requests, run.retries  # of the invocations before this one
    return replace(status, requests=before[0] + heartbeat.requests, retries=before[1] + heartbeat.retries)


class Pruned(NamedTuple):
    """The result of a prune.

    runs: those deleted, newest first; after a dry run those that would be.
    kept: the others, newest first, with the reasons.
    busy: the plans of which a run is in progress.
    shrunk: whether the space of their texts was freed as well.
    """

    runs: list[Run]
    kept: list[Kept]
    busy: frozenset[str]
    shrunk: bool


def prune(ledger: SqlLedger, *, retention: Retention, dry_run: bool) -> Pruned:
    """Delete the runs that nothing keeps, holding the locks of unfinished plans. Raises `LedgerError`."""
    with ExitStack() as stack:
        runs = ledger.runs()
        busy = _lock_unfinished(ledger, runs, stack)
        decided = reasons_to_keep(runs, now=utc_now(), retention=retention, busy=busy)
        old = [each.run for each in decided if not each.reasons]
        kept = [each for each in decided if each.reasons]
        if dry_run or not old:
            return Pruned(old, kept, busy, shrunk=False)
        newest_seen = None if busy else runs[0].id
        shrunk = ledger.prune([run.id for run in old], names_unless_after=newest_seen)
        return Pruned(old, kept, busy, shrunk)


def _lock_unfinished(ledger: SqlLedger, runs: Sequence[Run], stack: ExitStack) -> frozenset[str]:
    """Lock the plans that have unfinished runs; return those that are locked by a run in progress."""
    busy = set()
    for plan in {run.plan for run in runs if run.state is not RunState.FINISHED}:
        try:
            stack.enter_context(RunLock(ledger, plan))
        except LockHeldError:
            busy.add(plan)
    return frozenset(busy)


def causes_in(ledger: Ledger, run: Run) -> tuple[Cause, ...]:
    """Return the reasons for the pairs that went wrong in a run, the most frequent first. Blocking."""
    if not any(run.totals.get(result) for result in SETTLED_BADLY):
        return ()  # spares a search through a million pairs for none
    return causes_of(islice(ledger.outcomes(run.id, results=SETTLED_BADLY), MOST_OUTCOMES))
