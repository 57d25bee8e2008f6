"""`bulkshare resume`: goes on with a run as the ledger has it, without its plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bulkshare.app.clouds import open_line, sign_in
from bulkshare.app.places import open_ledger
from bulkshare.app.work import WorkOptions, run_async, summary_with, work_on
from bulkshare.cli.history import find_run
from bulkshare.cli.output import Voice
from bulkshare.errors import UsageError
from bulkshare.ledger import RunLock
from bulkshare.model import RunState

if TYPE_CHECKING:
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOptions(WorkOptions):
    """The options of `bulkshare resume`, as the command line has them."""

    run: str | None
    ledger: str | None
    wait_lock: float  # seconds


def resume_run(options: ResumeOptions) -> int:
    """Finish a run and return its exit code. Raises `BulkshareError` where it can't."""
    voice = Voice(quiet=options.quiet, verbose=options.verbose, as_json=options.as_json, log_format=options.log_format)
    with open_ledger(options.ledger, create=False) as ledger:
        found = find_run(ledger, options.run)
        if found.state is RunState.FINISHED:
            return _tell_finished(found, ledger, voice)
        _check_resumable(found)
        with RunLock(ledger, found.plan, wait_seconds=options.wait_lock, waiting=voice.note):
            run = find_run(ledger, found.key)  # as those who held the lock left it
            if run.state is RunState.FINISHED:
                return _tell_finished(run, ledger, voice)
            return run_async(partial(_resume, run, options, ledger, voice))


async def _resume(run: Run, options: ResumeOptions, ledger: SqlLedger, voice: Voice) -> int:
    settings = replace(run.settings, limits=options.limits(run.settings.limits))
    if options.os_cloud is not None:
        settings = replace(settings, cloud=options.os_cloud)
    async with sign_in(settings) as identity:
        _check_same(run, identity.account)
        run = ledger.reopen(run.id, settings)
        voice.acting_as(identity.account, "continuing", f"run {run.key}", plan=run.plan, run=run.key)
        async with open_line(identity, settings.limits, give_up_after_seconds=options.give_up_after) as line:
            ending = await work_on(
                run,
                ledger,
                line,
                voice,
                settings=settings,
                options=options,
                deadline_seconds=options.deadline,
                how_to_go_on=f"`bulkshare resume {run.key}` goes on where it was",
            )
    voice.conclude(ending.summary)
    if ending.error is not None:
        raise ending.error
    return 0 if ending.summary.as_planned else 1


def _tell_finished(run: Run, ledger: SqlLedger, voice: Voice) -> int:
    voice.note(f"run {run.key} is finished; nothing was sent")
    summary = summary_with(ledger, run, 0, 0, 0.0)
    voice.conclude(summary)
    return 0 if summary.as_planned else 1


def _check_resumable(run: Run) -> None:
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
