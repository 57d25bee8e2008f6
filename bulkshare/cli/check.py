"""`bulkshare check` and `bulkshare schema`: what is known about plans without a cloud."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli.exit_status import is_terminal
from bulkshare.errors import PlanError
from bulkshare.plan.expand import count
from bulkshare.plan.load import load_plan
from bulkshare.plan.selectors import for_cloud
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bulkshare.model import Plan, Problem


def check_plans(paths: Sequence[Path], *, as_json: bool = False) -> None:
    """Print the counts of each plan, and on a terminal what to do next; as JSON, one object per plan and line.

    Raises `PlanError` with the problems of all plans.
    """
    problems: list[Problem] = []
    for path in paths:
        try:
            plan = load_plan(path)
        except PlanError as error:
            problems += error.problems
            if as_json:
                click.echo(json.dumps(check_document(path, None, error.problems)))
            continue
        if as_json:
            click.echo(json.dumps(check_document(path, plan)))
        elif len(plan.clouds) > 1:
            for cloud in plan.clouds:
                click.echo(f"{plan.name} on {cloud}: {_describe(for_cloud(plan, cloud))}")
        else:
            click.echo(f"{plan.name}: {_describe(plan)}")
    if problems:
        raise PlanError(list(dict.fromkeys(problems)))
    if not as_json and is_terminal(sys.stdout) and len(paths) == 1 and paths[0].is_file():
        click.echo(f"Next: `bulkshare run {shlex.quote(str(paths[0]))} --dry-run` shows what a run would change.")


def check_document(path: Path, plan: Plan | None, problems: Sequence[Problem] = ()) -> dict[str, Any]:
    """Return what is known about a plan as one JSON object: names as in the documentation of `check --json`."""
    return {
        "file": str(path),
        "plan": plan and plan.name,
        "clouds": plan
        and [{"cloud": cloud, **count(for_cloud(plan, cloud) if cloud else plan)._asdict()} for cloud in _clouds(plan)],
        "problems": [problem._asdict() for problem in problems],
    }


def _clouds(plan: Plan) -> tuple[str | None, ...]:
    return plan.clouds or (None,)


def _describe(plan: Plan) -> str:
    counts = count(plan)
    images, projects = counted(counts.images, "image"), counted(counts.projects, "project")
    text = f"{counted(counts.pairs, 'pair')} of {images} and {projects}"
    if counts.duplicates:
        verb = "is" if counts.duplicates == 1 else "are"
        text += f"; {counted(counts.duplicates, 'repeated pair')} {verb} counted once"
    if counts.unshared:
        text = f"{f'{text}; ' if counts.pairs else ''}{counted(counts.unshared, 'image')} for no one"
    if counts.selectors:
        selectors = counted(counts.selectors, "selector")
        text = (
            f"{f'{text}, and ' if counts.pairs or counts.unshared else ''}{selectors} that only the cloud can resolve"
        )
    return text
