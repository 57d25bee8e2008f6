"""The command line: names, options and help. What a command does is in the module it imports when it is called.

Importing this module is cheap, so that `--help` and shell completion answer at once.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from bulkshare import __version__
from bulkshare.errors import BulkshareError, PlanError

EXIT_CODES = """
\b
Exit codes:
  0    every pair is as planned
  1    finished, but some pairs are not
  2    bad usage or plan; nothing was sent
  3    credentials or endpoint refused
  4    ledger unusable
  5    stopped early (endpoint down, --deadline, --max-failures); the rest is pending
  75   another run of this plan holds the lock
  130  interrupted; the rest is pending
"""
PLAN = click.argument("plan", type=click.Path(path_type=Path))
RUN = click.argument("run", required=False)
LEDGER = click.option(
    "--ledger",
    envvar="BULKSHARE_LEDGER",
    metavar="PATH|URL",
    show_envvar=True,
    help="Where the ledger is. Default: ledger.db in the user's state directory.",
)


class Duration(click.ParamType[float]):
    """A duration such as 20ms or 2h, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        import durationpy

        if value == "inf":
            return math.inf
        try:
            seconds = float(durationpy.from_str(value).total_seconds())
        except (durationpy.DurationError, OverflowError, ValueError):
            seconds = -1.0
        if seconds < 0:
            self.fail(f"{value!r} is no duration; write e.g. 20ms, 30s, 15m or 2h", param, ctx)
        return seconds


class Share(click.ParamType[str]):
    """A number, or a percentage."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text once it is known to be one of the two."""
        number = str(value).removesuffix("%")
        if not number.isdecimal() or (value.endswith("%") and int(number) > 100):
            self.fail(f"{value!r} is neither a number of pairs nor a percentage of them", param, ctx)
        return str(value)


class Commands(click.Group):
    """A group whose commands end with the exit codes of `bulkshare.errors`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what stops it is told on stderr in a sentence, without a traceback."""
        try:
            return super().invoke(ctx)
        except PlanError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            count = len(error.problems)
            click.echo(f"{count} problem{'s' if count != 1 else ''}; nothing was sent", err=True)
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
@LEDGER
@click.option("--os-cloud", metavar="NAME", help="The clouds.yaml entry to use, where the plan names none.")
@click.option("--sandbox", is_flag=True, help="Run against an embedded cloud that has the plan's images: no account.")
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), metavar="N", help="Requests in flight. Default: the plan's."
)
@click.option(
    "--rate", type=click.FloatRange(0.001, 1e6), metavar="R", help="Requests a second. Default: the plan's."
)
@click.option(
    "--max-failures", "failures", metavar="N|P%", type=Share(), help="Stop when more pairs are refused or fail."
)
@click.option("--deadline", metavar="DURATION", type=Duration(), default="inf", help="Stop after so long, e.g. 2h.")
@click.option(
    "--give-up-after",
    metavar="DURATION",
    type=Duration(),
    default="15m",
    show_default=True,
    help="Stop when the endpoint has been down for so long.",
)
@click.option("--no-preflight", is_flag=True, help="Don't list the images' members first.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when every pair is as planned.")
@click.option("-v", "--verbose", is_flag=True, help="Log every answer.")
@click.option(
    "--log-format", type=click.Choice(["console", "json"]), default="console", help="The log's form, on stderr."
)
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Make the cloud agree with a plan: share every image in it with every project in it.

    A run that was interrupted is continued by the same command. The ledger records what became of each pair.
    """
    from bulkshare.cli.run import RunOptions, run_plan

    ctx.exit(run_plan(RunOptions(**options)))


@main.command()
@LEDGER
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many runs.")
def runs(ledger: str | None, limit: int) -> None:
    """List the runs in the ledger, newest first."""
    from bulkshare.cli.history import list_runs

    list_runs(ledger, limit)


@main.command()
@RUN
@click.option("--failed", is_flag=True, help="Only the pairs that are not as planned.")
@click.option("-n", "--limit", type=click.IntRange(0), default=50, show_default=True, help="How many pairs; 0 for all.")
@LEDGER
def show(run: str | None, failed: bool, limit: int, ledger: str | None) -> None:
    """Show a run and its pairs. RUN is a run's name or the beginning of one; default: the last run."""
    from bulkshare.cli.history import show_run

    show_run(ledger, run, failed=failed, limit=limit)


@main.command()
@RUN
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file to write. Default: stdout."
)
@LEDGER
def export(run: str | None, form: str, output: Path | None, ledger: str | None) -> None:
    """Write all pairs of a run, a row each. RUN as for `show`."""
    from bulkshare.cli.history import export_run

    export_run(ledger, run, form=form, output=output)


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1. Default: a free one.")
@click.option("--images", type=click.IntRange(0, 100_000), default=3, show_default=True, help="Shared images it has.")
@click.option("--projects", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="Projects it has.")
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
def sandbox(port: int, images: int, projects: int, quota: int, faults: tuple[str, ...], latency: float) -> None:
    """Serve the embedded cloud until interrupted, and print a clouds.yaml that uses it."""
    from bulkshare.cli.sandbox import serve_sandbox

    serve_sandbox(port=port, images=images, projects=projects, quota=quota, faults=faults, latency=latency)
