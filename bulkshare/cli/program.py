"""The command `bulkshare` itself, which the modules in `commands` add theirs to."""

from __future__ import annotations

import click

from bulkshare._version import __version__
from bulkshare.cli.command import Program


@click.group(
    cls=Program,
    examples=["bulkshare run plans/quickstart.yaml --sandbox", "bulkshare help"],
    exit_codes=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="bulkshare")
def main() -> None:
    """Share OpenStack images with projects in bulk, from a plan file."""
