"""`bulkshare ledger prune`: forgets old runs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from bulkshare.app.places import open_ledger, utc_now
from bulkshare.cli.output import print_whole
from bulkshare.errors import LockHeldError
from bulkshare.ledger import RunLock
from bulkshare.model import RunState
from bulkshare.report import render_runs
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run


def prune_ledger(where: str | None, *, keep_seconds: float, dry_run: bool) -> None:
    """Delete the runs that `prunable` names, and print them."""
    with open_ledger(where, create=False) as ledger, ExitStack() as stack:
        runs = ledger.runs()
        busy = _lock_unfinished(ledger, runs, stack)
        doomed = prunable(runs, now=utc_now(), keep_seconds=keep_seconds, busy=busy)
        if not doomed:
            click.echo("No run is old enough; nothing is deleted.")
            return
        print_whole(render_runs(doomed))
        pairs = sum(sum(run.totals.values()) for run in doomed)
        told = f"{counted(len(doomed), 'run')} with {counted(pairs, 'pair')}"
        if dry_run:
            click.echo(f"Would delete {told}; nothing is deleted.")
            return
        newest_seen = None if busy else runs[0].id
        shrunk = ledger.prune([run.id for run in doomed], names_unless_after=newest_seen)
        click.echo(f"Deleted {told}.")
        if not shrunk:
            which = f"a run is at work ({', '.join(sorted(busy))})" if busy else "a run began meanwhile"
            click.echo(f"The file keeps its size, because {which}; the next prune shrinks it.")


def prunable(runs: Sequence[Run], *, now: datetime, keep_seconds: float, busy: frozenset[str]) -> list[Run]:
    """Return which of the runs, given newest first, may be deleted: began longer ago, and nobody can go on with them.

    An unfinished run stays while it is the last one of its plan at its endpoint and for its project, or while a run of
    its plan, one of `busy`, is at work.
    """
    doomed = []
    seen: set[tuple[str, str, str]] = set()
    for run in runs:
        where = run.plan, run.account.endpoint, run.account.project_id
        superseded = where in seen and run.plan not in busy
        seen.add(where)
        old = (now - run.started_at).total_seconds() > keep_seconds
        if old and (run.state is RunState.FINISHED or superseded):
            doomed.append(run)
    return doomed


def _lock_unfinished(ledger: SqlLedger, runs: Sequence[Run], stack: ExitStack) -> frozenset[str]:
    """Keep the plans that have unfinished runs from being run meanwhile; return those that are being run."""
    busy = set()
    for plan in {run.plan for run in runs if run.state is not RunState.FINISHED}:
        try:
            stack.enter_context(RunLock(ledger, plan))
        except LockHeldError:
            busy.add(plan)
    return frozenset(busy)
