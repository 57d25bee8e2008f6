"""The commands that answer questions about members: who and what."""

from __future__ import annotations

from typing import Any

import click

from bulkshare.cli.options import LEDGER, together
from bulkshare.cli.program import main

ANSWER = together(
    click.option("--history", is_flag=True, help="Every change that the ledger knows, in the order of time."),
    click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON object on stdout."),
    click.option("--csv", "as_csv", is_flag=True, help="Print the answer as CSV; with --history, the changes."),
    LEDGER,
)


@main.command(heading="Questions", examples=["bulkshare who ubuntu-24.04", "bulkshare who 'ubuntu-*' --history --csv"])
@click.argument("image")
@ANSWER
def who(image: str, **options: Any) -> None:
    """Show which projects can use an image, since when, and by which run.

    IMAGE is an ID or a name, in which * ? and [...] are a pattern. All images of that name are shown.
    """
    from bulkshare.cli.questions import who_command

    who_command(image, **options)


@main.command(heading="Questions", examples=["bulkshare what team-a", "bulkshare what team-a --history --json"])
@click.argument("project")
@ANSWER
def what(project: str, **options: Any) -> None:
    """Show which images a project can use, since when, and by which run.

    PROJECT is an ID or a name, in which * ? and [...] are a pattern. All projects of that name are shown.
    """
    from bulkshare.cli.questions import what_command

    what_command(project, **options)
