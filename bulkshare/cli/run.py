"""`bulkshare run` and `bulkshare diff`: from options to a request, and from what became of it to an exit code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from bulkshare.app.places import utc_now
from bulkshare.app.running import RunRequest, run_plan
from bulkshare.app.saved import is_saved, load_saved, save
from bulkshare.app.work import run_async
from bulkshare.cli.asking import STOP_SIGNALS, CloudOptions
from bulkshare.cli.conclusion import conclude, conclude_changes
from bulkshare.engine import Preflight
from bulkshare.errors import BulkshareError, InterruptedRunError, UsageError
from bulkshare.metrics import LastRun, require_writable, write_metrics
from bulkshare.plan import load_plan

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.app.parts import Part

CHANGES_EXIT_CODE = 10
INTERRUPTED_EXIT_CODE = InterruptedRunError.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions(CloudOptions):
    """The options of `bulkshare diff`, as the command line has them."""

    plan: Path
    prune: bool
    prune_limit: float  # share of an image's members
    sandbox: bool
    out: Path | None = None
    all_pairs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(CloudOptions):
    """The options of `bulkshare run`, as the command line has them."""

    plan: Path
    dry_run: bool
    retry_failed: bool
    verify: bool
    prune: bool
    prune_limit: float  # share of an image's members
    ledger: str | None
    sandbox: bool
    no_preflight: bool
    wait_lock: float  # seconds
    metrics_file: Path | None


def diff_command(options: DiffOptions) -> int:
    """Tell what a run would do; return 0 for nothing, 10 for changes. Raises `BulkshareError`."""
    request = RunRequest(
        plan=load_plan(options.plan),
        os_cloud=options.os_cloud,
        sandbox=options.sandbox,
        dry_run=True,
        prune=options.prune,
        prune_limit=options.prune_limit,
        preflight=Preflight.ALWAYS,
        effort=options.effort,
    )
    voice = options.voice()
    parts = run_async(partial(run_plan, request, voice, signals=STOP_SIGNALS))
    changes = conclude_changes(parts, voice, all_pairs=options.all_pairs)
    if options.out is not None:
        save(options.out, request.plan, parts)
        voice.note(f"`bulkshare run {options.out}` does exactly this")
    return CHANGES_EXIT_CODE if changes else 0


def run_command(options: RunOptions) -> int:
    """Run a plan, or what `diff --out` saved, and return the exit code: 0 or 1. Raises `BulkshareError`."""
    began, name, exit_code = time.monotonic(), options.plan.stem, 1
    parts: list[Part] = []
    if options.metrics_file is not None:
        require_writable(options.metrics_file)
    try:
        saved = load_saved(options.plan) if is_saved(options.plan) else None
        request = RunRequest(
            plan=load_plan(options.plan) if saved is None else saved.plan,
            ledger=options.ledger,
            os_cloud=options.os_cloud,
            sandbox=options.sandbox,
            dry_run=options.dry_run,
            retry_failed=options.retry_failed,
            verify=options.verify,
            prune=options.prune,
            prune_limit=options.prune_limit,
            preflight=Preflight.NEVER if options.no_preflight else Preflight.AUTO,
            wait_lock_seconds=options.wait_lock,
            effort=options.effort,
            expected=None if saved is None else saved.parts,
            fleet=options.fleet_request,
        )
        name = request.plan.name
        voice = options.voice()
        parts = run_async(partial(run_plan, request, voice, signals=STOP_SIGNALS))
        if options.dry_run:
            conclude_changes(parts, voice)
            exit_code = 0
        else:
            exit_code = conclude(parts, voice)
    except BulkshareError as error:
        exit_code = error.exit_code
        raise
    except KeyboardInterrupt:
        exit_code = INTERRUPTED_EXIT_CODE
        raise
    finally:
        if options.metrics_file is not None and not options.dry_run:
            _write_metrics(options.metrics_file, name, exit_code, time.monotonic() - began, parts)
    return exit_code


def _write_metrics(path: Path, plan: str, exit_code: int, seconds: float, parts: list[Part]) -> None:
    clouds = [
        LastRun(
            part.cloud or (part.account.cloud if part.account else ""),
            part.summary.totals,
            part.telemetry.statuses if part.telemetry else {},
            part.summary.retries,
        )
        for part in parts
        if part.summary is not None
    ]
    try:
        write_metrics(path, plan=plan, exit_code=exit_code, ended_at=utc_now(), seconds=seconds, clouds=clouds)
    except UsageError as error:  # what became of the pairs stands: the exit code tells of that
        click.echo(f"bulkshare: {error}", err=True)
