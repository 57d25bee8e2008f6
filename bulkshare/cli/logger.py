"""The log of the command line: lines on stderr, for people or as JSON."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import structlog

from bulkshare.text import escaped

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import FilteringBoundLogger, Processor


def make_log(level: int, form: str = "console", *, colors: bool = False) -> FilteringBoundLogger:
    """Return a logger that writes a line for each event to stderr, with the fields bound to it and those of the event.

    level: the least one that is written, as a number of `logging`.
    form: "json" for an object on each line, or "console".
    colors: whether lines for people are colored.
    """
    renderer: Processor = structlog.processors.JSONRenderer() if form == "json" else _console_renderer(colors=colors)
    wrapped = structlog.wrap_logger(
        structlog.WriteLogger(_CurrentStderr()),  # type: ignore[arg-type]  # it only calls write and flush
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return cast("FilteringBoundLogger", wrapped)


def log_value(value: object) -> str:
    """Return a value of a log line as logfmt has it: lists with commas, in double quotes if it has spaces."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if not text or set(text) & set(' "=') or not text.isprintable():
        return json.dumps(text, ensure_ascii=False)
    return text


def _console_renderer(*, colors: bool) -> Processor:
    """Return structlog's renderer of lines for people, with values as people write them, and a line for each member."""
    renderer = structlog.dev.ConsoleRenderer(colors=colors, pad_level=False, pad_event_to=0)
    styles = renderer.get_default_column_styles(colors)
    default = structlog.dev.KeyValueColumnFormatter(styles.kv_key, styles.kv_value, styles.reset, log_value)
    columns = [column for column in renderer.columns if column.key]
    lines = structlog.dev.ConsoleRenderer(columns=[*columns, structlog.dev.Column("", default)])

    def render(logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
        members = fields.pop("members", ())
        return lines(logger, method, fields) + "".join(f"\n  - {escaped(member)}" for member in members)

    return render


class _CurrentStderr:
    """Writes to whatever `sys.stderr` is at the moment: a live display replaces it for a while."""

    def write(self, text: str) -> int:
        with suppress(OSError):  # a log that can't be written is no reason to end a run
            return sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()
