"""What `run`, `resume` and `verify` have in common: options, and letting an engine work on a run in a ledger."""

from __future__ import annotations

import importlib.util
import math
import random
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from bulkshare.app.causes import causes_in
from bulkshare.app.places import utc_now
from bulkshare.engine import Engine, Preflight
from bulkshare.errors import BulkshareError, InterruptedRunError, LedgerError, StoppedEarlyError
from bulkshare.progress import Tracker
from bulkshare.report import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bulkshare.app.clouds import Line
    from bulkshare.cli.output import Voice
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Limits, Run, Settings

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """The options that commands which talk to a cloud have in common; the times are in seconds."""

    os_cloud: str | None
    concurrency: int | None
    rate: float | None
    as_json: bool
    quiet: bool
    verbose: bool = False
    log_format: str = "console"
    failures: str | None = None  # "N" or "P%"
    deadline: float = math.inf
    give_up_after: float = 15 * 60.0

    def max_failures(self, planned: int) -> float:
        """Return how many of `planned` pairs may be rejected or failed before the run stops."""
        if self.failures is None:
            return math.inf
        if self.failures.endswith("%"):
            return planned * float(self.failures[:-1]) / 100
        return float(self.failures)

    def limits(self, limits: Limits) -> Limits:
        """Return the limits with what the options say in their place."""
        if self.concurrency is not None:
            limits = replace(limits, concurrency=self.concurrency)
        if self.rate is not None:
            limits = replace(limits, rate=self.rate)
        return limits


@dataclass(frozen=True, slots=True)
class Ending:
    """How the work on a run ended. `error` is what ended it before its time, to be raised once the rest is told."""

    run: Run
    summary: Summary
    error: BulkshareError | None


def run_async(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `main` on the fastest event loop there is and return what it returns."""
    return anyio.run(main, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})


async def work_on(
    run: Run,
    ledger: SqlLedger,
    line: Line,
    voice: Voice,
    *,
    settings: Settings,
    options: WorkOptions,
    deadline_seconds: float,
    how_to_go_on: str,
    preflight: Preflight = Preflight.AUTO,
    share: bool = True,
    observers: tuple[object, ...] = (),
) -> Ending:
    """Settle the pending pairs of a run as far as it goes, and write down how it ended.

    The error in what is returned has `how_to_go_on` in it where something is left to do. Raises `LedgerError`.
    """
    began = time.monotonic()
    sent_before = line.paced.sent
    tracker = Tracker(run.plan, await anyio.to_thread.run_sync(ledger.totals, run.id), time.monotonic)
    error: BulkshareError | None = None
    with voice.following(tracker, *observers, allowed_rate=settings.limits.rate, pace=line.paced.state) as observer:
        engine = Engine(
            run_id=run.id,
            transport=line.transport,
            ledger=ledger,
            observer=observer,
            limits=settings.limits,
            policy=settings.retry,
            wall=utc_now,
            jitter=random.random,
            stopping=line.stopping,
            answered_at=lambda: line.paced.answered_at,
            max_failures=options.max_failures(tracker.planned),
        )
        try:
            await engine.run(
                preflight=preflight, share=share, deadline_seconds=deadline_seconds, stop_signals=STOP_SIGNALS
            )
        except LedgerError:
            raise  # there is nothing to conclude from
        except StoppedEarlyError as stopped:
            error = StoppedEarlyError(f"{stopped}; {how_to_go_on}")
        except BulkshareError as stopped:
            error = stopped
    if error is None and engine.stopped_because:
        error = StoppedEarlyError(f"{engine.stopped_because}; {how_to_go_on}")
    elif error is None and engine.interrupted:
        error = InterruptedRunError(f"interrupted; {how_to_go_on}")
    seconds, requests = time.monotonic() - began, line.paced.sent - sent_before
    finish = partial(ledger.finish, run.id, now=utc_now(), requests=requests, retries=engine.retries, seconds=seconds)
    run = await anyio.to_thread.run_sync(finish)
    return Ending(run, summary_with(ledger, run, requests, engine.retries, seconds), error)


def summary_with(ledger: SqlLedger, run: Run, requests: int, retries: int, seconds: float) -> Summary:
    """Return the summary of a run with the effort of one invocation."""
    return Summary(
        run.key, run.plan, run.totals, requests, retries, seconds, causes_in(ledger, run.id), run.account.cloud
    )
