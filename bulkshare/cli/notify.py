"""The options for notifications of how a command ended, and sending them."""

from __future__ import annotations

import os
import shlex
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from bulkshare.cli.exit_status import EXIT_CODES, ExitStatus
from bulkshare.errors import BulkshareError, UsageError
from bulkshare.model import Notify, NotifyOn, Webhook, WebhookFormat
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.execute import run_async
from bulkshare.operations.notify import Notifier
from bulkshare.operations.results import results_document
from bulkshare.report.notice import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bulkshare.cli.console import ConsoleListener
    from bulkshare.model import Plan
    from bulkshare.operations.results import CloudResult


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyOptions:
    """The command line's notification options; each overrides the plan's.

    on_finish: a command, in a shell's words.
    webhook: a URL, or @ and the path of a file that has it.
    """

    on_finish: str | None = None
    webhook: str | None = field(default=None, repr=False)
    webhook_format: str | None = None
    notify_on: tuple[str, ...] = ()

    @classmethod
    def among(cls, given: dict[str, Any]) -> Self:
        """Take these options out of a command's."""
        return cls(**{each.name: given.pop(each.name) for each in fields(cls) if each.name in given})

    def instead_of(self, planned: Notify | None) -> Notify | None:
        """Return whom to notify; None: no one. Raises `UsageError`."""
        notify = planned or Notify()
        if self.on_finish is not None:
            notify = replace(notify, command=_words(self.on_finish))
        if self.webhook is not None:
            path = self.webhook.removeprefix("@")
            webhook = Webhook(url=self.webhook) if path == self.webhook else Webhook(file=path)
            notify = replace(notify, webhook=webhook, format=WebhookFormat.JSON)
        if self.webhook_format is not None:
            if notify.webhook is None:
                raise UsageError("--webhook-format: there is no webhook; add --webhook, or set BULKSHARE_WEBHOOK")
            notify = replace(notify, format=WebhookFormat(self.webhook_format))
        if self.notify_on:
            notify = replace(notify, on=frozenset(map(NotifyOn, self.notify_on)))
        if notify.command or notify.webhook is not None:
            return notify
        if self.notify_on:
            raise UsageError("--notify-on: there is no one to notify; add --on-finish or --webhook")
        return None


def _words(text: str) -> tuple[str, ...]:
    """Split a command as a shell does. Raises `UsageError` if that can't be done."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--on-finish: {error.args[0].lower()} in the command") from None  # it may have a token
    if not words or not words[0] or "\0" in text:
        raise UsageError("--on-finish names no program")
    return words


class Conclusion:
    """How a command that works on a plan ends; filled in while it does.

    plan: the plan's name, as far as it is known.
    options: whom to notify; a dry run notifies no one.

    Raises `UsageError` if no one can be notified.
    """

    def __init__(self, plan: str, options: NotifyOptions, *, dry_run: bool = False) -> None:
        self.plan = plan
        self.results: Sequence[CloudResult] = ()
        self.exit_code: int = ExitStatus.NOT_AS_PLANNED
        self.error = ""
        self._options = options
        self._dry_run = dry_run
        self._notifier: Notifier | None = None
        if options.on_finish is not None or options.webhook is not None:
            self._use(None)  # also of a plan that can't be read

    def loaded(self, plan: Plan | None) -> None:
        """Take over a plan's name and its notifications; None: there is no plan that has any.

        Raises `UsageError` if they can't be sent.
        """
        self.plan = self.plan if plan is None else plan.name
        self._use(None if plan is None else plan.notify)

    def _use(self, planned: Notify | None) -> None:
        notify = self._options.instead_of(planned)
        self._notifier = None if notify is None or self._dry_run else Notifier(notify, os.environ)

    def hand_over(self) -> None:
        """Tell no one: another conclusion does, of what the command does next."""
        self._notifier = None

    def notify(self, listener: ConsoleListener) -> None:
        """Tell how the command ended."""
        if self._notifier is not None:
            self._notifier.notify(_notice(self), note=listener.note, warn=listener.warn, run_async=run_async)


@contextmanager
def notifying(ended: Conclusion, listener: ConsoleListener) -> Iterator[Conclusion]:
    """Tell how the work in the context ended, however that is."""
    try:
        yield ended
    except BulkshareError as error:
        ended.exit_code, ended.error = error.exit_code, _errors(ended.results) or str(error)
        raise
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        ended.exit_code = ExitStatus.INTERRUPTED if interrupted else ExitStatus.NOT_AS_PLANNED
        ended.error = "interrupted" if interrupted else f"unexpected error: {type(error).__name__}"
        raise
    finally:
        ended.notify(listener)


def _errors(results: Sequence[CloudResult]) -> str:
    """Return what stopped each of several clouds, a line each; "" if there is only one."""
    if len(results) < 2:
        return ""
    return "\n".join(f"cloud {result.cloud}: {result.error}" for result in results if result.error is not None)


def _notice(ended: Conclusion) -> Notice:
    summaries = [result.summary for result in ended.results if result.summary is not None]
    return Notice(
        plan=summaries[0].plan if summaries else ended.plan,
        exit_code=int(ended.exit_code),
        meaning=EXIT_CODES[ExitStatus(ended.exit_code)],
        ended_at=utc_now(),
        host=socket.gethostname(),
        error=ended.error,
        document=results_document(ended.results),
        runs=tuple(summary.run for summary in summaries if summary.run is not None),
    )
