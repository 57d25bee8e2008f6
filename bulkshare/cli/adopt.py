"""The command that makes a plan of what a cloud has: import. Returns its exit status."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.ledger import replacing
from bulkshare.cli.run import STOP_SIGNALS, read_options
from bulkshare.errors import UsageError
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.execute import run_async
from bulkshare.operations.survey import Search, survey
from bulkshare.plan.adopt import AdoptedPlan
from bulkshare.plan.arguments import image_arguments
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bulkshare.cli.console import ConsoleListener
    from bulkshare.model import Image, Member
    from bulkshare.operations.survey import Survey

PLAN_NAME = re.compile(r"[a-z0-9-]{1,100}")  # as in a plan


def import_command(
    *, owner: str, images: Sequence[str], output: Path | None, force: bool, name: str | None, **given: Any
) -> int:
    """Write a plan of the members that a cloud has; return 0 if all images could be listed, else 1.

    Raises `BulkshareError`.
    """
    plan_name = name or (output.stem if output is not None and PLAN_NAME.fullmatch(output.stem) else "imported")
    if PLAN_NAME.fullmatch(plan_name) is None:
        raise UsageError(f"--name {clean(plan_name)}: a plan's name has small letters, digits and dashes")
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists; add --force to replace it")
    options, listener = read_options(given)
    adopted = AdoptedPlan()

    def take(found: Survey, image: Image, members: Sequence[Member]) -> None:
        del found
        if members:
            adopted.add(image.id, members)

    search = Search(owner=owner, images=image_arguments(images))
    (found,) = run_async(partial(survey, search, options, listener, take, doing="import", signals=STOP_SIGNALS))
    if found.error is not None:
        raise found.error
    if not adopted:
        listed = counted(len(found.images), "image")
        raise UsageError(f"{listed} found, and none of them shows any member: no plan is written")
    unknown = adopted.member_ids - found.projects.known - found.projects.unchecked
    left_out = adopted.left_out(unknown)
    names = {**found.projects.names, **{image.id: image.name for image in found.images.values() if image.name}}
    comments = _comments(found, len(adopted), left_out)
    with replacing(output) as file:
        file.writelines(adopted.lines(plan_name, cloud=found.cloud, names=names, left_out=left_out, comments=comments))
    _report(found, left_out, listener)
    if output is not None:
        listener.note(f"wrote {output}; `bulkshare diff {output}` compares it with the cloud")
    return ExitStatus.NOT_AS_PLANNED if found.unlisted else ExitStatus.AS_PLANNED


def _comments(found: Survey, shared: int, left_out: set[str]) -> Iterator[str]:
    account = found.account
    assert account is not None  # noqa: S101  it has been asked
    yield (
        f"The members that images of cloud {account.cloud} had on {utc_now():%Y-%m-%d %H:%M} UTC, as seen by user "
        f"{account.user} of project {account.project}."
    )
    if without := len(found.images) - shared - len(found.unlisted):
        yield f"Left out, because they have no members: {counted(without, 'image')}."
    for image_id, reason in sorted(found.unlisted.items()):
        yield f"Left out, because its members can't be listed: image {image_id}: {reason}"
    for member_id in sorted(left_out):
        yield f"Left out, because the cloud has no such project: {member_id}"


def _report(found: Survey, left_out: set[str], listener: ConsoleListener) -> None:
    if found.unlisted:
        listener.note(f"left out: {counted(len(found.unlisted), 'image')} without a listing; the plan says why")
    if left_out:
        listener.note(f"left out: {counted(len(left_out), 'member')} that the cloud has no project for")
    if unchecked := len(found.projects.unchecked):
        listener.note(f"not checked whether {counted(unchecked, 'member')} are projects: {found.projects.reason}")
