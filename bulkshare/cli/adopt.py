"""The command that makes a plan of what a cloud has: import. Returns its exit status."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.ledger import replacing
from bulkshare.cli.run import STOP_SIGNALS, read_options
from bulkshare.errors import UsageError
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.execute import run_async
from bulkshare.operations.survey import Search, survey
from bulkshare.plan.adopt import AdoptedPlan, CloudPart, plan_lines
from bulkshare.plan.arguments import image_arguments
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bulkshare.cli.console import ConsoleListener
    from bulkshare.model import Image, Member
    from bulkshare.operations.survey import Survey

PLAN_NAME = re.compile(r"[a-z0-9-]{1,100}")  # as in a plan
STDOUT = Path("-")


def import_command(
    *,
    clouds: Sequence[str],
    owner: str,
    images: Sequence[str],
    output: Path | None,
    force: bool,
    name: str | None,
    **given: Any,
) -> int:
    """Write a plan of the members that clouds have; return 0 if all images could be listed, else 1.

    Raises `BulkshareError`.
    """
    output = None if output == STDOUT else output
    plan_name = name or (output.stem if output is not None and PLAN_NAME.fullmatch(output.stem) else "imported")
    if PLAN_NAME.fullmatch(plan_name) is None:
        raise UsageError(f"--name {clean(plan_name)}: a plan's name has small letters, digits and dashes")
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists; add --force to replace it")
    options, listener = read_options(given)
    adopted: defaultdict[str | None, AdoptedPlan] = defaultdict(AdoptedPlan)

    def take(found: Survey, image: Image, members: Sequence[Member]) -> None:
        if members:
            adopted[found.cloud].add(image.id, members)

    search = Search(clouds=tuple(dict.fromkeys(clouds)), owner=owner, images=image_arguments(images))
    surveys = run_async(partial(survey, search, options, listener, take, doing="import", signals=STOP_SIGNALS))
    for found in surveys:
        if found.error is not None:
            raise found.error
    parts = [_part(found, adopted[found.cloud]) for found in surveys]
    _report(surveys, parts, listener)
    filled = [part for part in parts if part.adopted.entries(part.left_out)]
    if not filled:
        listed = counted(sum(len(found.images) for found in surveys), "image")
        if not any(found.images for found in surveys):
            elsewhere = "; --owner any looks at those of other projects, too" if owner == "self" else ""
            raise UsageError(f"no image found: no plan is written{elsewhere}")
        raise UsageError(f"{listed} found, and none of them shows any member: no plan is written")
    comments = [line for found, part in zip(surveys, parts, strict=True) for line in _comments(found, part)]
    with replacing(output) as file:
        file.writelines(plan_lines(plan_name, filled, comments=comments))
    if output is not None:
        listener.note(f"wrote {output}; `bulkshare diff {output}` compares it with the cloud")
    return ExitStatus.NOT_AS_PLANNED if any(found.unlisted for found in surveys) else ExitStatus.AS_PLANNED


def _part(found: Survey, adopted: AdoptedPlan) -> CloudPart:
    unknown = adopted.member_ids - found.projects.known - found.projects.unchecked
    names = {**found.projects.names, **{image.id: image.name for image in found.images.values() if image.name}}
    return CloudPart(found.cloud, adopted, names, adopted.left_out(unknown))


def _comments(found: Survey, part: CloudPart) -> Iterator[str]:
    account = found.account
    assert account is not None  # noqa: S101  it has been asked
    yield (
        f"The members that images of cloud {account.cloud} had on {utc_now():%Y-%m-%d %H:%M} UTC, as seen by user "
        f"{account.user} of project {account.project}."
    )
    if without := len(found.images) - len(part.adopted) - len(found.unlisted):
        yield f"Left out, because they have no members: {counted(without, 'image')}."
    for image_id, reason in sorted(found.unlisted.items()):
        yield f"Left out, because its members can't be listed: image {image_id}: {reason}"
    for member_id in sorted(part.left_out):
        yield f"Left out, because the cloud has no such project: {member_id}"


def _report(surveys: Sequence[Survey], parts: Sequence[CloudPart], listener: ConsoleListener) -> None:
    for found, part in zip(surveys, parts, strict=True):
        where = f"cloud {found.cloud}: " if len(surveys) > 1 else ""
        if found.unlisted:
            image_id, reason = min(found.unlisted.items())
            images = counted(len(found.unlisted), "image")
            listener.note(f"{where}left out: {images} without a listing, such as {image_id}: {reason}")
        if part.left_out:
            members = counted(len(part.left_out), "member")
            listener.note(f"{where}left out: {members} that the cloud has no project for; --prune would remove them")
        if unchecked := len(found.projects.unchecked):
            members = counted(unchecked, "member")
            listener.note(f"{where}not checked whether {members} are projects: {found.projects.reason}")
