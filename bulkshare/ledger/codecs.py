"""The encoding of single values: times as milliseconds since 1970, results as small numbers, request IDs as bytes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from bulkshare.model import Result, Want

if TYPE_CHECKING:
    from collections.abc import Iterable


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DAY = timedelta(days=1) // MILLISECOND
MILLISECONDS = tuple(number * MILLISECOND for number in range(1000))

# The format of oslo.middleware; other servers and proxies use others.
is_usual_request_id = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
AS_TEXT, AS_UUID = b"\0", b"\1"  # the first byte determines the rest

# The numbers are in users' files: append, never renumber. A pair without one is pending.
RESULT_CODES = {
    Result.SHARED: 1,
    Result.ALREADY: 2,
    Result.REJECTED: 3,
    Result.FAILED: 4,
    Result.SKIPPED: 5,
    Result.REMOVED: 6,
    Result.ABSENT: 7,
}
RESULTS: dict[int | None, Result] = {code: result for result, code in RESULT_CODES.items()} | {None: Result.PENDING}
WANTS = tuple(map(Want, range(2 * max(Want))))  # by number: creating a flag for each pair is slow


def pack_time(value: datetime | None) -> int | None:
    """Return an aware datetime as milliseconds since 1970, rounded down."""
    return None if value is None else (value - EPOCH) // MILLISECOND


def unpack_time(stored: int | None) -> datetime | None:
    """Return the aware UTC datetime that `pack_time` was given, without its microseconds."""
    return None if stored is None else EPOCH + stored * MILLISECOND


# The cloud's times are whole seconds that many members share; sharing the objects is faster to format, too.
pack_usual_time = lru_cache(10_000)(pack_time)
unpack_usual_time = lru_cache(10_000)(unpack_time)


def pack_times(values: Iterable[datetime | None]) -> list[int | None]:
    """Return `pack_time` of each, faster."""
    return [
        None if value is None else (d := value - EPOCH).days * DAY + d.seconds * 1000 + d.microseconds // 1000
        for value in values
    ]


def unpack_times(stored: Iterable[int | None]) -> list[datetime | None]:
    """Return `unpack_time` of each, faster if many share a second."""
    return [None if time is None else _second(time // 1000) + MILLISECONDS[time % 1000] for time in stored]


@lru_cache(10_000)
def _second(number: int) -> datetime:
    return EPOCH + timedelta(seconds=number)


def pack_request_ids(values: Iterable[str | None]) -> list[bytes | None]:
    """Return each request ID in 17 bytes if it is "req-" and a lower-case UUID, else as text."""
    return [
        None
        if value is None
        else AS_UUID + bytes.fromhex(value[4:].replace("-", ""))
        if is_usual_request_id(value)
        else AS_TEXT + value.encode()
        for value in values
    ]


def unpack_request_id(stored: bytes | None) -> str | None:
    """Return the request ID that `pack_request_ids` was given."""
    if stored is None:
        return None
    if stored.startswith(AS_TEXT):
        return stored[1:].decode()
    digits = stored.hex("-", 2)  # "01-" for the first byte, then hyphens where a UUID has them, and three more
    return f"req-{digits[3:7]}{digits[8:32]}{digits[33:37]}{digits[38:]}"
