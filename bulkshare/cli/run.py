"""The commands that ask a cloud: run, diff, resume and verify, and the exit status they end with."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli.console import Listener
from bulkshare.cli.exit_status import AS_PLANNED, CHANGES, INTERRUPTED, NOT_AS_PLANNED
from bulkshare.errors import BulkshareError, UsageError
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.execute import run_async
from bulkshare.operations.options import Options
from bulkshare.operations.resume import resume_runs
from bulkshare.operations.run import run_plan
from bulkshare.operations.saved_plan import is_saved, load_saved, save
from bulkshare.operations.verify import verify_plan
from bulkshare.plan.load import load_plan
from bulkshare.progress.metrics import LastRun, require_writable, write_metrics
from bulkshare.report import changes_document, comparison_document, merged, summary_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bulkshare.operations.execute import CloudResult
    from bulkshare.report import Comparison


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
OUTPUT_DEFAULTS: dict[str, Any] = {"as_json": False, "quiet": False, "verbose": False, "log_format": "console"}


def parse(given: dict[str, Any]) -> tuple[Options, Listener]:
    """Return a command's options, and the listener that some of them choose."""
    output = {name: given.pop(name, default) for name, default in OUTPUT_DEFAULTS.items()}
    return Options(**given), Listener.choose(**output)


def conclude(parts: Sequence[CloudResult], voice: Listener) -> int:
    """Tell what became of a plan; return 0 where all is as planned, else 1. Raises what ended a part early."""
    for part in parts:
        if part.summary is not None:
            voice.conclude(part.summary, comparison=part.comparison)
    if voice.as_json and any(part.summary for part in parts):
        voice.print_json(_document(parts))
    _raise_first(parts)
    return AS_PLANNED if all(part.as_planned for part in parts) else NOT_AS_PLANNED


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
    return AS_PLANNED if all(comparison.complete for comparison in found.values()) else NOT_AS_PLANNED


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


def diff_command(plan: Path, *, out: Path | None, all_pairs: bool, **given: Any) -> int:
    """Tell what a run would do; return 0 for nothing, 10 for changes. Raises `BulkshareError`."""
    wanted = load_plan(plan)
    options, voice = parse({**given, "dry_run": True})
    parts = run_async(partial(run_plan, wanted, options, voice, signals=STOP_SIGNALS))
    changes = conclude_changes(parts, voice, all_pairs=all_pairs)
    if out is not None:
        save(out, wanted, parts)
        voice.note(f"`bulkshare run {out}` does exactly this")
    return CHANGES if changes else AS_PLANNED


def run_command(plan: Path, *, metrics_file: Path | None, **given: Any) -> int:
    """Run a plan, or what `diff --out` saved, and return the exit code: 0 or 1. Raises `BulkshareError`."""
    began, name, exit_code = time.monotonic(), plan.stem, NOT_AS_PLANNED
    options, voice = parse(given)
    parts: list[CloudResult] = []
    if metrics_file is not None:
        require_writable(metrics_file)
    try:
        saved = load_saved(plan) if is_saved(plan) else None
        wanted, expected = (load_plan(plan), None) if saved is None else (saved.plan, saved.parts)
        name = wanted.name
        parts = run_async(partial(run_plan, wanted, options, voice, expected=expected, signals=STOP_SIGNALS))
        if options.dry_run:
            conclude_changes(parts, voice)
            exit_code = AS_PLANNED
        else:
            exit_code = conclude(parts, voice)
    except BulkshareError as error:
        exit_code = error.exit_code
        raise
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
        raise
    finally:
        if metrics_file is not None and not options.dry_run:
            _write_metrics(metrics_file, name, exit_code, time.monotonic() - began, parts)
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


def resume_command(run: str | None, **given: Any) -> int:
    """Finish a run and return its exit code. Raises `BulkshareError` where it can't."""
    options, voice = parse(given)
    return conclude(run_async(partial(resume_runs, run, options, voice, signals=STOP_SIGNALS)), voice)


def verify_command(plan: Path, **given: Any) -> int:
    """Compare a plan with its clouds; return 0 where nothing is missing, else 1. Raises `BulkshareError`."""
    options, voice = parse(given)
    return conclude_comparisons(
        run_async(partial(verify_plan, load_plan(plan), options, voice, signals=STOP_SIGNALS)), voice
    )
