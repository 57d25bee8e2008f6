"""`bulkshare run`: puts the parts together as the options say, and turns the end into an exit code."""

from __future__ import annotations

import importlib.util
import math
import random
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.cli.cloud import sign_in, transport_for
from bulkshare.cli.history import CAUSES_SEEN
from bulkshare.cli.output import Voice
from bulkshare.cli.places import default_ledger, open_ledger, utc_now
from bulkshare.engine import Engine, Preflight
from bulkshare.errors import BulkshareError, InterruptedRunError, LedgerError, StoppedEarlyError, UsageError
from bulkshare.ledger import RunLock
from bulkshare.pacing import Breaker
from bulkshare.plan import load_plan
from bulkshare.planner import expand, fingerprint
from bulkshare.progress import Listings, Tracker
from bulkshare.report import SETTLED_BADLY, Listed, Summary, causes_of

if TYPE_CHECKING:
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Plan, Run

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
ALL = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `bulkshare run`, as the command line has them."""

    plan: Path
    dry_run: bool
    ledger: str | None
    os_cloud: str | None
    sandbox: bool
    concurrency: int | None
    rate: float | None
    no_preflight: bool
    as_json: bool
    quiet: bool
    verbose: bool
    log_format: str
    failures: str | None  # "N" or "P%"
    deadline: float  # seconds
    give_up_after: float  # seconds

    def max_failures(self, planned: int) -> float:
        """Return how many of `planned` pairs may be rejected or failed before the run stops."""
        if self.failures is None:
            return math.inf
        if self.failures.endswith("%"):
            return planned * float(self.failures[:-1]) / 100
        return float(self.failures)


def run_plan(options: RunOptions) -> int:
    """Run a plan to its end and return the exit code: 0, 1 or 130. Raises `BulkshareError` where it can't."""
    if options.dry_run and options.no_preflight:
        raise UsageError(
            "--dry-run asks the cloud who is a member; --no-preflight forbids to ask: leave out one of them"
        )
    plan = _with_options(load_plan(options.plan), options)
    voice = Voice(quiet=options.quiet, verbose=options.verbose, as_json=options.as_json, log_format=options.log_format)
    with ExitStack() as stack:
        if options.dry_run:
            # The same engine on a ledger that nobody keeps: what stays pending there is what would be sent.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkshare-"))
            ledger = stack.enter_context(open_ledger(str(Path(folder) / "dry-run.db"), create=True))
        else:
            ledger = stack.enter_context(open_ledger(options.ledger or default_ledger(), create=True))
            stack.enter_context(RunLock(ledger, plan.name))
        work = partial(_run, plan, options, ledger, voice)
        return anyio.run(work, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})


async def _run(plan: Plan, options: RunOptions, ledger: SqlLedger, voice: Voice) -> int:
    async with sign_in(plan, os_cloud=options.os_cloud, sandbox=options.sandbox) as identity:
        run, continued = _begin(plan, ledger, identity.account)
        shown_key = None if options.dry_run else run.key
        voice.acting_as(identity.account, run=shown_key, plan=plan.name, continued=continued)
        await anyio.to_thread.run_sync(ledger.enqueue, run.id, expand(plan))
        tracker, listings = Tracker(plan.name, ledger.totals(run.id), time.monotonic), Listings()
        error: BulkshareError | None = None
        began = time.monotonic()
        stopping = anyio.Event()
        breaker = Breaker(give_up_after_seconds=options.give_up_after)
        async with transport_for(identity, plan.limits, breaker, stopping) as (transport, paced):
            with voice.following(tracker, listings, allowed_rate=plan.limits.rate, pace=paced.state) as observer:
                engine = Engine(
                    run_id=run.id,
                    transport=transport,
                    ledger=ledger,
                    observer=observer,
                    limits=plan.limits,
                    policy=plan.retry,
                    wall=utc_now,
                    jitter=random.random,
                    stopping=stopping,
                    answered_at=lambda: paced.answered_at,
                    max_failures=options.max_failures(tracker.planned),
                )
                try:
                    await engine.run(
                        preflight=_preflight(options),
                        share=not options.dry_run,
                        deadline_seconds=options.deadline,
                        stop_signals=STOP_SIGNALS,
                    )
                except LedgerError:
                    raise  # there is nothing to conclude from
                except BulkshareError as stopped:
                    error = stopped
        run = ledger.finish(
            run.id, now=utc_now(), requests=paced.sent, retries=engine.retries, seconds=time.monotonic() - began
        )
        causes = causes_of(islice(ledger.outcomes(run.id, results=SETTLED_BADLY), CAUSES_SEEN))
        seconds = time.monotonic() - began
        summary = Summary(shown_key, run.plan, run.totals, paced.sent, engine.retries, seconds, causes)
        to_send = ledger.pending_images(run.id, after=None, limit=ALL) if options.dry_run else []
        voice.conclude(summary, listed=Listed(dict(to_send), listings.refused) if options.dry_run else None)
        if error is not None:
            raise error
        if engine.stopped_because:
            raise StoppedEarlyError(f"{engine.stopped_because}; {_how_to_go_on(options)}")
        if engine.interrupted:
            raise InterruptedRunError(f"interrupted; {_how_to_go_on(options)}")
        return 0 if options.dry_run or summary.as_planned else 1


def _with_options(plan: Plan, options: RunOptions) -> Plan:
    limits = plan.limits
    if options.concurrency is not None:
        limits = replace(limits, concurrency=options.concurrency)
    if options.rate is not None:
        limits = replace(limits, rate=options.rate)
    return replace(plan, limits=limits)


def _begin(plan: Plan, ledger: SqlLedger, account: Account) -> tuple[Run, bool]:
    """Return the run to work on, and whether it is one that was left unfinished."""
    unfinished = ledger.unfinished(plan=plan.name, fingerprint=fingerprint(plan), account=account)
    if unfinished is not None:
        return ledger.reopen(unfinished.id), True
    return ledger.begin(plan=plan.name, fingerprint=fingerprint(plan), account=account, now=utc_now()), False


def _preflight(options: RunOptions) -> Preflight:
    if options.dry_run:
        return Preflight.ALWAYS
    return Preflight.NEVER if options.no_preflight else Preflight.AUTO


def _how_to_go_on(options: RunOptions) -> str:
    return "the sandbox has ended with it" if options.sandbox else "the same command goes on where it was"
