"""The commands about plans: check, schema, diff, run, resume and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkshare.cli.completion import complete_cloud
from bulkshare.cli.options import (
    AS_JSON,
    FLEET,
    FORMAT,
    LEDGER,
    LIMITS,
    NOTIFY,
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
)
from bulkshare.cli.program import main


@main.command(heading="Plans", examples=["bulkshare check golden.yaml", "bulkshare check plans/*.yaml --json"])
@click.argument("plans", metavar="PLAN...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per plan, each on a line.")
def check(plans: tuple[Path, ...], as_json: bool) -> None:
    """Check plans offline and count their images, projects and pairs."""
    from bulkshare.cli.check import check_plans

    check_plans(plans, as_json=as_json)


@main.command(
    name="import",
    heading="Plans",
    examples=["bulkshare import -o golden.yaml", "bulkshare import --image 'ubuntu-*' --image tag=golden"],
)
@click.option(
    "--owner",
    default="self",
    metavar="self|any|ID",
    show_default=True,
    help="Whose images: those of the project of the log-in, all, or those of a project.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="IMAGE",
    help="Only these images: an ID, a name, a pattern, or a selector such as 'name=ubuntu-*,tag=golden'. May be given "
    "several times.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The plan to write. Default: stdout."
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--name", help="The plan's name. Default: that of the file.")
@click.option(
    "--os-cloud",
    "clouds",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_cloud,
    help="The clouds.yaml entry to use. May be given several times.",
)
@LIMITS
@QUIET
@click.pass_context
def import_(ctx: click.Context, /, **options: Any) -> None:
    """Write a plan of the members that the images of a cloud, or of several, have today.

    Images with the same members share an entry. `bulkshare diff` of the plan finds nothing to do. Exits 1 if some
    images can't be listed: the plan says which.
    """
    from bulkshare.cli.adopt import import_command

    ctx.exit(import_command(**options))


@main.command(heading="Plans", examples=["bulkshare schema > plan.schema.json", "bulkshare schema diff"])
@click.argument("of", metavar="[plan|diff|verify]", default="plan", type=click.Choice(["plan", "diff", "verify"]))
def schema(of: str) -> None:
    """Print a JSON Schema: of plan files, for editors.

    Or, for programs, of what `diff --format json` or `verify --format json` prints.
    """
    from bulkshare.cli.schema import print_schema

    print_schema(of)


@main.command(
    heading="Plans",
    examples=["bulkshare diff golden.yaml --prune --out tonight.json", "bulkshare diff golden.yaml --format markdown"],
)
@PLAN
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save the changes, so that `run` makes exactly these.",
)
@click.option("--all", "all_pairs", is_flag=True, help="Print every pair.")
@FORMAT
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


@main.command(
    heading="Plans",
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
@NOTIFY
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


@main.command(
    heading="Plans", examples=["bulkshare resume", "bulkshare resume golden-nightly --deadline 2h"], exit_codes=True
)
@RUN
@LEDGER
@WAIT_LOCK
@RESUME_CLOUD
@LIMITS
@STOPS
@NOTIFY
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


@main.command(
    heading="Plans", examples=["bulkshare verify golden.yaml", "bulkshare verify golden.yaml --strict --json"]
)
@PLAN
@click.option("--strict", is_flag=True, help="Members that the plan does not name are an error, too.")
@OS_CLOUD
@SANDBOX
@LIMITS
@FORMAT
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
