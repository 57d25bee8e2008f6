"""The only writer of a run's outcomes: groups them, commits, and only then notifies the observer.

A group is committed when it is full or its first outcome has waited long enough. Whatever ends the run, a cancellation
or an error, what the cloud has answered is written first. The reading of the run's pairs goes through here as well,
because one thread at a time uses the ledger.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread

from bulkshare.engine.listing import compare
from bulkshare.errors import LedgerError
from bulkshare.model import Alike, Member, Outcome, Result, Want
from bulkshare.model.events import AlikeSettled, PairsSettled, RemovalsAhead, RestSettled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from bulkshare.engine.listing import Compared
    from bulkshare.engine.retry import Settle
    from bulkshare.model import Backlog, Batch, Block, Job, Verdict
    from bulkshare.ports import Observer, WorkList

GROUP = 512  # outcomes in one commit; larger groups gain nothing measurable
# How long the first outcome of a group waits for more. Every commit fsyncs and stalls other writers on the disk: with
# 20 a second instead of 4, a run against a Glance on the same machine took a tenth longer.
GROUP_WAIT_SECONDS = 0.25
LONGEST_QUEUE = 16 * GROUP  # outcomes in memory; beyond that, producers wait
MOST_NAMED = 20  # pairs in an error
PAGE = 256  # pairs read at a time: a few seconds of work for one image
IMAGES_PAGE = 1000
UNDESCRIBED_PAGE = 16  # images, each with all its members

_SHARED, NOT_DONE = Result.SHARED, frozenset({Result.REJECTED, Result.FAILED})
UNKNOWN = Member("", "")  # a member of which nothing else is known

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class SettleImage:
    """All pairs of an image that are still pending, to be settled alike; `removals` selects as in `ports.WorkList`."""

    image_id: str
    reason: str
    result: Result = Result.SKIPPED
    removals: bool | None = None


@dataclass(frozen=True, slots=True)
class ImageOpened:
    """An image that this run made shared, and when."""

    image_id: str
    at: datetime


Record = Outcome | Alike | SettleImage | ImageOpened


def outcome_of(settle: Settle, began: datetime, now: datetime) -> Outcome:
    """Return the outcome of a pair that was sent; `began` is when its first request left."""
    attempt, verdict = settle.attempt, settle.verdict
    job = attempt.job
    member = verdict.members[0] if verdict.members else attempt.member
    # A member that this run added, and could not accept: nothing else shows that it was this run.
    added = attempt.membership is _SHARED and settle.result in NOT_DONE
    image_id, member_id, want = job
    if added:
        want |= Want.ALREADY_MEMBER | Want.ADDED
    _, _, status, created_at, updated_at, schema = member or UNKNOWN
    attempts, request_id, reason = attempt.posts or attempt.tries, verdict.request_id, settle.reason
    return Outcome(  # by position, in half the time
        image_id,
        member_id,
        settle.result,
        verdict.http_status,
        status,
        created_at,
        updated_at,
        schema,
        attempts,
        request_id,
        reason,
        began,
        now,
        want,
    )


@dataclass(slots=True)
class _Comparison:
    """An image to be compared with its members, and what came of it."""

    image_id: str
    members: Mapping[str, Member]
    listing: Verdict
    compared: Compared | None = None


class Recorder:
    """Reads a run's pairs and writes their outcomes, in the order in which they came.

    An async context manager: leaving it, even with an error, writes what is queued. A failed write raises `LedgerError`
    from the task group it belongs to, which ends everything that could send more.

    run_id, ledger: the run, and its ledger.
    observer: notified of outcomes once they are durable.
    wall: the current time, aware and UTC.
    turn: a limiter of one, shared by all that use the ledger.
    """

    def __init__(
        self,
        run_id: int,
        ledger: WorkList,
        observer: Observer,
        wall: Callable[[], datetime],
        turn: anyio.CapacityLimiter,
    ) -> None:
        self.observer = observer
        self._run_id = run_id
        self._ledger = ledger
        self._wall = wall
        self._turn = turn
        self._queue: list[Record] = []
        self._queued = 0  # pairs in it
        self._all_settled = False  # no pair is pending, so that the ledger need not be searched for any
        self._arrived = anyio.Event()  # something is queued, or the recorder is closed
        self._full = anyio.Event()  # a group is full, or is wanted at once
        self._written = anyio.Event()
        self._busy = False
        self._closed = False
        self._asked: list[_Comparison] = []  # that no one makes yet
        self._comparing = anyio.Lock(fast_acquire=True)
        self._writers = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._writers.__aenter__()
        self._writers.start_soon(self._write)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._closed = True
        self._arrived.set()
        return await self._writers.__aexit__(kind, error, trace)

    def put(self, record: Record) -> None:
        """Queue a record. Never waits, so that no cancellation loses an answer."""
        self._take((record,), 1)

    def put_all(self, records: Sequence[Record]) -> None:
        """Queue several records, as `put` does one."""
        self._take(records, len(records))

    def put_alike(self, groups: Sequence[Alike]) -> None:
        """Queue the outcomes of pairs that have them in common."""
        self._take(groups, sum(len(alike.member_ids) for alike in groups))

    def _take(self, records: Sequence[Record], pairs: int) -> None:
        self._queue += records
        self._queued += pairs
        self._arrived.set()
        if self._queued >= GROUP:
            self._full.set()

    @property
    def is_full(self) -> bool:
        """Whether producers should wait for `room`."""
        return self._queued >= LONGEST_QUEUE

    async def room(self) -> None:
        """Wait until the queue is short enough to take more."""
        while self.is_full:
            await self._written.wait()

    async def flush(self) -> None:
        """Wait until everything queued is in the ledger."""
        while self._queue or self._busy:
            self._full.set()
            await self._written.wait()

    async def _call(self, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """Call a method of the ledger in a thread, one at a time."""
        return await anyio.to_thread.run_sync(function, *args, limiter=self._turn)

    def pending_images(self, *, removals: bool | None = None) -> AsyncGenerator[Backlog]:
        """Yield the images with pending pairs; `removals` selects as in `ports.WorkList`."""
        return self._images(partial(self._read_pending, limit=IMAGES_PAGE, removals=removals))

    def images_to_list(self, *, settled_before: datetime) -> AsyncGenerator[Backlog]:
        """Yield the images with pending pairs, or with pairs that were settled before a time."""
        read = partial(self._ledger.images_to_list, self._run_id, limit=IMAGES_PAGE, settled_before=settled_before)
        return self._images(read)

    async def count_to_list(self, *, settled_before: datetime) -> int:
        """Return how many images `images_to_list` yields."""
        return await self._call(partial(self._ledger.count_to_list, self._run_id, settled_before=settled_before))

    async def label(self, names: Mapping[str, str]) -> None:
        """Record what the cloud calls images, by ID."""
        await self._call(self._ledger.label, names)

    async def _images(self, read: Callable[..., list[Backlog]]) -> AsyncGenerator[Backlog]:
        """Yield all pages of what `read` reads `after` an image, one by one."""
        after: str | None = None
        while True:
            page = await self._call(partial(read, after=after))
            for backlog in page:
                yield backlog
            if len(page) < IMAGES_PAGE:
                return
            after = page[-1].image_id

    async def compare(self, image_id: str, members: Mapping[str, Member], listing: Verdict) -> Compared:
        """Compare all pairs of an image with its members by ID, once there is room for what is to be settled.

        In the ledger's thread: there may be a hundred thousand. Whatever is to be compared meanwhile goes there
        together: small images cost less than the way to a thread and back.
        """
        await self.room()
        asked = _Comparison(image_id, members, listing)
        self._asked.append(asked)
        async with self._comparing:
            while asked.compared is None:
                together, self._asked = self._asked or [asked], []
                await self._call(self._compare_all, together)
        return asked.compared

    def _compare_all(self, comparisons: Sequence[_Comparison]) -> None:
        for each in comparisons:
            blocks = self._ledger.image_pairs(self._run_id, each.image_id)
            each.compared = compare(blocks, each.members, each.listing, self._wall())

    async def unsettle(self, image_id: str, member_ids: Sequence[str]) -> None:
        """Make pairs pending again."""
        self._all_settled = False
        await self._call(self._ledger.unsettle, self._run_id, image_id, member_ids)

    async def pending_jobs(self, image_id: str, after: str | None, *, removals: bool | None = None) -> list[Job]:
        """Return the next page of an image's pending pairs; the last one is shorter than `PAGE`."""
        read = partial(self._ledger.pending_jobs, self._run_id, image_id, after=after, limit=PAGE, removals=removals)
        return await self._call(read)

    async def first_pages(self, *, removals: bool | None = None) -> AsyncGenerator[tuple[Backlog, list[Job]]]:
        """Yield each image with pending pairs, and the first page of them. Small images are read together."""
        async with aclosing(self._together(removals)) as groups:
            async for group in groups:
                if len(group) == 1:
                    yield group[0], await self.pending_jobs(group[0].image_id, None, removals=removals)
                    continue
                first, last = group[0].image_id, group[-1].image_id
                read = partial(self._ledger.pending_jobs_between, self._run_id, first, last, removals=removals)
                pages: dict[str, list[Job]] = {backlog.image_id: [] for backlog in group}
                for job in await self._call(read):
                    pages[job.image_id].append(job)
                for backlog in group:
                    yield backlog, pages[backlog.image_id]

    async def _together(self, removals: bool | None) -> AsyncGenerator[list[Backlog]]:  # noqa: FBT001  passed on
        """Yield the images with pending pairs, in groups that have a page of them at most, or one image."""
        group: list[Backlog] = []
        pairs = 0
        async with aclosing(self.pending_images(removals=removals)) as images:
            async for backlog in images:
                if group and pairs + backlog.pairs > PAGE:
                    yield group
                    group, pairs = [], 0
                group.append(backlog)
                pairs += backlog.pairs
        if group:
            yield group

    async def pending_pages(self, image_id: str, *, removals: bool | None = None) -> AsyncIterator[list[Job]]:
        """Yield an image's pending pairs page by page, no faster than their outcomes are written."""
        after: str | None = None
        while True:
            await self.room()
            page = await self.pending_jobs(image_id, after, removals=removals)
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1].member_id

    async def announce_removals(self) -> None:
        """Notify the observer of each image's pending removals, before the first of them is sent."""
        async for backlog in self.pending_images(removals=True):
            pages = self.pending_pages(backlog.image_id, removals=True)
            members = [job.member_id async for page in pages for job in page]
            self.observer.notify(RemovalsAhead(backlog.image_id, members))

    async def pending_wants(self, image_ids: Collection[str], member_id: str) -> dict[str, Want]:
        """Return what is wanted of a member, by image: of those pairs that are in the run, and pending."""
        return await self._call(self._ledger.pending_wants, self._run_id, image_ids, member_id)

    async def enqueue(self, blocks: Sequence[Block]) -> int:
        """Add pairs to the run and return how many are new."""
        self._all_settled = False
        return await self._call(self._ledger.enqueue, self._run_id, blocks)

    async def mark_listed(self, image_id: str, member_ids: Sequence[str]) -> None:
        """Record that these pairs are members already, with more left to do."""
        await self._call(self._ledger.mark_listed, self._run_id, image_id, member_ids)

    async def mark_was_accepted(self, image_id: str, member_ids: Sequence[str]) -> None:
        """Record that the memberships of these pairs, which are to be removed, are accepted."""
        await self._call(self._ledger.mark_was_accepted, self._run_id, image_id, member_ids)

    async def mark_opened(self, image_ids: Sequence[str], at: datetime | None) -> None:
        """Record at once that images were made shared; None: that this is about to be asked for."""
        await self._call(self._ledger.mark_opened, self._run_id, image_ids, at)

    async def opening(self) -> list[str]:
        """Return the images that were asked to be made shared, without an answer yet."""
        return await self._call(self._ledger.opening, self._run_id)

    async def mark_added(self, image_id: str, member_ids: Sequence[str]) -> None:
        """Record that this run has added these members, with more left to do."""
        await self._call(self._ledger.mark_added, self._run_id, image_id, member_ids)

    async def open_batch(self, batch: Batch) -> None:
        """Record a batch that is about to be sent."""
        await self._call(self._ledger.open_batch, self._run_id, batch)

    async def set_job(self, number: int, job_id: str) -> None:
        """Record the job of a batch."""
        await self._call(self._ledger.set_job, self._run_id, number, job_id)

    async def close_batch(self, number: int) -> None:
        """Forget a batch, once what became of its pairs is in the ledger."""
        await self.flush()
        await self._call(self._ledger.close_batch, self._run_id, number)

    async def open_batches(self) -> list[Batch]:
        """Return the batches of which it isn't known what became of them."""
        return await self._call(self._ledger.open_batches, self._run_id)

    async def pending_total(self) -> int:
        """Count the pairs that are pending."""
        return 0 if self._all_settled else (await self._call(self._ledger.totals, self._run_id))[Result.PENDING]

    async def find_pending(self) -> None:
        """Find out whether any pair is pending, once what is queued is written: if none is, no one searches for any."""
        await self.flush()
        self._all_settled = not await self._call(partial(self._read_pending, after=None, limit=1, removals=None))

    def _read_pending(self, *, after: str | None, limit: int, removals: bool | None) -> list[Backlog]:
        if self._all_settled:
            return []
        return self._ledger.pending_images(self._run_id, after=after, limit=limit, removals=removals)

    async def undescribed(self) -> AsyncIterator[list[tuple[str, list[str]]]]:
        """Yield pages of (image ID, member IDs): members whose fields are unknown."""
        after: str | None = None
        while True:
            read = partial(self._ledger.undescribed, self._run_id, after=after, limit=UNDESCRIBED_PAGE)
            page = await self._call(read)
            if page:
                yield page
            if len(page) < UNDESCRIBED_PAGE:
                return
            after = page[-1][0]

    async def describe(self, members: list[Member]) -> None:
        """Fill in members' fields."""
        await self._call(self._ledger.describe, self._run_id, members)

    async def _write(self) -> None:
        with anyio.CancelScope(shield=True):  # whatever ends the run, what the cloud has answered is written first
            while True:
                await self._arrived.wait()
                if not self._closed:
                    with anyio.move_on_after(GROUP_WAIT_SECONDS):
                        await self._full.wait()
                group, self._queue, self._queued = deque(self._queue), [], 0
                self._arrived, self._full = anyio.Event(), anyio.Event()
                self._busy = True
                try:
                    await self._commit(group)
                except LedgerError as error:
                    raise LedgerError(f"{error}{_unrecorded([*group, *self._queue])}") from error
                self._busy = False
                self._written.set()
                self._written = anyio.Event()
                if self._closed and not self._queue:
                    return
                if self._closed:
                    self._arrived.set()

    async def _commit(self, group: deque[Record]) -> None:
        """Commit the records in order, in as few transactions as that takes; those committed leave the group."""
        while group:
            if isinstance(group[0], SettleImage):  # what was answered for the image stands
                await self._settle_rest(group[0])
                group.popleft()
                continue
            records = list(takewhile(lambda record: not isinstance(record, SettleImage), group))
            opened = [record for record in records if isinstance(record, ImageOpened)]
            alike = [record for record in records if isinstance(record, Alike)]
            outcomes = [record for record in records if isinstance(record, Outcome)]
            if opened:
                await self.mark_opened([record.image_id for record in opened], opened[-1].at)
            if alike:
                await self._call(self._ledger.settle_alike, self._run_id, alike)
                self.observer.notify(AlikeSettled(alike))
            if outcomes:
                await self._call(self._ledger.settle, self._run_id, outcomes)
                self.observer.notify(PairsSettled(outcomes))
            for _ in records:
                group.popleft()

    async def _settle_rest(self, rest: SettleImage) -> None:
        count = await self._call(
            partial(
                self._ledger.settle_rest,
                self._run_id,
                rest.image_id,
                result=rest.result,
                reason=rest.reason,
                now=self._wall(),
                removals=rest.removals,
            )
        )
        if count:
            self.observer.notify(RestSettled(rest.image_id, count, rest.result, rest.reason))


def _unrecorded(records: list[Record]) -> str:
    """Name the pairs whose outcomes the ledger may lack."""
    pairs = [f"{r.image_id} {r.member_id} {r.result}" for r in records if isinstance(r, Outcome) and r.attempts]
    if not pairs:
        return ""
    more = f" and {len(pairs) - MOST_NAMED:,} more" if len(pairs) > MOST_NAMED else ""
    return (
        f"; not recorded, but answered by the cloud: {', '.join(pairs[:MOST_NAMED])}{more}; "
        "the next run finds them by listing the images' members"
    )
