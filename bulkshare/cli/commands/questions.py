"""The commands that answer questions about members: who and what."""

from __future__ import annotations

from typing import Any

import click

from bulkshare.cli.options import LEDGER, LIMITS, OS_CLOUD, together
from bulkshare.cli.program import main

ANSWER = together(
    click.option(
        "--cloud", "ask_now", is_flag=True, help="Ask the cloud now, and the ledger only since when and by which run."
    ),
    click.option("--history", is_flag=True, help="Every change that the ledger knows, in the order of time."),
    click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON object on stdout."),
    click.option("--csv", "as_csv", is_flag=True, help="Print the answer as CSV; with --history, the changes."),
    LEDGER,
    OS_CLOUD,
    LIMITS,
)


@main.command(heading="Questions", examples=["bulkshare who ubuntu-24.04", "bulkshare who 'ubuntu-*' --history --csv"])
@click.argument("image")
@ANSWER
@click.pass_context
def who(ctx: click.Context, /, image: str, **options: Any) -> None:
    """Show which projects can use an image, since when, and by which run.

    IMAGE is an ID or a name, in which * ? and [...] are a pattern. All images of that name are shown.
    """
    from bulkshare.cli.questions import who_command

    ctx.exit(who_command(image, **options))


@main.command(heading="Questions", examples=["bulkshare what team-a", "bulkshare what team-a --history --json"])
@click.argument("project")
@ANSWER
@click.option("--owner", metavar="self|ID|any", help="With --cloud: whose images to ask about. Default: our project's.")
@click.pass_context
def what(ctx: click.Context, /, project: str, **options: Any) -> None:
    """Show which images a project can use, since when, and by which run.

    PROJECT is an ID or a name, in which * ? and [...] are a pattern. All projects of that name are shown.
    """
    from bulkshare.cli.questions import what_command

    ctx.exit(what_command(project, **options))
