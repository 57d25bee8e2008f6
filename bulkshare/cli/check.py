"""`bulkshare check` and `bulkshare schema`: what can be said of plans without a cloud."""

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
    """Print what a plan comes to, and to a person what to do next. Raises `PlanError`."""
    plan = load_plan(path)
    if len(plan.clouds) > 1:
        for cloud in plan.clouds:
            click.echo(f"{plan.name} on {cloud}: {_told(for_cloud(plan, cloud))}")
    else:
        click.echo(f"{plan.name}: {_told(plan)}")
    if is_terminal(sys.stdout):
        click.echo(f"Next: `bulkshare run {shlex.quote(str(path))} --dry-run` tells what a run would change.")


def _told(plan: Plan) -> str:
    counts = count(plan)
    images, projects = counted(counts.images, "image"), counted(counts.projects, "project")
    told = f"{counted(counts.pairs, 'pair')} of {images} and {projects}"
    if counts.duplicates:
        repeated = "1 pair is" if counts.duplicates == 1 else f"{counts.duplicates:,} pairs are"
        told += f"; {repeated} named again, and one job all the same"
    if counts.selectors:
        selectors = counted(counts.selectors, "selector")
        told = f"{f'{told}, and ' if counts.pairs else ''}{selectors} that only the cloud can resolve"
    return told


def print_schema() -> None:
    """Print the JSON Schema of plan files."""
    click.echo(json.dumps(plan_schema(), indent=2))
