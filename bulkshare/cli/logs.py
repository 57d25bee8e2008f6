"""The log on stderr: its forms, and who speaks in it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor


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


class Introduced:
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
