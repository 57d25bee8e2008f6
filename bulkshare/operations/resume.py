"""Finishes runs from the ledger, without their plan."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bulkshare.errors import UsageError
from bulkshare.model import Plan, RunState
from bulkshare.operations.defaults import open_ledger, utc_now
from bulkshare.operations.endpoint import open_endpoint, open_identity
from bulkshare.operations.execute import EngineTask, OpenRun, execute, settle_unknown
from bulkshare.operations.fleets import fleet_for, open_fleets
from bulkshare.operations.history import causes_in, find_runs, runs_to_resume, unfinished_runs
from bulkshare.operations.lock import locked, shared
from bulkshare.operations.origin import current_origin
from bulkshare.operations.resolve import ResolvedPlan, unknown_projects
from bulkshare.operations.results import CloudResult, each
from bulkshare.operations.session import CloudSession, chosen_api
from bulkshare.operations.stops import stopping_at
from bulkshare.report import summary_of

if TYPE_CHECKING:
    import signal

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Run
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.lock import SharedLedger
    from bulkshare.operations.options import Options
    from bulkshare.operations.stops import Stops
    from bulkshare.operations.workers import Fleets


async def resume_runs(
    name: str | None, options: Options, listener: Listener, *, signals: tuple[signal.Signals, ...] = ()
) -> list[CloudResult]:
    """Finish a run, or what a command left unfinished on several clouds.

    `name` is as for `find_runs`. None: the unfinished run, together with those that the same plan left unfinished on
    other clouds. Raises the `BulkshareError` that kept all of them from starting.
    """
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(shared(open_ledger(options.ledger, create=False)))
        notes: list[str] = []
        if name is None:
            found = await ledger.call(runs_to_resume, ledger.ledger, notes.append)
        else:
            found = await ledger.call(find_runs, ledger.ledger, name, notes.append)
        for note in notes:
            listener.note(note)
        named, plan = name is not None, found[0].plan
        if await ledger.call(_unfinished, ledger.ledger, found, named):
            lock = locked(ledger, plan, listener, wait_seconds=options.wait_lock_seconds, signals=signals)
            await stack.enter_async_context(lock)
        runs = await ledger.call(_unfinished, ledger.ledger, found, named)  # as another holder of the lock left them
        if not runs:
            what = f"run {found[0].key} is" if len(found) == 1 else f"the runs of plan {plan} are"
            listener.note(f"{what} finished; nothing was sent")
            return [await ledger.call(_finished, ledger.ledger, run) for run in found]
        for run in runs:
            await ledger.call(_check_resumable, ledger.ledger, run)
        fleets = await stack.enter_async_context(open_fleets(options))
        stops = await stack.enter_async_context(stopping_at(signals))
        resumed = [
            _Resumed(CloudResult(run.settings.cloud), run, options, listener, ledger, fleets, stops) for run in runs
        ]
        await each(resumed, _Resumed.work)
    return [each.result for each in resumed]


@dataclass(slots=True)
class _Resumed:
    """A run to be finished on its cloud."""

    result: CloudResult
    run: Run
    options: Options
    listener: Listener
    ledger: SharedLedger
    fleets: Fleets | None
    stops: Stops

    async def work(self) -> None:
        """Log in, reopen the run and send the rest of its pairs."""
        run, options, ledger = self.run, self.options, self.ledger
        settings = replace(run.settings, limits=options.limits(run.settings.limits))
        if options.cloud is not None:
            settings = replace(settings, cloud=options.cloud)
        async with AsyncExitStack() as stack:
            give_up_after = options.give_up_after_seconds
            with self.stops.interrupting():  # other clouds may be at work
                log_in = open_identity(
                    settings,
                    listener=self.listener,
                    give_up_after_seconds=min(give_up_after, options.deadline_seconds),
                )
                identity = await stack.enter_async_context(log_in)
            self.result.account = account = identity.account
            _check_same(run, account)
            settings = replace(settings, api=chosen_api(settings.api, identity))
            endpoint = await stack.enter_async_context(
                open_endpoint(identity, settings.limits, give_up_after_seconds=give_up_after)
            )
            origin = options.origin or current_origin()
            reopen = partial(ledger.ledger.reopen, run.id, now=utc_now(), settings=settings, origin=origin)
            open_run = OpenRun(ledger, await ledger.call(reopen))
            stack.push_async_callback(open_run.close)
            orders = await ledger.call(ledger.ledger.orders, run.id)
            session = CloudSession(
                self.result,
                options,
                self.listener.acting_as(account, "continuing", f"run {run.key}", plan=run.plan, run=run.key),
                settings,
                identity,
                endpoint,
                ResolvedPlan(Plan(run.plan, ()), orders=orders),  # its pairs are in the ledger
            )
            await self._check_projects(session)
            fleet = await stack.enter_async_context(fleet_for(self.fleets, open_run.run, session))
            task = EngineTask(
                how_to_continue=f"continue with `bulkshare resume {run.key}`",
                orders=orders,
                fleet=fleet,
            )
            self.result.take(await execute(open_run, session, task, self.stops))

    async def _check_projects(self, session: CloudSession) -> None:
        """Look up the projects whose pairs are pending, as the run did, and settle those that are unknown."""
        ledger, run = self.ledger, self.run
        ids = frozenset(await ledger.call(ledger.ledger.project_ids, run.id))
        check, directory = session.settings.check_projects, session.identity.directory()
        unknown = await unknown_projects(ids, check, directory, session.listener.note)
        await ledger.call(settle_unknown, ledger.ledger, run.id, unknown)


def _unfinished(ledger: SqlLedger, found: list[Run], named: bool) -> list[Run]:  # noqa: FBT001  called in a thread
    """Return the runs to finish: of those that were named, or the newest of their plan at each place. Blocking."""
    if not named:
        return unfinished_runs(ledger, found[0].plan, sandbox=found[0].settings.sandbox)
    now = [ledger.find_run(run.key) or run for run in found]
    return [run for run in now if run.state is not RunState.FINISHED]


def _finished(ledger: SqlLedger, found: Run) -> CloudResult:
    """Return the result of a run that has nothing to finish. Blocking."""
    run = ledger.find_run(found.key) or found
    summary = summary_of(run, causes=causes_in(ledger, run), names=ledger.labels(run.id))
    return CloudResult(run.settings.cloud, run.account, summary=summary)


def _check_resumable(ledger: SqlLedger, run: Run) -> None:
    place = run.account.endpoint, run.account.project_id
    here = (each for each in ledger.runs(plan=run.plan) if place == (each.account.endpoint, each.account.project_id))
    newest = next(here, run)
    if newest.id != run.id:
        raise UsageError(
            f"run {newest.key} has taken the place of run {run.key}, whose plan may have changed since; resume "
            f"{newest.key}, or run the plan"
        )
    if run.settings.sandbox:
        raise UsageError(f"run {run.key} was on a sandbox, which ended with the run; run its plan again")
    if not run.enqueued:
        raise UsageError(
            f"run {run.key} ended before all its pairs were in the ledger: only its plan {run.plan} has the rest; "
            "run the plan, which continues this run"
        )


def _check_same(run: Run, account: Account) -> None:
    if run.account.endpoint != account.endpoint:
        raise UsageError(
            f"run {run.key} was at {run.account.endpoint}, and cloud {account.cloud} is now at {account.endpoint}: a "
            "run is finished at its own endpoint; run its plan for the other one"
        )
    if run.account.project_id != account.project_id:
        raise UsageError(
            f"run {run.key} acted for project {run.account.project} ({run.account.project_id}), and cloud "
            f"{account.cloud} now does for {account.project} ({account.project_id}): a run is "
            "finished for the project that began it"
        )
