"""The pairs of a run as rows for other programs: JSON lines and CSV. Pure."""

from __future__ import annotations

import csv
import json
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from bulkshare.model import Outcome

FORMULA_START = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of a formula (OWASP, CSV injection)
COLUMNS = (
    "run",
    "image_id",
    "member_id",
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


def row_of(run_key: str, outcome: Outcome) -> dict[str, Any]:
    """Return a pair as a row with `COLUMNS` as keys; times are ISO 8601 in UTC, unknown values None."""
    values = (
        run_key,
        outcome.image_id,
        outcome.member_id,
        outcome.result.value,
        outcome.http_status,
        outcome.status,
        _iso(outcome.created_at),
        _iso(outcome.updated_at),
        outcome.schema,
        outcome.attempts,
        outcome.request_id,
        outcome.reason,
        _iso(outcome.started_at, milliseconds=True),
        _iso(outcome.settled_at, milliseconds=True),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _iso(time: datetime | None, *, milliseconds: bool = False) -> str | None:
    """Return the form the Image API uses, "2026-01-02T03:04:05Z"; our own times with milliseconds."""
    if time is None:
        return None
    return time.isoformat(timespec="milliseconds" if milliseconds else "seconds").replace("+00:00", "Z")


def export_jsonl(run_key: str, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield one JSON object a line for each pair."""
    for outcome in outcomes:
        yield json.dumps(row_of(run_key, outcome)) + "\n"


def export_csv(run_key: str, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield CSV (RFC 4180) lines with a header, safe to open in a spreadsheet."""
    buffer = StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for outcome in outcomes:
        writer.writerow(_harmless(value) for value in row_of(run_key, outcome).values())
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_START) else value
