"""The command that compares all members of an owner's images with plans: audit. Returns its exit status."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.output import print_whole
from bulkshare.cli.run import STOP_SIGNALS, read_options
from bulkshare.operations.audit import audit_plans
from bulkshare.operations.execute import run_async
from bulkshare.plan.load import load_plan
from bulkshare.report.audit import audit_csv, audit_document, audit_markdown, render_audit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def audit_command(plans: Sequence[Path], *, pending_for_seconds: float, output_format: str, **given: Any) -> int:
    """Print what is found; return 11 if something could not be checked, else 10 if there is something, else 0.

    Raises `BulkshareError`.
    """
    options, listener = read_options(given)
    loaded = [load_plan(plan) for plan in plans]
    look = partial(
        audit_plans, loaded, options, listener, pending_for_seconds=pending_for_seconds, signals=STOP_SIGNALS
    )
    audits = run_async(look)
    if output_format == "json":
        click.echo(json.dumps(audit_document([plan.name for plan in loaded], audits)))
    elif output_format == "csv":
        for line in audit_csv(audits):
            click.echo(line, nl=False)
    elif output_format == "markdown":
        click.echo(audit_markdown(audits), nl=False)
    else:
        for each in audits:
            for part in render_audit(each):
                print_whole(part)
    if output_format == "csv":
        for text in (text for each in audits for text in (*each.not_checked, *each.notes)):
            click.echo(f"not checked: {text}", err=True)
    if any(each.not_checked for each in audits):
        return ExitStatus.CANT_BE_DONE
    return ExitStatus.CHANGES if any(each.findings for each in audits) else ExitStatus.AS_PLANNED
