"""The commands that answer questions about members: who, what and audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkshare.cli.options import CLOUD, LEDGER, LIMITS, OS_CLOUD, Duration, together
from bulkshare.cli.program import main

ANSWER = together(
    click.option(
        "--cloud", "ask_now", is_flag=True, help="Ask the cloud now, and the ledger only since when and by which run."
    ),
    click.option("--history", is_flag=True, help="Every change that the ledger knows, in the order of time."),
    click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON object on stdout."),
    click.option("--csv", "as_csv", is_flag=True, help="Print the answer as CSV; with --history, the changes."),
    LEDGER,
    CLOUD,
    LIMITS,
)


@main.command(heading="Questions", examples=["bulkshare who ubuntu-24.04", "bulkshare who 'ubuntu-*' --history --csv"])
@click.argument("image")
@ANSWER
@click.pass_context
def who(ctx: click.Context, /, image: str, **options: Any) -> None:
    """Show which projects can use an image, since when, and by which run.

    IMAGE is an ID or a name, in which * ? and [...] are a pattern. All images of that name are shown. The ledger
    answers, which knows what its runs did and saw; --cloud asks the cloud.
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

    PROJECT is an ID or a name, in which * ? and [...] are a pattern. All projects of that name are shown. The ledger
    answers, which knows what its runs did and saw; --cloud asks the cloud.
    """
    from bulkshare.cli.questions import what_command

    ctx.exit(what_command(project, **options))


@main.command(
    heading="Questions",
    examples=["bulkshare audit golden.yaml", "bulkshare audit plans/*.yaml --pending-for 14d --format markdown"],
)
@click.argument("plans", metavar="PLAN...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--pending-for",
    "pending_for_seconds",
    metavar="DURATION",
    type=Duration(),
    default="7d",
    show_default=True,
    help="How long a member may be pending.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    default="table",
    show_default=True,
    help="What to print.",
)
@click.option("--json", "output_format", flag_value="json", help="The same as --format json.")
@OS_CLOUD
@LIMITS
@click.pass_context
def audit(ctx: click.Context, /, **options: Any) -> None:
    """Compare all members of an owner's images with plans.

    Lists the members of all images of the account's project, and sends no writes. Finds members that no plan names,
    that are missing, that have been pending for too long, or whose project is disabled or gone, and images beyond 90 %
    of their quota. Exits 0 if there is nothing, 10 if there is something, and 11 if something could not be checked.
    """
    from bulkshare.cli.audit import audit_command

    ctx.exit(audit_command(**options))
