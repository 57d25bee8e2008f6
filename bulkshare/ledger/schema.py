"""The ledger's tables, how values are kept in them, and how an older file becomes a newer one.

A pair takes about 70 bytes: IDs and texts that repeat are kept once, in `names`; times are milliseconds since 1970;
a request ID of the usual form is its 16 bytes.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.types import TypeDecorator

from bulkshare.errors import LedgerError
from bulkshare.model import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Dialect

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
USUAL_REQUEST_ID = "req-"  # followed by a UUID: what oslo.middleware makes
# The numbers are in files of users: append, never renumber. A pair without one is pending.
RESULT_CODES = {Result.SHARED: 1, Result.ALREADY: 2, Result.REJECTED: 3, Result.FAILED: 4, Result.SKIPPED: 5}
RESULTS: dict[int | None, Result] = {code: result for result, code in RESULT_CODES.items()} | {None: Result.PENDING}


class Milliseconds(TypeDecorator[datetime]):
    """An aware datetime as milliseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """See SQLAlchemy."""
        del dialect
        return None if value is None else (value - EPOCH) // MILLISECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """See SQLAlchemy."""
        del dialect
        return None if value is None else EPOCH + value * MILLISECOND


class RequestId(TypeDecorator[str]):
    """A request ID: 16 bytes where it is "req-" and a UUID, else zero bytes and its text, never 16 bytes long."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """See SQLAlchemy."""
        del dialect
        if value is None:
            return None
        try:
            packed = uuid.UUID(value.removeprefix(USUAL_REQUEST_ID)).bytes
        except ValueError:
            packed = b""
        if packed and _unpacked(packed) == value:
            return packed
        text = b"\0" + value.encode()
        return text if len(text) != 16 else b"\0" + text

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """See SQLAlchemy."""
        del dialect
        if value is None:
            return None
        return _unpacked(value) if len(value) == 16 else value.lstrip(b"\0").decode("utf-8", "replace")


def _unpacked(packed: bytes) -> str:
    return f"{USUAL_REQUEST_ID}{uuid.UUID(bytes=packed)}"


METADATA = MetaData()
VERSION = Table("version", METADATA, Column("number", Integer, primary_key=True))
NAMES = Table(
    "names",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", String(1024), nullable=False),
    UniqueConstraint("text"),
)
RUNS = Table(
    "runs",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("key", String(255), nullable=False, unique=True),
    Column("plan", String(255), nullable=False, index=True),
    Column("fingerprint", String(64), nullable=False),
    Column("cloud", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started_at", Milliseconds, nullable=False),
    Column("finished_at", Milliseconds),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False, default=0),
    Column("retries", BigInteger, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("totals", JSON),  # of a finished run, so that old runs are listed without counting their pairs
)
PAIRS = Table(
    "pairs",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("image", Integer, primary_key=True, autoincrement=False),  # these and the next: names.id
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("result", SmallInteger),  # RESULT_CODES; NULL is pending
    Column("http_status", SmallInteger),
    Column("status", Integer),  # names.id
    Column("created_at", Milliseconds),
    Column("updated_at", Milliseconds),
    Column("schema", Integer),  # names.id
    Column("attempts", Integer),
    Column("request_id", RequestId),
    Column("reason", Integer),  # names.id
    Column("started_at", Milliseconds),
    Column("settled_at", Milliseconds),
    sqlite_with_rowid=False,
)


def _version_1(connection: Connection) -> None:
    METADATA.create_all(connection)


# Step n makes version n of version n - 1. Once released a step is never changed: when tables change, the step that
# made them first gets a copy of how they were.
STEPS: tuple[Callable[[Connection], Any], ...] = (_version_1,)


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, in the caller's transaction. Raises `LedgerError` where they are newer."""
    version = 0
    if inspect(connection).has_table("version"):
        version = connection.scalar(select(func.max(VERSION.c.number))) or 0
    if version > len(STEPS):
        raise LedgerError(
            f"the ledger is of version {version}, made by a newer bulkshare; this one knows versions up to {len(STEPS)}"
        )
    for number, step in enumerate(STEPS[version:], version + 1):
        step(connection)
        connection.execute(insert(VERSION), {"number": number})
