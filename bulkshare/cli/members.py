"""The commands that change members without a plan file. Each returns its exit status, and raises `BulkshareError`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.notify import Conclusion, NotifyOptions, notifying
from bulkshare.cli.output import print_whole
from bulkshare.cli.run import STOP_SIGNALS, carry_out, read_options
from bulkshare.errors import UsageError
from bulkshare.model import Entry, Plan, Receive, Want
from bulkshare.operations.execute import run_async
from bulkshare.operations.undo import UNDO, look
from bulkshare.plan.arguments import image_arguments, project_arguments
from bulkshare.report import render_left
from bulkshare.text import counted

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


def undo_command(run: str, *, unfinished: bool, force: bool, **given: Any) -> int:
    """Take back what a run changed, as far as no one has changed it since."""
    own = dict(given)
    notify = NotifyOptions.among(own)
    looking = own.pop("dry_run") or own.pop("out") is not None
    own.pop("out", None)
    own.pop("yes")
    options, listener = read_options(own)
    with notifying(Conclusion(UNDO, notify, dry_run=looking), listener) as ended:
        reading = partial(look, run, options, listener, unfinished=unfinished, force=force, signals=STOP_SIGNALS)
        undo = run_async(reading)
        keys = ", ".join(each.key for each in undo.runs)
        if undo.undone:
            gone = f"{counted(undo.undone, 'change')} of {keys} {'is' if undo.undone == 1 else 'are'} gone already"
            listener.note(gone)
        if undo.left:
            print_whole(render_left((left[:3] for left in undo.left), undo.names), stderr=True)
        if any(left.changed for left in undo.left):
            listener.note("--force undoes what was changed since, too")
        if undo.plan is None:
            earlier = "; `bulkshare runs` lists earlier ones" if run not in {each.key for each in undo.runs} else ""
            listener.note(f"there is nothing to undo of {keys}{earlier}")
            partly = ExitStatus.CANT_BE_DONE if looking else ExitStatus.NOT_AS_PLANNED
            ended.exit_code = partly if undo.left else ExitStatus.AS_PLANNED
            return ended.exit_code
        ended.hand_over()
    return carry_out(undo.plan, question=f"Undo {keys}?", whole=not undo.left, **given)


def _plan(images: Sequence[str], projects: Sequence[str], want: Want, *, make_shared: bool = False) -> Plan:
    if "-" in images and "-" in projects:
        raise UsageError("standard input is one list: `-` can stand for images or for projects, not for both")
    names: dict[str, str] = {}
    entry = Entry(
        image_arguments(images, names),
        project_arguments(projects, names, disabled_too=want is Want.REMOVE),
        want=want,
        make_shared=make_shared,
    )
    return Plan(ADHOC, (entry,), names=names)
