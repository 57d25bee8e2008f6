"""The pairs of a run as rows for other programs: JSON lines and CSV. Pure; made for millions of rows."""

from __future__ import annotations

import csv
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from bulkshare.model import Want

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date, datetime

    from bulkshare.model import Outcome

# What spreadsheets take for the beginning of a formula, and what they skip on the way to one (OWASP, CSV injection).
FORMULA_START = frozenset("=+-@\t\r\n")
COLUMNS = (
    "run",
    "image_id",
    "member_id",
    "action",
    "result",
    "http_status",
    "status",
    "created_at",
    "updated_at",
    "schema",
    "attempts",
    "request_id",
    "reason",
    "started_at",
    "settled_at",
)
ACTIONS = tuple("remove" if Want.GONE in Want(want) else "share" for want in range(2 * max(Want)))  # by the want
DIGITS = tuple(f"{number:02}" for number in range(60))
JSON_LINE = "{" + ", ".join(f'"{name}": %s' for name in COLUMNS) + "}\n"


def row_of(run_key: str, outcome: Outcome) -> dict[str, Any]:
    """Return a pair as a row with `COLUMNS` as keys; times are ISO 8601 in UTC, unknown values None.

    The times have the form that the Image API uses, "2026-01-02T03:04:05Z"; our own have milliseconds. `action` is
    "share", or "remove" where the project is not to be a member.
    """
    return dict(zip(COLUMNS, _values(run_key, outcome), strict=True))


def export_jsonl(run_key: str, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield one JSON object a line for each pair."""
    for outcome in outcomes:
        # Value by value: to encode a dict for each row takes three times as long.
        values = [
            quoted(value) if type(value) is str else "null" if value is None else value
            for value in _values(run_key, outcome)
        ]
        yield JSON_LINE % tuple(values)


def export_csv(run_key: str, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield CSV (RFC 4180) lines with a header, safe to open in a spreadsheet."""
    write = csv.writer(_Line()).writerow
    yield write(COLUMNS)
    for outcome in outcomes:
        yield write([f"'{v}" if type(v) is str and v[:1] in FORMULA_START else v for v in _values(run_key, outcome)])


class _Line:
    """A file for the csv module that keeps nothing: what is written is what `writerow` returns."""

    def write(self, line: str) -> str:
        """Return the line."""
        return line


def _values(run_key: str, outcome: Outcome) -> tuple[str | int | None, ...]:
    return (
        run_key,
        outcome.image_id,
        outcome.member_id,
        ACTIONS[outcome.want],
        str(outcome.result),
        outcome.http_status,
        outcome.status,
        _to_the_second(outcome.created_at),
        _to_the_second(outcome.updated_at),
        outcome.schema,
        outcome.attempts,
        outcome.request_id,
        outcome.reason,
        _to_the_millisecond(outcome.started_at),
        _to_the_millisecond(outcome.settled_at),
    )


# By hand: `datetime.isoformat` asks for the offset from UTC each time, and takes three times as long.


@lru_cache(10_000)  # the cloud's times are of whole seconds, in which many members are made
def _to_the_second(time: datetime | None) -> str | None:
    if time is None:
        return None
    return f"{_day(time.date())}T{DIGITS[time.hour]}:{DIGITS[time.minute]}:{DIGITS[time.second]}Z"


def _to_the_millisecond(time: datetime | None) -> str | None:
    if time is None:
        return None
    clock = f"{DIGITS[time.hour]}:{DIGITS[time.minute]}:{DIGITS[time.second]}"
    return f"{_day(time.date())}T{clock}.{time.microsecond // 1000:03}Z"


@lru_cache(1000)
def _day(day: date) -> str:
    return day.isoformat()
