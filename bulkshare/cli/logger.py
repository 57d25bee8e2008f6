"""The log of the command line: lines on stderr, for people or as JSON.

Two formats of one line need no library; importing one took a fourteenth of a run's start.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from bulkshare.text import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

COLORS = {"warning": "yellow", "error": "red"}  # of levels; those below are green


class Logger:
    """Writes a line for each event: the fields that are bound to the logger, and those of the event.

    level: the least one that is written, as a number of `logging`.
    form: "json" for an object on each line, or "console".
    colors: whether lines for people are colored.
    fields: those of every line.
    """

    def __init__(
        self, level: int, form: str = "console", *, colors: bool = False, fields: Mapping[str, object] | None = None
    ) -> None:
        self._level = level
        self._form = form
        self._colors = colors
        self._fields = fields or {}

    def bind(self, **fields: object) -> Logger:
        """Return a logger whose lines have these fields, too."""
        return Logger(self._level, self._form, colors=self._colors, fields={**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """Log a detail."""
        self._log(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log an event."""
        self._log(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log a problem."""
        self._log(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log what is said even if all is to be quiet."""
        self._log(logging.ERROR, "error", event, fields)

    def _log(self, level: int, name: str, event: str, fields: Mapping[str, object]) -> None:
        if level < self._level:
            return
        known = {**self._fields, **fields}
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        if self._form == "json":
            line = json.dumps({**known, "event": event, "level": name, "timestamp": time}, default=repr)
        else:
            line = _render(time, name, event, known, colors=self._colors)
        with suppress(OSError):  # a log that can't be written is no reason to end a run
            sys.stderr.write(f"{line}\n")  # whatever it is at the moment: a live display replaces it for a while
            sys.stderr.flush()


def _render(time: str, level: str, event: str, fields: Mapping[str, object], *, colors: bool) -> str:
    """Return a line for people: the fields by name, with values as people write them, and a line for each member."""
    style = click.style if colors else _plain
    words = [style(time, dim=True), f"[{style(level, fg=COLORS.get(level, 'green'), bold=True)}]"]
    words.append(style(event, bold=True))
    words += [
        f"{style(name, fg='cyan')}={style(log_value(fields[name]), fg='magenta')}"
        for name in sorted(fields.keys() - {"members"})
    ]
    members = fields.get("members")
    listed = members if isinstance(members, list | tuple) else ()
    return " ".join(words) + "".join(f"\n  - {escaped(member)}" for member in listed)


def _plain(text: str, **_style: object) -> str:
    return text


def log_value(value: object) -> str:
    """Return a value of a log line as logfmt has it: lists with commas, in double quotes if it has spaces."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if not text or set(text) & set(' "=') or not text.isprintable():
        return json.dumps(text, ensure_ascii=False)
    return text
