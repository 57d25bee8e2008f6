"""`bulkshare run`: from a plan to a run in the ledger, and from how that ended to an exit code."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from bulkshare.app.clouds import cloud_name, open_line, sign_in
from bulkshare.app.places import open_ledger, throwaway_ledger, utc_now
from bulkshare.app.work import WorkOptions, run_async, work_on
from bulkshare.cli.output import Voice
from bulkshare.cli.verify import compare
from bulkshare.engine import Preflight
from bulkshare.errors import BulkshareError, UsageError
from bulkshare.ledger import RunLock
from bulkshare.model import AS_PLANNED, Settings
from bulkshare.plan import load_plan
from bulkshare.planner import expand, fingerprint, narrow
from bulkshare.progress import Listings
from bulkshare.report import NOT_AS_PLANNED, Summary, changes_of

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.app.clouds import Line
    from bulkshare.app.work import Ending
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Plan, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(WorkOptions):
    """The options of `bulkshare run`, as the command line has them."""

    plan: Path
    dry_run: bool
    retry_failed: bool
    verify: bool
    ledger: str | None
    sandbox: bool
    no_preflight: bool
    wait_lock: float  # seconds

    @property
    def preflight(self) -> Preflight:
        """Which images are listed first."""
        if self.dry_run:
            return Preflight.ALWAYS
        return Preflight.NEVER if self.no_preflight else Preflight.AUTO


def run_plan(options: RunOptions) -> int:
    """Run a plan to its end and return the exit code: 0 or 1. Raises `BulkshareError` where it can't."""
    _check(options)
    plan = load_plan(options.plan)
    settings = Settings(
        cloud=None if options.sandbox else cloud_name(plan.clouds[0] if plan.clouds else None, options.os_cloud),
        region=plan.region,
        sandbox=options.sandbox,
        limits=options.limits(plan.limits),
        retry=plan.retry,
    )
    voice = Voice(quiet=options.quiet, verbose=options.verbose, as_json=options.as_json, log_format=options.log_format)
    with ExitStack() as stack:
        if options.dry_run:
            # The same engine on a ledger that nobody keeps: what stays pending there is what would be sent.
            ledger = stack.enter_context(throwaway_ledger())
        else:
            ledger = stack.enter_context(open_ledger(options.ledger, create=True))
            stack.enter_context(RunLock(ledger, plan.name, wait_seconds=options.wait_lock, waiting=voice.note))
        return run_async(partial(_run, plan, settings, options, ledger, voice))


async def _run(plan: Plan, settings: Settings, options: RunOptions, ledger: SqlLedger, voice: Voice) -> int:
    async with sign_in(settings, plan) as identity:
        todo = await anyio.to_thread.run_sync(_left, plan, options, identity.account) if options.retry_failed else plan
        if not todo.entries and options.retry_failed:
            voice.note("nothing to retry: the last run of this plan left no pair that the plan still names")
            voice.conclude(Summary(None, plan.name, {}, 0, 0, 0.0))
            return 0
        run, continued = _begin(todo, ledger, identity.account, settings, anew=options.retry_failed)
        voice.acting_as(
            identity.account,
            "continuing" if continued else "starting",
            f"a dry run of {plan.name}" if options.dry_run else f"run {run.key}",
            plan=plan.name,
            run=None if options.dry_run else run.key,
        )
        await anyio.to_thread.run_sync(ledger.enqueue, run.id, expand(todo))
        if not run.enqueued:
            ledger.mark_enqueued(run.id)
        async with open_line(identity, settings.limits, give_up_after_seconds=options.give_up_after) as line:
            listings, began = Listings(), time.monotonic()
            ending = await work_on(
                run,
                ledger,
                line,
                voice,
                settings=settings,
                options=options,
                deadline_seconds=options.deadline,
                how_to_go_on=_how_to_go_on(options, run),
                preflight=options.preflight,
                share=not options.dry_run,
                observers=(listings,),
            )
            if options.dry_run:
                return _conclude_dry_run(ending, ledger, listings, voice)
            if options.verify and ending.error is None:
                left_seconds = max(options.deadline - (time.monotonic() - began), 0)
                return await _conclude_verified(
                    ending, plan, identity.account, line, voice, options=options, deadline_seconds=left_seconds
                )
    voice.conclude(ending.summary)
    if ending.error is not None:
        raise ending.error
    return 0 if ending.summary.as_planned else 1


def _conclude_dry_run(ending: Ending, ledger: SqlLedger, listings: Listings, voice: Voice) -> int:
    changes = changes_of(
        ending.run.plan,
        ledger.outcomes(ending.run.id, results=NOT_AS_PLANNED),
        unlisted=listings.refused,
        private=listings.private,
        as_planned=sum(ending.run.totals.get(result, 0) for result in AS_PLANNED),
        cloud=ending.run.account.cloud,
    )
    voice.conclude_changes(changes, listings.names)
    if ending.error is not None:
        raise ending.error
    return 0


async def _conclude_verified(
    ending: Ending,
    plan: Plan,
    account: Account,
    line: Line,
    voice: Voice,
    *,
    options: RunOptions,
    deadline_seconds: float,
) -> int:
    """Tell how a run ended together with what the cloud has then: all of the plan, also after --retry-failed."""
    try:
        comparison = await compare(
            plan,
            account,
            line,
            voice,
            settings=ending.run.settings,
            options=options,
            deadline_seconds=deadline_seconds,
        )
    except BulkshareError:
        voice.conclude(ending.summary)
        raise
    voice.conclude(ending.summary, comparison=comparison)
    return 0 if ending.summary.as_planned and comparison.complete else 1


def _check(options: RunOptions) -> None:
    if options.dry_run and options.no_preflight:
        raise UsageError(
            "--dry-run asks the cloud who is a member; --no-preflight forbids to ask: leave out one of them"
        )
    if options.dry_run and options.verify:
        raise UsageError("--dry-run shares nothing that --verify could find: leave out one, or use `bulkshare verify`")
    if options.sandbox and options.retry_failed:
        raise UsageError("--retry-failed needs the cloud of the last run, and a --sandbox is a new one each time")


def _left(plan: Plan, options: RunOptions, account: Account) -> Plan:
    """Return the plan with the pairs that its last run, at the same place, did not bring about."""
    with open_ledger(options.ledger, create=False) as ledger:
        last = ledger.last_enqueued(plan=plan.name, account=account)
        if last is None:
            raise UsageError(
                f"--retry-failed: the ledger has no run of plan {plan.name} at {account.endpoint} for project "
                f"{account.project}; run the plan without it"
            )
        wanted: dict[str, set[str]] = {}
        for outcome in ledger.outcomes(last.id, results=NOT_AS_PLANNED):
            wanted.setdefault(outcome.image_id, set()).add(outcome.member_id)
    return narrow(plan, wanted)


def _begin(plan: Plan, ledger: SqlLedger, account: Account, settings: Settings, *, anew: bool) -> tuple[Run, bool]:
    """Return the run to work on, and whether it is one that was left unfinished."""
    digest = fingerprint(plan)
    unfinished = None if anew else ledger.unfinished(plan=plan.name, fingerprint=digest, account=account)
    if unfinished is not None:
        return ledger.reopen(unfinished.id, settings), True
    return ledger.begin(plan=plan.name, fingerprint=digest, account=account, now=utc_now(), settings=settings), False


def _how_to_go_on(options: RunOptions, run: Run) -> str:
    if options.sandbox:
        return "the sandbox has ended with it"
    if options.dry_run:
        return "nothing was sent"
    if options.retry_failed:
        return f"`bulkshare resume {run.key}` goes on where it was"
    return f"the same command goes on where it was, or `bulkshare resume {run.key}`"
