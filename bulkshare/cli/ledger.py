"""The commands that only read the ledger, or prune it: runs, show, export, report and ledger prune.

`location` is the ledger's path or URL; None: the user's own ledger. `key` names a run as `find_run` understands it.
"""

from __future__ import annotations

import json
import math
import sys
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING

import click

from bulkshare.cli.output import print_whole
from bulkshare.errors import UsageError
from bulkshare.model import Result
from bulkshare.operations.defaults import open_ledger
from bulkshare.operations.history import causes_in, find_runs, prune, run_status, status_at_work
from bulkshare.report import (
    NOT_AS_PLANNED,
    export_csv,
    export_jsonl,
    render_kept,
    render_outcomes,
    render_part,
    render_run,
    render_runs,
    render_total,
    run_document,
    show_document,
    total_document,
    total_of,
)
from bulkshare.report.text import Prose
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from bulkshare.operations.retention import Retention


BUFFER_BYTES = 65_536  # of a file to write


def list_runs(
    location: str | None, limit: int, *, plan: str | None = None, state: str | None = None, as_json: bool = False
) -> None:
    """Print the newest runs, those of one command together; as JSON, one object per line.

    plan, state: only the runs of this plan, and in this state.
    """
    with open_ledger(location, create=False) as ledger:
        # Whether a run was killed is not in the ledger.
        found = ledger.invocations(limit if state is None else None, plan=plan)
        statuses = ([status for status in map(run_status, runs) if state in {None, status.state}] for runs in found)
        invocations = list(islice(filter(None, statuses), limit))
    if as_json:
        for run in chain.from_iterable(invocations):
            click.echo(json.dumps(run_document(run)))
    elif invocations:
        print_whole(render_runs(invocations))
    elif plan is None and state is None:
        click.echo("The ledger has no runs yet.", err=True)
    else:
        click.echo("The ledger has no such run.", err=True)


def show_run(location: str | None, key: str | None, *, failed: bool, limit: int, as_json: bool = False) -> None:
    """Print a run and its pairs, or the run alone as JSON. Raises `UsageError` if there is no such run.

    failed: only the pairs that are not as planned.
    limit: number of pairs to print; 0: all of them.
    """
    with open_ledger(location, create=False) as ledger:
        runs = find_runs(ledger, key, _report)
        statuses = [status_at_work(ledger, run) for run in runs]
        if as_json:
            documents = [
                show_document(status, causes_in(ledger, status.run), ledger.labels(status.run.id))
                for status in statuses
            ]
            click.echo(json.dumps(documents[0] if len(runs) == 1 else total_document(statuses, documents)))
            return
        if len(runs) > 1:
            print_whole(render_total(statuses))
        results = NOT_AS_PLANNED if failed else None
        left = limit or math.inf
        total = 0
        for status in statuses:
            run, names = status.run, ledger.labels(status.run.id)
            if len(runs) > 1:
                click.echo()
            print_whole((render_run if len(runs) == 1 else render_part)(status, causes_in(ledger, run), names))
            count = sum(run.totals.get(result, 0) for result in (results or Result))
            shown = int(min(count, left))
            total, left = total + count, left - shown
            for number, image in enumerate(
                render_outcomes(islice(ledger.outcomes(run.id, results=results), shown), names)
            ):
                if not number:
                    click.echo()
                print_whole(image)
        if 0 < limit < total:
            name = total_of(statuses).run.key
            rest = f"... and {total - limit:,} more: --limit 0 prints all, `bulkshare export {name}` exports them"
            print_whole(Prose(rest, hanging=4))


def export_run(location: str | None, key: str | None, *, form: str, output: Path | None) -> None:
    """Write all pairs of a run, or of a command's runs, as "csv" or "jsonl" to a file, or to stdout.

    Raises `UsageError` if there is no such run, or the file can't be written.
    """
    with open_ledger(location, create=False) as ledger:
        exported = [
            (export_csv if form == "csv" else export_jsonl)(
                run.key,
                ledger.outcomes(run.id),
                cloud=run.account.cloud,
                names=ledger.labels(run.id),
                opened=ledger.opened(run.id),
            )
            for run in find_runs(ledger, key, _report)
        ]
        without_header = (islice(lines, int(form == "csv"), None) for lines in exported[1:])
        with replacing(output) as file:
            file.writelines(chain(exported[0], *without_header))


def _report(message: str) -> None:
    click.echo(message, err=True)


@contextmanager
def replacing(path: Path | None) -> Iterator[TextIO]:
    """Open a file that replaces `path` once it is complete; stdout if the path is None or "-".

    Raises `UsageError` if it can't be written.
    """
    if path is None or str(path) == "-":
        if sys.stdout is None:
            raise UsageError("can't write to stdout: it is closed")
        yield sys.stdout
        return
    path = path.resolve()
    part = path.with_name(f".{path.name}.part")
    try:
        if path.exists() and not path.is_file():  # a device or a pipe: written to, never replaced
            with path.open("w", encoding="utf-8", newline="") as file:
                yield file
            return
        with part.open("w", BUFFER_BYTES, encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):  # its name may be too long, or its folder gone
            part.unlink()


def prune_ledger(location: str | None, *, retention: Retention, dry_run: bool) -> None:
    """Delete the runs that nothing keeps and that can't be continued, and list them; a dry run lists what is kept, too.

    Raises `UsageError` if nothing says what to keep.
    """
    if not retention.any:
        raise UsageError("say which runs to keep, e.g. --keep 90d or --keep-last 30; with --dry-run nothing is deleted")
    with open_ledger(location, create=False) as ledger:
        pruned = prune(ledger, retention=retention, dry_run=dry_run)
    if dry_run and pruned.kept:
        click.echo("Would keep:")
        print_whole(render_kept((run_status(each.run), each.reasons) for each in pruned.kept))
        click.echo()
    if not pruned.runs:
        click.echo("Every run is kept; nothing is deleted.")
        return
    if dry_run:
        click.echo("Would delete:")
    print_whole(render_runs([run_status(run)] for run in pruned.runs))
    pairs = sum(sum(run.totals.values()) for run in pruned.runs)
    total = f"{counted(len(pruned.runs), 'run')} with {counted(pairs, 'pair')}"
    if dry_run:
        click.echo(f"Would delete {total}; nothing is deleted.")
        return
    click.echo(f"Deleted {total}.")
    if not pruned.shrunk:
        busy = ", ".join(sorted(pruned.busy))
        why = f"a run is in progress ({busy})" if busy else "a run began in the meantime"
        click.echo(f"The file keeps its size because {why}; the next prune shrinks it.")
