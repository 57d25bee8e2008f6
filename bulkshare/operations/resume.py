"""Finishes runs from the ledger, without their plan; finds runs by the names users give."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.errors import BulkshareError, UsageError
from bulkshare.model import RunState
from bulkshare.operations.defaults import open_ledger
from bulkshare.operations.execute import CloudResult, EngineTask, causes_in, stopping_at, work_on
from bulkshare.operations.lock import locked
from bulkshare.operations.session import open_line, sign_in
from bulkshare.operations.workers import fleet_for, open_fleets
from bulkshare.report import Summary

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Run
    from bulkshare.operations.execute import Stops
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.workers import Fleets


async def resume_runs(
    name: str | None, options: Options, voice: Listener, *, signals: tuple[signal.Signals, ...] = ()
) -> list[CloudResult]:
    """Finish a run, or what the last one left on several clouds. Raises the `BulkshareError` that forbids to begin.

    `name` is a run's key, the beginning of one, or a plan's name. None: the last run, together with those that the
    same plan left unfinished on other clouds.
    """
    async with AsyncExitStack() as stack:
        ledger = stack.enter_context(open_ledger(options.ledger, create=False))
        found = find_run(ledger, name, voice.note)
        if _unfinished(ledger, found, named=name is not None):
            lock = locked(ledger, found.plan, voice, wait_seconds=options.wait_lock_seconds, signals=signals)
            await stack.enter_async_context(lock)
        runs = _unfinished(ledger, found, named=name is not None)  # as those who held the lock left them
        if not runs:
            voice.note(f"run {found.key} is finished; nothing was sent")
            return [_finished(ledger.find_run(found.key) or found, ledger)]
        for run in runs:
            _check_resumable(run, ledger)
        parts = [CloudResult(run.settings.cloud) for run in runs]
        fleets = await stack.enter_async_context(open_fleets(options))
        async with stopping_at(signals) as stops, anyio.create_task_group() as sites:
            for run, part in zip(runs, parts, strict=True):
                sites.start_soon(_resume, run, part, options, voice, stops, fleets)
    return parts


def _unfinished(ledger: SqlLedger, found: Run, *, named: bool) -> list[Run]:
    """Return the runs to finish: the one that was named, or the newest of its plan in each place."""
    if named:
        newest = [ledger.find_run(found.key) or found]
    else:
        places: dict[tuple[str, str], Run] = {}
        for run in ledger.runs():
            if run.plan == found.plan and run.settings.sandbox == found.settings.sandbox:
                places.setdefault((run.account.endpoint, run.account.project_id), run)
        newest = list(places.values())
    return [run for run in newest if run.state is not RunState.FINISHED]


async def _resume(
    run: Run, part: CloudResult, options: Options, voice: Listener, stops: Stops, fleets: Fleets | None
) -> None:
    settings = replace(run.settings, limits=options.limits(run.settings.limits))
    if options.cloud is not None:
        settings = replace(settings, cloud=options.cloud)
    try:
        async with sign_in(settings) as identity:
            part.account = identity.account
            _check_same(run, identity.account)
            give_up_after = options.give_up_after_seconds
            async with open_line(identity, settings.limits, give_up_after_seconds=give_up_after) as line:
                with open_ledger(options.ledger, create=False) as ledger:
                    reopened = await anyio.to_thread.run_sync(ledger.reopen, run.id, settings)
                    told = voice.acting_as(identity.account, "continuing", f"run {run.key}", plan=run.plan, run=run.key)
                    async with fleet_for(fleets, reopened, settings, identity, told) as fleet:
                        ending = await work_on(
                            reopened,
                            ledger,
                            identity.account,
                            line,
                            told,
                            settings=settings,
                            options=options,
                            errand=EngineTask(
                                go_on=f"`bulkshare resume {run.key}` goes on where it was",
                                prune_limit=1.0,  # who is still to be removed has passed the limit of the run
                            ),
                            stops=stops,
                            fleet=fleet,
                        )
                    part.ended(ending)
    except BulkshareError as error:
        part.error = error


def _finished(run: Run, ledger: SqlLedger) -> CloudResult:
    summary = Summary(run.key, run.plan, run.totals, 0, 0, 0.0, causes_in(ledger, run), run.account.cloud)
    return CloudResult(run.settings.cloud, run.account, summary=summary)


def _check_resumable(run: Run, ledger: SqlLedger) -> None:
    place = run.account.endpoint, run.account.project_id
    here = (each for each in ledger.runs(plan=run.plan) if place == (each.account.endpoint, each.account.project_id))
    newest = next(here, run)
    if newest.id != run.id:
        raise UsageError(
            f"run {newest.key} has taken the place of run {run.key}, whose plan may be another one by now; name that, "
            "or run the plan"
        )
    if run.settings.sandbox:
        raise UsageError(f"run {run.key} was on a sandbox, which has ended with it; run its plan again")
    if not run.enqueued:
        raise UsageError(
            f"run {run.key} ended before all its pairs were in the ledger: only its plan {run.plan} knows the rest; "
            "run that, and it goes on where it was"
        )


def _check_same(run: Run, account: Account) -> None:
    if run.account.endpoint != account.endpoint:
        raise UsageError(
            f"run {run.key} was at {run.account.endpoint}, and cloud {account.cloud} is now at {account.endpoint}: a "
            "run is finished where it began; run its plan for the other place"
        )
    if run.account.project_id != account.project_id:
        raise UsageError(
            f"run {run.key} acted for project {run.account.project} ({run.account.project_id}), and cloud "
            f"{account.cloud} now does for {account.project} ({account.project_id}): a run is finished as who began it"
        )


LOOKED_BACK = 100  # runs: beyond that nobody means "the last run", or has mistyped the name


def find_run(ledger: SqlLedger, name: str | None, tell: Callable[[str], None]) -> Run:
    """Return a run by its key, the last one of a plan by the plan's name, or one by the beginning of its key.

    Where `name` is None it is the last run, one on a sandbox only where there is no other; `tell` is told what is
    passed over. Raises `UsageError`.
    """
    if name is None:
        return _last_run(ledger, tell)
    run = ledger.newest_run(name) or ledger.find_run(name)
    if run is None:
        known = [each for run in ledger.runs(limit=LOOKED_BACK) for each in (run.key, run.plan)]
        close = get_close_matches(name, list(dict.fromkeys(known)), n=3)
        instead = f"did you mean {' or '.join(close)}?" if close else "`bulkshare runs` lists them"
        raise UsageError(f"there is no run or plan {name!r}; {instead}")
    return run


def _last_run(ledger: SqlLedger, tell: Callable[[str], None]) -> Run:
    newest = ledger.find_run()
    if newest is None:
        raise UsageError("the ledger has no runs yet")
    if not newest.settings.sandbox:
        return newest
    other = next((run for run in ledger.runs(limit=LOOKED_BACK) if not run.settings.sandbox), None)
    if other is not None:
        tell(f"Run {newest.key} is later, on the sandbox: name it if you mean it.")
    return other or newest
