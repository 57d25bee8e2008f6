"""Where the command line writes: consoles for people, logs on stderr, JSON on stdout for programs."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, cast

import click
import structlog
from rich.console import Console
from rich.text import Text

from bulkshare.cli.stdout import is_terminal
from bulkshare.progress import Display, Log, Observers, View
from bulkshare.report import (
    changes_document,
    comparison_document,
    render_changes,
    render_comparison,
    render_summary,
    summary_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import NoReturn

    from rich.console import RenderableType
    from structlog.typing import FilteringBoundLogger, Processor

    from bulkshare.model import Account
    from bulkshare.progress import Tracker
    from bulkshare.report import Changes, Comparison, Summary

WIDTH_WITHOUT_TERMINAL = 4000  # a pipe or a file has no width of its own: no line of ours is wrapped there


class Paper(Console):
    """A console that takes text as it is: no markup, no emoji, nothing highlighted. A pipe that is closed raises."""

    def __init__(self, *, stderr: bool = False) -> None:
        width = None if is_terminal(sys.stderr if stderr else sys.stdout) else WIDTH_WITHOUT_TERMINAL
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)

    def on_broken_pipe(self) -> NoReturn:
        """Let the error through, which rich would turn into exit code 1."""
        raise  # noqa: PLE0704  rich calls this where it handles the error


def console(*, stderr: bool = False) -> Console:
    """Return a console for people."""
    return Paper(stderr=stderr)


def print_whole(what: RenderableType, *, stderr: bool = False) -> None:
    """Print something whose long lines are for the terminal to break: an ID is there as a whole, to be copied."""
    console(stderr=stderr).print(what, crop=False)


class Voice:
    """How a run speaks: to a person at a terminal, to a log, to a program, or not at all while all is well."""

    def __init__(self, *, quiet: bool, verbose: bool, as_json: bool, log_format: str) -> None:
        self._quiet = quiet
        self._as_json = as_json
        able = is_terminal(sys.stderr) and not console(stderr=True).is_dumb_terminal  # to move its cursor
        self._live = able and not quiet and log_format != "json"
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
    def waiting(self, text: str) -> Iterator[None]:
        """Show on a live terminal that something takes its time, such as signing in; say nothing elsewhere."""
        if not self._live:
            yield
            return
        with console(stderr=True).status(Text(text), spinner="line"):
            yield

    @contextmanager
    def following(
        self, tracker: Tracker, *others: object, allowed_rate: float, pace: Callable[[], str]
    ) -> Iterator[Observers]:
        """Show or log what goes on while the context lasts; `others` are told, too."""
        with self.following_all([View(tracker, allowed_rate, pace)]) as (observers,):
            yield Observers(observers, *others)

    @contextmanager
    def following_all(self, views: Sequence[View]) -> Iterator[list[Observers]]:
        """Show or log what goes on at several clouds at once; the observers are in the order of the views."""
        with ExitStack() as stack:
            if self._live:
                stack.enter_context(Display(views, console(stderr=True)))
            yield [Observers(view.tracker, self._log_of(view)) for view in views]

    def _log_of(self, view: View) -> Log:
        return Log(view.tracker, self._log.bind(**view.bound), time.monotonic, view.pace)

    def conclude(self, summary: Summary, *, comparison: Comparison | None = None) -> None:
        """Say how it ended; `comparison` is what was found on the cloud afterwards.

        Nothing where all is well and nobody wants to hear it.
        """
        document = summary_document(summary)
        self._log.info("ended", **{key: value for key, value in document.items() if value not in {None, ""}})
        if self._as_json:
            compared = {"verify": comparison_document(comparison)} if comparison is not None else {}
            click.echo(json.dumps(document | compared))
            return
        if not self._quiet or not summary.as_planned:
            print_whole(render_summary(summary), stderr=self._quiet)
        if comparison is not None:
            self._print_comparison(comparison)

    def conclude_changes(
        self, changes: Changes, labels: Mapping[str, str], *, everything: bool = False, heading: bool = False
    ) -> None:
        """Say what a run would do; see `render_changes`. Nothing where it is nothing and nobody wants to hear that."""
        document = changes_document(changes, labels)
        self._log.info("would do", **{key: value for key, value in document.items() if isinstance(value, int)})
        if self._as_json:
            click.echo(json.dumps(document))
        elif not self._quiet or changes.images:
            print_whole(render_changes(changes, labels, everything=everything, heading=heading))

    def conclude_comparison(self, comparison: Comparison) -> None:
        """Say how the cloud differs from a plan. Nothing where nothing is missing and nobody wants to hear it."""
        if self._as_json:
            click.echo(json.dumps(comparison_document(comparison)))
        else:
            self._print_comparison(comparison)

    def _print_comparison(self, comparison: Comparison) -> None:
        if not self._quiet or not comparison.complete:
            print_whole(render_comparison(comparison), stderr=self._quiet)


def _logger(level: int, form: str) -> FilteringBoundLogger:
    """Return a logger that writes lines of `form` ("console" or "json") to stderr, from `level` on."""
    colors = is_terminal(sys.stderr) and not console(stderr=True).is_dumb_terminal
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
        with suppress(OSError):  # a log that nobody takes any more is no reason to end a run
            return sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()
