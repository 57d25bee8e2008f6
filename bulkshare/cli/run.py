"""The commands that ask a cloud: run, diff, resume and verify, and the exit status they end with."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli.console import Listener
from bulkshare.engine import PreflightMode
from bulkshare.errors import BulkshareError, InterruptedRunError, UsageError
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.execute import Overrides, run_async
from bulkshare.operations.resume import ResumeRequest, resume_runs
from bulkshare.operations.run import RunRequest, run_plan
from bulkshare.operations.saved_plan import is_saved, load_saved, save
from bulkshare.operations.verify import verify_plan
from bulkshare.operations.workers import FleetRequest
from bulkshare.plan.load import load_plan
from bulkshare.progress.metrics import LastRun, require_writable, write_metrics
from bulkshare.report import changes_document, comparison_document, merged, summary_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bulkshare.operations.execute import CloudResult
    from bulkshare.report import Comparison


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """Which cloud, how hard, for how long (in seconds), and how to tell of it."""

    os_cloud: str | None
    concurrency: int | None
    rate: float | None
    as_json: bool
    quiet: bool
    verbose: bool = False
    log_format: str = "console"
    failures: str | None = None
    deadline: float = math.inf
    give_up_after: float = 15 * 60.0
    fleet: str | None = None
    fleet_credentials: str = "own"

    @property
    def effort(self) -> Overrides:
        """How hard to work, and when to stop."""
        return Overrides(
            concurrency=self.concurrency,
            rate=self.rate,
            max_failures=self.failures,
            deadline_seconds=self.deadline,
            give_up_after_seconds=self.give_up_after,
        )

    @property
    def fleet_request(self) -> FleetRequest | None:
        """Which fleet is to send; None for no other than this process."""
        if self.fleet is None:
            return None
        return FleetRequest(address=self.fleet, pass_credentials=self.fleet_credentials == "pass")

    def voice(self) -> Listener:
        """Return what speaks as the options say."""
        return Listener.choose(quiet=self.quiet, verbose=self.verbose, as_json=self.as_json, log_format=self.log_format)


def conclude(parts: Sequence[CloudResult], voice: Listener) -> int:
    """Tell what became of a plan; return 0 where all is as planned, else 1. Raises what ended a part early."""
    for part in parts:
        if part.summary is not None:
            voice.conclude(part.summary, comparison=part.comparison)
    if voice.as_json and any(part.summary for part in parts):
        voice.print_json(_document(parts))
    _raise_first(parts)
    return 0 if all(part.as_planned for part in parts) else 1


def conclude_changes(parts: Sequence[CloudResult], voice: Listener, *, all_pairs: bool = False) -> bool:
    """Tell what a run would do; return whether that is anything. Raises what ended a part early."""
    seen = [(part, part.changes) for part in parts if part.changes is not None]
    if voice.as_json and seen:
        documents = [changes_document(changes, part.labels) for part, changes in seen]
        voice.print_json(documents[0] if len(parts) == 1 else {"clouds": documents})
    elif not voice.as_json:
        for part, changes in seen:
            voice.conclude_changes(changes, part.labels, everything=all_pairs, heading=len(parts) > 1)
    _raise_first(parts)
    return any(changes.any for _, changes in seen)


def conclude_comparisons(found: Mapping[str | None, Comparison], voice: Listener) -> int:
    """Tell how the clouds differ from a plan; return 0 where nothing is missing, else 1."""
    if voice.as_json:
        documents = [(cloud, comparison_document(comparison)) for cloud, comparison in found.items()]
        several = {"clouds": [{"cloud": cloud, **document} for cloud, document in documents]}
        voice.print_json(several if len(documents) > 1 else documents[0][1])
    else:
        for cloud, comparison in found.items():
            voice.conclude_comparison(comparison, cloud=cloud if len(found) > 1 else None)
    return 0 if all(comparison.complete for comparison in found.values()) else 1


def _document(parts: Sequence[CloudResult]) -> dict[str, Any]:
    """Return the object of `--json`: of several clouds the sums, with each of them in `clouds`."""
    documents = [
        {
            **summary_document(part.summary),
            **({"verify": comparison_document(part.comparison)} if part.comparison is not None else {}),
        }
        for part in parts
        if part.summary is not None
    ]
    if len(parts) == 1:
        return documents[0]
    summaries = [part.summary for part in parts if part.summary is not None]
    clouds = [part.cloud for part in parts if part.summary is not None]
    return {
        **summary_document(merged(summaries)),
        "clouds": [{"cloud": cloud, **document} for cloud, document in zip(clouds, documents, strict=True)],
    }


def _raise_first(parts: Sequence[CloudResult]) -> None:
    """Raise what ended a part early; where that befell several, tell of the others first."""
    ended = [(part.cloud, part.error) for part in parts if part.error is not None]
    if not ended:
        return
    if len(parts) == 1:
        raise ended[0][1]
    for cloud, error in ended[1:]:
        click.echo(f"bulkshare: cloud {cloud}: {error}", err=True)
    cloud, error = ended[0]
    raise type(error)(f"cloud {cloud}: {error}") from error


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
        preflight=PreflightMode.ALWAYS,
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
    parts: list[CloudResult] = []
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
            preflight=PreflightMode.NEVER if options.no_preflight else PreflightMode.AUTO,
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


def _write_metrics(path: Path, plan: str, exit_code: int, seconds: float, parts: list[CloudResult]) -> None:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions(CloudOptions):
    """The options of `bulkshare verify`, as the command line has them."""

    plan: Path
    sandbox: bool


def verify_command(options: VerifyOptions) -> int:
    """Compare a plan with its clouds; return 0 where nothing is missing, else 1. Raises `BulkshareError`."""
    plan, voice = load_plan(options.plan), options.voice()
    work = partial(
        verify_plan,
        plan,
        voice,
        os_cloud=options.os_cloud,
        sandbox=options.sandbox,
        effort=options.effort,
        signals=STOP_SIGNALS,
    )
    return conclude_comparisons(run_async(work), voice)
