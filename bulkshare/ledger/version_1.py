"""The tables as version 1 made them, for the migration that starts there. A released copy never changes."""

from __future__ import annotations

from typing import Any

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
)

EXACT: dict[str, Any] = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_nopad_bin"}.items()
}
METADATA = MetaData()
Table("bulkshare_version", METADATA, Column("number", Integer, primary_key=True, autoincrement=False), **EXACT)
Table(
    "names",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", String(640), nullable=False),
    UniqueConstraint("text"),
    **EXACT,
    sqlite_autoincrement=True,
)
Table(
    "labels",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("label", Text, nullable=False),
    **EXACT,
)
Table(
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
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False, default=0),
    Column("retries", BigInteger, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("settings", JSON, nullable=False),
    Column("enqueued", Boolean, nullable=False, default=False),
    Column("totals", JSON),
    **EXACT,
    sqlite_autoincrement=True,
)
Table(
    "telemetry",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", JSON, nullable=False),
    **EXACT,
)
Table(
    "pairs",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("image", Integer, primary_key=True, autoincrement=False),
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("want", SmallInteger, nullable=False),
    Column("result", SmallInteger),
    Column("http_status", SmallInteger),
    Column("status", Integer),
    Column("created_at", BigInteger),
    Column("updated_at", BigInteger),
    Column("schema", Integer),
    Column("attempts", Integer),
    Column("request_id", LargeBinary),
    Column("reason", Integer),
    Column("started_at", BigInteger),
    Column("settled_at", BigInteger),
    **EXACT,
    sqlite_with_rowid=False,
)
