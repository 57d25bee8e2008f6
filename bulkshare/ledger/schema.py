"""The ledger's tables, and the migrations that bring an older ledger up to date.

Theory. The `pairs` table dominates: a plan of 10,000 images for 1,000 projects has 10 million rows. A settled pair
takes about 75 bytes, because

- texts (IDs of 36 characters, statuses, reasons, schemas) are numbers of 1 to 3 bytes, see `strings`;
- times are milliseconds in 6 bytes instead of 24 characters, and a request ID is 17 bytes instead of 40, see `codecs`;
- results and wants are one byte, and a pending pair's columns are NULL, which takes no space beyond the record header;
- in SQLite the table is its own primary key index (WITHOUT ROWID), so the key is stored once; InnoDB does so anyway.

The key is (run, image, member): pages of pending pairs are index ranges, and need no further index.
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
    false,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.schema import CreateColumn

from bulkshare.errors import LedgerError
from bulkshare.ledger import version_1

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

LONGEST_TEXT = 640  # characters: as many as PostgreSQL's and MariaDB's indexes take at 4 bytes each
# By default MariaDB compares "a", "A" and "a " as equal.
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
    sqlite_autoincrement=True,  # numbers are never reused, see `strings`
)
LABELS = Table(  # the names of images and projects, by their IDs
    "labels",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),  # names.id
    Column("label", Text, nullable=False),
    Column("from_plan", Boolean, nullable=False, server_default=false()),  # not what the cloud calls it
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
    Column("started_at", BigInteger, nullable=False),  # milliseconds since 1970, like all times
    Column("finished_at", BigInteger),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False, default=0),
    Column("retries", BigInteger, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("settings", JSON, nullable=False),  # `runs.pack_settings`
    Column("enqueued", Boolean, nullable=False, default=False),  # whether all the plan says is in the ledger
    Column("totals", JSON),  # `runs.tally`, if the run has ended: so that listing runs needs no counting of pairs
    Column("invocation", String(64)),  # common to the runs that one command works on; NULL in version 1
    Column("worked_at", BigInteger, nullable=False, server_default="0"),  # when it was last begun, reopened or ended
    Column("origin", JSON),  # `runs.pack_origins`; NULL in version 1
    Column("exit_code", SmallInteger),  # of what ended the last invocation early
    Column("ended_because", Text),  # the same in a sentence
    **EXACT,
    sqlite_autoincrement=True,  # a newer run has a larger ID, even after a prune: `delete_unused_strings` needs it
)
TELEMETRY = Table(
    "telemetry",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # of the invocation, from 1 on
    Column("body", JSON, nullable=False),  # `runs.pack_telemetry`
    **EXACT,
)
ORDERS = Table(  # what the plan says about whole images: a row for all images of a run with the same orders
    "orders",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1 on
    Column("body", JSON, nullable=False),  # `runs.pack_orders`
    **EXACT,
)
IMAGES = Table(  # a run's images, as far as there is more to say than their pairs do
    "images",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("image", Integer, primary_key=True, autoincrement=False),  # names.id
    Column("orders", Integer),  # orders.number; NULL: none
    Column("opened_at", BigInteger),  # when this run made it `shared`; NULL: it did not; 0: asked to, answer unknown
    **EXACT,
    sqlite_with_rowid=False,
)
BATCHES = Table(  # requests about many pairs at once of which it isn't known yet what became of them
    "batches",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("step", SmallInteger, nullable=False),  # batches.STEP_CODES
    Column("images", JSON, nullable=False),  # a list of IDs, like `members`
    Column("members", JSON, nullable=False),
    Column("job_id", String(255)),  # NULL: no answer was recorded
    **EXACT,
)
HEARTBEATS = Table(  # of runs at work, and of those whose process was killed: a row each, written about once a second
    "heartbeats",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),  # `steering.pack_heartbeat`
    **EXACT,
)
CONTROLS = Table(  # what was asked of runs at work
    "controls",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1 on
    Column("at", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),  # `steering.pack_control`
    Column("obeyed_at", BigInteger),  # NULL: not yet; 0: never, the process that should have has ended
    **EXACT,
)
PAIRS = Table(
    "pairs",
    METADATA,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("image", Integer, primary_key=True, autoincrement=False),  # this and `member`: names.id
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("want", SmallInteger, nullable=False),  # model.Want
    Column("result", SmallInteger),  # codecs.RESULT_CODES; NULL is pending
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
    # The table that marks a ledger comes first: MariaDB commits each of these statements.
    VERSION.create(connection, checkfirst=True)
    version_1.METADATA.create_all(connection)


def _version_2(connection: Connection) -> None:
    """Add what a run orders of its images, which runs belong together, when each was last worked on, plans' names."""
    # MariaDB commits each of these statements, so a migration that was cut short is repeated.
    for table in (ORDERS, IMAGES, BATCHES, HEARTBEATS, CONTROLS):
        table.create(connection, checkfirst=True)
    for column in (
        RUNS.c.invocation,
        RUNS.c.worked_at,
        RUNS.c.origin,
        RUNS.c.exit_code,
        RUNS.c.ended_because,
        LABELS.c.from_plan,
    ):
        there = {known["name"] for known in inspect(connection).get_columns(column.table.name)}
        if column.name not in there:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {definition}")
    worked_at = func.coalesce(RUNS.c.finished_at, RUNS.c.started_at)
    connection.execute(update(RUNS).where(RUNS.c.worked_at == 0).values(worked_at=worked_at))


# Step n migrates version n - 1 to n. A released step never changes: before tables change, the step that creates them
# gets a copy of their old definitions, as `version_1` is.
STEPS: tuple[Callable[[Connection], Any], ...] = (_version_1, _version_2)


LATEST = len(STEPS)


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, in the caller's transaction. Raises like `version_of`."""
    version = version_of(connection)
    for number, step in enumerate(STEPS[version:], version + 1):
        step(connection)
        connection.execute(insert(VERSION), {"number": number})


def version_of(connection: Connection) -> int:
    """Return the tables' version; 0: there are none. Raises `LedgerError` if it is newer or another program's."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return 0
    if VERSION.name not in tables:
        raise LedgerError("it is a database of another program; name another file with --ledger")
    version: int = connection.scalar(select(func.max(VERSION.c.number))) or 0
    if version > LATEST:
        raise LedgerError(
            f"it was made by a newer bulkshare: it has version {version}, and this one knows up to {LATEST}; "
            "update bulkshare, or name another file with --ledger"
        )
    return version
