"""The command `bulkshare` itself, which the modules in `commands` add theirs to."""

from __future__ import annotations

import gc

import click

from bulkshare._version import __version__
from bulkshare.cli.command import Program

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
