"""The commands that read the ledger: runs, show, export, report and ledger prune."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import click

from bulkshare.cli.console import print_whole
from bulkshare.errors import LockHeldError, UsageError
from bulkshare.ledger import RunLock
from bulkshare.ledger.lock import is_dead
from bulkshare.model import Result, RunState
from bulkshare.operations.defaults import open_ledger, utc_now
from bulkshare.operations.execute import causes_in
from bulkshare.operations.resume import find_run
from bulkshare.report import (
    NOT_AS_PLANNED,
    export_csv,
    export_jsonl,
    render_outcomes,
    render_run,
    render_runs,
    run_document,
    show_document,
    standing_of,
)
from bulkshare.report.layout import Prose
from bulkshare.report.page import Page, render_page
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import TextIO

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run
    from bulkshare.report import Standing


WRITTEN_AT_ONCE = 65_536  # bytes


def list_runs(where: str | None, limit: int, *, as_json: bool = False) -> None:
    """Print the newest runs; as JSON, an object a line."""
    with open_ledger(where, create=False) as ledger:
        runs = [_standing(run) for run in ledger.runs(limit=limit)]
    if as_json:
        for run in runs:
            click.echo(json.dumps(run_document(run)))
    elif runs:
        print_whole(render_runs(runs))
    else:
        click.echo("The ledger has no runs yet.", err=True)


def show_run(where: str | None, key: str | None, *, failed: bool, limit: int, as_json: bool = False) -> None:
    """Print a run and its pairs; `limit` 0 prints all of them. As JSON it is the run without its pairs.

    Raises `UsageError` where there is no such run.
    """
    with open_ledger(where, create=False) as ledger:
        run = find_run(ledger, key, _tell)
        causes = causes_in(ledger, run)
        if as_json:
            click.echo(json.dumps(show_document(_standing(run), causes)))
            return
        print_whole(render_run(_standing(run), causes))
        wanted = NOT_AS_PLANNED if failed else None
        count = sum(run.totals.get(result, 0) for result in (wanted or Result))
        shown = islice(ledger.outcomes(run.id, results=wanted), limit or None)
        for number, image in enumerate(render_outcomes(shown, ledger.labels(run.id))):
            if not number:
                click.echo()
            print_whole(image)
        if 0 < limit < count:
            more = count - limit
            told = f"... and {more:,} more: --limit 0 prints all, `bulkshare export {run.key}` writes them out"
            print_whole(Prose(told, hanging=4))


def _standing(run: Run) -> Standing:
    return standing_of(run, dead=run.state is RunState.RUNNING and is_dead(run), now=utc_now())


def export_run(where: str | None, key: str | None, *, form: str, output: Path | None) -> None:
    """Write all pairs of a run. Raises `UsageError` where there is no such run, or the file can't be written."""
    with open_ledger(where, create=False) as ledger:
        run = find_run(ledger, key, _tell)
        lines = (export_csv if form == "csv" else export_jsonl)(run.key, ledger.outcomes(run.id))
        with replacing(output) as file:
            file.writelines(lines)


def _tell(message: str) -> None:
    click.echo(message, err=True)


@contextmanager
def replacing(path: Path | None) -> Iterator[TextIO]:
    """Open a file that takes the place of `path` only once it is complete; stdout where there is no path."""
    if path is None or str(path) == "-":
        if sys.stdout is None:
            raise UsageError("can't write to stdout: it is closed")
        yield sys.stdout
        return
    path = path.resolve()
    part = path.with_name(f".{path.name}.part")
    try:
        if path.exists() and not path.is_file():  # a device or a pipe is written to, never replaced
            with path.open("w", encoding="utf-8", newline="") as file:
                yield file
            return
        with part.open("w", WRITTEN_AT_ONCE, encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def write_report(where: str | None, key: str | None, output: Path) -> None:
    """Write the page of a run to a file, or to stdout for "-".

    Raises `UsageError` where there is no such run, or the file can't be written.
    """
    with open_ledger(where, create=False) as ledger:
        run = find_run(ledger, key, partial(click.echo, err=True))
        before = ledger.run_before(run)
        page = Page(
            run=run,
            outcomes=ledger.outcomes(run.id),
            before=before,
            outcomes_before=() if before is None else ledger.outcomes(before.id),
            causes=causes_in(ledger, run),
            labels=ledger.labels(run.id),
            telemetry=ledger.telemetry(run.id),
            made_at=utc_now(),
        )
        with replacing(output) as file:
            file.writelines(render_page(page))
    if str(output) != "-":
        click.echo(f"Wrote the report of {run.key} to {output}", err=True)


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
