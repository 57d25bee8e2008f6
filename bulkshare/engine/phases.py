"""The phases around the worker pool: list members, preflight, set images shared, fetch member details.

Each settles what it can and leaves the rest pending. None begins anything new after a stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from bulkshare.engine.listing import skipped
from bulkshare.engine.preflight import (
    Facts,
    OverPruneLimit,
    QuotaRoom,
    SetSharedFirst,
    SkipPair,
    SkipRest,
    UsableByAll,
    findings,
)
from bulkshare.engine.writer import ImageOpened, SettleImage
from bulkshare.image_api.glance import ListedApart, details_path
from bulkshare.image_api.ims import FULL_ECS_QUOTA, is_full_ecs
from bulkshare.model import Backlog, Block, Image, Job, Orders, Result, VerdictKind, Want
from bulkshare.model.events import ExtraMembersFound, ImageInspected, ImagesDone, PairsReopened, PhaseStarted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
    from datetime import datetime

    from bulkshare.engine.at_once import AtOnce
    from bulkshare.engine.client import ApiClient
    from bulkshare.engine.listing import Compared
    from bulkshare.engine.preflight import Finding
    from bulkshare.engine.writer import Recorder
    from bulkshare.model import Account, Limits, Member, Verdict


MOST_MEMBERS_AT_ONCE = 50_000  # in memory together, at some 400 bytes each; one image may have more
NAMES_AT_ONCE = 5_000  # of images, recorded in one transaction
BATCH = 50  # images looked up with one GET: their IDs make a URL of 2 kB, which every proxy lets through
NO_ORDERS = Orders()
NOT_PRUNED = "the image's members could not be listed, so none of them was removed"
# How long a pair that was settled as planned is taken to be so without another look: a command that is repeated at once
# does not list everything anew.
STILL_TRUE = timedelta(minutes=10)

WAS_ACCEPTED = Want.REMOVE | Want.WAS_ACCEPTED

T = TypeVar("T")


class _NoneLeft:
    """In the place of an item."""


_NONE_LEFT = _NoneLeft()


async def for_each(
    items: Sequence[T] | AsyncIterator[T],
    action: Callable[[T], Awaitable[None]],
    *,
    at_once: AtOnce,
    stopping: anyio.Event,
    size: Callable[[T], int] = lambda _item: 1,
) -> None:
    """Await `action` for the items, `at_once` of them concurrently, and begin no more once `stopping` is set.

    `size` is how many members an item keeps in memory. Fewer items run concurrently if their sizes add up to more than
    50,000.
    """
    todo, most = (_one_by_one(items), len(items)) if isinstance(items, Sequence) else (items, math.inf)
    turn = anyio.Lock(fast_acquire=True)  # only one task at a time may read from an iterator
    taken = 0
    freed = anyio.Event()

    async def work() -> None:
        nonlocal taken, freed
        while True:
            async with turn:
                item = await anext(todo, _NONE_LEFT)
            if isinstance(item, _NoneLeft):
                return
            needed = size(item)
            while taken and taken + needed > MOST_MEMBERS_AT_ONCE:
                await freed.wait()
            if stopping.is_set():
                return
            taken += needed
            try:
                await action(item)
            finally:
                taken -= needed
                freed.set()
                freed = anyio.Event()

    await at_once.run(work, most=most)


async def _one_by_one(items: Sequence[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item


@dataclass(slots=True)
class ListResults:
    """What the listings showed. In itself are the images that are known to take members.

    probed: images that were known to take members before.
    everything: all images with pending pairs were to be listed; otherwise `members` has all that were.
    unlisted: images that could not be listed.
    members: how many each image has, as far as it has any, and pairs are left to do; see `members_of`.
    to_accept: of how many of its planned members only the status is to be set.
    refused: images whose members the cloud refused to list.
    unpruned: why images that may have members to remove could not be listed.
    without_pairs: those of them that have no pending pair, whose result would show it.
    left: how many images a stop kept from being listed.
    """

    probed: Collection[str] = ()
    everything: bool = False
    unlisted: set[str] = field(default_factory=set)
    members: dict[str, int] = field(default_factory=dict)
    to_accept: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unpruned: dict[str, str] = field(default_factory=dict)
    without_pairs: list[str] = field(default_factory=list)
    left: int = 0

    def members_of(self, image_id: str) -> int | None:
        """Return how many members an image with pending pairs has; None if it was not listed."""
        return self.members.get(image_id, 0 if self.everything and image_id not in self.unlisted else None)

    def __contains__(self, image_id: object) -> bool:
        """Whether an image with pending pairs is known to take members."""
        return isinstance(image_id, str) and (image_id in self.probed or self.members_of(image_id) is not None)


class MemberLister:
    """Lists the members of images, as many at once as the limits allow, and settles the pairs that are as planned."""

    def __init__(
        self,
        client: ApiClient,
        recorder: Recorder,
        wall: Callable[[], datetime],
        orders: Mapping[str, Orders],
        probed: Collection[str],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._wall = wall
        self._orders = orders
        self._results = ListResults(probed)

    async def list_all(self, *, everything: bool) -> ListResults:
        """List the images to be pruned, and with `everything` all that may not be as planned.

        These are the images with pending pairs, and those with pairs that were settled some time ago: a run that was
        interrupted may go on days later. An image that can't be listed is left as it is: its first POST will show
        whether it takes members. For one to be pruned that shows nothing about its other members: `settle_unpruned`.
        """
        before = self._wall() - STILL_TRUE
        pruned = {image_id: Backlog(image_id, 0) for image_id, orders in self._orders.items() if orders.prune}
        self._results.everything = everything
        async with aclosing(self._recorder.images_to_list(settled_before=before)) as to_list:
            images: Sequence[Backlog] | AsyncIterator[Backlog] = to_list  # as they are read: there may be a million
            total = 0
            if pruned:
                found = [
                    backlog async for backlog in to_list if pruned.pop(backlog.image_id, None) is not None or everything
                ]
                # Without pairs to look at, but they may have members to remove.
                images = [*found, *pruned.values()]
                total = len(images)
            elif everything:
                total = await self._recorder.count_to_list(settled_before=before)
            self._results.left = total
            if total:
                self._recorder.observer.notify(PhaseStarted("listing", total))
                await for_each(
                    images,
                    self._list,
                    at_once=self._client.at_once,
                    stopping=self._client.stopping,
                    size=lambda backlog: backlog.pairs + backlog.settled,  # about as many as it has members
                )
        return self._results

    async def _list(self, backlog: Backlog) -> None:
        image_id = backlog.image_id
        verdict = await self._client.list_members(image_id)
        if verdict.kind is not VerdictKind.LISTED:
            self._results.unlisted.add(image_id)
            if verdict.kind is VerdictKind.REJECTED:
                self._results.refused.add(image_id)
                await self._reopen_members(backlog, verdict)
            elif self._client.stopping.is_set():
                return  # it would have been asked for again
            if self._orders.get(image_id, NO_ORDERS).prune and verdict.kind is not VerdictKind.NOT_SENT:
                self._results.unpruned[image_id] = f"{NOT_PRUNED}: {verdict.reason}"
                if not backlog.pairs:
                    self._results.without_pairs.append(image_id)
            self._results.left -= 1
            return
        members = {member.member_id: member for member in verdict.members}
        named: set[str] = set()
        left = backlog.pairs
        if members or backlog.settled or Want.REMOVE in backlog.want:
            compared = await self._compare(image_id, members, verdict)
            named = compared.named
            left += len(compared.reopened) - sum(len(alike.member_ids) for alike in compared.settled)
        orders = self._orders.get(image_id)
        if orders is not None and orders.prune:
            extra = [member_id for member_id in members if member_id not in named and member_id not in orders.kept]
            if extra:
                accepted = {member_id for member_id in extra if members[member_id].status == "accepted"}
                others = [member_id for member_id in extra if member_id not in accepted]
                blocks = (Block(image_id, others, Want.REMOVE), Block(image_id, sorted(accepted), WAS_ACCEPTED))
                await self._recorder.enqueue([block for block in blocks if block.member_ids])
                left += len(extra)
                self._recorder.observer.notify(ExtraMembersFound(image_id, extra))
        self._results.left -= 1
        if (left and members) or not self._results.everything:
            self._results.members[image_id] = len(verdict.members)  # if one is there twice, the quota counts both

    async def _compare(self, image_id: str, members: Mapping[str, Member], verdict: Verdict) -> Compared:
        """Settle the pending pairs that are as planned, and make those pending again that are so no longer."""
        compared = await self._recorder.compare(image_id, members, verdict)
        await self._reopen(image_id, compared.reopened)
        if compared.was_accepted:
            await self._recorder.mark_was_accepted(image_id, compared.was_accepted)
        self._recorder.put_alike(compared.settled)
        if compared.to_mark:
            await self._recorder.mark_listed(image_id, compared.to_mark)
        if compared.to_accept:
            self._results.to_accept[image_id] = compared.to_accept
        return compared

    async def _reopen_members(self, backlog: Backlog, refusal: Verdict) -> None:
        """Make the members of an image that shows none any more pending again: what is true of it now decides."""
        if backlog.settled:
            compared = await self._recorder.compare(backlog.image_id, {}, refusal)
            await self._reopen(backlog.image_id, compared.reopened)

    async def _reopen(self, image_id: str, results: Mapping[str, Result]) -> None:
        """Make pairs that were settled with these results, by member, pending again."""
        if results:
            await self._recorder.unsettle(image_id, list(results))
            self._recorder.observer.notify(PairsReopened(image_id, list(results.values())))


async def look_up(client: ApiClient, image_ids: Sequence[str]) -> dict[str, Image]:
    """Return the images that the cloud shows us. Those that lists leave out are asked for separately."""
    found: dict[str, Image] = {}
    for only in (None, *ListedApart):
        missing = [image_id for image_id in image_ids if image_id not in found and not {",", '"'} & set(image_id)]
        path = details_path(missing, only=only) if missing else None
        while path is not None:
            verdict = await client.find_page(path)
            found.update((image.id, image) for image in verdict.images)
            more = verdict.kind is VerdictKind.FOUND and verdict.images and len(found) < len(image_ids)
            path = verdict.next_path if more else None
    return found


def settle_unpruned(recorder: Recorder, listed: ListResults, opened: Collection[str]) -> None:
    """Settle what is left of images that may have members to remove but could not be listed.

    A refusal leaves their pairs skipped, a fault failed. Private images that are `opened` show no members before.
    """
    for image_id, reason in listed.unpruned.items():
        if image_id not in opened:
            refused = image_id in listed.refused
            recorder.put(SettleImage(image_id, reason, Result.SKIPPED if refused else Result.FAILED))


class Preflight:
    """Looks images up, many with one GET, and settles the pairs that can't succeed.

    orders: what the plan says about images as a whole.
    images: known already, because the plan selected them by their attributes.
    account: who acts; None if unknown.
    has_quota_call: the cloud can be asked how many members an image may have.
    """

    def __init__(
        self,
        client: ApiClient,
        recorder: Recorder,
        limits: Limits,
        wall: Callable[[], datetime],
        *,
        orders: Mapping[str, Orders],
        images: Mapping[str, Image],
        account: Account | None,
        has_quota_call: bool = False,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._limits = limits
        self._wall = wall
        self._orders = orders
        self._images = images
        self._findings = partial(findings, account=account, members_per_image=limits.members_per_image)
        self._has_quota_call = has_quota_call
        self._quota: int | None = None  # as the cloud told
        self._make_shared: set[str] = set()  # images of which a run of 0.1.0 says so
        self._to_set_shared: list[str] = []
        self._over_prune_limit: dict[str, str] = {}  # reasons by image
        self._deferred: list[Facts] = []  # images with removals, decided together
        self._names: dict[str, str] = {}  # of images that were looked up, by ID, and are not recorded yet

    async def check(self, listed: ListResults, *, everything: bool) -> list[str]:
        """Settle what can't succeed, and return the images to be set shared.

        Without `everything`, only images that are to be set shared or to lose members are looked up.
        """
        leaving = {backlog.image_id: backlog.pairs async for backlog in self._recorder.pending_images(removals=True)}
        read = partial(self._read, leaving, listed, everything=everything)
        known = unknown = others = 0
        async for image_id, backlog in read():
            others += backlog is not None
            known += image_id in self._images
            unknown += image_id not in self._images
        if others and self._has_quota_call and self._limits.members_per_image is None:
            self._quota = await self._client.member_quota()

        async def inspect(batch: Mapping[str, Backlog | None]) -> None:
            looked_up = not batch.keys() <= self._images.keys()
            found = await look_up(self._client, list(batch)) if looked_up else self._images
            if self._client.stopping.is_set():
                return
            images = {image_id: found.get(image_id) for image_id in batch}
            of_owners = await self._of_owners(image for image in images.values() if image and batch[image.id])
            for image_id, image in images.items():
                to_remove = leaving.get(image_id, 0)
                await self._settle(image_id, image, listed, batch[image_id], to_remove, of_owners.get(image_id))
            if looked_up:
                self._recorder.observer.notify(ImagesDone(len(batch)))
                await self._record_names(found.values(), NAMES_AT_ONCE)

        if unknown:
            self._recorder.observer.notify(PhaseStarted("inspecting", unknown))
        if known or unknown:
            async with aclosing(self._batches(read())) as batches:
                await for_each(batches, inspect, at_once=self._client.at_once, stopping=self._client.stopping)
        await self._record_names((), at_least=1)
        if not self._client.stopping.is_set():
            await self._settle_deferred(leaving)
        return self._to_set_shared

    async def _record_names(self, images: Iterable[Image], at_least: int) -> None:
        """Record what the cloud calls images, once there are `at_least` so many; an empty name is one, too."""
        self._names.update((image.id, image.name or "") for image in images)
        if len(self._names) >= at_least:
            names, self._names = self._names, {}
            await self._recorder.label(names)

    async def _read(
        self, leaving: Mapping[str, int], listed: ListResults, *, everything: bool
    ) -> AsyncGenerator[tuple[str, Backlog | None]]:
        """Yield the images to be inspected, with what is pending for them besides removals."""
        others = dict.fromkeys([*leaving, *listed.without_pairs])
        async with aclosing(self._recorder.pending_images(removals=False)) as images:
            async for backlog in images:
                image_id = backlog.image_id
                others.pop(image_id, None)
                if Want.SET_SHARED in backlog.want:
                    self._make_shared.add(image_id)
                if everything or image_id in leaving or self._orders_for(image_id).make_shared:
                    yield image_id, backlog
        for image_id in others:
            yield image_id, None

    async def _batches(
        self, images: AsyncGenerator[tuple[str, Backlog | None]]
    ) -> AsyncGenerator[dict[str, Backlog | None]]:
        """Yield the images in batches: those that are known, and those to be looked up."""
        known: dict[str, Backlog | None] = {}
        unknown: dict[str, Backlog | None] = {}
        async with aclosing(images):
            async for image_id, backlog in images:
                batch = known if image_id in self._images else unknown
                batch[image_id] = backlog
                if len(batch) == BATCH:
                    yield dict(batch)
                    batch.clear()
        for batch in filter(None, (known, unknown)):
            yield batch

    async def _settle_deferred(self, leaving: Iterable[str]) -> None:
        """Settle the images with removals. If one is over the prune limit, no removal makes room in any."""
        for facts in self._deferred:
            for finding in self._find(facts):
                if isinstance(finding, OverPruneLimit):
                    self._over_prune_limit[facts.image_id] = finding.reason
        for facts in self._deferred:
            await self._apply(facts, no_removals=bool(self._over_prune_limit))
        if self._over_prune_limit:
            self._skip_removals(leaving)

    def _find(self, facts: Facts, *, no_removals: bool = False) -> list[Finding]:
        return self._findings(facts, self._orders_for(facts.image_id), no_removals=no_removals)

    def _orders_for(self, image_id: str) -> Orders:
        orders = self._orders.get(image_id, NO_ORDERS)
        return orders._replace(make_shared=True) if image_id in self._make_shared else orders

    def _skip_removals(self, leaving: Iterable[str]) -> None:
        """Skip all removals. Those over the limit come last, so that a run killed in between finds them over it."""
        one = min(self._over_prune_limit)
        why = f"no member is removed from any image because of image {one}: {self._over_prune_limit[one]}"
        for image_id in leaving:
            if image_id not in self._over_prune_limit:
                self._recorder.put(SettleImage(image_id, why, removals=True))
        for image_id, reason in self._over_prune_limit.items():
            self._recorder.put(SettleImage(image_id, reason, removals=True))

    async def _of_owners(self, images: Iterable[Image]) -> dict[str, Want]:
        """Return what is wanted of the images' owners, by image, as far as they are among the projects to be added."""
        images_of: dict[str, list[str]] = {}
        for image in images:
            if image.owner is not None:
                images_of.setdefault(image.owner, []).append(image.id)
        wants: dict[str, Want] = {}
        for owner, image_ids in images_of.items():
            wants |= await self._recorder.pending_wants(image_ids, owner)
        # Of an extra member nothing more is to be said because it is the owner.
        return {image_id: want for image_id, want in wants.items() if Want.REMOVE not in want}

    async def _settle(
        self,
        image_id: str,
        image: Image | None,
        listed: ListResults,
        others: Backlog | None,
        to_remove: int,
        owner_wants: Want | None,
    ) -> None:
        if image is not None:
            self._recorder.observer.notify(ImageInspected(image))
            if image.usable_by_all and not self._orders_for(image_id).strict:
                listed.unpruned.pop(image_id, None)  # it shows no members, and needs none
            if image.visibility == "private" and others is None and not to_remove and image_id in listed.refused:
                listed.unpruned.pop(image_id, None)  # no one can use it through a membership, and no one is to be added
        to_accept = listed.to_accept.get(image_id, 0)
        facts = Facts(
            image_id,
            image,
            selected=self._orders.get(image_id, NO_ORDERS).selected,
            members=listed.members_of(image_id),
            refused=image_id in listed.refused,
            to_add=others.pairs - to_accept if others is not None else 0,
            to_accept=to_accept,
            to_remove=to_remove,
            owner_to_add=owner_wants is not None and Want.ALREADY_MEMBER not in owner_wants,
            owner_to_accept=owner_wants is not None and Want.ALREADY_MEMBER in owner_wants,
            received=others is not None and Want.RECEIVED in others.want,
            quota=FULL_ECS_QUOTA if self._quota and is_full_ecs(image) else self._quota,
        )
        if to_remove:
            self._deferred.append(facts)
        else:
            await self._apply(facts)

    async def _apply(self, facts: Facts, *, no_removals: bool = False) -> None:
        image_id = facts.image_id
        for finding in self._find(facts, no_removals=no_removals):
            match finding:
                case SkipRest(reason, removals):
                    self._recorder.put(SettleImage(image_id, reason, removals=removals))
                case UsableByAll(reason):
                    self._recorder.put(SettleImage(image_id, reason, Result.ALREADY, removals=False))
                case OverPruneLimit():
                    pass  # settled with the other images'
                case SkipPair(member_id, reason):
                    self._recorder.put(skipped(Job(image_id, member_id), reason, self._wall()))
                case QuotaRoom(0, reason) if not facts.to_accept:
                    self._recorder.put(SettleImage(image_id, reason, removals=False))
                case QuotaRoom():
                    await self._skip_beyond_quota(facts, finding)
                case SetSharedFirst():
                    self._to_set_shared.append(image_id)

    async def _skip_beyond_quota(self, facts: Facts, quota: QuotaRoom) -> None:
        """Leave as many pairs to be added pending as fit, and those that need no room.

        They are chosen by project ID: each ledger has an order of its own, and `diff` has another ledger than a run.
        """
        owner = facts.image.owner if facts.image is not None else None
        to_add: list[Job] = []
        async for page in self._recorder.pending_pages(facts.image_id, removals=False):
            to_add += (job for job in page if job.member_id != owner and Want.ALREADY_MEMBER not in job.want)
        to_add.sort(key=lambda job: job.member_id)
        for job in to_add[quota.room :]:
            self._recorder.put(skipped(job, quota.reason, self._wall()))
            await self._recorder.room()


class SetShared:
    """Sets private images to `shared`, with one PATCH each. The pairs of an image that stays private are settled.

    The ledger knows which images are about to be set shared, and then which were, so that a kill loses none of them.
    """

    def __init__(self, client: ApiClient, recorder: Recorder, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._recorder = recorder
        self._wall = wall

    async def find_opened(self) -> None:
        """Ask which images this run has set shared without knowing it, because it was killed before the answer."""
        unknown = await self._recorder.opening()
        for start in range(0, len(unknown), BATCH):
            found = await look_up(self._client, unknown[start : start + BATCH])
            for image in found.values():
                if image.visibility == "shared":
                    self._recorder.put(ImageOpened(image.id, self._wall()))

    async def set_all(self, image_ids: Sequence[str]) -> None:
        """Set images shared, as many at once as the limits allow."""
        if not image_ids:
            return
        self._recorder.observer.notify(PhaseStarted("opening", len(image_ids)))
        await self._recorder.mark_opened(image_ids, None)
        await for_each(image_ids, self._set, at_once=self._client.at_once, stopping=self._client.stopping)

    async def _set(self, image_id: str) -> None:
        verdict = await self._client.set_shared(image_id)
        if verdict.kind is VerdictKind.SET_SHARED:
            self._recorder.put(ImageOpened(image_id, self._wall()))
        elif verdict.kind is VerdictKind.REJECTED:
            self._recorder.put(SettleImage(image_id, f"the image can't be made shared: {verdict.reason}"))
        elif not self._client.stopping.is_set():
            reason = f"not known whether the image was made shared: {verdict.reason}"
            self._recorder.put(SettleImage(image_id, reason, Result.FAILED))


async def fetch_details(client: ApiClient, recorder: Recorder) -> None:
    """Fill in status, times and schema of pairs that were settled without them: a 409 says nothing else."""
    images = 0
    async for page in recorder.undescribed():
        images += len(page)
    if not images:
        return
    recorder.observer.notify(PhaseStarted("describing", images))

    async def fill_in(wanted: tuple[str, list[str]]) -> None:
        image_id, member_ids = wanted
        members = {member.member_id: member for member in (await client.list_members(image_id)).members}
        found = [members[member_id] for member_id in member_ids if member_id in members]
        if found:
            await recorder.describe(found)

    async for page in recorder.undescribed():
        await for_each(
            page,
            fill_in,
            at_once=client.at_once,
            stopping=client.stopping,
            size=lambda wanted: len(wanted[1]),
        )
