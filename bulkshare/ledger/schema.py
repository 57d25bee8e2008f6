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

import re
from typing import TYPE_CHECKING

from bulkshare.errors import LedgerError
from bulkshare.ledger.dialects import quoted

if TYPE_CHECKING:
    from bulkshare.ledger.dialects import Dialect
    from bulkshare.ledger.store import Connection

LONGEST_TEXT = 640  # characters: as many as PostgreSQL's and MariaDB's indexes take at 4 bytes each
VERSION = "bulkshare_version"  # the table that marks a ledger

# Step n migrates version n - 1 to n; its statements end with semicolons. In braces are the names of what differs
# between databases, see `dialects.Dialect`. A released step never changes. MariaDB commits each statement that changes
# tables, so a migration that was cut short is repeated from the start of its step: all of them may be executed twice.
STEP_1 = f"""
CREATE TABLE IF NOT EXISTS {VERSION} (number INTEGER NOT NULL, PRIMARY KEY (number)) {{options}};
CREATE TABLE IF NOT EXISTS names (
    id {{counted}},
    text VARCHAR({LONGEST_TEXT}) NOT NULL,
    UNIQUE (text)
) {{options}};
CREATE TABLE IF NOT EXISTS labels (  -- the names of images and projects, by their IDs
    id INTEGER NOT NULL,  -- names.id
    label TEXT NOT NULL,
    PRIMARY KEY (id)
) {{options}};
CREATE TABLE IF NOT EXISTS runs (
    id {{counted}},  -- a newer run has a larger ID, even after a prune: `delete_unused_strings` needs it
    "key" VARCHAR(255) NOT NULL,
    plan VARCHAR(255) NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    cloud TEXT NOT NULL,
    region TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    "user" TEXT NOT NULL,
    project TEXT NOT NULL,
    project_id TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    started_at BIGINT NOT NULL,  -- milliseconds since 1970, like all times
    finished_at BIGINT,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    seconds FLOAT NOT NULL,
    settings JSON NOT NULL,  -- `runs.pack_settings`
    enqueued BOOLEAN NOT NULL,  -- whether all the plan says is in the ledger
    totals JSON,  -- `runs.tally`, if the run has ended: so that listing runs needs no counting of pairs
    UNIQUE ("key")
) {{options}};
CREATE INDEX IF NOT EXISTS ix_runs_plan ON runs (plan);
CREATE TABLE IF NOT EXISTS telemetry (
    run_id INTEGER NOT NULL,
    number INTEGER NOT NULL,  -- of the invocation, from 1 on
    body JSON NOT NULL,  -- `runs.pack_telemetry`
    PRIMARY KEY (run_id, number)
) {{options}};
CREATE TABLE IF NOT EXISTS pairs (
    run_id INTEGER NOT NULL,
    image INTEGER NOT NULL,  -- this and `member`: names.id
    member INTEGER NOT NULL,
    want SMALLINT NOT NULL,  -- model.Want
    result SMALLINT,  -- codecs.RESULT_CODES; NULL is pending
    http_status SMALLINT,
    status INTEGER,  -- names.id
    created_at BIGINT,
    updated_at BIGINT,
    "schema" INTEGER,  -- names.id
    attempts INTEGER,
    request_id {{binary}},
    reason INTEGER,  -- names.id
    started_at BIGINT,
    settled_at BIGINT,
    PRIMARY KEY (run_id, image, member)
) {{clustered}};
"""
# What a run orders of its images, which runs belong together, when each was last worked on, what watches and steers it,
# and which names are from plans.
STEP_2 = """
CREATE TABLE IF NOT EXISTS orders (  -- what the plan says about whole images: a row for all of a run with the same
    run_id INTEGER NOT NULL,
    number INTEGER NOT NULL,  -- from 1 on
    body JSON NOT NULL,  -- `runs.pack_orders`
    PRIMARY KEY (run_id, number)
) {options};
CREATE TABLE IF NOT EXISTS images (  -- a run's images, as far as there is more to say than their pairs do
    run_id INTEGER NOT NULL,
    image INTEGER NOT NULL,  -- names.id
    orders INTEGER,  -- orders.number; NULL: none
    opened_at BIGINT,  -- when this run made it `shared`; NULL: it did not; 0: asked to, answer unknown
    PRIMARY KEY (run_id, image)
) {clustered};
CREATE TABLE IF NOT EXISTS batches (  -- requests about many pairs of which it isn't known yet what became of them
    run_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    step SMALLINT NOT NULL,  -- batches.STEP_CODES
    images JSON NOT NULL,  -- a list of IDs, like `members`
    members JSON NOT NULL,
    job_id VARCHAR(255),  -- NULL: no answer was recorded
    PRIMARY KEY (run_id, number)
) {options};
CREATE TABLE IF NOT EXISTS heartbeats (  -- of runs at work, and of those whose process was killed: a row each
    run_id INTEGER NOT NULL,
    at BIGINT NOT NULL,
    body JSON NOT NULL,  -- `steering.pack_heartbeat`
    PRIMARY KEY (run_id)
) {options};
CREATE TABLE IF NOT EXISTS controls (  -- what was asked of runs at work
    run_id INTEGER NOT NULL,
    number INTEGER NOT NULL,  -- from 1 on
    at BIGINT NOT NULL,
    body JSON NOT NULL,  -- `steering.pack_control`
    obeyed_at BIGINT,  -- NULL: not yet; 0: never, the process that should have has ended
    PRIMARY KEY (run_id, number)
) {options};
ALTER TABLE runs ADD COLUMN invocation VARCHAR(64);  -- common to the runs that one command works on; NULL in version 1
ALTER TABLE runs ADD COLUMN worked_at BIGINT NOT NULL DEFAULT 0;  -- when it was last begun, reopened or ended
ALTER TABLE runs ADD COLUMN origin JSON;  -- `runs.pack_origins`; NULL in version 1
ALTER TABLE runs ADD COLUMN exit_code SMALLINT;  -- of what ended the last invocation early
ALTER TABLE runs ADD COLUMN ended_because TEXT;  -- the same in a sentence
ALTER TABLE labels ADD COLUMN from_plan BOOLEAN NOT NULL DEFAULT FALSE;  -- not what the cloud calls it
UPDATE runs SET worked_at = COALESCE(finished_at, started_at) WHERE worked_at = 0;
"""
# Ledgers were made with step 2 before all of its columns and tables were in it, so it is repeated: what is there stays.
STEPS = (STEP_1, STEP_2, STEP_2)
LATEST = len(STEPS)
COMMENT = re.compile(r" *-- .*")
added_column = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (\w+) ").match


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, in the caller's transaction. Raises like `version_of`."""
    for number in range(version_of(connection) + 1, LATEST + 1):
        for statement in statements(number, connection.dialect):
            found = added_column(statement)
            if found and found[2] in connection.scalars(connection.dialect.columns, table=found[1]):
                continue
            connection.execute(statement)
        connection.execute(f"INSERT INTO {VERSION} (number) VALUES (:number)", number=number)


def statements(step: int, dialect: Dialect) -> list[str]:
    """Return the statements of a step, from 1 on."""
    text = COMMENT.sub("", STEPS[step - 1]).format_map(dialect._asdict())
    return [quoted(each.strip(), dialect) for each in text.split(";") if each.strip()]


def version_of(connection: Connection) -> int:
    """Return the tables' version; 0: there are none. Raises `LedgerError` if it is newer or another program's."""
    tables = connection.scalars(connection.dialect.tables)
    if not tables:
        return 0
    if VERSION not in tables:
        raise LedgerError("it is a database of another program; name another file with --ledger")
    version: int = connection.scalar(f"SELECT MAX(number) FROM {VERSION}") or 0
    if version > LATEST:
        raise LedgerError(
            f"it was made by a newer bulkshare: it has version {version}, and this one knows up to {LATEST}; "
            "update bulkshare, or name another file with --ledger"
        )
    return version
