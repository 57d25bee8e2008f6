"""Reads pending pairs, sends, interprets, decides and records: the only part of the program that starts tasks.

*Listing* asks, once per image, who is a member already, and settles those pairs without sending them; *inspecting* asks
what the images are that have something left, and settles what can't be. Then come the writes: *opening* makes images
`shared`, *removing* and *sharing* send the pairs that are left. *Describing* fetches the member fields of pairs that
answered 409, which tells nothing else. A phase with nothing to do is left out: where all is as planned there is one
request per image. Outcomes pass through one writer, which commits them in groups and only then tells the observer.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import anyio

from bulkshare.engine.client import ApiClient
from bulkshare.engine.phases import MemberLister, Preflight, SetShared, describe
from bulkshare.engine.pool import WorkerPool
from bulkshare.engine.writer import Recorder
from bulkshare.errors import BulkshareError, LedgerError

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Container, Iterator, Mapping
    from datetime import datetime

    from bulkshare.model import Account, Image, Limits, Orders, RetryPolicy
    from bulkshare.ports import Observer, Transport, WorkList


PRUNE_LIMIT = 0.1  # of an image's members: a mistyped plan costs no more
GRACE_SECONDS = 10.0  # how long requests in flight may take to end after a stop


class Sender(Protocol):
    """Sends the pairs that are pending, to be shared or removed, until all are settled or a stop comes."""

    async def settle_pending(self, trusted: Container[str]) -> None:
        """Work through the ledger's pending pairs; images in `trusted` need not show first that they take members."""
        ...

    def wake_all(self) -> None:
        """Look again whether there is something to do: a stop may have come."""
        ...


class Senders(Protocol):
    """Makes a `Sender` that calls `on_failure` for every rejected or failed pair; `gone` is as for `WorkerPool`."""

    def __call__(
        self,
        caller: ApiClient,
        recorder: Recorder,
        limits: Limits,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        on_failure: Callable[[], None],
        *,
        gone: bool,
    ) -> Sender:
        """Return one."""
        ...


class PreflightMode(Enum):
    """Which images are listed first: those with that many pairs to do or more; never none."""

    AUTO = 2  # one GET in place of two POSTs pays at once; in place of one it does not
    ALWAYS = 1
    NEVER = math.inf


class Engine:
    """Settles the pending pairs of one run in the ledger. An engine runs once; several may run side by side.

    `orders` are a plan's about images as a whole, `images` those that it has chosen for what they are; a run that goes
    on without its plan has neither. `account` is as whom it acts. Where more than `prune_limit` (a share) of an image's
    members would be removed, nobody is removed from any. Engines that share a ledger share a `ledger_turn`, a limiter
    for one at a time. `clock` is monotonic, in seconds; `wall` gives aware UTC times for the record; `jitter` gives
    uniform numbers in [0, 1). `stopping` is set when the engine begins to stop, for those who wait on its behalf.
    `answered_at` tells when the endpoint last answered, on `clock`: until it has answered somebody, no pair fails. With
    more than `max_failures` pairs rejected or failed, the engine stops. Images in `trusted` are known to take members;
    `senders` makes those who send the pairs, which may have others do it. Requests in flight may take `grace_seconds`
    to end after a stop.
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
        max_failures: float = math.inf,
        orders: Mapping[str, Orders] | None = None,
        images: Mapping[str, Image] | None = None,
        account: Account | None = None,
        prune_limit: float = PRUNE_LIMIT,
        ledger_turn: anyio.CapacityLimiter | None = None,
        trusted: Collection[str] = (),
        senders: Senders | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._stopping = anyio.Event() if stopping is None else stopping
        self._failures_left = max_failures
        self._because = ""
        self._nothing_left = False
        self._work_scope = anyio.CancelScope()
        self._caller = ApiClient(
            transport=transport,
            observer=observer,
            policy=policy,
            clock=clock,
            wall=wall,
            jitter=jitter,
            stopping=self._stopping,
            stop=self.stop,
            answered_at=answered_at,
        )
        self._recorder = Recorder(run_id, ledger, observer, wall, ledger_turn or anyio.CapacityLimiter(1))
        self._limits = limits
        self._survey = MemberLister(self._caller, self._recorder, limits, wall, orders or {})
        self._inspecting = Preflight(
            self._caller,
            self._recorder,
            limits,
            wall,
            orders=orders or {},
            images=images or {},
            account=account,
            prune_limit=prune_limit,
        )
        self._opening = SetShared(self._caller, self._recorder, limits)
        # One after the other: what is removed makes room for what is added.
        self._removing, self._sharing = (
            (senders or WorkerPool)(self._caller, self._recorder, limits, clock, wall, self._count_failure, gone=gone)
            for gone in (True, False)
        )
        self._all_enqueued = False
        self._trusted = trusted
        self._grace_seconds = grace_seconds

    @property
    def retries(self) -> int:
        """How many requests were repeats."""
        return self._caller.retries

    @property
    def interrupted(self) -> bool:
        """Whether a stop came before the work was done; a stop that found nothing left to do did not."""
        return self._stopping.is_set() and not self._nothing_left

    @property
    def stopped_because(self) -> str:
        """Why the work was interrupted, where `stop` was told."""
        return self._because if self.interrupted else ""

    def _count_failure(self) -> None:
        self._failures_left -= 1
        if self._failures_left < 0:
            self.stop("too many pairs were rejected or failed")

    async def run(
        self,
        *,
        preflight: PreflightMode = PreflightMode.AUTO,
        share: bool = True,
        inspect: bool = True,
        deadline_seconds: float = math.inf,
        stop_signals: tuple[signal.Signals, ...] = (),
    ) -> None:
        """Settle every pending pair, or as many as there is time for before a stop.

        With `share` False nothing is written: what stays pending is what would be sent. With `inspect` False images are
        taken as they are. The first of `stop_signals` stops as `stop` does, the second at once. Raises the
        `BulkshareError` that ended the run early; what was answered by then is recorded as far as the ledger takes it.
        """
        try:
            async with anyio.create_task_group() as watchers:
                if stop_signals:
                    watchers.start_soon(self._watch, stop_signals)
                if deadline_seconds != math.inf:
                    watchers.start_soon(self._keep_deadline, deadline_seconds)
                async with self._recorder:
                    with self._work_scope:
                        await self._work(preflight, share=share, inspect=inspect)
                    await self._recorder.flush()
                    self._nothing_left = self._all_enqueued and await self._recorder.pending_total() == 0
                watchers.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _leading(group) from group

    def stop(self, because: str = "") -> None:
        """Send nothing more, and give what is in flight some seconds to end. Called again: give it none."""
        if self._stopping.is_set():
            if not because:
                self._work_scope.cancel()
            return
        self._because = because
        self._stopping.set()
        self._work_scope.deadline = anyio.current_time() + self._grace_seconds
        self._removing.wake_all()
        self._sharing.wake_all()

    async def _watch(self, signals: tuple[signal.Signals, ...]) -> None:
        with anyio.open_signal_receiver(*signals) as received:
            async for _ in received:
                self.stop()

    async def _keep_deadline(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.stop("the deadline has passed")

    async def _work(self, preflight: PreflightMode, *, share: bool, inspect: bool) -> None:
        sights = await self._survey.take(at_least=preflight.value)
        await self._recorder.flush()
        to_open: list[str] = []
        if inspect and not self._stopping.is_set():
            to_open = await self._inspecting.decide(sights, everything=preflight is not PreflightMode.NEVER)
            await self._recorder.flush()
        if self._stopping.is_set():
            return
        await self._recorder.mark_enqueued()
        self._all_enqueued = True
        if share:
            await self._write(to_open, sights.members)

    async def _write(self, to_open: list[str], listed: Mapping[str, int]) -> None:
        await self._opening.open(to_open)
        await self._recorder.flush()
        if not self._stopping.is_set():
            await self._removing.settle_pending(trusted=())
            await self._recorder.flush()
        if not self._stopping.is_set():
            await self._sharing.settle_pending(trusted={*listed, *self._trusted})
            await self._recorder.flush()
        if not self._stopping.is_set():
            await describe(self._caller, self._recorder, self._limits)


def _leading(group: BaseExceptionGroup) -> BaseException:
    """Return the one exception that tells the user most: a lost ledger before all else, a bug before a refusal."""
    leaves = list(_leaves(group))
    return next(
        (leaf for leaf in leaves if isinstance(leaf, LedgerError)),
        next((leaf for leaf in leaves if not isinstance(leaf, BulkshareError)), leaves[0]),
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
