"""Runs one engine on one cloud, and records how the run ended, whatever ended it."""

from __future__ import annotations

import importlib.util
import random
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from bulkshare.engine import Engine
from bulkshare.errors import BulkshareError, InterruptedRunError, LedgerError, StoppedEarlyError
from bulkshare.ledger.store import ConnectionLostError
from bulkshare.model import Api, Result
from bulkshare.operations.defaults import temporary_ledger, utc_now
from bulkshare.operations.fleets import sender_for
from bulkshare.operations.history import causes_in
from bulkshare.operations.lock import shared
from bulkshare.operations.names import Names, image_names, project_names
from bulkshare.operations.results import EngineResult
from bulkshare.operations.steering import Steering
from bulkshare.operations.stops import held_at_the_end
from bulkshare.plan.expand import expand
from bulkshare.progress import Tracker, View
from bulkshare.progress.telemetry import Meter
from bulkshare.report import summary_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping

    from bulkshare.fleet import Coordinator
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Image, Orders, Run, Telemetry
    from bulkshare.operations.lock import SharedLedger
    from bulkshare.operations.resolve import ResolvedPlan
    from bulkshare.operations.session import CloudSession
    from bulkshare.operations.stops import Stops
    from bulkshare.ports import Observer

T = TypeVar("T")

NO_PROJECT = (
    "the identity service knows no such project; Glance would accept the ID, but no one could use the image through it"
)


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main` on the fastest event loop that is installed, and return what it returns.

    A signal that arrives while the loop ends, and whose handler would tear it, is sent again once the loop is closed.
    """
    with held_at_the_end() as hold:

        async def holding() -> T:
            try:
                return await main()
            finally:
                hold()

        return anyio.run(holding, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})


def enqueue(ledger: SqlLedger, run_id: int, resolved: ResolvedPlan) -> None:
    """Add a plan's pairs to a run, settle those of unknown projects, and keep the names that are known. Blocking.

    A run that goes on keeps what was settled as planned before.
    """
    ledger.enqueue(run_id, expand(resolved.plan))
    ledger.label(resolved.plan.names, from_plan=True)
    ledger.label(resolved.labels)
    settle_unknown(ledger, run_id, resolved.unknown)


def settle_unknown(ledger: SqlLedger, run_id: int, project_ids: Collection[str]) -> None:
    """Settle the pending pairs of projects that the identity service does not know. Blocking."""
    if project_ids:
        ledger.settle_members(run_id, project_ids, result=Result.SKIPPED, reason=NO_PROJECT, now=utc_now())


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The cost of the work on a run, and how it went over time if an engine ran."""

    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    telemetry: Telemetry | None = None


class OpenRun:
    """A run that this process works on. In the ledger it is `running` until it is finished or closed.

    ledger: the handle for all work on it.
    run: as it was when the work began.
    stats: of the work so far, for the record.
    looked: all images were looked at, so that what is left to do is what is pending.
    ended_by: what ended the work early.
    """

    def __init__(self, ledger: SharedLedger, run: Run) -> None:
        self.ledger = ledger
        self.run = run
        self._closed = False
        self.stats = EngineStats()
        self.looked = False
        self.ended_by: BulkshareError | None = None

    async def finish(self) -> Run:
        """Record that the work has ended, and return the run. Raises `LedgerError`."""
        run = await self.ledger.call(self._finish)
        self._closed = True
        return run

    async def close(self, error: BaseException | None = None) -> None:
        """Finish the run unless that is done. `error` is what ended the work.

        If the ledger's server is lost nothing is written: the call that found out has waited long enough for it.
        """
        lost = any(isinstance(each, ConnectionLostError) for each in (error, error and error.__cause__))
        if isinstance(error, BulkshareError):
            self.ended_by = error
        if not self._closed and not lost:
            with anyio.CancelScope(shield=True), suppress(LedgerError):
                await self.finish()
        self._closed = True

    def _finish(self) -> Run:
        ledger, run_id, stats = self.ledger.ledger, self.run.id, self.stats
        run = ledger.finish(
            run_id,
            now=utc_now(),
            requests=stats.requests,
            retries=stats.retries,
            seconds=stats.seconds,
            complete=self.looked,
            exit_code=None if self.ended_by is None else self.ended_by.exit_code,
            ended_because=str(self.ended_by or ""),
        )
        if stats.telemetry is not None:
            ledger.record_telemetry(run_id, stats.telemetry)
        return run


@asynccontextmanager
async def temporary_run(account: Account, resolved: ResolvedPlan) -> AsyncIterator[OpenRun]:
    """Put a run of a plan's pairs into a temporary ledger, for work that sends no writes."""
    async with shared(temporary_ledger()) as ledger:
        begin = partial(ledger.ledger.begin, plan=resolved.plan.name, fingerprint="", account=account, now=utc_now())
        run = await ledger.call(begin)
        await ledger.call(enqueue, ledger.ledger, run.id, resolved)
        yield OpenRun(ledger, run)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTask:
    """What an engine is to do with a run's pairs.

    how_to_continue: ends the message about an early end.
    preflight: list the members of all images with pending pairs first.
    write: send writes, not only reads.
    inspect: fetch the images that have pairs left, before the first write.
    orders: what the plan wants of whole images, by image ID.
    images: those that were fetched already, by image ID.
    observers: are notified of events, in addition to the listener's own.
    fleet: its workers send the pairs; this process lists, decides and records. Default: this process sends.
    """

    how_to_continue: str
    preflight: bool = True
    write: bool = True
    inspect: bool = True
    orders: Mapping[str, Orders] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    observers: tuple[Observer, ...] = ()
    fleet: Coordinator | None = None


async def execute(work: OpenRun, session: CloudSession, task: EngineTask, stops: Stops) -> EngineResult:
    """Settle the pending pairs of a run as far as possible, and record how that ended.

    What ended it early is in the result. Raises `LedgerError`, after which there is nothing to conclude from.
    """
    try:
        engine, error = await _run_engine(work, session, task, stops)
        if error is None and engine.interrupted:
            why = engine.stopped_because
            error = (
                StoppedEarlyError(f"{why}; {task.how_to_continue}")
                if why
                else InterruptedRunError(f"interrupted; {task.how_to_continue}")
            )
        work.ended_by = error
        run = await work.finish()
    except BaseException as raised:
        await work.close(raised)
        raise
    stats, ledger = work.stats, work.ledger.ledger
    causes = await work.ledger.call(causes_in, ledger, run)
    names = await work.ledger.call(ledger.labels, run.id) if causes else {}
    summary = summary_of(
        run,
        requests=stats.requests,
        retries=stats.retries,
        seconds=stats.seconds,
        causes=causes,
        names=names,
        batches=stats.telemetry.batches if stats.telemetry else 0,
        batched_pairs=stats.telemetry.batched_pairs if stats.telemetry else 0,
    )
    if task.write:
        session.listener.ended(summary)
    return EngineResult(run, summary, stats.telemetry, error, tuple(engine.to_set_shared), engine.unpruned)


async def _run_engine(
    work: OpenRun, session: CloudSession, task: EngineTask, stops: Stops
) -> tuple[Engine, BulkshareError | None]:
    """Run an engine; return it, and what ended it early. Raises `LedgerError`."""
    run, options, paced, fleet = work.run, session.options, session.endpoint.paced, task.fleet
    ledger = work.ledger
    began, sent_before = time.monotonic(), paced.sent
    totals = await ledger.call(ledger.ledger.totals, run.id)
    rate = session.settings.limits.rate
    tracker = Tracker(run.plan, totals, time.monotonic, allowed_rate=rate, opened=run.opened)
    meter = Meter(utc_now(), time.monotonic, lambda: (fleet and fleet.allowed) or paced.allowed)
    names = Names(session.resolved)
    view = View(
        tracker,
        pace=lambda: (fleet and fleet.pace()) or paced.state(),
        details=fleet.details if fleet else list,
        label=session.label,
        names=names.all,
    )
    steering = Steering(
        ledger,
        run.id,
        view,
        requests=lambda: paced.sent - sent_before + (fleet.requests if fleet else 0),
        limits=session.settings.limits,
        paced=paced,
        fleet=fleet,
        note=session.listener.note,
    )
    with session.listener.following(view, meter, names, *task.observers) as observer:
        engine = Engine(
            run_id=run.id,
            transport=session.endpoint.transport,
            ledger=ledger.ledger,
            ledger_turn=ledger.turn,
            observer=observer,
            account=session.account,
            limits=session.settings.limits,
            policy=session.settings.retry,
            batches=session.settings.api is Api.BATCH,
            clock=time.monotonic,
            wall=utc_now,
            jitter=random.random,
            stopping=session.endpoint.new_stop(),
            answered_at=lambda: paced.answered_at,
            useful=paced.useful,
            max_failures=options.failures_allowed(tracker.planned),
            orders=task.orders,
            images=task.images,
            senders=sender_for(fleet),
            before_writing=partial(_name_removed, session, names),
        )
        stops.add(engine)
        error: BulkshareError | None = None
        try:
            await engine.run(
                preflight=task.preflight,
                share=task.write,
                inspect=task.inspect,
                deadline_seconds=options.deadline_seconds,
                beside=partial(steering.keep, engine) if task.write else None,
            )
            if not engine.interrupted:
                await _look_up_names(work, session, task, names)
        except LedgerError:
            raise
        except StoppedEarlyError as stopped:
            error = StoppedEarlyError(f"{stopped}; {task.how_to_continue}")
        except BulkshareError as stopped:
            error = stopped
        finally:
            work.looked = engine.looked
            work.stats = EngineStats(
                requests=paced.sent - sent_before + (fleet.requests if fleet else 0),
                retries=engine.retries + (fleet.retries if fleet else 0),
                seconds=time.monotonic() - began,
                telemetry=meter.telemetry(),
            )
        await ledger.call(ledger.ledger.label, names.seen)
    return engine, error


async def _name_removed(session: CloudSession, names: Names) -> None:
    """Look up the names of members that are to be removed, before they are announced."""
    asked, names.unnamed = names.unnamed, set()
    names.seen |= await project_names(session, asked)


async def _look_up_names(work: OpenRun, session: CloudSession, task: EngineTask, names: Names) -> None:
    """Look up the names that the run's requests did not tell: of images for the ledger, and of removed members."""
    await _name_removed(session, names)
    if not (task.write and task.preflight):
        return
    ledger = work.ledger.ledger
    await work.ledger.call(ledger.label, names.seen)
    unnamed = await work.ledger.call(ledger.unnamed_images, work.run.id)
    names.seen |= await image_names(session, unnamed)  # an empty name is kept as well, and not asked for again
