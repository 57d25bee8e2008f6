"""`bulkshare check` and `bulkshare schema`: what is known about plans without a cloud."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

import click

from bulkshare.cli.exit_status import is_terminal
from bulkshare.plan.expand import count
from bulkshare.plan.load import load_plan
from bulkshare.plan.schema import plan_schema
from bulkshare.plan.selectors import for_cloud
from bulkshare.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.model import Plan


def check_plan(path: Path) -> None:
    """Print the counts of a plan, and on a terminal what to do next. Raises `PlanError`."""
    plan = load_plan(path)
    if len(plan.clouds) > 1:
        for cloud in plan.clouds:
            click.echo(f"{plan.name} on {cloud}: {_describe(for_cloud(plan, cloud))}")
    else:
        click.echo(f"{plan.name}: {_describe(plan)}")
    if is_terminal(sys.stdout) and path.is_file():
        click.echo(f"Next: `bulkshare run {shlex.quote(str(path))} --dry-run` shows what a run would change.")


def _describe(plan: Plan) -> str:
    counts = count(plan)
    images, projects = counted(counts.images, "image"), counted(counts.projects, "project")
    text = f"{counted(counts.pairs, 'pair')} of {images} and {projects}"
    if counts.duplicates:
        verb = "is" if counts.duplicates == 1 else "are"
        text += f"; {counted(counts.duplicates, 'repeated pair')} {verb} counted once"
    if counts.selectors:
        selectors = counted(counts.selectors, "selector")
        text = f"{f'{text}, and ' if counts.pairs else ''}{selectors} that only the cloud can resolve"
    return text


def print_schema() -> None:
    """Print the JSON Schema of plan files."""
    click.echo(json.dumps(plan_schema(), indent=2))
