"""`bulkshare runs`, `show` and `export`: what the ledger knows."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import click

from bulkshare.app.causes import causes_in
from bulkshare.app.places import open_ledger
from bulkshare.cli.output import console
from bulkshare.errors import UsageError
from bulkshare.model import Result
from bulkshare.report import (
    NOT_AS_PLANNED,
    export_csv,
    export_jsonl,
    render_outcomes,
    render_runs,
    render_summary,
    summary_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from bulkshare.model import Run
    from bulkshare.ports import Ledger


def list_runs(where: str | None, limit: int) -> None:
    """Print the newest runs."""
    with open_ledger(where, create=False) as ledger:
        runs = ledger.runs(limit=limit)
    if runs:
        console().print(render_runs(runs))
    else:
        click.echo("The ledger has no runs yet.", err=True)


def show_run(where: str | None, key: str | None, *, failed: bool, limit: int) -> None:
    """Print a run and its pairs; `limit` 0 prints all of them. Raises `UsageError` where there is no such run."""
    with open_ledger(where, create=False) as ledger:
        run = find_run(ledger, key)
        account = run.account
        causes = causes_in(ledger, run.id)
        out = console()
        out.print(f"Run {run.key}, {run.state.value}, started {run.started_at:%Y-%m-%d %H:%M:%S} UTC")
        out.print(f"As {account.user} of project {account.project}, cloud {account.cloud} {account.region}".rstrip())
        out.print(f"At {account.endpoint}\n")
        out.print(render_summary(summary_of(run, causes)))
        wanted = NOT_AS_PLANNED if failed else frozenset(Result)
        count = sum(run.totals[result] for result in wanted)
        if count:
            out.print(render_outcomes(islice(ledger.outcomes(run.id, results=wanted), limit or None)))
        if 0 < limit < count:
            more = count - limit
            out.print(f"... and {more:,} more: --limit 0 prints all, `bulkshare export {run.key}` writes them out")


def export_run(where: str | None, key: str | None, *, form: str, output: Path | None) -> None:
    """Write all pairs of a run. Raises `UsageError` where there is no such run, or the file can't be written."""
    with open_ledger(where, create=False) as ledger:
        run = find_run(ledger, key)
        lines = (export_csv if form == "csv" else export_jsonl)(run.key, ledger.outcomes(run.id))
        with _replacing(output) as file:
            file.writelines(lines)


def find_run(ledger: Ledger, key: str | None) -> Run:
    """Return a run by its name or the beginning of it; the last one where `key` is None. Raises `UsageError`."""
    run = ledger.find_run(key)
    if run is None:
        raise UsageError(
            f"there is no run {key!r}; `bulkshare runs` lists them" if key else "the ledger has no runs yet"
        )
    return run


@contextmanager
def _replacing(path: Path | None) -> Iterator[TextIO]:
    """Open a file that takes the place of `path` only once it is complete; stdout where there is no path."""
    if path is None or str(path) == "-":
        yield sys.stdout
        return
    path = path.resolve()
    if path.exists() and not path.is_file():  # a device or a pipe is written to, never replaced
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
