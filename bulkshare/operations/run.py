"""Runs a plan: a run in the ledger for each of its clouds.

It takes four steps: log in and resolve the plan (`open_sessions`), `check`, `record` and `work`. All clouds take a step
at the same time, and none starts one before all have finished the one before. So nothing is sent before every cloud has
been checked and has a run with its pairs in the ledger, from which `resume` can finish it whatever happens.
"""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.errors import CloudChangedError, UsageError
from bulkshare.operations.defaults import open_ledger, utc_now
from bulkshare.operations.diff import diff_cloud
from bulkshare.operations.execute import EngineTask, OpenRun, enqueue, execute
from bulkshare.operations.fleets import fleet_for, open_fleets
from bulkshare.operations.history import unfinished_runs
from bulkshare.operations.lock import locked, shared
from bulkshare.operations.origin import current_origin
from bulkshare.operations.results import each, raise_refusals
from bulkshare.operations.saved_plan import SavedPart, part_for, require_unchanged
from bulkshare.operations.session import open_sessions
from bulkshare.operations.stops import Stops, stopping_at
from bulkshare.operations.verify import compare
from bulkshare.plan.expand import fingerprint, narrow, orders
from bulkshare.report import NOT_AS_PLANNED, Summary

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from datetime import datetime

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Plan, Run
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.lock import SharedLedger
    from bulkshare.operations.options import Options
    from bulkshare.operations.resolve import ResolvedPlan
    from bulkshare.operations.results import CloudResult
    from bulkshare.operations.session import CloudSession
    from bulkshare.operations.workers import Fleets


async def run_plan(
    plan: Plan,
    options: Options,
    listener: Listener,
    *,
    expected: tuple[SavedPart, ...] | None = None,
    signals: tuple[signal.Signals, ...] = (),
) -> list[CloudResult]:
    """Run a plan on each of its clouds. What ended the work on a cloud early is in its result.

    expected: the parts of a saved plan; nothing is sent unless each cloud is as it was when the plan was saved.
    signals: the first one stops the work on all clouds gracefully, the second one at once.

    With `dry_run` the results have `changes` and `todo`. Raises the `BulkshareError` that kept all clouds from
    starting: a plan that does not fit, a lock that is held, a cloud of a saved plan that can't be reached.
    """
    _check_options(options, saved=expected is not None)
    async with AsyncExitStack() as stack:
        ledger = None
        if not options.dry_run or options.retry_failed:
            opening = open_ledger(options.ledger, create=not options.dry_run)
            ledger = await stack.enter_async_context(shared(opening))
        if ledger is not None and not options.dry_run:
            lock = locked(ledger, plan.name, listener, wait_seconds=options.wait_lock_seconds, signals=signals)
            await stack.enter_async_context(lock)
        fleets = await stack.enter_async_context(open_fleets(options))
        stops = await stack.enter_async_context(stopping_at(signals))
        results, sessions = await open_sessions(plan, options, listener, stack)
        invocation = secrets.token_hex(16)
        began_at = utc_now()
        runs = [
            _CloudRun(session, expected, ledger, fleets, stops, stack, invocation, began_at) for session in sessions
        ]
        await each(runs, _CloudRun.check)
        raise_refusals(results)
        if expected is not None:
            _require_all(results)
        if options.dry_run:
            await each(runs, _CloudRun.diff)
        else:
            await each(runs, _CloudRun.record)
            if expected is not None:
                _require_all(results)
            await each(runs, _CloudRun.work)
    return results


def _check_options(options: Options, *, saved: bool) -> None:
    if options.dry_run and not options.preflight:
        raise UsageError("--dry-run lists the images' members, which --no-preflight forbids: leave out one of them")
    if options.dry_run and options.verify:
        raise UsageError("--dry-run shares nothing that --verify could find: leave out one, or use `bulkshare verify`")
    if options.sandbox and options.fleet and not (options.has_local_fleet or options.passes_credentials):
        raise UsageError(
            f"--fleet {options.fleet}: its workers can't log in to a --sandbox, which only this process knows; use "
            "--fleet local:4"
        )
    if options.sandbox and options.retry_failed:
        raise UsageError("--retry-failed needs the cloud of the last run, and a --sandbox is a new one each time")
    if saved and (options.prune or options.retry_failed or options.sandbox):
        raise UsageError(
            "a saved plan is carried out exactly: leave out --prune, --retry-failed and --sandbox, or run the plan "
            "itself"
        )


def _require_all(results: Sequence[CloudResult]) -> None:
    """Raise a cloud's error if there are other clouds: a saved plan of which a part was done can't be run again."""
    failed = next((result for result in results if result.error is not None), None)
    if failed is not None and failed.error is not None and len(results) > 1:
        raise type(failed.error)(
            f"cloud {failed.cloud}: {failed.error}; nothing was sent to any cloud, because a saved plan starts on all "
            "of its clouds or on none: run it again when this one is back, or choose another one with --os-cloud"
        ) from failed.error


@dataclass(slots=True)
class _CloudRun:
    """A plan's run on one cloud; its methods are the steps.

    session: the cloud.
    expected: the parts of a saved plan.
    ledger: the run's ledger; a dry run has none, unless it is of the last run's pairs.
    stack: closes what lives longer than a step.
    invocation, began_at: common to the runs on all clouds; the time is in their names.
    todo: the plan to work on, once it was checked; None if there is nothing to do.
    open_run: once it was recorded.
    """

    session: CloudSession
    expected: tuple[SavedPart, ...] | None
    ledger: SharedLedger | None
    fleets: Fleets | None
    stops: Stops
    stack: AsyncExitStack
    invocation: str
    began_at: datetime
    todo: ResolvedPlan | None = None
    open_run: OpenRun | None = None

    @property
    def result(self) -> CloudResult:
        """What became of it so far."""
        return self.session.result

    async def check(self) -> None:
        """Decide what to work on. Raises `UsageError` if no cloud may start."""
        options, session = self.session.options, self.session
        self.todo = session.resolved
        if options.retry_failed and self.ledger is not None:
            self.todo = await self.ledger.call(_left, self.ledger.ledger, session)
        if self.expected is not None:
            part = part_for(self.result.cloud, self.expected)
            plan = session.resolved.plan
            self.todo = replace(session.resolved, orders=orders(plan, selected=part.selected))
            await self._check_unchanged(part, self.todo)

    async def diff(self) -> None:
        """Find out what a run would do, without doing it."""
        if self.todo is None:
            self._nothing_to_retry()
            return
        found = await diff_cloud(self.session, self.todo, self.stops)
        self.result.take(found.ended)
        self.result.changes, self.result.todo, self.result.labels = found.changes, found.todo, found.labels
        self.result.to_set_shared, self.result.orders = found.ended.to_set_shared, self.todo.orders
        self.result.unlisted = found.unlisted

    async def record(self) -> None:
        """Put a run with the plan's pairs into the ledger, or reopen the one that was left unfinished."""
        if self.todo is None:
            self._nothing_to_retry()
            return
        session, ledger, todo = self.session, self.ledger, self.todo
        assert ledger is not None  # noqa: S101  only a dry run has none
        run, continued = await ledger.call(_begin, ledger.ledger, session, todo.plan, self.invocation, self.began_at)
        self.open_run = OpenRun(ledger, run)
        self.stack.push_async_callback(self.open_run.close)
        doing = "continuing" if continued else "starting"
        listener = session.listener.acting_as(session.account, doing, f"run {run.key}", plan=run.plan, run=run.key)
        self.session = replace(session, listener=listener)
        await ledger.call(_store, ledger.ledger, run.id, todo)

    async def work(self) -> None:
        """Send the pairs; then compare, if `verify` is asked for."""
        session, options, todo, work = self.session, self.session.options, self.todo, self.open_run
        if todo is None or work is None:
            return
        began = anyio.current_time()
        async with fleet_for(self.fleets, work.run, session) as fleet:
            task = EngineTask(
                how_to_continue=self._how_to_continue(work.run),
                preflight=options.preflight,
                orders=todo.orders,
                images=todo.images,
                fleet=fleet,
            )
            self.result.take(await execute(work, session, task, self.stops))
        if options.verify and self.result.error is None:
            left_seconds = max(options.deadline_seconds - (anyio.current_time() - began), 0.0)
            session = replace(session, options=replace(options, deadline_seconds=left_seconds))
            self.result.comparison = await compare(session, self.stops)

    async def _check_unchanged(self, expected: SavedPart, todo: ResolvedPlan) -> None:
        session = self.session
        # Not among the engines that a signal stops: nothing is written yet, and it ends the operation at once.
        found = await diff_cloud(session, todo, Stops())
        if found.ended.error is not None:
            raise found.ended.error
        account, make_shared = session.account, frozenset(found.ended.to_set_shared)
        now = SavedPart(
            expected.cloud,
            account.endpoint,
            account.project_id,
            found.todo,
            make_shared,
            unlisted=found.unlisted,
        )
        try:
            await anyio.to_thread.run_sync(require_unchanged, expected, now)
        except CloudChangedError as changed:
            if self.ledger is None:
                raise
            name = session.resolved.plan.name
            left = await self.ledger.call(partial(unfinished_runs, self.ledger.ledger, name, sandbox=False))
            for run in (run for run in left if run.enqueued):
                raise CloudChangedError(
                    f"{changed}, or finish run {run.key} of this plan with `bulkshare resume {run.key}`"
                ) from changed
            raise

    def _nothing_to_retry(self) -> None:
        plan, session = self.session.resolved.plan, self.session
        session.listener.note("nothing to retry: the last run of this plan left no pair that the plan still names")
        self.result.summary = Summary(None, plan.name, {}, 0, 0, 0.0, cloud=session.account.cloud)

    def _how_to_continue(self, run: Run) -> str:
        options = self.session.options
        if options.sandbox:
            return "the sandbox ended with the run"
        if options.retry_failed or self.expected is not None:
            return f"continue with `bulkshare resume {run.key}`"
        return f"continue with the same command, or with `bulkshare resume {run.key}`"


def _begin(
    ledger: SqlLedger, session: CloudSession, plan: Plan, invocation: str, began_at: datetime
) -> tuple[Run, bool]:
    """Return the run to work on, and whether it is one that was left unfinished. Blocking."""
    origin = session.options.origin or current_origin()
    unfinished = None if session.options.retry_failed else _unfinished(ledger, session, plan)
    if unfinished is not None:
        again = ledger.reopen(
            unfinished.id, now=utc_now(), settings=session.settings, invocation=invocation, origin=origin
        )
        return again, True
    run = ledger.begin(
        plan=plan.name,
        fingerprint=fingerprint(plan, prune_all=session.options.prune),
        account=session.account,
        now=began_at,
        settings=session.settings,
        key_suffix=session.label,
        invocation=invocation,
        origin=origin,
    )
    return run, False


def _store(ledger: SqlLedger, run_id: int, todo: ResolvedPlan) -> None:
    """Put all that a plan says into its run, so that it can be finished without the plan. Blocking."""
    enqueue(ledger, run_id, todo)
    ledger.set_orders(run_id, todo.orders)
    ledger.mark_enqueued(run_id)


def _unfinished(ledger: SqlLedger, session: CloudSession, plan: Plan) -> Run | None:
    """Return the plan's last run on the cloud if it has pending pairs and is of the same pairs. Blocking."""
    digest = fingerprint(plan, prune_all=session.options.prune)
    return ledger.unfinished(plan=plan.name, fingerprint=digest, account=session.account)


def _left(ledger: SqlLedger, session: CloudSession) -> ResolvedPlan | None:
    """Return the plan reduced to the pairs that its last run left; None if there are none. Blocking.

    Raises `UsageError` if it has not been run on this cloud.
    """
    plan, account = session.resolved.plan, session.account
    last = ledger.last_enqueued(plan=plan.name, account=account)
    if last is None:
        raise UsageError(
            f"--retry-failed: the ledger has no run of plan {plan.name} at {account.endpoint} for project "
            f"{account.project}; run the plan without it"
        )
    wanted: dict[str, set[str]] = {}
    for outcome in ledger.outcomes(last.id, results=NOT_AS_PLANNED):
        wanted.setdefault(outcome.image_id, set()).add(outcome.member_id)
    left = narrow(plan, wanted)
    if not left.entries:
        return None
    # Not the whole plan's orders: what is left prunes nothing.
    return replace(session.resolved, plan=left, orders=orders(left, selected=session.resolved.images))
