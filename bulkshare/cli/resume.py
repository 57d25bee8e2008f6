"""`bulkshare resume`: goes on with runs as the ledger has them, without their plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bulkshare.app.resuming import ResumeRequest, resume_runs
from bulkshare.app.work import run_async
from bulkshare.cli.asking import STOP_SIGNALS, CloudOptions
from bulkshare.cli.conclusion import conclude


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOptions(CloudOptions):
    """The options of `bulkshare resume`, as the command line has them."""

    run: str | None
    ledger: str | None
    wait_lock: float  # seconds


def resume_command(options: ResumeOptions) -> int:
    """Finish a run and return its exit code. Raises `BulkshareError` where it can't."""
    request = ResumeRequest(
        run=options.run,
        ledger=options.ledger,
        os_cloud=options.os_cloud,
        wait_lock_seconds=options.wait_lock,
        effort=options.effort,
        fleet=options.fleet_request,
    )
    voice = options.voice()
    return conclude(run_async(partial(resume_runs, request, voice, signals=STOP_SIGNALS)), voice)
