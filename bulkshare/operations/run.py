"""Running a plan: a run in the ledger for each of its clouds."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.engine import PreflightMode
from bulkshare.errors import UsageError
from bulkshare.operations.defaults import open_ledger, utc_now
from bulkshare.operations.diff import look
from bulkshare.operations.execute import (
    CloudResult,
    EngineTask,
    Stops,
    fill,
    stopping_at,
    work_on,
)
from bulkshare.operations.lock import locked
from bulkshare.operations.saved_plan import part_for, require_unchanged
from bulkshare.operations.session import on_each_cloud
from bulkshare.operations.verify import compare
from bulkshare.operations.workers import fleet_for, open_fleets
from bulkshare.plan.expand import fingerprint, narrow, orders
from bulkshare.report import NOT_AS_PLANNED, Summary

if TYPE_CHECKING:
    import signal

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Plan, Run
    from bulkshare.operations.diff import DiffResult
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.saved_plan import SavedPart
    from bulkshare.operations.session import CloudSession
    from bulkshare.operations.workers import Fleets


async def run_plan(
    plan: Plan,
    options: Options,
    voice: Listener,
    *,
    expected: tuple[SavedPart, ...] | None = None,
    signals: tuple[signal.Signals, ...] = (),
) -> list[CloudResult]:
    """Run a plan on each of its clouds. What ended a part early is in it.

    The first of `signals` ends all of them in good order, the second at once. Raises the `BulkshareError` for which
    nothing was begun: a plan that does not fit, a lock that is held. With `dry_run` the parts have `changes` and
    `todo`. With `expected` (of a saved plan) nothing is written where anything else would be done.
    """
    request = _Request(plan, options, expected)
    _check(request)
    parts: dict[str | None, CloudResult] = {}
    async with AsyncExitStack() as stack:
        if not request.options.dry_run:  # each cloud opens a handle of its own for the work
            opening = open_ledger(request.options.ledger, create=True)
            ledger = await anyio.to_thread.run_sync(stack.enter_context, opening)
            lock = locked(
                ledger, request.plan.name, voice, wait_seconds=request.options.wait_lock_seconds, signals=signals
            )
            await stack.enter_async_context(lock)
        fleets = await stack.enter_async_context(
            open_fleets(replace(options, fleet=None) if options.dry_run else options)
        )
        async with stopping_at(signals) as stops:

            async def share(site: CloudSession) -> None:
                await _share(request, site, parts.setdefault(site.cloud, CloudResult(site.cloud)), stops, fleets)

            errors = await on_each_cloud(
                request.plan,
                share,
                voice,
                options,
                approve=partial(_approve, request),
            )
    for cloud, error in errors.items():
        part = parts.setdefault(cloud, CloudResult(cloud))
        part.error = part.error or error
    return [parts[cloud] for cloud in errors]


@dataclass(frozen=True, slots=True)
class _Request:
    plan: Plan
    options: Options
    expected: tuple[SavedPart, ...] | None


async def _share(request: _Request, site: CloudSession, part: CloudResult, stops: Stops, fleets: Fleets | None) -> None:
    part.account = site.account
    plan, voice = site.prepared.plan, site.voice
    todo = await anyio.to_thread.run_sync(_left, request, plan, site.account) if request.options.retry_failed else plan
    if todo is None:
        voice.note("nothing to retry: the last run of this plan left no pair that the plan still names")
        part.summary = Summary(None, plan.name, {}, 0, 0, 0.0, cloud=site.account.cloud)
        return
    if request.options.retry_failed:  # it does not name all who are to stay
        site = replace(site, prepared=replace(site.prepared, orders=orders(todo)))
    if request.options.dry_run:
        seen = await _look(request, todo, site, stops)
        part.ended(seen.ending)
        part.changes, part.todo, part.labels = seen.changes, seen.todo, seen.labels
        return
    await _work(request, todo, site, part, stops, fleets)


async def _approve(request: _Request, site: CloudSession) -> None:
    """Raise what forbids to begin on a cloud, and with that on all. No write is sent, so a signal ends it at once."""
    if request.options.retry_failed:
        await anyio.to_thread.run_sync(_require_last, request, site.account)
    if request.expected is None:
        return
    expected = part_for(site.cloud, request.expected or ())
    seen = await _look(request, site.prepared.plan, site, Stops())
    if seen.ending.error is not None:
        raise seen.ending.error
    require_unchanged(expected, site.account.endpoint, site.account.project_id, seen.todo)


async def _look(request: _Request, plan: Plan, site: CloudSession, stops: Stops) -> DiffResult:
    account = site.account
    told = site.voice.acting_as(account, "asking", f"what a run of {plan.name} would do", plan=plan.name, run=None)
    return await look(plan, site, told, options=request.options, stops=stops, prune_limit=_prune_limit(request))


async def _work(
    request: _Request, todo: Plan, site: CloudSession, part: CloudResult, stops: Stops, fleets: Fleets | None
) -> None:
    began = anyio.current_time()
    async with AsyncExitStack() as stack:
        ledger = stack.enter_context(open_ledger(request.options.ledger, create=True))
        run, continued = await anyio.to_thread.run_sync(_begin, ledger, todo, site, request)
        doing = "continuing" if continued else "starting"
        voice = site.voice.acting_as(site.account, doing, f"run {run.key}", plan=run.plan, run=run.key)
        await anyio.to_thread.run_sync(fill, ledger, run.id, todo, site.prepared)
        if not any(orders.prune for orders in site.prepared.orders.values()):
            ledger.mark_enqueued(run.id)  # else the engine does, once it knows who is to be removed
        fleet = await stack.enter_async_context(fleet_for(fleets, run, site.settings, site.identity, voice))
        ending = await work_on(
            run,
            ledger,
            site.account,
            site.line,
            voice,
            settings=site.settings,
            options=request.options,
            errand=EngineTask(
                go_on=_how_to_go_on(request, run),
                preflight=PreflightMode.AUTO if request.options.preflight else PreflightMode.NEVER,
                orders=site.prepared.orders,
                images=site.prepared.images,
                prune_limit=_prune_limit(request),
                label=site.label,
            ),
            stops=stops,
            fleet=fleet,
        )
        part.ended(ending)
    if request.options.verify and part.error is None:
        left_seconds = max(request.options.deadline_seconds - (anyio.current_time() - began), 0.0)
        options = replace(request.options, deadline_seconds=left_seconds)
        part.comparison = await compare(site.prepared.plan, site, voice, options=options, stops=stops)


def _prune_limit(request: _Request) -> float:
    """Return the share of an image's members that may go. Whom a saved plan removes, somebody has looked at."""
    return request.options.prune_limit if request.expected is None else 1.0


def _begin(ledger: SqlLedger, plan: Plan, site: CloudSession, request: _Request) -> tuple[Run, bool]:
    """Return the run to work on, and whether it is one that was left unfinished."""
    digest = fingerprint(plan, prune_all=request.options.prune)
    unfinished = None
    if not request.options.retry_failed:
        unfinished = ledger.unfinished(plan=plan.name, fingerprint=digest, account=site.account)
    if unfinished is not None:
        return ledger.reopen(unfinished.id, site.settings), True
    run = ledger.begin(
        plan=plan.name,
        fingerprint=digest,
        account=site.account,
        now=utc_now(),
        settings=site.settings,
        key_suffix=site.label,
    )
    return run, False


def _left(request: _Request, plan: Plan, account: Account) -> Plan | None:
    """Return the plan with the pairs that its last run, at the same place, did not bring about; None for no pair."""
    with open_ledger(request.options.ledger, create=False) as ledger:
        last = _last(ledger, request, account)
        wanted: dict[str, set[str]] = {}
        for outcome in ledger.outcomes(last.id, results=NOT_AS_PLANNED):
            wanted.setdefault(outcome.image_id, set()).add(outcome.member_id)
    left = narrow(plan, wanted)
    return left if left.entries else None


def _require_last(request: _Request, account: Account) -> None:
    with open_ledger(request.options.ledger, create=False) as ledger:
        _last(ledger, request, account)


def _last(ledger: SqlLedger, request: _Request, account: Account) -> Run:
    """Return the run whose pairs `--retry-failed` tries again. Raises `UsageError` where there is none."""
    last = ledger.last_enqueued(plan=request.plan.name, account=account)
    if last is None:
        raise UsageError(
            f"--retry-failed: the ledger has no run of plan {request.plan.name} at {account.endpoint} for project "
            f"{account.project}; run the plan without it"
        )
    return last


def _how_to_go_on(request: _Request, run: Run) -> str:
    if request.options.sandbox:
        return "the sandbox has ended with it"
    if request.options.retry_failed or request.expected is not None:
        return f"`bulkshare resume {run.key}` goes on where it was"
    return f"the same command goes on where it was, or `bulkshare resume {run.key}`"


def _check(request: _Request) -> None:
    if request.options.dry_run and not request.options.preflight:
        raise UsageError(
            "--dry-run asks the cloud who is a member; --no-preflight forbids to ask: leave out one of them"
        )
    if request.options.dry_run and request.options.verify:
        raise UsageError("--dry-run shares nothing that --verify could find: leave out one, or use `bulkshare verify`")
    options = request.options
    if options.sandbox and options.fleet and not (options.has_local_fleet or options.passes_credentials):
        raise UsageError(
            f"--fleet {options.fleet}: its workers can't log in to a --sandbox, which nobody else knows; use "
            "--fleet local:4"
        )
    if request.options.sandbox and request.options.retry_failed:
        raise UsageError("--retry-failed needs the cloud of the last run, and a --sandbox is a new one each time")
    if request.expected is not None and (
        request.options.prune or request.options.retry_failed or request.options.sandbox
    ):
        raise UsageError(
            "a saved plan is done exactly: leave out --prune, --retry-failed and --sandbox, or run the plan itself"
        )
