"""The commands that change members without a plan file. Each returns its exit status, and raises `BulkshareError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkshare.cli.run import carry_out
from bulkshare.model import Entry, Plan, Want
from bulkshare.plan.arguments import image_arguments, project_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

ADHOC = "adhoc"  # the plan's name in the ledger


def share_command(
    images: Sequence[str], projects: Sequence[str], *, accept: bool, make_shared: bool, **given: Any
) -> int:
    """Share images with projects."""
    want = Want.ACCEPTED if accept else Want.MEMBER
    return carry_out(_plan(images, projects, want, make_shared=make_shared), **given)


def unshare_command(images: Sequence[str], projects: Sequence[str], **given: Any) -> int:
    """Remove projects from the members of images."""
    return carry_out(_plan(images, projects, Want.REMOVE), question="Remove these members?", **given)


def _plan(images: Sequence[str], projects: Sequence[str], want: Want, *, make_shared: bool = False) -> Plan:
    names: dict[str, str] = {}
    entry = Entry(
        image_arguments(images, names), project_arguments(projects, names), want=want, make_shared=make_shared
    )
    return Plan(ADHOC, (entry,), names=names)
