"""What the commands print: tables and live display on a terminal, logs, and stdout that can't be written."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, cast

import click
import structlog
from rich.console import Console

from bulkshare.cli.exit_status import is_terminal
from bulkshare.progress import DetailedLog, Display, Log, Observers, View
from bulkshare.report import render_changes, render_comparison, render_summary, summary_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import NoReturn, Self

    from rich.console import RenderableType
    from structlog.typing import FilteringBoundLogger, Processor

    from bulkshare.model import Account
    from bulkshare.progress import Tracker
    from bulkshare.report import Changes, Comparison, Summary


MOST_TOLD = 20  # members of an image; the log at debug and the ledger have all
WIDTH_WITHOUT_TERMINAL = 4000  # a pipe or a file has no width of its own: no line of ours is wrapped there


class PlainConsole(Console):
    """A console that takes text as it is: no markup, no emoji, nothing highlighted. A pipe that is closed raises."""

    def __init__(self, *, stderr: bool = False) -> None:
        width = None if is_terminal(sys.stderr if stderr else sys.stdout) else WIDTH_WITHOUT_TERMINAL
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)

    def on_broken_pipe(self) -> NoReturn:
        """Let the error through, which rich would turn into exit code 1."""
        raise  # noqa: PLE0704  rich calls this where it handles the error


def console(*, stderr: bool = False) -> Console:
    """Return a console for people."""
    return PlainConsole(stderr=stderr)


def print_whole(what: RenderableType, *, stderr: bool = False) -> None:
    """Print something whose long lines are for the terminal to break: an ID is there as a whole, to be copied."""
    console(stderr=stderr).print(what, crop=False)


class RemovalNotice:
    """Prints on a terminal who is to be removed, before it happens; the log has it elsewhere."""

    def extra(self, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Observer`."""
        told = "".join(f"\n  - {member_id}" for member_id in member_ids[:MOST_TOLD])
        more = f"\n  ... and {len(member_ids) - MOST_TOLD:,} more" if len(member_ids) > MOST_TOLD else ""
        print_whole(f"To be removed from image {image_id}:{told}{more}", stderr=True)


class Listener:
    """How a command speaks: to a person at a terminal, to a log, to a program, or not at all while all is well.

    `acting_as` gives one for each cloud; they share the display.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        display: Display | None,
        *,
        quiet: bool,
        verbose: bool,
        as_json: bool,
        introduced: ContextLogger | None = None,
    ) -> None:
        self.as_json = as_json
        self._verbose = verbose
        self._quiet = quiet
        self._display = display
        self._log = log
        self._introduced = introduced or ContextLogger(log, "")

    @classmethod
    def choose(cls, *, quiet: bool, verbose: bool, as_json: bool, log_format: str) -> Self:
        """Return the voice that fits the options and the terminal."""
        able = is_terminal(sys.stderr) and not console(stderr=True).is_dumb_terminal  # to move its cursor
        live = able and not quiet and log_format != "json"
        level = logging.DEBUG if verbose else logging.ERROR if quiet or live else logging.INFO
        display = Display(console(stderr=True)) if live else None
        return cls(make_log(level, log_format, colors=able), display, quiet=quiet, verbose=verbose, as_json=as_json)

    def note(self, message: str) -> None:
        """Say something on stderr, unless nothing is to be heard while all is well."""
        if self._display is not None:
            self._display.say(message)
        else:
            self._log.info(message)

    def detail(self, message: str) -> None:
        """Say something in the log of who wants all of it."""
        self._log.debug(message)

    @contextmanager
    def waiting(self, message: str) -> Iterator[None]:
        """Show on a live terminal that something takes its time, such as signing in; say nothing elsewhere."""
        with nullcontext() if self._display is None else self._display.waiting(message):
            yield

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Self:
        """Say who is about to do what; return a voice that has plan, cloud and run on every line of the log."""
        if self._display is not None:
            where = f"{account.cloud} {account.region}".strip()
            console(stderr=True).print(
                f"{doing.capitalize()} {what}\n"
                f"As user {account.user} of project {account.project}, cloud {where}, at {account.endpoint}"
            )
        log = self._log.bind(plan=plan, cloud=account.cloud, **({"run": run} if run else {}))
        introduced = ContextLogger(
            log,
            doing,
            user=account.user,
            project=account.project,
            region=account.region,
            endpoint=account.endpoint,
        )
        return type(self)(
            log,
            self._display,
            quiet=self._quiet,
            verbose=self._verbose,
            as_json=self.as_json,
            introduced=introduced,
        )

    @contextmanager
    def following(
        self,
        tracker: Tracker,
        *others: object,
        allowed_rate: float,
        pace: Callable[[], str],
        details: Callable[[], list[str]] = list,
        label: str = "",
    ) -> Iterator[Observers]:
        """Show or log what goes on while the context lasts; `others` are told, too."""
        view = View(tracker, allowed_rate, pace, details, label)
        log = (DetailedLog if self._verbose else Log)(tracker, self._introduced, time.monotonic, pace)
        if self._display is None:
            yield Observers(tracker, log, *others)
            return
        with self._display.showing(view):
            yield Observers(tracker, log, RemovalNotice(), *others)

    def ended(self, summary: Summary) -> None:
        """Log how the work on one cloud ended."""
        document = summary_document(summary)
        told = {key: value for key, value in document.items() if value and key not in {"run", "plan", "cloud"}}
        self._introduced.conclude("ended", **told)

    def conclude(self, summary: Summary, *, comparison: Comparison | None = None) -> None:
        """Say how it ended; `comparison` is what was found on the cloud afterwards.

        Nothing where all is well and nobody wants to hear it.
        """
        if self.as_json:
            return
        if not self._quiet or not summary.as_planned:
            print_whole(render_summary(summary), stderr=self._quiet)
        if comparison is not None:
            self.conclude_comparison(comparison)

    def conclude_changes(
        self, changes: Changes, labels: Mapping[str, str], *, everything: bool = False, heading: bool = False
    ) -> None:
        """Say what a run would do; see `render_changes`. Nothing where it is nothing and nobody wants to hear that."""
        if not self.as_json and (not self._quiet or changes.images):
            print_whole(render_changes(changes, labels, everything=everything, heading=heading))

    def conclude_comparison(self, comparison: Comparison, *, cloud: str | None = None) -> None:
        """Say how a cloud differs from a plan. Nothing where nothing is missing and nobody wants to hear it.

        `cloud` tells the clouds apart where there are several.
        """
        if not self.as_json and (not self._quiet or not comparison.complete):
            if cloud is not None:
                print_whole(f"cloud {cloud}", stderr=self._quiet)
            print_whole(render_comparison(comparison), stderr=self._quiet)

    def print_json(self, document: Mapping[str, Any]) -> None:
        """Print the one object that a program wants."""
        click.echo(json.dumps(document))


def make_log(level: int, form: str, *, colors: bool) -> FilteringBoundLogger:
    """Return a logger that writes lines of `form` ("console" or "json") to stderr, from `level` on."""
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


class ContextLogger:
    """A log that says who acts before the first line that matters: a night without news is a single line.

    `who` are the fields of that introduction.
    """

    def __init__(self, log: FilteringBoundLogger, doing: str, **who: str) -> None:
        self._log = log
        self._doing = doing
        self._who = who

    def debug(self, event: str, **fields: Any) -> None:
        """Log a detail."""
        self._log.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log news."""
        self._introduce()
        self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log trouble."""
        self._introduce()
        self._log.warning(event, **fields)

    def conclude(self, event: str, **fields: Any) -> None:
        """Log the end; it has in it who acted where nothing was worth a line before."""
        self._log.info(event, **self._who, **fields)

    def _introduce(self) -> None:
        who, self._who = self._who, {}
        if who:
            self._log.info(self._doing, **who)


class _CurrentStderr:
    """Writes to whatever `sys.stderr` is at the moment: a live display puts itself in its place for a while."""

    def write(self, text: str) -> int:
        with suppress(OSError):  # a log that nobody takes any more is no reason to end a run
            return sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()
