"""A worker's place in a run: it runs engines on shards, within the share of the limits that it was lent."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from bulkshare.engine import GRACE_SECONDS, Engine, Preflight, Sharing
from bulkshare.errors import BulkshareError
from bulkshare.fleet.messages import Report, Returned, bare
from bulkshare.fleet.shard import ShardLedger
from bulkshare.model import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from bulkshare.fleet.messages import Grant, Order
    from bulkshare.model import Image, Outcome, Result, Settings, Verdict
    from bulkshare.pacing import Paced
    from bulkshare.ports import Transport

WAY_SECONDS = 2.0  # for a stop to come here, and for what was done to come back, in the coordinator's own time of grace
FORSAKEN_SECONDS = 30.0  # after the end of its lease: nobody will ask for what it has


class Way(Protocol):
    """The way to the image endpoint."""

    @property
    def transport(self) -> Transport:
        """Where requests go."""
        ...

    @property
    def paced(self) -> Paced:
        """The layer of it that paces."""
        ...

    @property
    def stopping(self) -> anyio.Event:
        """Once it is set nothing more goes through."""
        ...


class Station:
    """Takes part in one run. It sends nothing before it has a lease; times are on `clock`, in seconds."""

    def __init__(
        self,
        way: Way,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._way = way
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._teller = _Teller()
        self._engines: set[Engine] = set()
        self._idle = anyio.Event()
        self._idle.set()
        self._lease_ends = -math.inf
        self._number = 0  # of the last grant
        self._began = clock()
        way.paced.lease(Limits(rate=1.0, concurrency=1), self._lease_ends)

    @property
    def forsaken(self) -> bool:
        """Whether nobody has renewed the lease for a while: whoever lent it is gone."""
        return self._clock() > max(self._lease_ends, self._began) + FORSAKEN_SECONDS

    def take(self, grant: Grant) -> Report:
        """Hold to a share of the limits from now on, and tell what happened since the last time."""
        paced = self._way.paced
        if grant.number > self._number:
            self._number = grant.number
            self._lease_ends = grant.until
            if grant.rate > 0:
                paced.lease(Limits(rate=grant.rate, concurrency=grant.concurrency), grant.until)
            else:
                paced.lease(Limits(rate=1.0, concurrency=1), -math.inf)
        if grant.pause_seconds > 0:
            paced.cool_down(grant.pause_seconds)
        if grant.stop:
            self.stop()
        now = self._clock()
        return Report(
            clock=now,
            requests=paced.sent,
            in_flight=paced.unanswered,
            allowed=paced.allowed if grant.rate > 0 else 0,
            cooling_seconds=max(paced.cooling_until - now, 0.0),
            told=self._teller.take(),
        )

    def stop(self) -> None:
        """Send nothing any more, and give what is in flight the time that an engine gives it."""
        if self._way.stopping.is_set():
            return  # to stop an engine a second time is to give it no time
        for engine in self._engines:
            engine.stop()
        self._way.stopping.set()

    async def idle(self) -> None:
        """Wait until no engine is at work."""
        await self._idle.wait()

    async def carry_out(self, order: Order) -> Returned:
        """Work on a shard, to its end or until a stop comes."""
        ledger = ShardLedger(order.jobs)
        if self._way.stopping.is_set():
            return Returned(outcomes=[], closed={})
        engine = Engine(
            run_id=0,
            transport=self._way.transport,
            ledger=ledger,
            observer=self._teller,
            limits=self._settings.limits,
            policy=self._settings.retry,
            clock=self._clock,
            wall=self._wall,
            jitter=self._jitter,
            answered_at=lambda: self._way.paced.answered_at,
            trusted=order.trusted,
            senders=partial(Sharing, leave=ledger.close),
            grace_seconds=GRACE_SECONDS - WAY_SECONDS,
        )
        self._engines.add(engine)
        self._idle = anyio.Event()
        error = None
        try:
            await engine.run(preflight=Preflight.NEVER, inspect=False)
        except BulkshareError as raised:
            error = bare(raised)
        finally:
            self._engines.discard(engine)
            if not self._engines:
                self._idle.set()
        return Returned(outcomes=ledger.outcomes, closed=ledger.closed, error=error)


class _Teller:
    """An observer that remembers what the coordinator's observers are to be told: what no outcome says."""

    def __init__(self) -> None:
        self._told: list[tuple[str, tuple[Any, ...]]] = []

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        told, self._told = self._told, []
        return told

    def answered(self, *arguments: Any) -> None:
        self._told.append(("answered", arguments))

    def retrying(self, *arguments: Any) -> None:
        self._told.append(("retrying", arguments))

    def phase(self, name: str, total: int) -> None:
        """The coordinator has its own."""

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """The coordinator tells, once it has them."""

    def settled_rest(self, image_id: str, count: int, result: Result, reason: str) -> None:
        """The coordinator tells, once it has them."""

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """Nothing is listed of a shard."""

    def inspected(self, image: Image) -> None:
        """Nothing is inspected of a shard."""

    def extra(self, image_id: str, member_ids: Sequence[str]) -> None:
        """Nothing is listed of a shard."""

    def opened(self, image_id: str, verdict: Verdict) -> None:
        """Nothing is opened of a shard."""

    def progressed(self, count: int) -> None:
        """Nothing is inspected of a shard."""
