"""Lists the members of many images without a plan, at the pace of their cloud. Sends no write."""

from __future__ import annotations

import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bulkshare.engine.at_once import AtOnce
from bulkshare.engine.client import ApiClient
from bulkshare.engine.phases import for_each, look_up
from bulkshare.errors import DirectoryError, leading_error
from bulkshare.model import Api, Entry, Image, KnownProjects, Plan, VerdictKind
from bulkshare.model.events import PhaseStarted
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.endpoint import api_client, find_images
from bulkshare.operations.resolve import UUID_WITH_DASHES
from bulkshare.operations.results import each, raise_refusals
from bulkshare.operations.session import open_sessions
from bulkshare.operations.stops import stopping_at
from bulkshare.plan.selectors import PAGE
from bulkshare.progress import Tracker, View

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

    from bulkshare.model import Account, ImageSelector, Member, ProjectSelector
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.results import CloudResult
    from bulkshare.operations.session import CloudSession

HIDDEN = ("os_hidden", "true")


@dataclass(frozen=True, slots=True)
class Search:
    """Which images to list, of which clouds.

    clouds: clouds.yaml entries; empty: that of the options.
    owner: "self" (the project of the log-in), "any" or a project ID.
    images: IDs and selectors; empty: all images of the owner, hidden ones and those that are not active included.
    projects: IDs and selectors of the members that matter; empty: all.
    region: of the clouds; None: that of their entries.
    quota: ask how many members an image may have, where the cloud tells.
    """

    clouds: tuple[str, ...] = ()
    owner: str = "self"
    images: Sequence[str | ImageSelector] = ()
    projects: Sequence[str | ProjectSelector] = ()
    region: str | None = None
    quota: bool = False


@dataclass(slots=True)
class Survey:
    """What was found on one cloud, the clouds.yaml entry `cloud`.

    account: as whom; None if the log-in failed.
    images: those that were looked for, by ID, in the cloud's order. One that is named by its ID and that the cloud does
        not show has nothing but the ID.
    asked: those that were asked for their members, by ID: the others can have none, because every project can use them,
        or because they are private, on OpenStack.
    unlisted: why the members of some of them can't be listed, by ID.
    projects: which of the members are projects, as far as that may be known, and their names. If the search names
        projects, which of those are.
    sought: those projects, by ID, also as they are spelled elsewhere. If it is empty, nothing is listed.
    same_as: an entry before this one that is the same place, for which nothing is listed twice.
    quota: how many members an image may have, if that was asked and told.
    error: what kept the cloud from being asked, or from being asked for all images.
    """

    cloud: str | None
    account: Account | None = None
    images: dict[str, Image] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    unlisted: dict[str, str] = field(default_factory=dict)
    projects: KnownProjects = field(default_factory=lambda: KnownProjects(frozenset()))
    sought: frozenset[str] = frozenset()
    same_as: str | None = None
    quota: int | None = None
    error: BaseException | None = None


async def survey(
    search: Search,
    options: Options,
    listener: Listener,
    found: Callable[[Survey, Image, Sequence[Member]], None],
    *,
    doing: str,
    signals: tuple[signal.Signals, ...] = (),
) -> list[Survey]:
    """Return what was found on each cloud; `found` is called for each image whose members were listed, in any order.

    doing: what the command does, such as "import", for the display.

    Raises `PlanError` or `UsageError` if no cloud can be asked as it was, and `InterruptedRunError` at a signal.
    """
    chosen = search.images or search.projects
    entries = (Entry(tuple(search.images), tuple(search.projects)),) if chosen else ()
    plan = Plan(doing, entries, clouds=search.clouds, region=search.region)
    async with AsyncExitStack() as stack:
        stops = await stack.enter_async_context(stopping_at(signals))
        with stops.interrupting():
            results, sessions = await open_sessions(plan, options, listener, stack, distinct=False)
            surveys = {result.cloud: Survey(result.cloud, result.account) for result in results}
            works = [
                _CloudSurvey(session, surveys[session.result.cloud], search, found, doing)
                for session in _distinct(sessions, surveys)
            ]
            await each(works, _CloudSurvey.list_members)
        raise_refusals(results)
    for result in results:
        surveys[result.cloud].error = result.error
    return list(surveys.values())


def _distinct(sessions: Sequence[CloudSession], surveys: Mapping[str | None, Survey]) -> list[CloudSession]:
    """Return the sessions without those in a place that another one is in; the survey of such a one names that."""
    places: dict[tuple[str, str], CloudSession] = {}
    for session in sessions:
        first = places.setdefault((session.account.endpoint, session.account.project_id), session)
        if first is not session:
            surveys[session.result.cloud].same_as = first.result.cloud
    return list(places.values())


@dataclass(slots=True)
class _CloudSurvey:
    session: CloudSession
    survey: Survey
    search: Search
    found: Callable[[Survey, Image, Sequence[Member]], None]
    doing: str
    members: set[str] = field(default_factory=set)

    @property
    def result(self) -> CloudResult:
        """See `results.HasResult`."""
        return self.session.result

    async def list_members(self) -> None:
        """List all images, then look up the projects that are members."""
        session, account = self.session, self.session.account
        if self.search.projects:
            self._seek()
            if not self.survey.sought:
                return
        listener = session.listener.acting_as(account, "listing", "the members of images", plan=self.doing, run=None)
        self.survey.images = await self._images()
        private_too = session.settings.api is Api.BATCH
        images = [
            image
            for image in self.survey.images.values()
            if not image.usable_by_all and (private_too or image.visibility != "private")
        ]
        self.survey.asked = frozenset(image.id for image in images)
        paced = session.endpoint.paced
        tracker = Tracker(self.doing, {}, time.monotonic, allowed_rate=session.settings.limits.rate)
        view = View(tracker, pace=paced.state, label=session.label)
        with listener.following(view) as observer:
            stopping = session.endpoint.new_stop()
            client = ApiClient(
                transport=session.endpoint.transport,
                observer=observer,
                policy=session.settings.retry,
                clock=time.monotonic,
                wall=utc_now,
                jitter=random.random,
                stopping=stopping,
                stop=stopping.set,
                answered_at=lambda: paced.answered_at,
                endpoint=account.endpoint,
            )
            observer.notify(PhaseStarted("listing", len(images)))
            if self.search.quota and session.settings.api is Api.BATCH:
                self.survey.quota = await client.member_quota()
            at_once = AtOnce(session.settings.limits.concurrency)
            try:
                await for_each(images, partial(self._list, client), at_once=at_once, stopping=stopping)
            except BaseExceptionGroup as group:  # of the tasks; the first refusal ends the others
                raise leading_error(group) from group
        if self.members:
            with listener.waiting("looking up the projects"):
                self.survey.projects = await self._projects()

    async def _list(self, client: ApiClient, image: Image) -> None:
        verdict = await client.list_members(image.id)
        if verdict.kind is not VerdictKind.LISTED:
            self.survey.unlisted[image.id] = verdict.reason
            return
        members: Sequence[Member] = verdict.members
        if self.search.projects:
            members = [member for member in members if member.member_id in self.survey.sought]
        else:
            self.members.update(member.member_id for member in members)
        self.found(self.survey, image, members)

    def _seek(self) -> None:
        resolved = self.session.resolved
        ids = frozenset(item for entry in resolved.plan.entries for item in entry.projects if isinstance(item, str))
        unchecked = ids if resolved.unchecked else frozenset[str]()
        names = {known_id: name for known_id in ids if (name := resolved.labels.get(known_id))}
        self.survey.projects = KnownProjects(ids - resolved.unknown - unchecked, unchecked, resolved.unchecked, names)
        self.survey.sought = ids.union(
            known_id.replace("-", "") for known_id in ids if UUID_WITH_DASHES.fullmatch(known_id)
        )

    async def _images(self) -> dict[str, Image]:
        session, search = self.session, self.search
        if search.images:
            chosen = [str(image_id) for entry in session.resolved.plan.entries for image_id in entry.images]
            known = dict(session.resolved.images)
            client = api_client(
                session.endpoint.transport,
                session.settings.retry,
                answered_at=lambda: session.endpoint.paced.answered_at,
            )
            with session.listener.waiting("looking up the images"):
                known |= await look_up(
                    client, [image_id for image_id in dict.fromkeys(chosen) if image_id not in known]
                )
            return {image_id: known.get(image_id) or Image(image_id) for image_id in chosen}
        find = partial(
            find_images,
            session.endpoint.transport,
            policy=session.settings.retry,
            answered_at=lambda: session.endpoint.paced.answered_at,
            own_list=session.settings.api is Api.BATCH,
        )
        owner = session.account.project_id if search.owner == "self" else search.owner
        query = [("sort_key", "created_at"), ("sort_dir", "desc"), ("limit", str(PAGE))]
        if owner != "any":
            query.insert(0, ("owner", owner))
        with session.listener.waiting("looking up the images"):
            images = [*await find(query), *await find([HIDDEN, *query])]
        return {image.id: image for image in images if owner in {"any", image.owner}}

    async def _projects(self) -> KnownProjects:
        try:
            return await self.session.identity.directory().known(self.members)
        except DirectoryError as error:
            return KnownProjects(frozenset(), frozenset(self.members), str(error))
