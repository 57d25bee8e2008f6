"""The ledger's tables, and how an older file becomes a newer one.

A pair takes about 75 bytes: IDs and texts that repeat are kept once, in `names`; `values` has how the rest is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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

from bulkshare.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

LONGEST_TEXT = 640  # characters of a name: as many as PostgreSQL's and MariaDB's indexes take of any alphabet
# MariaDB by itself takes "a", "A" and "a " for the same.
EXACT: dict[str, Any] = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_nopad_bin"}.items()
}
METADATA = MetaData()
VERSION = Table(
    "bulkshare_version", METADATA, Column("number", Integer, primary_key=True, autoincrement=False), **EXACT
)
NAMES = Table(
    "names",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", String(LONGEST_TEXT), nullable=False),
    UniqueConstraint("text"),
    **EXACT,
    sqlite_autoincrement=True,  # no number is given twice: who remembers one that is gone reads no other's text
)
LABELS = Table(  # the names that people gave to images and projects, by their IDs
    "labels",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),  # names.id
    Column("label", Text, nullable=False),
    **EXACT,
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
    Column("started_at", BigInteger, nullable=False),  # milliseconds since 1970, as all times
    Column("finished_at", BigInteger),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False, default=0),
    Column("retries", BigInteger, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("settings", JSON, nullable=False),  # `settings.pack_settings`
    Column("enqueued", Boolean, nullable=False, default=False),  # whether all its pairs are here
    Column("totals", JSON),  # of a run that is not running, so that old runs are listed without counting their pairs
    **EXACT,
    sqlite_autoincrement=True,  # a run begun later has a larger number, whatever was pruned: `pruning` relies on it
)
TELEMETRY = Table(
    "telemetry",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # of the invocation, from 1 on
    Column("body", JSON, nullable=False),  # `telemetry.pack_telemetry`
    **EXACT,
)
PAIRS = Table(
    "pairs",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("image", Integer, primary_key=True, autoincrement=False),  # this and the next: names.id
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("want", SmallInteger, nullable=False),  # model.Want
    Column("result", SmallInteger),  # values.RESULT_CODES; NULL is pending
    Column("http_status", SmallInteger),
    Column("status", Integer),  # names.id
    Column("created_at", BigInteger),
    Column("updated_at", BigInteger),
    Column("schema", Integer),  # names.id
    Column("attempts", Integer),
    Column("request_id", LargeBinary),
    Column("reason", Integer),  # names.id
    Column("started_at", BigInteger),
    Column("settled_at", BigInteger),
    **EXACT,
    sqlite_with_rowid=False,
)


def _version_1(connection: Connection) -> None:
    VERSION.create(connection, checkfirst=True)  # MariaDB commits each: then these are known to be a ledger's
    METADATA.create_all(connection)


# Step n makes version n of version n - 1. Once released a step is never changed: when tables change, the step that
# made them first gets a copy of how they were.
STEPS: tuple[Callable[[Connection], Any], ...] = (_version_1,)


def is_current(connection: Connection) -> bool:
    """Tell whether the tables are up to date. Raises `LedgerError` where they are newer, or somebody else's."""
    return _version_of(connection) == len(STEPS)


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, in the caller's transaction. Raises as `is_current`."""
    version = _version_of(connection)
    for number, step in enumerate(STEPS[version:], version + 1):
        step(connection)
        connection.execute(insert(VERSION), {"number": number})


def _version_of(connection: Connection) -> int:
    tables = inspect(connection).get_table_names()
    if not tables:
        return 0
    if VERSION.name not in tables:
        raise LedgerError("it is a database of some other program; name another file with --ledger")
    version: int = connection.scalar(select(func.max(VERSION.c.number))) or 0
    if version > len(STEPS):
        raise LedgerError(
            f"a newer bulkshare made it: it is of version {version}, and this one knows versions up to {len(STEPS)}; "
            "update bulkshare, or name another file with --ledger"
        )
    return version
