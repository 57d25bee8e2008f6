"""Runs one engine on one cloud: fills the ledger, works through it, and sums up the result."""

from __future__ import annotations

import importlib.util
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from bulkshare.engine import Engine, PreflightMode
from bulkshare.engine.engine import PRUNE_LIMIT
from bulkshare.errors import BulkshareError, InterruptedRunError, LedgerError, StoppedEarlyError
from bulkshare.fleet import ShardedSender
from bulkshare.model import Outcome, Result
from bulkshare.operations.defaults import utc_now
from bulkshare.plan.expand import expand
from bulkshare.progress import Tracker
from bulkshare.progress.telemetry import Meter
from bulkshare.report import SETTLED_BADLY, Summary, causes_of

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from anyio.abc import TaskStatus

    from bulkshare.fleet import Coordinator
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Block, Image, Orders, Plan, Run, Settings, Telemetry
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import ImageEndpoint, Prepared
    from bulkshare.ports import Ledger, Observer
    from bulkshare.report import Cause, Changes, Comparison

    Returned = TypeVar("Returned")


@dataclass(slots=True)
class CloudResult:
    """What became of a plan on one of its clouds, the clouds.yaml entry `cloud`. What was not come to is None."""

    cloud: str | None
    account: Account | None = None
    summary: Summary | None = None
    telemetry: Telemetry | None = None
    changes: Changes | None = None
    todo: tuple[Block, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    error: BulkshareError | None = None

    @property
    def as_planned(self) -> bool:
        """Whether everything is as the plan says."""
        compared = self.comparison is None or self.comparison.complete
        return self.error is None and compared and (self.summary is None or self.summary.as_planned)

    def ended(self, ending: EngineResult) -> None:
        """Take over how the work ended."""
        self.summary, self.telemetry, self.error = ending.summary, ending.telemetry, ending.error


MOST_LOOKED_AT = 100_000  # pairs: beyond that a few more change nothing


def causes_in(ledger: Ledger, run: Run) -> tuple[Cause, ...]:
    """Return what went wrong in a run, as its totals count it, the most frequent first."""
    if not any(run.totals.get(result) for result in SETTLED_BADLY):
        return ()  # of a million pairs it would take a while to find none
    return causes_of(islice(ledger.outcomes(run.id, results=SETTLED_BADLY), MOST_LOOKED_AT))


NO_PROJECT = "the identity service knows no such project; Glance would take the ID, and nobody could use the image"


def fill(ledger: SqlLedger, run_id: int, plan: Plan, prepared: Prepared) -> None:
    """Enqueue the pairs of a plan, or a part of it, and keep the names that are known. Blocking."""
    ledger.enqueue(run_id, expand(plan))
    ledger.label(prepared.labels)
    if not prepared.unknown:
        return
    now = utc_now()
    for block in expand(plan):
        ledger.settle(
            run_id,
            [
                Outcome(block.image_id, member_id, Result.SKIPPED, reason=NO_PROJECT, settled_at=now, want=block.want)
                for member_id in block.member_ids
                # Of a run that goes on, what became of the pair stands: it may have been shared before anybody looked.
                if member_id in prepared.unknown and ledger.is_pending(run_id, block.image_id, member_id)
            ],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTask:
    """What an engine is to do with a run's pairs, beyond what the ledger says.

    `orders` and `images` are by image ID: what the plan says of an image, and what is known of it already. Without
    `write` nothing is sent but reads; without `inspect` images are taken as they are. `go_on` are the words that tell
    how to go on after an early end. `label` tells the clouds apart where there are several.
    """

    go_on: str
    preflight: PreflightMode = PreflightMode.AUTO
    write: bool = True
    inspect: bool = True
    orders: Mapping[str, Orders] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    prune_limit: float = PRUNE_LIMIT
    label: str = ""


@dataclass(frozen=True, slots=True)
class EngineResult:
    """How the work on a run ended. `error` is what ended it before its time, to be raised once the rest is told."""

    run: Run
    summary: Summary
    telemetry: Telemetry
    error: BulkshareError | None


class Stops:
    """The engines that a signal stops, those that come later included."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._came = False
        self.came_too_early = False

    def add(self, engine: Engine) -> None:
        """Let signals stop an engine that is about to run; where one came before, it stops before it sends."""
        self._engines.append(engine)
        if self._came:
            engine.stop()

    async def watch(
        self, signals: tuple[signal.Signals, ...], give_up: Callable[[], None], *, task_status: TaskStatus[None]
    ) -> None:
        """Stop all engines at each signal; where there is none yet, call `give_up`."""
        with anyio.open_signal_receiver(*signals) as received:
            task_status.started()
            async for _ in received:
                self._came = True
                for engine in self._engines:
                    engine.stop()
                if not self._engines:
                    self.came_too_early = True
                    give_up()


@asynccontextmanager
async def stopping_at(signals: tuple[signal.Signals, ...]) -> AsyncIterator[Stops]:
    """Let signals stop the engines of several clouds: the first in good order, the second at once.

    Raises `InterruptedRunError` where a signal came before there was an engine.
    """
    stops, error = Stops(), None
    async with anyio.create_task_group() as watchers:
        if signals:
            await watchers.start(stops.watch, signals, watchers.cancel_scope.cancel)
        try:
            yield stops
        except BulkshareError as raised:  # not to be wrapped into a group
            error = raised
        watchers.cancel_scope.cancel()
    if stops.came_too_early:
        raise InterruptedRunError("interrupted; nothing was sent")
    if error is not None:
        raise error


def run_async(main: Callable[[], Coroutine[Any, Any, Returned]]) -> Returned:
    """Run `main` on the fastest event loop there is and return what it returns."""
    return anyio.run(main, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})


async def work_on(
    run: Run,
    ledger: SqlLedger,
    account: Account,
    line: ImageEndpoint,
    voice: Listener,
    *,
    settings: Settings,
    options: Options,
    errand: EngineTask,
    stops: Stops,
    observers: tuple[Observer, ...] = (),
    fleet: Coordinator | None = None,
) -> EngineResult:
    """Settle the pending pairs of a run as far as it goes, and write down how it ended. Raises `LedgerError`.

    With a fleet its workers send the pairs, and this process asks, decides and records.
    """
    began, sent_before = time.monotonic(), line.paced.sent
    tracker = Tracker(run.plan, await anyio.to_thread.run_sync(ledger.totals, run.id), time.monotonic)
    meter = Meter(utc_now(), time.monotonic, lambda: (fleet and fleet.allowed) or line.paced.allowed)
    with voice.following(
        tracker,
        meter,
        *observers,
        allowed_rate=settings.limits.rate,
        pace=lambda: (fleet and fleet.pace()) or line.paced.state(),
        details=fleet.details if fleet else list,
        label=errand.label,
    ) as observer:
        engine = Engine(
            run_id=run.id,
            transport=line.transport,
            ledger=ledger,
            observer=observer,
            account=account,
            limits=settings.limits,
            policy=settings.retry,
            clock=time.monotonic,
            wall=utc_now,
            jitter=random.random,
            stopping=line.stopping,
            answered_at=lambda: line.paced.answered_at,
            max_failures=options.failures_allowed(tracker.planned),
            orders=errand.orders,
            images=errand.images,
            prune_limit=errand.prune_limit,
            senders=None if fleet is None else partial(ShardedSender, fleet),
        )
        stops.add(engine)
        error = await _work(engine, options, errand)
    seconds, requests, retries = time.monotonic() - began, line.paced.sent - sent_before, engine.retries
    if fleet is not None:
        requests, retries = requests + fleet.requests, retries + fleet.retries
    run = await anyio.to_thread.run_sync(
        partial(ledger.finish, run.id, now=utc_now(), requests=requests, retries=retries, seconds=seconds)
    )
    telemetry = meter.telemetry()
    await anyio.to_thread.run_sync(ledger.record_telemetry, run.id, telemetry)
    if error is None and engine.interrupted and run.totals[Result.PENDING]:
        early = engine.stopped_because
        error = StoppedEarlyError(f"{early}; {errand.go_on}") if early else _interrupted(errand)
    summary = Summary(run.key, run.plan, run.totals, requests, retries, seconds, causes_in(ledger, run), account.cloud)
    if errand.write:
        voice.ended(summary)
    return EngineResult(run, summary, telemetry, error)


async def _work(engine: Engine, options: Options, errand: EngineTask) -> BulkshareError | None:
    """Let the engine work; return what ended it before its time."""
    try:
        await engine.run(
            preflight=errand.preflight,
            share=errand.write,
            inspect=errand.inspect,
            deadline_seconds=options.deadline_seconds,
        )
    except LedgerError:
        raise  # there is nothing to conclude from
    except StoppedEarlyError as stopped:
        return StoppedEarlyError(f"{stopped}; {errand.go_on}")
    except BulkshareError as stopped:
        return stopped
    return None


def _interrupted(errand: EngineTask) -> InterruptedRunError:
    return InterruptedRunError(f"interrupted; {errand.go_on}")
