"""Ledgers made by older versions are brought up to date when they are opened, and keep everything."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine

from bulkshare.ledger import SqlLedger
from bulkshare.ledger.dialects import MARIADB, POSTGRESQL, insert
from bulkshare.ledger.schema import LATEST, STEPS, VERSION, migrate, statements
from bulkshare.ledger.server import ServerConnection
from bulkshare.ledger.sqlite import FileConnection
from bulkshare.ledger.url import parse_location
from bulkshare.model import Block, Limits, Orders, Result, RunState, Settings
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, begin, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkshare.ledger.store import Connection

STARTED, ENDED = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SETTINGS = {  # as version 1 packed them
    "cloud": "prod",
    "region": None,
    "sandbox": False,
    "limits": {"concurrency": 16, "rate": 50.0, "per_image": 4, "members_per_image": 128},
    "retry": {"attempts": 6, "base_seconds": 0.5, "cap_seconds": 30.0},
}


class KilledError(Exception):
    """The process ended here."""


@contextmanager
def connected(place: str) -> Iterator[Connection]:
    """Write to the database at a ledger's location, past the ledger. Each statement is committed at once."""
    where = parse_location(place)
    if isinstance(where, Path):
        with closing(sqlite3.connect(where, isolation_level=None)) as raw:
            yield FileConnection(raw)
        return
    engine = create_engine(where, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield ServerConnection(connection, POSTGRESQL if engine.dialect.name == "postgresql" else MARIADB)
    engine.dispose()


def run_of_version_1(number: int, finished_at: datetime | None) -> dict[str, Any]:
    """Return the row of a run."""
    return {
        "key": f"nightly-{number}",
        "plan": "nightly",
        "fingerprint": FINGERPRINT,
        "cloud": ACCOUNT.cloud,
        "region": ACCOUNT.region,
        "endpoint": ACCOUNT.endpoint,
        "user": ACCOUNT.user,
        "project": ACCOUNT.project,
        "project_id": ACCOUNT.project_id,
        "state": "interrupted",
        "started_at": (STARTED - EPOCH) // MILLISECOND,
        "finished_at": None if finished_at is None else (finished_at - EPOCH) // MILLISECOND,
        "host": "host",
        "pid": 7,
        "requests": 5,
        "retries": 2,
        "seconds": 1.5,
        "settings": json.dumps(SETTINGS),
        "enqueued": True,
        "totals": json.dumps({"shared": 1, "pending": 1}),
    }


def make_version_1(place: str) -> None:
    """Make a ledger as version 1 did: two runs, the first with a shared and a pending pair, names and telemetry."""
    names = ("image", "shared", "pending", "as asked")  # which get the numbers from 1 on, as the runs do
    telemetry = {"began_at": 0, "interval_seconds": 1.0, "requests": [3], "troubled": [0], "allowed": [4]}
    body = json.dumps(telemetry | {"latency": [], "statuses": {}})
    rows: dict[str, list[dict[str, Any]]] = {
        VERSION: [{"number": 1}],
        "names": [{"text": name} for name in names],
        "labels": [{"id": 1, "label": "ubuntu"}],
        "runs": [run_of_version_1(1, ENDED), run_of_version_1(2, None)],
        "telemetry": [{"run_id": 1, "number": 1, "body": body}],
        "pairs": [
            {"run_id": 1, "image": 1, "member": 2, "want": 0, "result": 1, "http_status": 200, "reason": 4},
            {"run_id": 1, "image": 1, "member": 3, "want": 0},
        ],
    }
    with connected(place) as connection:
        for statement in statements(1, connection.dialect):
            connection.execute(statement)
        for name, several in rows.items():
            for row in several:
                connection.execute(insert(name, row), **row)


def columns(place: str) -> dict[str, list[str]]:
    """Return the names of all columns, by table."""
    with connected(place) as connection:
        dialect = connection.dialect
        tables = connection.scalars(dialect.tables)
        return {table: sorted(connection.scalars(dialect.columns, table=table)) for table in sorted(tables)}


def require_whole(place: str) -> None:
    """Fail unless a migrated ledger has what `make_version_1` wrote, and takes what a new one takes."""
    with closing(SqlLedger.open(place, create=False)) as ledger:
        second, first = ledger.runs()
        assert (first.key, first.state, first.account) == ("nightly-1", RunState.INTERRUPTED, ACCOUNT)
        assert (first.requests, first.retries, first.seconds, first.enqueued) == (5, 2, 1.5, True)
        assert first.settings == Settings("prod", limits=Limits(members_per_image=128)), "which was the default"
        assert first.totals == dict.fromkeys(Result, 0) | {Result.SHARED: 1, Result.PENDING: 1}
        assert (first.worked_at, second.worked_at) == (ENDED, STARTED)
        assert (first.invocation, ledger.orders(first.id)) == (None, {})
        assert [(row.member_id, row.result, row.reason) for row in ledger.outcomes(first.id)] == [
            ("shared", Result.SHARED, "as asked"),
            ("pending", Result.PENDING, ""),
        ]
        assert ledger.labels(first.id) == {"image": "ubuntu"}
        assert [each.requests for each in ledger.telemetry(first.id)] == [(3,)]
        again = ledger.reopen(first.id, now=ENDED + MILLISECOND, invocation="a")
        assert (again.invocation, again.worked_at) == ("a", ENDED + MILLISECOND)
        ledger.set_orders(first.id, {"image": Orders(fill=True)})
        assert ledger.orders(first.id) == {"image": Orders(fill=True)}
        new = begin(ledger)
        assert new.id > second.id
        ledger.enqueue(new.id, [Block("image", ["shared"])])
        ledger.settle(new.id, [outcome("image", "shared")])


def test_a_ledger_of_version_1_is_migrated(place: str) -> None:
    """Even if it is only read: it has all its runs, each last worked on when it ended or else began."""
    make_version_1(place)
    with closing(SqlLedger.open(place, create=False)):
        pass
    require_whole(place)
    with connected(place) as connection:
        numbers = connection.scalars("SELECT number FROM bulkshare_version ORDER BY number")
    assert numbers == list(range(1, LATEST + 1))


def test_migrated_tables_are_as_new_ones(place: str, tmp_path: Path) -> None:
    """They have the columns that a new ledger has, whichever version made them."""
    make_version_1(place)
    assert "origin" not in columns(place)["runs"]
    SqlLedger.open(place).close()
    new = str(tmp_path / "new.db")
    SqlLedger.open(new).close()
    assert columns(place) == columns(new)
    assert {"origin", "schema", "user"} < set(columns(new)["runs"] + columns(new)["pairs"])


def test_a_released_step_never_changes() -> None:
    """Ledgers were made by it: what is to change is a new step."""
    digests = [hashlib.sha256(step.encode()).hexdigest()[:16] for step in STEPS]
    assert digests == ["ebe6e2c4d2817e9d", "1ba91827cd415587", "1ba91827cd415587"]


def test_a_ledger_of_an_unfinished_version_2_gets_what_it_lacks(place: str, tmp_path: Path) -> None:
    """Step 2 has grown after ledgers were made with it."""
    make_version_1(place)
    later = ("heartbeats", "controls", "origin", "exit_code", "ended_because")
    with connected(place) as connection:
        for statement in statements(2, connection.dialect):
            if not any(name in statement for name in later):
                connection.execute(statement)
        connection.execute(insert(VERSION, {"number": 2}), number=2)
    assert "origin" not in columns(place)["runs"]
    with closing(SqlLedger.open(place, create=False)):
        pass
    require_whole(place)
    new = str(tmp_path / "new.db")
    SqlLedger.open(new).close()
    assert columns(place) == columns(new)


@pytest.mark.parametrize("executed", range(8))
def test_a_migration_that_was_cut_short_is_repeated(place: str, executed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """MariaDB commits each change of a table: wherever that ended, the next command finishes it."""
    make_version_1(place)
    left = executed

    with connected(place) as connection:
        execute = connection.execute

        def cut_short(sql: str, /, **parameters: Any) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return execute(sql, **parameters)

        monkeypatch.setattr(connection, "execute", cut_short)
        with pytest.raises(KilledError):
            migrate(connection)
    require_whole(place)
