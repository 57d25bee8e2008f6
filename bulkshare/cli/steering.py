"""The commands about runs at work: watch and ctl. Each returns its exit status."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from bulkshare.cli.console import ConsoleListener
from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.output import print_whole
from bulkshare.cli.run import print_results
from bulkshare.errors import (
    BulkshareError,
    CredentialsRefusedError,
    InterruptedRunError,
    LedgerError,
    PlanError,
    StoppedEarlyError,
)
from bulkshare.model import LEAST_RATE, MOST_CONCURRENCY, MOST_RATE, Action, Control, Heartbeat, Problem, RunState
from bulkshare.operations.defaults import open_ledger, utc_now
from bulkshare.operations.history import causes_in, find_runs
from bulkshare.operations.origin import current_origin
from bulkshare.operations.results import CloudResult
from bulkshare.operations.watch import WatchedRun, require_at_work, steer, watch
from bulkshare.progress import View
from bulkshare.report import heartbeat_document, summary_of
from bulkshare.report.text import Prose
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run

ACTIONS = {action.value: action for action in Action}
LIMITS = ("rate", "concurrency")
TO_DO = "give rate=R, concurrency=N, pause, go or stop"
# What ended a run early, by its exit code. Any other code is of an error without a class of its own.
ERRORS = {
    error.exit_code: error for error in (CredentialsRefusedError, LedgerError, StoppedEarlyError, InterruptedRunError)
}


def watch_command(location: str | None, key: str | None, *, as_json: bool, quiet: bool) -> int:
    """Show a command's runs until they have ended, then print their results; return the exit code that they had.

    as_json: print each heartbeat as an object on a line, and the results as another.
    """
    listener = ConsoleListener.choose(
        quiet=quiet, verbose=False, form="json" if as_json else "text", log_format="console"
    )
    with open_ledger(location, create=False) as ledger:
        runs = find_runs(ledger, key, listener.note)
        watched = [WatchedRun(run, time.monotonic) for run in runs]
        with ExitStack() as stack:
            observers = {}
            for each in watched:
                if each.run.state is not RunState.RUNNING:
                    continue
                run = each.run
                label = run.account.cloud if len(runs) > 1 else ""
                own = listener.acting_as(run.account, "watching", f"run {run.key}", plan=run.plan, run=run.key)
                view = View(each.tracker, each.pace, each.details, label)
                observers[run.id] = stack.enter_context(own.following(view))
            for each, events in watch(ledger, watched, sleep=time.sleep):
                for event in events:
                    observers[each.run.id].notify(event)
                if as_json and each.heartbeat is not None:
                    click.echo(json.dumps({"run": each.run.key, **heartbeat_document(each.heartbeat)}))
        return print_results([_result(ledger, run) for run in runs], listener)


def _result(ledger: SqlLedger, before: Run) -> CloudResult:
    """Return what became of a run on its cloud."""
    run = ledger.find_run(before.key) or before
    causes = causes_in(ledger, run)
    _, heartbeat = ledger.pulses([run.id]).get(run.id, (run.state, None))
    last = heartbeat or Heartbeat(run.started_at)  # of one that was killed: what it is known to have taken
    summary = summary_of(
        run,
        requests=run.requests + last.requests,
        retries=run.retries + last.retries,
        seconds=run.seconds + last.elapsed_seconds,
        causes=causes,
        names=ledger.labels(run.id) if causes else {},
    )
    return CloudResult(run.account.cloud, run.account, summary, error=_error(run))


def _error(run: Run) -> BulkshareError | None:
    """Return what ended a run early, as its own process reported it."""
    if run.state is RunState.RUNNING:
        return StoppedEarlyError(f"run {run.key} was killed; `bulkshare resume {run.key}` continues it")
    if run.exit_code is not None:
        return ERRORS.get(run.exit_code, BulkshareError)(run.ended_because)
    if run.state is RunState.INTERRUPTED:
        return InterruptedRunError(f"interrupted; `bulkshare resume {run.key}` continues it")
    return None


def ctl_command(location: str | None, words: Sequence[str]) -> int:
    """Tell a command's runs at work what to do. Return 0 once all have obeyed, 1 if one hasn't within some seconds.

    words: maybe a run's name, then what to do. Raises `PlanError` with all that is wrong with them, and `UsageError` if
        no such run is at work.
    """
    named = bool(words) and words[0] not in ACTIONS and "=" not in words[0]
    key = words[0] if named else None
    if key is not None and len(words) == 1:
        raise PlanError([_problem(clean(key, 100), f"taken for a run, with nothing to do: {TO_DO}")])
    control = read_control(words[named:])
    with open_ledger(location, create=False) as ledger:
        runs = require_at_work(find_runs(ledger, key, _report))
        asked = steer(ledger, runs, control, sleep=time.sleep, clock=time.monotonic)
        waiting = [run for run in runs if not ((found := asked[run.key]) and found.obeyed_at)]
        states = {run.id: state for run in runs for state, _ in ledger.pulses([run.id]).values()}
    for run in runs:
        if run not in waiting:
            print_whole(Prose(f"{run.key}: {control.words}, obeyed", hanging=2))
        elif states.get(run.id) is RunState.RUNNING:
            _report(
                f"{run.key}: not obeyed yet: {control.words} is in the ledger, and is obeyed once the run's process "
                f"reads it; `bulkshare show {run.key}` says when that was last heard of"
            )
        else:
            _report(f"{run.key}: has ended before it could obey")
    return ExitStatus.NOT_AS_PLANNED if waiting else ExitStatus.AS_PLANNED


def read_control(words: Sequence[str]) -> Control:
    """Return what words such as `rate=20` and `pause` ask for. Raises `PlanError` with all that is wrong with them."""
    problems: list[Problem] = []
    limits: dict[str, float] = {}
    actions: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if word in ACTIONS:
            actions.append(word)
        elif name not in LIMITS or not equals:
            problems.append(_problem(word, f"not something to do: {TO_DO}"))
        elif name in limits:
            problems.append(_problem(word, f"{name} is given twice"))
        else:
            limits[name] = number = _number(value)
            if name == "rate" and not LEAST_RATE <= number <= MOST_RATE:
                problems.append(_problem(word, f"must be a number from {LEAST_RATE} to {MOST_RATE:,.0f}"))
            if name == "concurrency" and not (1 <= number <= MOST_CONCURRENCY and number.is_integer()):
                problems.append(_problem(word, f"must be a whole number from 1 to {MOST_CONCURRENCY}"))
    if len(actions) > 1:
        problems.append(_problem(" ".join(actions), "only one of pause, go and stop"))
    if not words:
        problems.append(_problem("ctl", f"nothing to do: {TO_DO}"))
    if problems:
        raise PlanError(problems)
    here = current_origin()
    return Control(
        utc_now(),
        here.os_user,
        here.host,
        rate=limits.get("rate"),
        concurrency=int(limits["concurrency"]) if "concurrency" in limits else None,
        action=ACTIONS[actions[0]] if actions else None,
    )


def _problem(word: str, message: str) -> Problem:
    return Problem(word, None, None, message)


def _number(text: str) -> float:
    """Return a number; one that no limit allows if it is none."""
    try:
        return float(text)
    except ValueError:
        return -1.0


def _report(message: str) -> None:
    click.echo(message, err=True)
