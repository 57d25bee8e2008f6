"""The commands that change members without a plan file. Each returns its exit status, and raises `BulkshareError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkshare.cli.run import carry_out
from bulkshare.errors import UsageError
from bulkshare.model import Entry, Plan, Receive, Want
from bulkshare.plan.arguments import image_arguments, project_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

ADHOC, ACCEPT = "adhoc", "accept"  # plans' names in the ledger


def share_command(
    images: Sequence[str], projects: Sequence[str], *, accept: bool, make_shared: bool, **given: Any
) -> int:
    """Share images with projects."""
    want = Want.ACCEPTED if accept else Want.MEMBER
    return carry_out(_plan(images, projects, want, make_shared=make_shared), **given)


def unshare_command(images: Sequence[str], projects: Sequence[str], **given: Any) -> int:
    """Remove projects from the members of images."""
    return carry_out(_plan(images, projects, Want.REMOVE), question="Remove these members?", **given)


def accept_command(
    images: Sequence[str], owners: Sequence[str], *, status: str | None, hide: bool, **given: Any
) -> int:
    """Answer what other projects share with ours."""
    if hide and status == "accepted":
        raise UsageError("--hide sets the status to rejected, and --status says accepted: leave out one of them")
    names: dict[str, str] = {}
    receive = Receive(
        image_arguments(images, names),
        project_arguments(owners, names),
        declined=status == "rejected",
        hidden=hide,
    )
    return carry_out(Plan(ACCEPT, (), receive=(receive,), names=names), **given)


def _plan(images: Sequence[str], projects: Sequence[str], want: Want, *, make_shared: bool = False) -> Plan:
    if "-" in images and "-" in projects:
        raise UsageError("standard input is one list: `-` can stand for images or for projects, not for both")
    names: dict[str, str] = {}
    entry = Entry(
        image_arguments(images, names), project_arguments(projects, names), want=want, make_shared=make_shared
    )
    return Plan(ADHOC, (entry,), names=names)
