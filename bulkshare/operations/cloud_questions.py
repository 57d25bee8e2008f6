"""Who can use an image, and what can a project use: as the cloud says now, with what the ledger knows of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread

from bulkshare.errors import UsageError
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.questions import Answer
from bulkshare.operations.survey import Search, survey
from bulkshare.plan.arguments import image_arguments, project_arguments
from bulkshare.report.access import Listing, now_seen
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Iterator, Sequence

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Image, Member, Sighting
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.questions import CloudQuestion
    from bulkshare.operations.survey import Survey

T = TypeVar("T")


async def ask_cloud(
    question: CloudQuestion,
    ledger: SqlLedger | None,
    options: Options,
    listener: Listener,
    *,
    signals: tuple[signal.Signals, ...] = (),
) -> Answer:
    """Ask the cloud, and join what the ledger knows of since when and by which run. Sends no write.

    ledger: None: there is none.

    Raises `UsageError` or `PlanError` for what neither knows, and what kept the cloud from being asked.
    """
    kind, asked = question.kind, question.asked
    labels = await _call(ledger.all_labels) if ledger else {}
    if kind == "image":
        search = Search(images=image_arguments([asked]))
    else:
        search = Search(owner=question.owner, projects=project_arguments([asked]))
    members: dict[str, list[Member]] = {}

    def take(found: Survey, image: Image, listed: Sequence[Member]) -> None:
        del found
        members[image.id] = list({each.member_id: each for each in listed}.values())

    (found,) = await survey(search, options, listener, take, doing="question", signals=signals)
    if found.error is not None or found.account is None:
        raise found.error or UsageError("the cloud could not be asked")
    images = found.images
    names = {**labels, **found.projects.names, **{each.id: each.name for each in images.values() if each.name}}
    ids = images if kind == "image" else found.sought
    for message in _visibilities(kind, images.values()):
        listener.note(message)
    known = await _call(partial(_known, ledger, kind, ids, found.account.endpoint)) if ledger else []
    accesses = now_seen(known, Listing(found.account, utc_now(), images, members, found.unlisted))
    return Answer(accesses, names, found.unlisted)


def _visibilities(kind: str, images: Collection[Image]) -> Iterator[str]:
    """Yield what the visibility of images says of who can use them, beyond their members."""
    if kind == "project":
        if public := sum(image.usable_by_all for image in images):
            yield f"not shown: {counted(public, 'public or community image')}, which every project can use"
        return
    for image in images:
        if image.usable_by_all:
            yield f"image {clean(image.id)} is {image.visibility}: every project can use it"
        elif image.visibility == "private":
            yield f"image {clean(image.id)} is private: only its owner, project {clean(image.owner or '')}, can use it"


def _known(ledger: SqlLedger, kind: str, ids: Collection[str], endpoint: str) -> list[list[Sighting]]:
    """Return what runs at an endpoint recorded about images or projects."""
    runs = [run for run in ledger.run_refs() if not run.sandbox and run.account.endpoint == endpoint]
    return (ledger.sightings_of_images if kind == "image" else ledger.sightings_of_projects)(ids, runs)


async def _call(function: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(function)
