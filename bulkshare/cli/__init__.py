"""The command line: names, options and help. What a command does is in the module that it imports when called.

Importing this module is cheap, so that `--help` and shell completion answer at once; the build imports it, too, for
the man pages, and has nothing but click.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import click

from bulkshare._version import __version__
from bulkshare.cli.command import Program
from bulkshare.cli.completion import SHELLS, complete_topic
from bulkshare.cli.options import (
    AS_JSON,
    FAULT_RULES,
    FAULTS,
    FLEET,
    LEDGER,
    LIMITS,
    OS_CLOUD,
    OUTPUT,
    PLAN,
    PRUNE,
    QUIET,
    RESUME_CLOUD,
    RUN,
    SANDBOX,
    STOPS,
    WAIT_LOCK,
    Duration,
)

STATES = ("running", "interrupted", "finished", "killed")

# New objects before Python looks for reference cycles. Its default of 700 is reached with each page of rows, and a
# quarter of an export would be spent in looking; cycles are few here.
GC_THRESHOLD = 10_000


@click.group(
    cls=Program,
    examples=["bulkshare run plans/quickstart.yaml --sandbox", "bulkshare help"],
    exit_codes=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="bulkshare")
def main() -> None:
    """Share OpenStack images with projects in bulk, from a plan file."""
    gc.set_threshold(GC_THRESHOLD)


@main.command(examples=["bulkshare check golden.yaml", "bulkshare check plans/*.yaml --json"])
@click.argument("plans", metavar="PLAN...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per plan, each on a line.")
def check(plans: tuple[Path, ...], as_json: bool) -> None:
    """Check plans offline and count their images, projects and pairs."""
    from bulkshare.cli.check import check_plans

    check_plans(plans, as_json=as_json)


@main.command(examples=["bulkshare schema > plan.schema.json"])
def schema() -> None:
    """Print the JSON Schema of plan files, for editors."""
    from bulkshare.cli.check import print_schema

    print_schema()


@main.command(
    examples=[
        "bulkshare run golden.yaml --dry-run",
        "bulkshare run golden.yaml --os-cloud prod --verify",
    ],
    exit_codes=True,
)
@PLAN
@click.option("--dry-run", is_flag=True, help="Show what would change, as `diff` does, and send no write.")
@click.option("--retry-failed", is_flag=True, help="Only try the pairs that the plan's last run did not achieve.")
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
    """Reconcile the cloud with a plan.

    Every image in the plan is shared with the projects that the plan names for it. PLAN is a plan file, or a file
    saved by `bulkshare diff --out`. To continue an interrupted run, enter the same command again. The ledger records
    what happened to each pair.
    """
    from bulkshare.cli.run import run_command

    ctx.exit(run_command(**options))


@main.command(examples=["bulkshare diff golden.yaml", "bulkshare diff golden.yaml --prune --out tonight.json"])
@PLAN
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save the changes, so that `run` makes exactly these.",
)
@click.option("--all", "all_pairs", is_flag=True, help="Print every pair.")
@PRUNE
@OS_CLOUD
@SANDBOX
@LIMITS
@STOPS
@OUTPUT
@click.pass_context
def diff(ctx: click.Context, /, **options: Any) -> None:
    """Show what a run of a plan would change, sending no writes.

    Exits 0 if every pair is as planned, 10 if a run would change something, and 11 if something can't be done or is
    unknown, because an image can't be listed.
    """
    from bulkshare.cli.run import diff_command

    ctx.exit(diff_command(**options))


@main.command(examples=["bulkshare resume", "bulkshare resume golden-nightly --deadline 2h"], exit_codes=True)
@RUN
@LEDGER
@WAIT_LOCK
@RESUME_CLOUD
@LIMITS
@STOPS
@FLEET
@OUTPUT
@click.pass_context
def resume(ctx: click.Context, /, **options: Any) -> None:
    """Finish an interrupted run without its plan.

    RUN is the same as for `bulkshare show`; without it, the run that is unfinished is meant. The cloud, the limits, the
    retries and what the plan says of its images are the run's own; the endpoint and the project must be the same as
    before.
    """
    from bulkshare.cli.run import resume_command

    ctx.exit(resume_command(**options))


@main.command(examples=["bulkshare verify golden.yaml", "bulkshare verify golden.yaml --strict --json"])
@PLAN
@click.option("--strict", is_flag=True, help="Members that the plan does not name are an error, too.")
@OS_CLOUD
@SANDBOX
@LIMITS
@AS_JSON
@QUIET
@click.pass_context
def verify(ctx: click.Context, /, **options: Any) -> None:
    """Compare a plan with the members of its images.

    Lists the members, sends no writes, and reports which are missing and which are extra. Exits 0 if none is missing,
    with --strict only if none is extra either, else 1.
    """
    from bulkshare.cli.run import verify_command

    ctx.exit(verify_command(**options))


@main.command(examples=["bulkshare runs --plan golden-nightly --state interrupted", "bulkshare runs -n 1 --json"])
@LEDGER
@click.option("--plan", metavar="NAME", help="Only runs of this plan.")
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run, each on a line.")
def runs(ledger: str | None, plan: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List the runs in the ledger, newest first."""
    from bulkshare.cli.ledger import list_runs

    list_runs(ledger, limit, plan=plan, state=state, as_json=as_json)


@main.command(examples=["bulkshare show", "bulkshare show golden-nightly --failed -n 0"])
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


@main.command(examples=["bulkshare export golden-nightly --format csv -o golden.csv"])
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


@main.command(examples=["bulkshare report golden-nightly -o golden.html"])
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
    from bulkshare.cli.ledger import write_report

    write_report(ledger, run, output)


@main.group(name="ledger", examples=["bulkshare ledger prune --keep 90d --dry-run"])
def ledger_commands() -> None:
    """Maintain the ledger."""


@ledger_commands.command(examples=["bulkshare ledger prune --keep 90d --dry-run"])
@click.option(
    "--keep",
    "keep_seconds",
    metavar="DURATION",
    type=Duration(),
    required=True,
    help="Keep runs that are no older, e.g. 90d.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be deleted, and delete nothing.")
@LEDGER
def prune(keep_seconds: float, dry_run: bool, ledger: str | None) -> None:
    """Delete old runs with their pairs.

    The last run of a plan is kept while it is unfinished, however old it is.
    """
    from bulkshare.cli.ledger import prune_ledger

    prune_ledger(ledger, keep_seconds=keep_seconds, dry_run=dry_run)


@main.command(
    examples=[
        "bulkshare sandbox > clouds.yaml",
        "bulkshare sandbox --latency 20ms --fault 'POST members 503 10% retry-after=2'",
    ],
    sections=[FAULT_RULES],
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1. Default: a free one.")
@click.option(
    "--images", type=click.IntRange(0, 100_000), default=3, show_default=True, help="Number of shared images."
)
@click.option(
    "--projects", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="Number of projects."
)
@click.option("--example", is_flag=True, help="Have the images and projects of plans/golden-nightly.yaml instead.")
@click.option(
    "--quota",
    type=click.IntRange(-1),
    default=128,
    show_default=True,
    help="Members an image may have; -1: any number.",
)
@FAULTS
def sandbox(**options: Any) -> None:
    """Serve an embedded cloud until interrupted.

    Prints a clouds.yaml that uses it, and a plan for its images and projects. The cloud is in memory only and listens
    on 127.0.0.1.
    """
    from bulkshare.cli.sandbox import serve_sandbox

    serve_sandbox(**options)


@main.command(name="help", examples=["bulkshare help", "bulkshare help ledger prune"])
@click.argument("words", metavar="[TOPIC | COMMAND]", nargs=-1, shell_complete=complete_topic)
@click.pass_context
def help_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show a chapter of the manual, or the help of a command.

    Without an argument, lists the topics and the commands. A name that is both a topic and a command shows both.
    """
    from bulkshare.cli.manual import show_help

    show_help(words, ctx.find_root())


@main.command(
    examples=[
        "source <(bulkshare completion bash)",
        "bulkshare completion fish > ~/.config/fish/completions/bulkshare.fish",
    ]
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    With bash or zsh, add the first example to ~/.bashrc or ~/.zshrc; in the latter with `zsh`, and below `compinit`.
    """
    from bulkshare.cli.completion import completion_script

    click.echo(completion_script(ctx.find_root().command, shell), nl=False)


@main.command(examples=["bulkshare version"])
def version() -> None:
    """Print the version, and those of Python and the system."""
    import platform

    click.echo(f"bulkshare, version {__version__}")
    click.echo(f"Python {platform.python_version()} on {platform.platform()}")
