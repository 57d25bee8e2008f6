"""Settles a run's pending pairs, phase by phase: the only part of the program that starts tasks for a run.

1. *Listing* asks, once per image, for its members, and settles the pairs that are as planned without sending them.
2. *Inspecting* (preflight) looks up the images that have pairs left, and settles what can't succeed.
3. *Opening* sets private images shared, *removing* and *sharing* send the pairs that are left: removals first, because
   they make room for what is added.
4. *Describing* fetches member fields of pairs that were answered with 409, which says nothing else.

A phase with nothing to do is left out: if everything is as planned, there is one request per image. Outcomes pass
through one writer, which commits them in groups and only then notifies the observer.

After a stop nothing more is sent; what is in flight gets some seconds to end, and is recorded. Whatever was not sent
stays pending.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from bulkshare.engine.at_once import AtOnce
from bulkshare.engine.batches import BatchSender
from bulkshare.engine.client import ApiClient
from bulkshare.engine.phases import MemberLister, Preflight, SetShared, fetch_details, settle_unpruned
from bulkshare.engine.pool import WorkerPool
from bulkshare.engine.writer import Recorder
from bulkshare.errors import UnlistedError, leading_error
from bulkshare.model import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Container, Coroutine, Mapping, Sequence
    from datetime import datetime

    from bulkshare.model import Account, Image, Limits, Orders, RetryPolicy
    from bulkshare.ports import Observer, Transport, WorkList


GRACE_SECONDS = 10.0  # how long requests in flight may take to end after a stop


class Sender(Protocol):
    """Sends the pending pairs, to be shared or removed, until all are settled or a stop comes."""

    async def recover(self) -> None:
        """Find out what became of requests that an earlier process left without an answer."""
        ...

    async def settle_pending(self, probed: Container[str]) -> None:
        """Work through the ledger's pending pairs. Images in `probed` are known to take members."""
        ...

    def wake_all(self) -> None:
        """Look again whether there is something to do: a stop may have come."""
        ...


class Senders(Protocol):
    """Makes a `Sender`; for the arguments see `WorkerPool`."""

    def __call__(
        self,
        client: ApiClient,
        recorder: Recorder,
        on_failure: Callable[[], None],
        *,
        removals: bool,
    ) -> Sender:
        """Return a sender of the pending removals, or of all other pending pairs."""
        ...


class Engine:
    """Settles the pending pairs of one run. An engine runs once; several may run side by side.

    run_id, ledger: the run, and its ledger.
    transport: sends one request; it paces and authenticates.
    observer: notified of events, outcomes only once they are durable.
    limits, policy: pace and retries.
    clock: monotonic, in seconds.
    wall: the current time, aware and UTC.
    jitter: uniform numbers in [0, 1).
    stopping: set when the engine begins to stop, for tasks that wait on its behalf; default: its own.
    answered_at: when the endpoint last answered, on `clock`. While it answers no one, no pair fails.
    useful: how many requests are worth having under way now, at least one: more would only wait in the transport.
    max_failures: with more pairs rejected or failed, the engine stops.
    orders: what the plan says about images as a whole.
    images: known already, because the plan selected them by their attributes.
    account: who acts; None if unknown.
    ledger_turn: a limiter of one, shared by engines that share a ledger.
    probed: images that are known to take members.
    senders: makes what sends the pairs; default: `WorkerPool`.
    batches: send what can be sent in batches so, before the senders get the rest.
    grace_seconds: how long requests in flight may take to end after a stop.
    before_writing: awaited before removals are announced and the first write is sent.
    """

    def __init__(
        self,
        *,
        run_id: int,
        transport: Transport,
        ledger: WorkList,
        observer: Observer,
        limits: Limits,
        policy: RetryPolicy,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        jitter: Callable[[], float],
        stopping: anyio.Event | None = None,
        answered_at: Callable[[], float] = lambda: math.inf,
        useful: Callable[[], int] = lambda: UNLIMITED,
        max_failures: float = math.inf,
        orders: Mapping[str, Orders] | None = None,
        images: Mapping[str, Image] | None = None,
        account: Account | None = None,
        ledger_turn: anyio.CapacityLimiter | None = None,
        probed: Collection[str] = (),
        senders: Senders | None = None,
        batches: bool = False,
        grace_seconds: float = GRACE_SECONDS,
        before_writing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._before_writing = before_writing
        self._stopping = anyio.Event() if stopping is None else stopping
        self._failures_left = max_failures
        self._because = ""
        self._nothing_left = False
        self._work_scope = anyio.CancelScope()
        self._grace_seconds = grace_seconds
        self._looked = False
        self._to_set_shared: list[str] = []
        self._unpruned: dict[str, str] = {}
        self._client = ApiClient(
            transport=transport,
            observer=observer,
            policy=policy,
            clock=clock,
            wall=wall,
            jitter=jitter,
            stopping=self._stopping,
            stop=self.stop,
            answered_at=answered_at,
            at_once=AtOnce(limits.concurrency, useful),
            endpoint="the image endpoint" if account is None else account.endpoint,
        )
        self._recorder = Recorder(run_id, ledger, observer, wall, ledger_turn or anyio.CapacityLimiter(1))
        self._lister = MemberLister(self._client, self._recorder, wall, orders or {}, probed)
        self._preflight = Preflight(
            self._client,
            self._recorder,
            limits,
            wall,
            orders=orders or {},
            images=images or {},
            account=account,
            has_quota_call=batches,
        )
        self._set_shared = SetShared(self._client, self._recorder, wall)
        make_sender: Senders = senders or partial(WorkerPool, limits=limits, clock=clock, wall=wall)
        if batches:
            make_sender = partial(
                BatchSender,
                make_pool=make_sender,
                limits=limits,
                clock=clock,
                wall=wall,
                project_id="" if account is None else account.project_id,
            )
        self._removing, self._sharing = (
            make_sender(self._client, self._recorder, self._count_failure, removals=removals)
            for removals in (True, False)
        )

    @property
    def retries(self) -> int:
        """How many requests were scheduled to be sent again."""
        return self._client.retries

    @property
    def to_set_shared(self) -> Sequence[str]:
        """The private images that the preflight found to be made `shared` before the other writes."""
        return self._to_set_shared

    @property
    def unpruned(self) -> Mapping[str, str]:
        """Why images that are to be pruned, and have no pairs to show it, could not be listed."""
        return self._unpruned

    @property
    def interrupted(self) -> bool:
        """Whether a stop came before the work was done. A stop that found nothing left to do did not."""
        return self._stopping.is_set() and not self._nothing_left

    @property
    def looked(self) -> bool:
        """Whether all images were looked at, so that what is left to do is what is pending."""
        return self._looked

    @property
    def stopped_because(self) -> str:
        """Why the work was interrupted, if `stop` was given a reason."""
        return self._because if self.interrupted else ""

    async def run(
        self,
        *,
        preflight: bool = True,
        share: bool = True,
        inspect: bool = True,
        deadline_seconds: float = math.inf,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Settle every pending pair, or as many as there is time for before a stop.

        Without `preflight` only images that may lose members are listed, and only they and those to be made shared are
        looked up. Without `share` nothing is written to the cloud: what stays pending is what would be sent. Without
        `inspect` images are taken as they are. `beside` runs at the same time, and is cancelled at the end. Raises the
        `BulkshareError` that ended the run early; what was answered by then is recorded as far as the ledger takes it.
        """
        try:
            async with anyio.create_task_group() as tasks:
                if deadline_seconds != math.inf:
                    tasks.start_soon(self._keep_deadline, deadline_seconds)
                if beside is not None:
                    tasks.start_soon(beside)
                async with self._recorder:
                    with self._work_scope:
                        await self._work(preflight=preflight, share=share, inspect=inspect)
                    await self._recorder.flush()
                    self._nothing_left = self._looked and await self._recorder.pending_total() == 0
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise leading_error(group) from group

    def allow(self, concurrency: int) -> None:
        """Have work under way for so many requests in flight; what the pace allows may be less."""
        self._client.at_once.allow(concurrency)

    @property
    def is_stopping(self) -> bool:
        """Whether a stop has come."""
        return self._stopping.is_set()

    def stop(self, because: str = "") -> None:
        """Send nothing more, and give requests in flight some seconds to end. A second call gives them none."""
        if self._stopping.is_set():
            if not because:
                self._work_scope.cancel()
            return
        self._because = because
        self._stopping.set()
        self._work_scope.deadline = anyio.current_time() + self._grace_seconds
        self._removing.wake_all()
        self._sharing.wake_all()

    def _count_failure(self) -> None:
        self._failures_left -= 1
        if self._failures_left < 0:
            self.stop("too many pairs were rejected or failed")

    async def _keep_deadline(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.stop("the deadline has passed")

    async def _work(self, *, preflight: bool, share: bool, inspect: bool) -> None:
        if share:
            await self._set_shared.find_opened()
            await self._removing.recover()
            await self._sharing.recover()
        listed = await self._lister.list_all(everything=preflight)
        await self._recorder.find_pending()
        if inspect and not self._stopping.is_set():
            self._to_set_shared = await self._preflight.check(listed, everything=preflight)
            await self._recorder.flush()
        settle_unpruned(self._recorder, listed, self._to_set_shared)
        self._looked = listed.left == 0
        if self._stopping.is_set():
            return
        await self._recorder.flush()
        if share:
            await self._write(probed=listed)
        without_pairs = {image_id: listed.unpruned.get(image_id, "") for image_id in listed.without_pairs}
        self._unpruned = {image_id: reason for image_id, reason in without_pairs.items() if reason}
        if share and self._unpruned:
            image_id, reason = next(iter(self._unpruned.items()))
            raise UnlistedError(f"image {image_id}: {reason}")

    async def _write(self, probed: Container[str]) -> None:
        if self._before_writing is not None:
            await self._before_writing()
        if self._stopping.is_set():
            return
        await self._recorder.announce_removals()
        await self._set_shared.set_all(self._to_set_shared)
        await self._recorder.flush()
        if not self._stopping.is_set():
            await self._removing.settle_pending(probed=())
            await self._recorder.flush()
        if not self._stopping.is_set():
            await self._sharing.settle_pending(probed=probed)
            await self._recorder.flush()
        if not self._stopping.is_set():
            await fetch_details(self._client, self._recorder)
