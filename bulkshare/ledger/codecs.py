"""How single values are stored: times as milliseconds since 1970, results as small numbers, request IDs as bytes.

The functions for many values, and those with a cache, exist for speed: they return exactly what the plain ones do.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bulkshare.model import Result, Want

if TYPE_CHECKING:
    from collections.abc import Iterable


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DAY_MS = timedelta(days=1) // MILLISECOND
MILLISECONDS = tuple(number * MILLISECOND for number in range(1000))
CACHED_TIMES = 10_000

# The form of oslo.middleware; other servers and proxies have others.
is_oslo_request_id = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
AS_TEXT, AS_UUID = b"\0", b"\1"  # the first byte of a request ID: what follows

# Users' ledgers contain these numbers: append, never renumber. NULL is PENDING.
RESULT_CODES = {
    Result.SHARED: 1,
    Result.ALREADY: 2,
    Result.REJECTED: 3,
    Result.FAILED: 4,
    Result.SKIPPED: 5,
    Result.REMOVED: 6,
    Result.ABSENT: 7,
    Result.ACCEPTED: 8,
    Result.DECLINED: 9,
    Result.RESET: 10,
}
RESULTS: dict[int | None, Result] = {code: result for result, code in RESULT_CODES.items()} | {None: Result.PENDING}


class _Wants(dict[int, Want]):
    """Wants by their values, each made once: constructing a flag for each pair is slow, and so is making all."""

    def __missing__(self, value: int) -> Want:
        return self.setdefault(value, Want(value))


WANTS = _Wants()


def pack_time(value: datetime | None) -> int | None:
    """Return an aware datetime as milliseconds since 1970, rounded down."""
    return None if value is None else (value - EPOCH) // MILLISECOND


def unpack_time(stored: int | None) -> datetime | None:
    """Return the aware UTC datetime that `pack_time` took, without its microseconds."""
    return None if stored is None else EPOCH + stored * MILLISECOND


def pack_json(value: Any) -> str | None:
    """Return plain values as JSON; None as NULL."""
    return None if value is None else json.dumps(value)


def unpack_json(stored: Any) -> Any:
    """Return the values that `pack_json` took, tuples as lists. Some drivers have decoded them already."""
    return json.loads(stored) if isinstance(stored, str) else stored


# For the cloud's times: they are whole seconds, each shared by many members.
pack_cached_time = lru_cache(CACHED_TIMES)(pack_time)
unpack_cached_time = lru_cache(CACHED_TIMES)(unpack_time)


def pack_times(values: Iterable[datetime | None]) -> list[int | None]:
    """Return `pack_time` of each."""
    return [
        None if value is None else (d := value - EPOCH).days * DAY_MS + d.seconds * 1000 + d.microseconds // 1000
        for value in values
    ]


def unpack_times(stored: Iterable[int | None]) -> list[datetime | None]:
    """Return `unpack_time` of each; fastest when many are in the same second."""
    return [None if time is None else _second(time // 1000) + MILLISECONDS[time % 1000] for time in stored]


@lru_cache(CACHED_TIMES)
def _second(number: int) -> datetime:
    return EPOCH + timedelta(seconds=number)


def pack_request_ids(values: Iterable[str | None]) -> list[bytes | None]:
    """Return each request ID in 17 bytes if it is "req-" and a lower-case UUID, else as its text in UTF-8."""
    return [
        None
        if value is None
        else AS_UUID + bytes.fromhex(value[4:].replace("-", ""))
        if is_oslo_request_id(value)
        else AS_TEXT + value.encode()
        for value in values
    ]


def unpack_request_id(stored: bytes | None) -> str | None:
    """Return the request ID that `pack_request_ids` took."""
    if stored is None:
        return None
    if stored.startswith(AS_TEXT):
        return stored[1:].decode()
    # A hyphen after every 2 bytes, counted from the end: "01-" for the first byte, then all that a UUID has, and three
    # more, which the slices leave out.
    digits = stored.hex("-", 2)
    return f"req-{digits[3:7]}{digits[8:32]}{digits[33:37]}{digits[38:]}"
