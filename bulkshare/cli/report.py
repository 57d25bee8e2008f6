"""The command that writes a run as an HTML page: report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bulkshare.cli.ledger import replacing
from bulkshare.operations.defaults import open_ledger, utc_now
from bulkshare.operations.history import causes_in, find_runs, run_status
from bulkshare.operations.past import history_until
from bulkshare.report import total_of
from bulkshare.report.html import Page, render_page

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run


def write_report(location: str | None, key: str | None, output: Path) -> None:
    """Write the HTML page of a run, or of a command's runs, to a file, or to stdout for "-".

    Raises `UsageError` if there is no such run, or the file can't be written.
    """
    with open_ledger(location, create=False) as ledger:
        named = find_runs(ledger, key, _report)
        runs = ledger.runs_with(named[0])  # a page of one cloud would hide what happened on the others
        path = location if location and "://" not in location else ""
        pages = [_page_of(ledger, run, path) for run in runs]
        page = pages[0]
        if len(pages) > 1:
            labels = {known_id: name for part in pages for known_id, name in part.labels.items()}
            total = total_of(list(map(run_status, runs))).run
            page = Page(run=total, outcomes=(), made_at=utc_now(), labels=labels, ledger=path, parts=pages)
        with replacing(output) as file:
            file.writelines(render_page(page))
    if str(output) != "-":
        _report(f"Wrote the report of {page.run.key} to {output}")


def _page_of(ledger: SqlLedger, run: Run, path: str) -> Page:
    before = ledger.run_before(run)
    return Page(
        run=run,
        outcomes=ledger.outcomes(run.id),
        before=before,
        outcomes_before=() if before is None else ledger.outcomes(before.id),
        causes=causes_in(ledger, run),
        labels=ledger.labels(run.id),
        telemetry=ledger.telemetry(run.id),
        history=history_until(ledger, run),
        ledger=path,
        made_at=utc_now(),
    )


def _report(message: str) -> None:
    click.echo(message, err=True)
