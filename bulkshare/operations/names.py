"""What images and projects are called: from the plan, from look-ups, and from what a run's requests happen to tell.

What the cloud says counts for more than what stands in the plan. Names are only shown, so no look-up ends anything.
"""

from __future__ import annotations

from collections import ChainMap
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bulkshare.engine.phases import BATCH
from bulkshare.errors import BulkshareError
from bulkshare.image_api.glance import details_query
from bulkshare.model import CheckProjects
from bulkshare.model.events import ExtraMembersFound, ImageInspected
from bulkshare.operations.endpoint import find_images

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bulkshare.model.events import Event
    from bulkshare.operations.resolve import ResolvedPlan
    from bulkshare.operations.session import CloudSession

MOST_SHOWN = 100_000  # names of images in memory, some 25 MB; of others there is only the ID to be shown meanwhile


class Names:
    """The names that are known during a run; an observer of its events.

    all: by ID, from all sources; grows as events come.
    seen: those of projects that events named, by ID. Those of images are recorded where they are looked up.
    unnamed: members that are to be removed and have no name yet.
    """

    def __init__(self, resolved: ResolvedPlan) -> None:
        self.seen: dict[str, str] = {}
        self._images: dict[str, str] = {}
        self.all: Mapping[str, str] = ChainMap(
            self.seen, self._images, dict(resolved.labels), dict(resolved.listed), dict(resolved.plan.names)
        )
        self.unnamed: set[str] = set()
        self._listed = resolved.listed

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if isinstance(event, ImageInspected):
            if event.image.name and len(self._images) < MOST_SHOWN:
                self._images[event.image.id] = event.image.name
        elif isinstance(event, ExtraMembersFound):
            for member_id in event.member_ids:
                if name := self._listed.get(member_id):
                    self.seen[member_id] = name
                else:
                    self.unnamed.add(member_id)


async def image_names(session: CloudSession, image_ids: Sequence[str]) -> dict[str, str]:
    """Return what the cloud calls these images, by ID, with one GET for 50 of them; empty if it does not say.

    Those for which it could not be asked are left out.
    """
    found: dict[str, str] = {}
    askable = [image_id for image_id in image_ids if not {",", '"'} & set(image_id)]
    policy = replace(session.settings.retry, attempts=1)
    with suppress(BulkshareError):
        for start in range(0, len(askable), BATCH):
            if session.endpoint.stopping.is_set():
                break
            batch = askable[start : start + BATCH]
            images = await find_images(session.endpoint.transport, details_query(batch), policy)
            found |= dict.fromkeys(batch, "") | {image.id: image.name for image in images if image.name}
    return found


async def project_names(session: CloudSession, project_ids: Collection[str]) -> dict[str, str]:
    """Return what the cloud calls these projects, by ID, if it named any when the plan was checked."""
    resolved = session.resolved
    if not project_ids or not resolved.listed or resolved.plan.check_projects is CheckProjects.NEVER:
        return {}
    found: Mapping[str, str] = {}
    with suppress(BulkshareError):
        found = (await session.identity.directory().known(project_ids)).names
    return {project_id: found[project_id] for project_id in project_ids if found.get(project_id)}
