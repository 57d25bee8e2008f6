"""`bulkshare report`: a run of the ledger as an HTML page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from bulkshare.app.causes import causes_in
from bulkshare.app.finding import find_run
from bulkshare.app.places import open_ledger, utc_now
from bulkshare.cli.history import replacing
from bulkshare.report.page import Page, render_page

if TYPE_CHECKING:
    from pathlib import Path


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
