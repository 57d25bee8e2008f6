"""Compares all members of an owner's images, on the clouds of several plans, with these plans. Sends no write."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio.to_thread

from bulkshare.model import CheckProjects
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.session import open_sessions
from bulkshare.operations.survey import Search, survey
from bulkshare.plan.expand import expand
from bulkshare.report.audit import Audited, CloudAudit, Named, audited

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from bulkshare.model import Image, Member, Plan
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import CloudSession
    from bulkshare.operations.survey import Survey

Place = tuple[str, str]  # the endpoint, and the project of the account


@dataclass(slots=True)
class _Place:
    """What plans say of a place, the clouds.yaml entry that leads there, and the images that plans chose there."""

    cloud: str | None
    region: str | None
    named: list[Named] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    check_projects: bool = False


async def audit_plans(
    plans: Sequence[Plan],
    options: Options,
    listener: Listener,
    *,
    pending_for_seconds: float,
    signals: tuple[signal.Signals, ...] = (),
) -> list[CloudAudit]:
    """Return what is found on each cloud of the plans. Raises what kept a cloud from being asked.

    A plan's word counts for every account at its endpoint.

    pending_for_seconds: how long a member may be pending.
    """
    places: dict[Place, _Place] = {}
    for plan in plans:
        async with AsyncExitStack() as stack:
            results, sessions = await open_sessions(plan, options, listener, stack)
            for result in results:
                if result.error is not None:
                    raise result.error
            for session in sessions:
                await anyio.to_thread.run_sync(_note_plan, places, plan, session)
    audits = []
    for (endpoint, _), place in places.items():
        named = [each for (other, _), several in places.items() if other == endpoint for each in several.named]
        cloud = await _see(place, named, options, listener, signals)
        audits.append(
            await anyio.to_thread.run_sync(lambda seen: audited(seen, pending_for_seconds=pending_for_seconds), cloud)
        )
    return audits


def _note_plan(places: dict[Place, _Place], plan: Plan, session: CloudSession) -> None:
    resolved, account = session.resolved, session.account
    key = account.endpoint, account.project_id
    place = places.setdefault(key, _Place(session.result.cloud, plan.region))
    kept = {image_id: each.kept for image_id, each in resolved.orders.items() if each.kept}
    place.named.append(Named(plan.name, tuple(expand(resolved.plan)), kept, session.settings.limits.members_per_image))
    place.images.update(resolved.images)
    place.names.update({**plan.names, **resolved.labels})
    place.check_projects |= plan.check_projects is not CheckProjects.NEVER


async def _see(
    place: _Place,
    named: list[Named],
    options: Options,
    listener: Listener,
    signals: tuple[signal.Signals, ...],
) -> Audited:
    """List the members of all images of the place's project, and of those that the plans for it name besides."""
    members: dict[str, Sequence[Member]] = {}

    def take(found: Survey, image: Image, listed: Sequence[Member]) -> None:
        del found
        members[image.id] = listed

    clouds = () if place.cloud is None else (place.cloud,)
    search = Search(clouds=clouds, region=place.region, quota=True)
    (own,) = await survey(search, options, listener, take, doing="audit", signals=signals)
    found, surveys = own, [own]
    images = {**place.images, **own.images}
    others = [block.image_id for each in place.named for block in each.blocks if block.image_id not in own.images]
    others = [each for each in dict.fromkeys(others) if each not in images or not images[each].usable_by_all]
    if others and own.error is None:
        more = Search(clouds=clouds, region=place.region, images=others)
        (found,) = await survey(more, options, listener, take, doing="audit", signals=signals)
        surveys.append(found)
        images = {**found.images, **images}
    for each in surveys:
        if each.error is not None:
            raise each.error
    assert own.account is not None  # noqa: S101  it has been asked
    asked = own.asked | found.asked
    projects = own.projects
    if found is not own:
        projects = projects._replace(
            known=projects.known | found.projects.known,
            unchecked=(projects.unchecked | found.projects.unchecked) - projects.known - found.projects.known,
            reason=projects.reason or found.projects.reason,
            names={**projects.names, **found.projects.names},
            disabled=projects.disabled | found.projects.disabled,
        )
    return Audited(
        own.account,
        utc_now(),
        images,
        members,
        {**own.unlisted, **found.unlisted},
        private=frozenset(
            image.id for image in own.images.values() if image.id not in asked and not image.usable_by_all
        ),
        projects=projects if place.check_projects else None,
        quota=own.quota,
        named=named,
        names=place.names,
    )
