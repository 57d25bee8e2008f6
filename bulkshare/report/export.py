"""The pairs of a run as rows for other programs: JSON lines and CSV. Pure; made for millions of rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring_ascii as quoted
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import Want

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bulkshare.model import Outcome, Result

# Characters that start a formula in a spreadsheet, or that it skips before one (OWASP, CSV injection).
FORMULA_START = frozenset("=+-@\t\r\n")
COLUMNS = (
    "run",
    "cloud",
    "image_id",
    "image_name",
    "member_id",
    "member_name",
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
    "opened_at",
)
ALIKE = slice(6, 14)  # columns "action" to "attempts": many rows share the values of all of them


def action_of(want: Want) -> str:
    """Return what was to be done with a pair, as exports have it."""
    if Want.RESET in want:
        return "reset"
    if Want.RECEIVED in want:
        return "decline" if Want.DECLINED in want else "accept"
    return "remove" if Want.REMOVE in want else "share"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS = tuple(f".{number:03}Z" for number in range(1000))
AT_ONCE = 1000  # rows per batch, built column by column: faster than row by row
NO_NAMES: Mapping[str, str] = MappingProxyType({})
NONE_OPENED: Mapping[str, datetime] = MappingProxyType({})
MOST_TEXTS, MOST_ALIKE = 20_000, 10_000  # entries cached


def row_of(
    run_key: str,
    outcome: Outcome,
    *,
    cloud: str = "",
    names: Mapping[str, str] = NO_NAMES,
    opened: Mapping[str, datetime] = NONE_OPENED,
) -> dict[str, Any]:
    """Return a pair as a row with `COLUMNS` as keys; times are ISO 8601 in UTC, unknown values None.

    names: those of images and projects by ID.
    opened: when the run made images shared, by ID.

    The times have the form that the Image API uses, "2026-01-02T03:04:05Z"; our own have milliseconds. `action` is
    "share", or "remove" if the project must not be a member; "accept" or "decline" if it is our own membership;
    "reset" if its status is to be pending again.
    """
    values = (
        *(run_key, cloud, outcome.image_id, names.get(outcome.image_id)),
        *(outcome.member_id, names.get(outcome.member_id), *_alike(outcome.want, *outcome[2:9])),
        *(outcome.request_id, outcome.reason),
        *(
            None if time is None else _moment(time)
            for time in (outcome.started_at, outcome.settled_at, opened.get(outcome.image_id))
        ),
    )
    return dict(zip(COLUMNS, values, strict=True))


def export_jsonl(
    run_key: str,
    outcomes: Iterable[Outcome],
    *,
    cloud: str = "",
    names: Mapping[str, str] = NO_NAMES,
    opened: Mapping[str, datetime] = NONE_OPENED,
) -> Iterator[str]:
    """Yield one JSON object a line for each pair; the arguments are as for `row_of`."""
    begin = f'{{"run": {quoted(run_key)}, "cloud": {quoted(cloud)}, "image_id": '
    for image_id, image_name, member_id, member_name, alike, *rest in _rows(JSON, outcomes, names, opened):
        request_id, reason, started_at, settled_at, opened_at = rest
        yield (
            f'{begin}{image_id}, "image_name": {image_name}, "member_id": {member_id}, "member_name": {member_name}, '
            f'{alike}, "request_id": {request_id}, "reason": {reason}, "started_at": {started_at}, '
            f'"settled_at": {settled_at}, "opened_at": {opened_at}}}\n'
        )


def export_csv(
    run_key: str,
    outcomes: Iterable[Outcome],
    *,
    cloud: str = "",
    names: Mapping[str, str] = NO_NAMES,
    opened: Mapping[str, datetime] = NONE_OPENED,
) -> Iterator[str]:
    """Yield CSV (RFC 4180) lines with a header, safe to open in a spreadsheet; the arguments are as for `row_of`."""
    yield f"{','.join(COLUMNS)}\r\n"
    begin = f"{_csv_cell(run_key)},{_csv_cell(cloud)}"
    for cells in _rows(CSV, outcomes, names, opened):
        yield f"{begin},{','.join(cells)}\r\n"


def csv_line(values: Iterable[str | int | None]) -> str:
    """Return a line of CSV (RFC 4180) with its end, safe to open in a spreadsheet."""
    return f"{','.join(map(_csv_cell, values))}\r\n"


class _CellFormat(NamedTuple):
    """How values are written.

    cell: any value.
    usual: a value that many rows share; cached.
    alike: the columns `ALIKE`; cached.
    quote: put around a text that needs no escaping.
    """

    cell: Callable[[str | int | None], str]
    usual: Callable[[str | None], str]
    alike: Callable[..., str]
    quote: str


def _rows(
    form: _CellFormat, outcomes: Iterable[Outcome], names: Mapping[str, str], opened: Mapping[str, datetime]
) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each pair in the order of `COLUMNS`, from the image on; the columns `ALIKE` are one text."""
    remaining = iter(outcomes)
    while some := list(islice(remaining, AT_ONCE)):
        image_ids, member_ids, *alike, request_ids, reasons, started, settled, wants = zip(*some, strict=True)
        yield from zip(
            map(form.usual, image_ids),
            map(form.usual, map(names.get, image_ids)),
            map(form.usual, member_ids),
            map(form.usual, map(names.get, member_ids)),
            map(form.alike, wants, *alike),
            map(form.cell, request_ids),
            map(form.usual, reasons),
            _moments(form, started),
            _moments(form, settled),
            _moments(form, map(opened.get, image_ids)),
            strict=True,
        )


def _moments(form: _CellFormat, times: Iterable[datetime | None]) -> Iterator[str]:
    quote, unknown = form.quote, form.cell(None)
    return (unknown if time is None else f"{quote}{_moment(time)}{quote}" for time in times)


def _json_cell(value: str | int | None) -> str:
    return "null" if value is None else quoted(value) if isinstance(value, str) else str(value)


def _csv_cell(value: str | int | None) -> str:
    if value is None:
        return ""
    text = f"'{value}" if isinstance(value, str) and value[:1] in FORMULA_START else str(value)
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


@lru_cache(MOST_ALIKE)
def _json_alike(*values: Any) -> str:
    named = zip(COLUMNS[ALIKE], _alike(*values), strict=True)
    return ", ".join(f"{quoted(name)}: {_json_cell(value)}" for name, value in named)


@lru_cache(MOST_ALIKE)
def _csv_alike(*values: Any) -> str:
    return ",".join(map(_csv_cell, _alike(*values)))


JSON = _CellFormat(_json_cell, lru_cache(MOST_TEXTS)(_json_cell), _json_alike, '"')
CSV = _CellFormat(_csv_cell, lru_cache(MOST_TEXTS)(_csv_cell), _csv_alike, "")


def _alike(
    want: Want,
    result: Result,
    http_status: int | None,
    status: str | None,
    created_at: datetime | None,
    updated_at: datetime | None,
    schema: str | None,
    attempts: int,
) -> tuple[str | int | None, ...]:
    """Return the values of the columns `ALIKE`."""
    created, updated = (None if time is None else f"{_to_the_second(time)}Z" for time in (created_at, updated_at))
    return (
        action_of(want),
        str(result),
        http_status,
        status,
        created,
        updated,
        schema,
        attempts,
    )


def _to_the_second(time: datetime) -> str:
    since = time - EPOCH
    return _second(since.days, since.seconds)


def _moment(time: datetime) -> str:
    since = time - EPOCH
    return _second(since.days, since.seconds) + MILLISECONDS[since.microseconds // 1000]


@lru_cache(10_000)  # `datetime.isoformat` computes the UTC offset each time, which is slow
def _second(days: int, seconds: int) -> str:
    return (EPOCH + timedelta(days, seconds)).isoformat()[: -len("+00:00")]
