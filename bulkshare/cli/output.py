"""Where the command line writes: consoles for people, logs on stderr, JSON on stdout for programs."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

import click
import structlog
from rich.console import Console

from bulkshare.progress import Display, Log, Observers
from bulkshare.report import (
    comparison_document,
    render_comparison,
    render_dry_run,
    render_summary,
    summary_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from structlog.typing import FilteringBoundLogger, Processor

    from bulkshare.model import Account
    from bulkshare.progress import Tracker
    from bulkshare.report import Comparison, Listed, Summary

WIDTH_WITHOUT_TERMINAL = 200  # a pipe or a file has no width of its own; IDs are not to be cut


def console(*, stderr: bool = False) -> Console:
    """Return a console that takes text as it is: no markup, no emoji, nothing highlighted."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal else WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


class Voice:
    """How a run speaks: to a person at a terminal, to a log, to a program, or not at all while all is well."""

    def __init__(self, *, quiet: bool, verbose: bool, as_json: bool, log_format: str) -> None:
        self._quiet = quiet
        self._as_json = as_json
        self._live = sys.stderr.isatty() and not quiet and log_format != "json"
        level = logging.DEBUG if verbose else logging.ERROR if quiet or self._live else logging.INFO
        self._log = _logger(level, log_format)

    def note(self, message: str) -> None:
        """Say something on stderr, unless nothing is to be heard while all is well."""
        if self._live:
            console(stderr=True).print(message)
        else:
            self._log.info(message)

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> None:
        """Say who is about to do what, and bind plan, cloud and run to every line of the log."""
        self._log = self._log.bind(plan=plan, cloud=account.cloud, **({"run": run} if run else {}))
        self._log.info(
            doing,
            user=account.user,
            project=account.project,
            region=account.region,
            endpoint=account.endpoint,
        )
        if self._live:
            where = f"{account.cloud} {account.region}".strip()
            console(stderr=True).print(
                f"{doing.capitalize()} {what}\n"
                f"As user {account.user} of project {account.project}, cloud {where}, at {account.endpoint}"
            )

    @contextmanager
    def following(
        self, tracker: Tracker, *others: object, allowed_rate: float, pace: Callable[[], str]
    ) -> Iterator[Observers]:
        """Show or log what goes on while the context lasts; `others` are told, too."""
        with ExitStack() as stack:
            if self._live:
                stack.enter_context(Display(tracker, console(stderr=True), allowed_rate=allowed_rate, pace=pace))
            yield Observers(tracker, Log(tracker, self._log, time.monotonic, pace), *others)

    def conclude(self, summary: Summary, *, listed: Listed | None = None, comparison: Comparison | None = None) -> None:
        """Say how it ended; `listed` makes it a dry run's, `comparison` is what was found on the cloud afterwards.

        Nothing where all is well and nobody wants to hear it.
        """
        document = summary_document(summary)
        self._log.info("ended", **{key: document[key] for key in document if key not in {"run", "plan"}})
        if self._as_json:
            compared = {"verify": comparison_document(comparison)} if comparison is not None else {}
            click.echo(json.dumps(document | compared))
            return
        if not self._quiet or not summary.as_planned:
            rendered = render_summary(summary) if listed is None else render_dry_run(summary, listed)
            console(stderr=self._quiet).print(rendered)
        if comparison is not None:
            self._print_comparison(comparison)

    def conclude_comparison(self, comparison: Comparison) -> None:
        """Say how the cloud differs from a plan. Nothing where nothing is missing and nobody wants to hear it."""
        if self._as_json:
            click.echo(json.dumps(comparison_document(comparison)))
        else:
            self._print_comparison(comparison)

    def _print_comparison(self, comparison: Comparison) -> None:
        if not self._quiet or not comparison.complete:
            console(stderr=self._quiet).print(render_comparison(comparison))


def _logger(level: int, form: str) -> FilteringBoundLogger:
    """Return a logger that writes lines of `form` ("console" or "json") to stderr, from `level` on."""
    colors = sys.stderr.isatty()
    renderer: Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=colors)
    )
    wrapped = structlog.wrap_logger(
        structlog.WriteLogger(_CurrentStderr()),  # type: ignore[arg-type]  # write and flush are all it calls
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return cast("FilteringBoundLogger", wrapped)


class _CurrentStderr:
    """Writes to whatever `sys.stderr` is at the moment: a live display puts itself in its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
