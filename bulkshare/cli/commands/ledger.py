"""The commands about the ledger: runs, show, export, report and ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkshare.cli.completion import complete_control, complete_run
from bulkshare.cli.options import LEDGER, QUIET, RUN, Duration
from bulkshare.cli.program import main

STATES = ("running", "interrupted", "finished", "killed")


@main.command(
    heading="Runs and the ledger",
    examples=["bulkshare runs --plan golden-nightly --state interrupted", "bulkshare runs -n 1 --json"],
)
@LEDGER
@click.option("--plan", metavar="NAME", help="Only runs of this plan.")
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run, each on a line.")
def runs(ledger: str | None, plan: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List the runs in the ledger, newest first."""
    from bulkshare.cli.ledger import list_runs

    list_runs(ledger, limit, plan=plan, state=state, as_json=as_json)


@main.command(heading="Runs and the ledger", examples=["bulkshare show", "bulkshare show golden-nightly --failed -n 0"])
@RUN
@click.option("--failed", is_flag=True, help="Only the pairs that are not as planned.")
@click.option("-n", "--limit", type=click.IntRange(0), default=50, show_default=True, help="Number of pairs; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print the run, without its pairs, as one JSON object.")
@LEDGER
def show(run: str | None, failed: bool, limit: int, as_json: bool, ledger: str | None) -> None:
    """Show a run and its pairs.

    RUN is a run's name or the beginning of one, or a plan's name for its last run. Default: the last run; one on a
    sandbox only if there is no other.
    """
    from bulkshare.cli.ledger import show_run

    show_run(ledger, run, failed=failed, limit=limit, as_json=as_json)


@main.command(heading="Runs and the ledger", examples=["bulkshare watch", "bulkshare watch golden-nightly --json"])
@RUN
@QUIET
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a second, then the result, each on a line."
)
@LEDGER
@click.pass_context
def watch(ctx: click.Context, run: str | None, quiet: bool, as_json: bool, ledger: str | None) -> None:
    """Watch a run at work, from another terminal or host.

    Shows what the run's own terminal shows, and at the end its results; exits with the run's own code, or with 5 if it
    was killed. Ctrl-C ends the watching, not the run. RUN is the same as for `bulkshare show`.
    """
    from bulkshare.cli.steering import watch_command

    ctx.exit(watch_command(ledger, run, as_json=as_json, quiet=quiet))


@main.command(
    heading="Runs and the ledger",
    examples=["bulkshare ctl golden-nightly rate=20 concurrency=8", "bulkshare ctl golden-nightly pause"],
)
@click.argument(
    "words", metavar="[RUN] [rate=R] [concurrency=N] [pause|go|stop]", nargs=-1, shell_complete=complete_control
)
@LEDGER
@click.pass_context
def ctl(ctx: click.Context, words: tuple[str, ...], ledger: str | None) -> None:
    """Tell a run at work to be slower or faster, to pause, to go on, or to stop.

    It obeys within two seconds, and the ledger records who asked for what. `pause` sends nothing new until `go`; `stop`
    is what Ctrl-C is to the run. RUN is the same as for `bulkshare show`.
    """
    from bulkshare.cli.steering import ctl_command

    ctx.exit(ctl_command(ledger, words))


@main.command(heading="Runs and the ledger", examples=["bulkshare export golden-nightly --format csv -o golden.csv"])
@RUN
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True, help="File format."
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write. Default: stdout."
)
@LEDGER
def export(run: str | None, form: str, output: Path | None, ledger: str | None) -> None:
    """Write all pairs of a run, one row each.

    RUN is the same as for `bulkshare show`.
    """
    from bulkshare.cli.ledger import export_run

    export_run(ledger, run, form=form, output=output)


@main.command(heading="Runs and the ledger", examples=["bulkshare report golden-nightly -o golden.html"])
@RUN
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="report.html",
    show_default=True,
    help="The file to write; - for stdout.",
)
@LEDGER
def report(run: str | None, output: Path, ledger: str | None) -> None:
    """Write a run as one self-contained HTML page.

    RUN is the same as for `bulkshare show`.
    """
    from bulkshare.cli.report import write_report

    write_report(ledger, run, output)


@main.command(
    heading="Runs and the ledger",
    examples=["bulkshare history golden-nightly", "bulkshare history --json"],
)
@click.argument("plan", required=False, shell_complete=complete_run)
@click.option("-n", "--limit", type=click.IntRange(1), default=30, show_default=True, help="Number of runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@LEDGER
@click.pass_context
def history(ctx: click.Context, plan: str | None, limit: int, as_json: bool, ledger: str | None) -> None:
    """Show the last runs of a plan, what changed, and pairs that flap.

    PLAN is a plan's name, or a run of it. Default: the plan of the last run.
    """
    from bulkshare.cli.history import show_history

    ctx.exit(show_history(ledger, plan, limit, as_json=as_json))


@main.command(
    heading="Runs and the ledger",
    examples=["bulkshare compare golden-nightly", "bulkshare compare golden-nightly-20260101 golden-nightly-20260102"],
)
@click.argument("first", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.argument("second", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("-n", "--limit", type=click.IntRange(0), default=50, show_default=True, help="Number of pairs; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all pairs that differ.")
@LEDGER
@click.pass_context
def compare(
    ctx: click.Context, first: str | None, second: str | None, limit: int, as_json: bool, ledger: str | None
) -> None:
    """Show the pairs that differ between two runs.

    One RUN is compared with the run before it of the same plan; without any, it is the last run. A pair differs if its
    result or its member status does, or if only one of the runs has it. RUN is the same as for `bulkshare show`.
    Exits with 0 if no pair differs, and with 10 if any does.
    """
    from bulkshare.cli import history as looking_back

    before, now = (None, first) if second is None else (first, second)
    ctx.exit(looking_back.compare(ledger, before, now, limit, as_json=as_json))


@main.group(heading="Runs and the ledger", name="ledger", examples=["bulkshare ledger prune --keep 90d --dry-run"])
def ledger_commands() -> None:
    """Maintain the ledger."""


@ledger_commands.command(
    examples=[
        "bulkshare ledger prune --keep 90d --dry-run",
        "bulkshare ledger prune --keep-last 7 --keep-daily 30 --keep-monthly 12",
    ]
)
@click.option("--keep", "seconds", metavar="DURATION", type=Duration(), help="Keep runs that are no older, e.g. 90d.")
@click.option("--keep-last", "last", metavar="N", type=click.IntRange(1), help="Keep the N newest runs.")
@click.option("--keep-daily", "daily", metavar="N", type=click.IntRange(1), help="Keep the last run of N days.")
@click.option("--keep-weekly", "weekly", metavar="N", type=click.IntRange(1), help="Keep the last run of N weeks.")
@click.option("--keep-monthly", "monthly", metavar="N", type=click.IntRange(1), help="Keep the last run of N months.")
@click.option("--dry-run", is_flag=True, help="Print what would be kept, why, and what deleted; delete nothing.")
@LEDGER
def prune(dry_run: bool, ledger: str | None, **given: float | None) -> None:
    """Delete old runs with their pairs.

    The --keep options add up, and count for each plan and account. The last run of a plan is kept while it is
    unfinished, however old it is. What is deleted is lost to `who`, `what`, `history` and `undo`.
    """
    from bulkshare.cli.ledger import prune_ledger
    from bulkshare.operations.retention import Retention

    keep: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    prune_ledger(ledger, retention=Retention(**keep), dry_run=dry_run)
