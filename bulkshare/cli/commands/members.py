"""The commands that change members without a plan file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkshare.cli.command import Section
from bulkshare.cli.completion import complete_cloud, complete_run
from bulkshare.cli.options import CHANGE, LEDGER, LIMITS, NOTIFY, OUTPUT, SHOW_ONLY, STOPS, UNDO, WAIT_LOCK, YES
from bulkshare.cli.program import main

IMAGES = click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
NAMING = Section(
    "Images and projects",
    "may be named in these ways:",
    (
        ("ID", "a UUID, or id=TEXT for another ID"),
        ("NAME", "the images, or the one project, of this name; with * ? or [...] it is a pattern"),
        ("KEY=VALUE,...", "all that match, with the keys of a plan's selectors: name=ubuntu-*,tag=golden,latest=1"),
        ("-", "a list of IDs on standard input"),
        ("A,B", "several of these; a name with a comma is name=A,B"),
    ),
)
PROJECT_NAMING = Section(
    "Projects",
    "may be named in these ways:",
    (
        ("ID", "a UUID, or id=TEXT for another ID"),
        ("NAME", "the one project of this name; with * ? or [...] it is a pattern"),
        ("KEY=VALUE,...", "all that match, with the keys of a plan's selectors: domain=customers,tag=trial"),
        *NAMING.terms[-2:],
    ),
)


@main.command(
    heading="Members",
    examples=[
        "bulkshare share ubuntu-24.04 --to team-a --to team-b",
        "bulkshare share 'name=ubuntu-*,latest=1' --to domain=customers --accept",
    ],
    sections=[NAMING],
    exit_codes=True,
)
@IMAGES
@click.option(
    "--to", "projects", metavar="PROJECT", multiple=True, required=True, help="Projects. May be given several times."
)
@click.option(
    "--accept", is_flag=True, help="Accept the memberships for the projects, so that their lists have the images."
)
@click.option("--make-shared", is_flag=True, help="Make private images shared first.")
@CHANGE
@click.pass_context
def share(ctx: click.Context, /, **options: Any) -> None:
    """Share images with projects.

    The ledger records it as a run of the plan `adhoc`.
    """
    from bulkshare.cli.members import share_command

    ctx.exit(share_command(**options))


@main.command(
    heading="Members",
    examples=[
        "bulkshare unshare ubuntu-20.04 --from team-a --dry-run",
        "bulkshare unshare 'ubuntu-18.*' --from 'team-*' --yes",
    ],
    sections=[NAMING],
    exit_codes=True,
)
@IMAGES
@click.option(
    "--from", "projects", metavar="PROJECT", multiple=True, required=True, help="Projects. May be given several times."
)
@CHANGE
@YES
@click.pass_context
def unshare(ctx: click.Context, /, **options: Any) -> None:
    """Remove projects from the members of images.

    On a terminal, it shows what would be removed and asks first.
    """
    from bulkshare.cli.members import unshare_command

    ctx.exit(unshare_command(**options))


@main.command(
    heading="Members",
    examples=[
        "bulkshare offboard team-a --dry-run",
        "bulkshare offboard team-a --all-clouds --certificate team-a.md",
    ],
    sections=[PROJECT_NAMING],
    exit_codes=True,
)
@click.argument("project")
@click.option("--all-clouds", is_flag=True, help="On every entry of clouds.yaml.")
@click.option(
    "--os-cloud",
    "clouds",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_cloud,
    help="The clouds.yaml entry to use. May be given several times.",
)
@click.option(
    "--plan",
    "plans",
    metavar="PLAN",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Also on this plan's clouds; and warn if it still names the project, as for plans that the ledger knows.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the certificate: .json, .md, or else plain text. Default: print it.",
)
@SHOW_ONLY
@YES
@LEDGER
@WAIT_LOCK
@LIMITS
@STOPS
@NOTIFY
@OUTPUT
@click.pass_context
def offboard(ctx: click.Context, /, **options: Any) -> None:
    """Remove a project from all images of the account, and certify it.

    Lists the members of every image that the account owns, old, hidden and deactivated ones too. On a terminal, it
    shows what would be removed and asks first. Afterwards it lists again and writes a certificate: before, after, when,
    as whom, and what could not be checked. A project that was deleted is named by its ID. Exits 0 only if nothing is
    left and all could be checked, else 1.
    """
    from bulkshare.cli.offboard import offboard_command

    ctx.exit(offboard_command(**options))


@main.command(
    heading="Members",
    examples=[
        "bulkshare accept --dry-run",
        "bulkshare accept --from 3f1c0e5d7b2a4c6e9f8d1b0a2c4e6f80 --image 'ubuntu-*'",
    ],
    sections=[NAMING],
    exit_codes=True,
)
@click.option(
    "--from", "owners", metavar="PROJECT", multiple=True, help="Only what this project shares. Several may be given."
)
@click.option(
    "--image",
    "images",
    metavar="IMAGE",
    multiple=True,
    help="Only this image, or those that match. An ID is taken whatever its status. Several may be given.",
)
@click.option("--status", type=click.Choice(["accepted", "rejected"]), help="The status to set. Default: accepted.")
@click.option("--hide", is_flag=True, help="Reject what has been accepted, so that it leaves the project's list.")
@CHANGE
@click.pass_context
def accept(ctx: click.Context, /, **options: Any) -> None:
    """Accept the images that other projects share with yours.

    All of them that are pending appear in your project's image list. A user with a role in the project may do it. The
    ledger records it as a run of the plan `accept`.
    """
    from bulkshare.cli.members import accept_command

    ctx.exit(accept_command(**options))


@main.command(
    heading="Members",
    examples=["bulkshare undo golden-nightly --dry-run", "bulkshare undo adhoc-20261126T031500Z -o undo.plan"],
)
@click.argument("run", shell_complete=complete_run)
@click.option("--force", is_flag=True, help="Undo also what someone has changed since.")
@click.option("--unfinished", is_flag=True, help="Undo also a run that was interrupted, as far as it got.")
@UNDO
@YES
@click.pass_context
def undo(ctx: click.Context, /, **options: Any) -> None:
    """Take back what a run changed.

    Members that the run added are removed, those that it removed are added again, and memberships that it accepted are
    pending again. What someone has changed since is left as it is, and named. RUN is the same as for `bulkshare show`.
    It is a run itself, of the plan `undo`, and can be undone.
    """
    from bulkshare.cli.members import undo_command

    ctx.exit(undo_command(**options))
