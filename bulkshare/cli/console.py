"""What the commands that work on clouds print: results, a live display on a terminal, and the log elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli import light_aiohttp as _light_aiohttp  # noqa: F401  before what imports aiohttp
from bulkshare.cli.exit_status import is_terminal
from bulkshare.cli.logger import make_log
from bulkshare.cli.output import PlainConsole, print_whole
from bulkshare.model.events import RemovalsAhead
from bulkshare.progress import DetailedLog, Display, Log, Observers
from bulkshare.report import (
    render_brief,
    render_changes,
    render_comparison,
    render_comparisons_markdown,
    render_markdown,
    render_summary,
    summary_document,
)
from bulkshare.report.certificate import certificate_document, render_certificate
from bulkshare.report.text import by_name, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from structlog.typing import FilteringBoundLogger

    from bulkshare.model import Account
    from bulkshare.model.events import Event
    from bulkshare.progress import Observer, View
    from bulkshare.report import Changes, Comparison, Look, Summary
    from bulkshare.report.certificate import Certificate


MOST_LISTED = 20  # members of an image; the log at debug level and the ledger have all of them


class RemovalNotice:
    """Lists on a terminal the members about to be removed, by name if known. Without a terminal, the log does.

    names: of images and projects by ID, as far as they are known by then.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if not isinstance(event, RemovalsAhead):
            return
        image_id, member_ids = event.image_id, event.member_ids
        shown = by_name(member_ids, self._names)[:MOST_LISTED]
        listed = "".join(f"\n  - {named(member_id, self._names)}" for member_id in shown)
        more = f"\n  ... and {len(member_ids) - MOST_LISTED:,} more" if len(member_ids) > MOST_LISTED else ""
        print_whole(f"To be removed from image {named(image_id, self._names)}:{listed}{more}", stderr=True)


class ConsoleListener:
    """The `operations.listener.Listener` of the command line, which also prints the results.

    `acting_as` returns one for each cloud; they share the display.

    log: the lines for stderr.
    display: the live display; None without a terminal, or if none is wanted.
    quiet: print nothing as long as everything is as planned.
    verbose: log every answer.
    form: of the results: "text", "json" for one object and nothing else, or "markdown".
    context: the log with the account in front; default: `log` without one.

    `plan_file` is the plan's path as it was given, for hints; empty if there is none that can be edited. With
    `is_brief`, a run that is as planned takes a line.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        display: Display | None,
        *,
        quiet: bool,
        verbose: bool,
        form: str,
        context: ContextLogger | None = None,
    ) -> None:
        self.form = form
        self.plan_file = ""
        self.is_brief = False
        self._verbose = verbose
        self._quiet = quiet
        self._display = display
        self._log = log
        self._context = context or ContextLogger(log, "")

    @classmethod
    def choose(cls, *, quiet: bool, verbose: bool, form: str, log_format: str) -> Self:
        """Return the listener that suits the options and the terminal."""
        movable = is_terminal(sys.stderr) and not PlainConsole(stderr=True).is_dumb_terminal  # its cursor, that is
        live = movable and not quiet and log_format != "json"
        level = logging.DEBUG if verbose else logging.ERROR if quiet or live else logging.INFO
        display = Display(PlainConsole(stderr=True)) if live else None
        log = make_log(level, log_format, colors=movable and not os.environ.get("NO_COLOR"))  # https://no-color.org
        return cls(log, display, quiet=quiet, verbose=verbose, form=form)

    @property
    def is_watched(self) -> bool:
        """Whether notes appear on a terminal."""
        return not self._quiet and is_terminal(sys.stderr)

    @property
    def is_detailed(self) -> bool:
        """Whether the log has every answer."""
        return self._verbose

    def note(self, message: str) -> None:
        """Print or log a message on stderr, unless quiet."""
        if self._display is not None:
            self._display.say(message)
        else:
            self._log.info(message)

    def warn(self, message: str) -> None:
        """Print or log a problem that changes nothing about the result, even if quiet."""
        if self._display is not None:
            self._display.say(message)
        else:
            self._log.error(message)

    def detail(self, message: str) -> None:
        """Log a message at debug level."""
        self._log.debug(message)

    @contextmanager
    def waiting(self, message: str) -> Iterator[None]:
        """Show on a live display that something takes a while, such as signing in."""
        with nullcontext() if self._display is None else self._display.waiting(message):
            yield

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Self:
        """Announce the account; return a listener whose log lines all have plan, cloud and run."""
        if self._display is not None:
            cloud = f"{account.cloud} {account.region}".strip()
            PlainConsole(stderr=True).print(
                f"{doing.capitalize()} {what}\n"
                f"As user {account.user} of project {account.project}, cloud {cloud}, at {account.endpoint}"
            )
        log = self._log.bind(plan=plan, cloud=account.cloud, **({"run": run} if run else {}))
        context = ContextLogger(
            log,
            doing,
            user=account.user,
            project=account.project,
            region=account.region,
            endpoint=account.endpoint,
        )
        return type(self)(log, self._display, quiet=self._quiet, verbose=self._verbose, form=self.form, context=context)

    @contextmanager
    def following(self, view: View, *observers: Observer) -> Iterator[Observers]:
        """Display or log the progress on one cloud while the context lasts; `observers` observe it, too."""
        kind = DetailedLog if self._verbose else Log
        log = kind(view.tracker, self._context, time.monotonic, view.pace, view.names)
        if self._display is None:
            yield Observers(view.tracker, log, *observers)
            return
        with self._display.showing(view):
            yield Observers(view.tracker, log, RemovalNotice(view.names), *observers)

    def ended(self, summary: Summary) -> None:
        """Log the totals of one cloud."""
        document = summary_document(summary)
        fields = {
            key: value for key, value in document.items() if value and key not in {"run", "plan", "cloud", "causes"}
        }
        self._context.conclude("ended", **fields)

    def conclude(
        self, summary: Summary, *, comparison: Comparison | None = None, clouds: int = 1, part: bool = False
    ) -> None:
        """Print the result of a run, and how the cloud compared with the plan afterwards.

        `clouds` and `part` are as in `render_summary`.
        """
        if self.form == "json":
            return
        if not self._quiet or not summary.as_planned:
            if self.is_brief and summary.as_planned and not part and clouds == 1:
                shown = render_brief(summary)
            else:
                shown = render_summary(summary, plan_file=self.plan_file, clouds=clouds, part=part)
            print_whole(shown, stderr=self._quiet)
        if comparison is not None:
            self.conclude_comparison(comparison)

    def conclude_changes(
        self, changes: Changes, labels: Mapping[str, str], *, everything: bool = False, heading: bool = False
    ) -> None:
        """Print what a run would change; see `render_changes`."""
        if self.form != "json" and (not self._quiet or changes.images):
            shown = render_changes(changes, labels, everything=everything, heading=heading, plan_file=self.plan_file)
            print_whole(shown)

    def conclude_comparison(self, comparison: Comparison, *, cloud: str | None = None, strict: bool = False) -> None:
        """Print how a cloud differs from the plan, below the cloud's name if there is one; `strict` as in `agrees`."""
        if self.form != "json" and (not self._quiet or not comparison.agrees(strict=strict)):
            if cloud is not None:
                print_whole(f"cloud {cloud}", stderr=self._quiet)
            print_whole(render_comparison(comparison, plan_file=self.plan_file), stderr=self._quiet)

    def conclude_looks(self, looks: Sequence[Look], *, everything: bool = False) -> None:
        """Print what a run would change as Markdown; see `render_markdown`."""
        if not self._quiet or any(look.changes.images or look.changes.incomplete for look in looks):
            click.echo(render_markdown(looks, everything=everything, plan_file=self.plan_file), nl=False)

    def conclude_comparisons(self, comparisons: Sequence[Comparison], *, strict: bool = False) -> None:
        """Print how clouds differ from the plan as Markdown; `strict` as in `agrees`."""
        if not self._quiet or not all(comparison.agrees(strict=strict) for comparison in comparisons):
            click.echo(render_comparisons_markdown(comparisons), nl=False)

    def conclude_certificate(self, certificate: Certificate, *, written: bool | None) -> None:
        """Print the certificate of an offboarding.

        written: into a file, so that the verdict is enough; False: it could not be; None: it was not meant to be.
        """
        if self.form == "json":
            self.print_json(certificate_document(certificate))
        elif not self._quiet or not certificate.is_done or written is False:
            print_whole(render_certificate(certificate, brief=bool(written)), stderr=self._quiet)

    def print_json(self, document: Mapping[str, Any]) -> None:
        """Print the one JSON object of a command."""
        click.echo(json.dumps(document))


class ContextLogger:
    """A log that names the account before the first line of news, so that an uneventful run logs a single line.

    log: receives the lines.
    doing: the event of the line that names the account, e.g. "starting".
    account: its fields.
    """

    def __init__(self, log: FilteringBoundLogger, doing: str, **account: str) -> None:
        self._log = log
        self._doing = doing
        self._account = account

    def debug(self, event: str, **fields: Any) -> None:
        """Log a detail."""
        self._log.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log news."""
        self._introduce()
        self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log a problem."""
        self._introduce()
        self._log.warning(event, **fields)

    def conclude(self, event: str, **fields: Any) -> None:
        """Log the end, with the account unless an earlier line had it."""
        self._log.info(event, **self._account, **fields)

    def _introduce(self) -> None:
        account, self._account = self._account, {}
        if account:
            self._log.info(self._doing, **account)
