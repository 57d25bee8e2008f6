"""`bulkshare runs`, `show` and `export`: what the ledger knows."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import click

from bulkshare.app.causes import causes_in
from bulkshare.app.finding import find_run
from bulkshare.app.places import open_ledger, utc_now
from bulkshare.cli.output import print_whole
from bulkshare.errors import UsageError
from bulkshare.ledger.lock import is_dead
from bulkshare.model import Result, RunState
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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

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
