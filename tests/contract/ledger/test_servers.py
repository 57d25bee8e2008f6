"""Connections to database servers: keepalives, bulk updates, passwords."""

from __future__ import annotations

import secrets
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, make_url, text

from bulkshare.errors import LedgerError
from bulkshare.ledger.server import (
    IDLE_SECONDS,
    INTERVAL_SECONDS,
    PROBES,
    UNACKNOWLEDGED_MILLISECONDS,
    ServerConnection,
    ServerStore,
)
from bulkshare.model import Block, Result
from tests.databases import SHARED_DATABASES
from tests.ledger_fixtures import begin, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bulkshare.ledger import SqlLedger
    from tests.databases import DatabaseServer


@pytest.fixture(params=SHARED_DATABASES)
def store(request: pytest.FixtureRequest, database_server: Callable[[str], DatabaseServer]) -> Iterator[ServerStore]:
    """Return the store of a new ledger on a server."""
    url = make_url(database_server(request.param).new_database())
    store = ServerStore(url, create=True)
    yield store
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other options")
def test_a_vanished_server_is_detected(store: ServerStore) -> None:
    """The kernel probes idle connections, and limits the wait for acknowledgements."""
    for engine in (store._engine, store._lock_engine):
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            number = driver.fileno() if hasattr(driver, "fileno") else driver._sock.fileno()
            with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                found = {
                    name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{name}"))
                    for name in ("KEEPIDLE", "KEEPINTVL", "KEEPCNT", "USER_TIMEOUT")
                }
        assert found == {
            "KEEPIDLE": IDLE_SECONDS,
            "KEEPINTVL": INTERVAL_SECONDS,
            "KEEPCNT": PROBES,
            "USER_TIMEOUT": UNACKNOWLEDGED_MILLISECONDS,
        }


def test_postgresql_detects_a_vanished_client(store: ServerStore) -> None:
    """The server probes as well; by default it would hold a vanished client's lock for two hours."""
    if not store.where.startswith("postgresql"):
        pytest.skip("MariaDB's keepalives are its administrator's")
    for engine in (store._engine, store._lock_engine):
        with engine.connect() as connection:
            found = [
                connection.scalar(text(f"SELECT current_setting('tcp_keepalives_{name}')"))
                for name in ("idle", "interval", "count")
            ]
        assert found == [str(IDLE_SECONDS), str(INTERVAL_SECONDS), str(PROBES)]


@pytest.mark.parametrize("place", [SHARED_DATABASES[1]], indirect=True)
def test_mariadb_settles_a_group_in_one_statement(ledger: SqlLedger) -> None:
    """It takes one round trip and finds each pair by its key; the last of several duplicates wins."""
    run = begin(ledger)
    members = [f"p{number}" for number in range(3_000)]
    ledger.enqueue(run.id, [Block("i1", members)])
    ledger.settle(run.id, [outcome("i1", member) for member in members[500:]])
    assert isinstance(ledger._store, ServerStore)
    sent: list[tuple[str, Any]] = []
    event.listen(
        ledger._store._engine,
        "before_cursor_execute",
        lambda *arguments: sent.append(arguments[2:4]) if "UPDATE" in arguments[2] else None,
    )
    first = [outcome("i1", member, Result.FAILED, reason=f"no {member}", request_id=None) for member in members[:500]]
    last = [outcome("i1", member) for member in members[:500]]
    ledger.settle(run.id, [*first, *last])
    assert ledger.totals(run.id)[Result.SHARED] == 3_000
    ((statement, parameters),) = sent
    with ledger._store._engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
    assert [row.key for row in plan if row.table == "pairs"] == ["PRIMARY"]


@pytest.mark.parametrize("place", [SHARED_DATABASES[1]], indirect=True)
def test_mariadb_looks_through_the_pairs_once(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each name: a prune of 500,000 pairs took eight minutes."""
    kinds: list[str] = []
    execute = ServerConnection._execute

    def explained(connection: ServerConnection, sql: str, parameters: dict[str, Any]) -> Any:
        if " UNION " in sql:
            kinds.extend(row.select_type for row in execute(connection, f"EXPLAIN {sql}", parameters))
        return execute(connection, sql, parameters)

    old, run = begin(ledger), begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    ledger.label({"i1": "ubuntu"})
    monkeypatch.setattr(ServerConnection, "_execute", explained)
    assert ledger.labels(run.id) == {"i1": "ubuntu"}
    assert ledger.prune([old.id], names_unless_after=run.id)
    assert kinds.count("DERIVED") == 2
    assert "DEPENDENT UNION" not in kinds


@pytest.mark.parametrize("kind", SHARED_DATABASES)
@pytest.mark.parametrize("password", ["pässword", "пароль €"])
def test_a_password_of_any_alphabet(kind: str, password: str, database_server: Callable[[str], DatabaseServer]) -> None:
    """It works in a URL in any alphabet, and no error shows it."""
    url = make_url(database_server(kind).new_database()).set(username=secrets.token_hex(4), password=password)
    assert isinstance(url.username, str)
    database_server(kind).make_user(url.username, password, str(url.database))
    ServerStore(url, create=True).close()
    with pytest.raises(LedgerError) as caught:
        ServerStore(url.set(password=f"{password}…"), create=True)
    assert password not in str(caught.value)
