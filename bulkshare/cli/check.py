"""`bulkshare check` and `bulkshare schema`: what can be said of plans without a cloud."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from bulkshare.plan import load_plan, plan_schema
from bulkshare.planner import count

if TYPE_CHECKING:
    from pathlib import Path


def check_plan(path: Path) -> None:
    """Print what a plan comes to. Raises `PlanError`."""
    plan = load_plan(path)
    counts = count(plan)
    click.echo(f"{plan.name}: {counts.pairs:,} pairs of {counts.images:,} images and {counts.projects:,} projects")
    if counts.duplicates:
        times = "once" if counts.duplicates == 1 else f"{counts.duplicates:,} times"
        click.echo(f"A pair is named again {times}; it is one job all the same.")


def print_schema() -> None:
    """Print the JSON Schema of plan files."""
    click.echo(json.dumps(plan_schema(), indent=2))
