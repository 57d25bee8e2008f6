"""The command line: names, options and help. What a command does is in the module it imports when it is called.

Importing this module is cheap, so that `--help` and shell completion answer at once.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import click

from bulkshare._version import __version__
from bulkshare.cli.console import guarded_stdout
from bulkshare.cli.options import (
    AS_JSON,
    EXIT_CODES,
    FLEET,
    LEDGER,
    LIMITS,
    OS_CLOUD,
    OUTPUT,
    PLAN,
    PRUNE,
    QUIET,
    RUN,
    SANDBOX,
    STOPS,
    WAIT_LOCK,
    Duration,
)
from bulkshare.errors import BulkshareError, PlanError
from bulkshare.text import counted

# More objects than there were before Python looks for cycles among them. Its 700 are reached with each page of rows,
# and then a quarter of an export is spent in looking; cycles are few here.
COLLECTED_AT = 10_000


class Commands(click.Group):
    """A group whose commands end with the exit codes of `bulkshare.errors`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what stops it is told on stderr in a sentence, without a traceback."""
        try:
            with guarded_stdout():
                return super().invoke(ctx)
        except PlanError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            click.echo(f"{counted(len(error.problems), 'problem')}; nothing was sent", err=True)
            ctx.exit(error.exit_code)
        except BulkshareError as error:
            click.echo(f"bulkshare: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("bulkshare: interrupted", err=True)
            ctx.exit(130)


@click.group(cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bulkshare")
def main() -> None:
    """Share OpenStack images with projects in bulk, from a plan file."""
    gc.set_threshold(COLLECTED_AT)


@main.command()
@PLAN
def check(plan: Path) -> None:
    """Check a plan offline, and count its images, projects and pairs."""
    from bulkshare.cli.check import check_plan

    check_plan(plan)


@main.command()
def schema() -> None:
    """Print the JSON Schema of plan files, for editors."""
    from bulkshare.cli.check import print_schema

    print_schema()


@main.command(epilog=EXIT_CODES)
@PLAN
@click.option("--dry-run", is_flag=True, help="Ask the cloud who is a member, print what would be sent, send no write.")
@click.option("--retry-failed", is_flag=True, help="Only the pairs that the plan's last run did not bring about.")
@click.option("--verify", is_flag=True, help="Compare the plan with the cloud's members at the end.")
@PRUNE
@LEDGER
@WAIT_LOCK
@OS_CLOUD
@SANDBOX
@LIMITS
@STOPS
@click.option(
    "--no-preflight", "preflight", flag_value=False, default=True, help="Don't list the images' members first."
)
@click.option(
    "--metrics-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file for Prometheus' textfile collector, written at the end.",
)
@FLEET
@OUTPUT
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Make the cloud agree with a plan: share every image in it with every project in it.

    PLAN is a plan file, or what `diff --out` saved. A run that was interrupted is continued by the same command. The
    ledger records what became of each pair.
    """
    from bulkshare.cli.run import run_command

    ctx.exit(run_command(**options))


@main.command()
@PLAN
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Save it, for `run` to do exactly this.")
@click.option("--all", "all_pairs", is_flag=True, help="Print every pair.")
@PRUNE
@OS_CLOUD
@SANDBOX
@LIMITS
@STOPS
@OUTPUT
@click.pass_context
def diff(ctx: click.Context, /, **options: Any) -> None:
    """Show what a run of a plan would do, sending no write.

    Exit code 0 where that is nothing, 10 where it is something.
    """
    from bulkshare.cli.run import diff_command

    ctx.exit(diff_command(**options))


@main.command(epilog=EXIT_CODES)
@RUN
@LEDGER
@WAIT_LOCK
@click.option("--os-cloud", "cloud", metavar="NAME", help="The clouds.yaml entry to use. Default: the one the run had.")
@LIMITS
@STOPS
@FLEET
@OUTPUT
@click.pass_context
def resume(ctx: click.Context, /, **options: Any) -> None:
    """Finish a run that has pending pairs, without its plan. RUN as for `show`.

    Cloud, limits and retries are the run's own; endpoint and project have to be what they were.
    """
    from bulkshare.cli.run import resume_command

    ctx.exit(resume_command(**options))


@main.command()
@PLAN
@OS_CLOUD
@SANDBOX
@LIMITS
@AS_JSON
@QUIET
@click.pass_context
def verify(ctx: click.Context, /, **options: Any) -> None:
    """List the members of the plan's images and compare, sending no write: what is missing, what is extra.

    Exit code 0 where nothing is missing, else 1.
    """
    from bulkshare.cli.run import verify_command

    ctx.exit(verify_command(**options))


@main.command()
@LEDGER
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a run, a line each.")
def runs(ledger: str | None, limit: int, as_json: bool) -> None:
    """List the runs in the ledger, newest first."""
    from bulkshare.cli.ledger import list_runs

    list_runs(ledger, limit, as_json=as_json)


@main.command()
@RUN
@click.option("--failed", is_flag=True, help="Only the pairs that are not as planned.")
@click.option("-n", "--limit", type=click.IntRange(0), default=50, show_default=True, help="How many pairs; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="Print the run, without its pairs, as one JSON object.")
@LEDGER
def show(run: str | None, failed: bool, limit: int, as_json: bool, ledger: str | None) -> None:
    """Show a run and its pairs.

    RUN is a run's name or the beginning of one, or a plan's name for its last run. Default: the last run, one on a
    sandbox only where there is no other.
    """
    from bulkshare.cli.ledger import show_run

    show_run(ledger, run, failed=failed, limit=limit, as_json=as_json)


@main.command()
@RUN
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file to write. Default: stdout."
)
@LEDGER
def export(run: str | None, form: str, output: Path | None, ledger: str | None) -> None:
    """Write all pairs of a run, a row each. RUN as for `show`."""
    from bulkshare.cli.ledger import export_run

    export_run(ledger, run, form=form, output=output)


@main.command()
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
    """Write a run as one HTML page, which needs nothing else. RUN as for `show`."""
    from bulkshare.cli.ledger import write_report

    write_report(ledger, run, output)


@main.group(name="ledger")
def ledger_commands() -> None:
    """Look after the ledger."""


@ledger_commands.command()
@click.option("--keep", metavar="DURATION", type=Duration(), required=True, help="How old runs may be, e.g. 90d.")
@click.option("--dry-run", is_flag=True, help="Print what would be deleted, delete nothing.")
@LEDGER
def prune(keep: float, dry_run: bool, ledger: str | None) -> None:
    """Delete the runs that began longer ago, with their pairs.

    The last run of a plan stays while it is unfinished.
    """
    from bulkshare.cli.ledger import prune_ledger

    prune_ledger(ledger, keep_seconds=keep, dry_run=dry_run)


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1. Default: a free one.")
@click.option("--images", type=click.IntRange(0, 100_000), default=3, show_default=True, help="Shared images it has.")
@click.option("--projects", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="Projects it has.")
@click.option("--example", is_flag=True, help="Have the images and projects of plans/golden-nightly.yaml instead.")
@click.option(
    "--quota", type=click.IntRange(-1), default=128, show_default=True, help="Members an image may have; -1: any."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="RULE",
    help="Make requests fail, e.g. 'POST members 503 10%'. May be given several times.",
)
@click.option("--latency", type=Duration(), default="0s", metavar="DURATION", help="How long answers take, e.g. 20ms.")
def sandbox(**options: Any) -> None:
    """Serve the embedded cloud until interrupted, and print a clouds.yaml that uses it."""
    from bulkshare.cli.sandbox import serve_sandbox

    serve_sandbox(**options)
