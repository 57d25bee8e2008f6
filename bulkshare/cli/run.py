"""The commands that talk to a cloud: run, diff, resume and verify. Each returns its exit status."""

from __future__ import annotations

import gc
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli.command import ARGUMENTS
from bulkshare.cli.console import ConsoleListener
from bulkshare.cli.exit_status import ExitStatus, is_terminal
from bulkshare.cli.notify import Conclusion, NotifyOptions, notifying
from bulkshare.errors import UsageError
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.execute import run_async
from bulkshare.operations.options import Options
from bulkshare.operations.origin import current_origin
from bulkshare.operations.results import results_document
from bulkshare.operations.resume import resume_runs
from bulkshare.operations.run import run_plan
from bulkshare.operations.saved_plan import exactly, is_saved, load_saved, save
from bulkshare.operations.verify import verify_plan
from bulkshare.plan.load import is_piped, load_plan, read_plan
from bulkshare.progress.metrics import LastRun, require_writable, write_metrics
from bulkshare.report import (
    Changes,
    Look,
    changes_document,
    comparison_document,
    merged,
    versioned,
)
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bulkshare.model import Origin, Plan
    from bulkshare.operations.results import CloudResult
    from bulkshare.report import Comparison


STOP_SIGNALS = tuple(
    number
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if number is not signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # `nohup` ignores it, and that stays
)
OUTPUT_DEFAULTS: dict[str, Any] = {
    "as_json": False,
    "form": None,
    "quiet": False,
    "verbose": False,
    "log_format": "console",
}


def run_command(plan: Path, *, metrics_file: Path | None, **given: Any) -> int:
    """Run a plan, or what `diff --out` saved. Raises `BulkshareError`.

    metrics_file: written at the end, however the run ends; None: not at all.
    given: the other options, by the names in `operations.options.Options` and `OUTPUT_DEFAULTS`.
    """
    notify = NotifyOptions.among(given)
    options, listener = read_options(given)
    started_at, ended = time.monotonic(), Conclusion(plan.stem, notify, dry_run=options.dry_run)
    if metrics_file is not None:
        require_writable(metrics_file)
    try:
        with notifying(ended, listener):
            raw = read_plan(plan)
            saved = load_saved(plan, raw) if is_saved(raw) else None
            loaded, expected = (load_plan(plan, raw), None) if saved is None else (saved.plan, saved.parts)
            ended.loaded(loaded)
            options = replace(options, origin=_origin(plan, raw))
            if saved is None:
                listener.plan_file = _file(plan)
            run = partial(run_plan, loaded, options, listener, expected=expected, signals=STOP_SIGNALS)
            ended.results = results = run_async(run)
            ended.exit_code = print_changes(results, listener) if options.dry_run else print_results(results, listener)
    finally:
        if metrics_file is not None and not options.dry_run:
            seconds = time.monotonic() - started_at
            _write_metrics(metrics_file, ended.plan, ended.exit_code, seconds, ended.results)
    return ended.exit_code


def diff_command(plan: Path, *, out: Path | None, all_pairs: bool, **given: Any) -> int:
    """Print what a run would change. Raises `BulkshareError`.

    out: where to save the changes, for `run` to make exactly these.
    all_pairs: print every pair, not only the first ones of each image.
    """
    options, listener = read_options({**given, "dry_run": True})
    listener.plan_file = _file(plan)
    loaded = load_plan(plan)
    results = run_async(partial(run_plan, loaded, options, listener, signals=STOP_SIGNALS))
    status = print_changes(results, listener, all_pairs=all_pairs)
    if out is not None:
        _save(out, loaded, results, listener)
    return status


def carry_out(
    plan: Plan,
    *,
    dry_run: bool,
    out: Path | None,
    question: str = "",
    yes: bool = True,
    whole: bool = True,
    conclude: Callable[[Sequence[CloudResult], ConsoleListener], int] | None = None,
    **given: Any,
) -> int:
    """Run a plan that a command has made, and return its exit status. Raises `BulkshareError`.

    dry_run: only show what would change, as `diff` does.
    out: save that, for `run` to make exactly these changes; implies `dry_run`.
    question: asked on a terminal, once the changes are shown; they are made exactly, or not at all. "": don't ask.
    yes: don't ask either.
    whole: the plan has all that was asked for; else the exit status says that something is not as planned.
    conclude: prints what the run did and returns the exit status, in place of `print_results` and `whole`.
    """
    looking = dry_run or out is not None
    asking = bool(question) and not yes and is_terminal(sys.stdin) and is_terminal(sys.stderr)
    if asking and given.get("as_json") and not looking:
        raise UsageError("--json prints one object and asks nothing: add --yes, or look first with --dry-run")
    ended = Conclusion(plan.name, NotifyOptions.among(given), dry_run=looking)
    options, listener = read_options({**given, "dry_run": looking or asking})
    listener.is_brief = True
    if question and not (yes or looking or asking):
        listener.note("there is no terminal to ask on, so nothing is asked")
    expected = None
    if options.dry_run:
        results = run_async(partial(run_plan, plan, options, listener, signals=STOP_SIGNALS))
        status = _status(print_changes(results, listener), whole=whole)
        if out is not None:
            _save(out, plan, results, listener)
        if looking or not any(result.changes and result.changes.any for result in results):
            return status
        if not click.confirm(question, err=True):
            listener.note("nothing was sent")
            return status
        exact = exactly(plan, results)
        plan, expected = exact.plan, exact.parts
    options = replace(options, dry_run=False)
    with notifying(ended, listener):
        ended.loaded(plan)
        make = partial(run_plan, plan, options, listener, expected=expected, signals=STOP_SIGNALS)
        ended.results = run_async(make)
        if conclude is None:
            ended.exit_code = _status(print_results(ended.results, listener), whole=whole)
        else:
            ended.exit_code = conclude(ended.results, listener)
    return ended.exit_code


def _status(status: int, *, whole: bool) -> int:
    """Return an exit status; the one for "not all of it" if a plan that went well has not all that was asked for."""
    partly = {ExitStatus.AS_PLANNED: ExitStatus.NOT_AS_PLANNED, ExitStatus.CHANGES: ExitStatus.CANT_BE_DONE}
    return status if whole else partly.get(ExitStatus(status), status)


def resume_command(run: str | None, **given: Any) -> int:
    """Finish a run. Raises `BulkshareError` if that is impossible."""
    notify = NotifyOptions.among(given)
    options, listener = read_options(given)
    with notifying(Conclusion(run or "", notify), listener) as ended:
        ended.loaded(None)  # a ledger, which others may write, names no command
        ended.results = run_async(partial(resume_runs, run, options, listener, signals=STOP_SIGNALS))
        ended.exit_code = print_results(ended.results, listener)
    return ended.exit_code


def verify_command(plan: Path, *, strict: bool, **given: Any) -> int:
    """Compare a plan with its clouds; with `strict`, extra members are an error. Raises `BulkshareError`."""
    options, listener = read_options(given)
    listener.plan_file = _file(plan)
    found = run_async(partial(verify_plan, load_plan(plan), options, listener, signals=STOP_SIGNALS))
    return print_comparisons(found, listener, strict=strict)


def _save(out: Path, plan: Plan, results: Sequence[CloudResult], listener: ConsoleListener) -> None:
    save(out, plan, results)
    listener.note(f"`bulkshare run {out}` makes exactly these changes")


def read_options(given: dict[str, Any]) -> tuple[Options, ConsoleListener]:
    """Return a command's options, and the listener that those about the output choose. Raises `UsageError`."""
    gc.freeze()  # what is imported lives to the end: a full collection, which stops the event loop, need not visit it
    output = {name: given.pop(name, default) for name, default in OUTPUT_DEFAULTS.items()}
    if output["as_json"] and output["form"] not in {None, "json"}:
        raise UsageError(f"--json is --format json, and --format says {output['form']}: leave out one of them")
    output["form"] = "json" if output.pop("as_json") else output["form"] or "text"
    options = Options(**{"origin": _origin(), **given})
    changed = options.faults or options.latency_seconds or options.answers or options.dialect != "openstack"
    if changed and not options.sandbox:
        raise UsageError("--fault, --latency, --dialect and --answer are for a sandbox: add --sandbox")
    return options, ConsoleListener.choose(**output)


def _origin(plan: Path | None = None, raw: bytes = b"") -> Origin:
    """Return where a run of the current command comes from; `raw` is what the plan's file contains."""
    ctx = click.get_current_context(silent=True)
    return current_origin(None if ctx is None else ctx.meta.get(ARGUMENTS), plan=plan, raw=raw)


def _file(plan: Path) -> str:
    """Return the plan's path for hints; empty for one from a pipe."""
    return "" if is_piped(plan) else clean(str(plan), 1000)


def print_results(results: Sequence[CloudResult], listener: ConsoleListener) -> int:
    """Print what happened on each cloud; return 0 if all is as planned, else 1. Raises the error that stopped one."""
    summaries = [result.summary for result in results if result.summary is not None]
    several = len(summaries) > 1
    for result in results:
        if result.summary is not None:
            listener.conclude(result.summary, comparison=result.comparison, part=several)
    if several:
        listener.conclude(merged(summaries), clouds=len(summaries))
    if listener.form == "json" and any(result.summary for result in results):
        listener.print_json(results_document(results))
    raise_first(results)
    return ExitStatus.AS_PLANNED if all(result.as_planned for result in results) else ExitStatus.NOT_AS_PLANNED


def print_changes(results: Sequence[CloudResult], listener: ConsoleListener, *, all_pairs: bool = False) -> int:
    """Print what a run would change, and return the exit status. Raises the error that stopped a cloud."""
    found = [(result, result.changes) for result in results if result.changes is not None]
    several = len(results) > 1
    plan = found[0][1].plan if found else ""
    looks = [Look(result.changes or _unseen(plan, result), result.labels, _actor(result)) for result in results]
    if listener.form == "json" and found:
        listener.print_json(versioned([changes_document(look.changes, look.labels) for look in looks], several=several))
    elif listener.form == "markdown":
        listener.conclude_looks(looks, everything=all_pairs)
    elif listener.form == "text":
        for result, changes in found:
            listener.conclude_changes(changes, result.labels, everything=all_pairs, heading=several)
    raise_first(results)
    if any(changes.refused or changes.unlisted for _, changes in found):
        return ExitStatus.CANT_BE_DONE
    return ExitStatus.CHANGES if any(changes.any for _, changes in found) else ExitStatus.AS_PLANNED


def _unseen(plan: str, result: CloudResult) -> Changes:
    """Return what is known of a cloud that was not reached, or not read: why."""
    return Changes(plan, (), cloud=result.cloud or "", incomplete=str(result.error or "it was not read"))


def _actor(result: CloudResult) -> str:
    account = result.account
    return f"user {account.user} of project {account.project} at {account.endpoint}" if account else ""


def print_comparisons(
    found: Mapping[str | None, Comparison], listener: ConsoleListener, *, strict: bool = False
) -> int:
    """Print how each cloud differs from the plan; return 0 if all agree (see `Comparison.agrees`), else 1."""
    comparisons = list(found.values())
    if listener.form == "json":
        documents = [comparison_document(comparison) for comparison in comparisons]
        listener.print_json(versioned(documents, several=len(documents) > 1))
    elif listener.form == "markdown":
        listener.conclude_comparisons(comparisons, strict=strict)
    else:
        for cloud, comparison in found.items():
            listener.conclude_comparison(comparison, cloud=cloud if len(found) > 1 else None, strict=strict)
    agree = all(comparison.agrees(strict=strict) for comparison in found.values())
    return ExitStatus.AS_PLANNED if agree else ExitStatus.NOT_AS_PLANNED


def raise_first(results: Sequence[CloudResult]) -> None:
    """Raise the error that stopped a cloud; if several were stopped, report the other errors first."""
    stopped = [(result.cloud, result.error) for result in results if result.error is not None]
    if not stopped:
        return
    if len(results) == 1:
        raise stopped[0][1]
    for cloud, error in stopped[1:]:
        click.echo(f"bulkshare: cloud {cloud}: {error}", err=True)
    cloud, error = stopped[0]
    raise type(error)(f"cloud {cloud}: {error}") from error


def _write_metrics(path: Path, plan: str, status: int, seconds: float, results: Sequence[CloudResult]) -> None:
    clouds = [
        LastRun(
            result.cloud or (result.account.cloud if result.account else ""),
            result.summary.totals,
            result.telemetry.statuses if result.telemetry else {},
            result.summary.retries,
            result.summary.opened,
            result.summary.awaiting_acceptance,
        )
        for result in results
        if result.summary is not None
    ]
    try:
        write_metrics(path, plan=plan, exit_code=status, ended_at=utc_now(), seconds=seconds, clouds=clouds)
    except UsageError as error:  # the exit code is about the pairs, and stays
        click.echo(f"bulkshare: {error}", err=True)
