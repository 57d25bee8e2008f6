"""The lock of a plan on a database server, across restarts of the server: no two runs write at the same time."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from bulkshare.errors import LedgerError, LockHeldError
from bulkshare.ledger import RunLock, SqlLedger
from bulkshare.ledger import store as ledger_store
from bulkshare.ledger.server import ServerStore
from bulkshare.model import Block, Result
from tests.databases import SHARED_DATABASES
from tests.ledger_fixtures import HOLD, NOW, begin, finish, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.databases import DatabaseServer


@pytest.fixture(params=SHARED_DATABASES)
def server(request: pytest.FixtureRequest, database_server: Callable[[str], DatabaseServer]) -> DatabaseServer:
    """Return a database server."""
    return database_server(request.param)


@pytest.fixture
def handles(server: DatabaseServer) -> Iterator[tuple[SqlLedger, SqlLedger]]:
    """Return two handles on one new database, as two processes would have."""
    url = server.new_database()
    both = SqlLedger.open(url), SqlLedger.open(url)
    yield both
    for ledger in both:
        ledger.close()


def restart(server: DatabaseServer) -> None:
    """Restart the server, which ends all connections."""
    server.stop()
    server.start()


def lock_connection_ends(ledger: SqlLedger) -> None:
    """Close the connections of the ledger's locks, and no other."""
    assert isinstance(ledger._store, ServerStore)
    for lock in ledger._store.held_locks:
        assert lock._connection is not None
        lock._connection.connection.driver_connection.close()  # type: ignore[union-attr]  # it is open


def test_a_lock_is_taken_again_after_a_restart(server: DatabaseServer, handles: tuple[SqlLedger, SqlLedger]) -> None:
    """The next write takes it again, and a second start is refused as before the restart."""
    first, second = handles
    with RunLock(first, "nightly"):
        run = begin(first)
        restart(server)
        first.enqueue(run.id, [Block("i1", ["p1"])])
        with pytest.raises(LockHeldError, match=f"run {run.key}"):
            RunLock(second, "nightly").__enter__()
        first.settle(run.id, [outcome("i1", "p1")])
        assert finish(first, run.id).totals[Result.SHARED] == 1
    with RunLock(second, "nightly"):
        pass


def test_a_write_waits_for_a_server_that_restarts(
    server: DatabaseServer, handles: tuple[SqlLedger, SqlLedger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is repeated until the server is back, and first takes the lock again."""
    first, second = handles
    waits: list[float] = []

    def start_instead(seconds: float) -> None:
        waits.append(seconds)
        server.start()

    with RunLock(first, "nightly"):
        run = begin(first)
        server.stop()
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=start_instead)
        monkeypatch.setattr(ledger_store, "time", clock)
        first.enqueue(run.id, [Block("i1", ["p1"])])
        assert not RunLock(second, "nightly").try_acquire()
    assert len(waits) == 1
    assert first.totals(run.id)[Result.PENDING] == 1


@pytest.mark.parametrize("lose", [restart, None], ids=["restart", "one connection"])
def test_a_lock_that_another_process_took(
    server: DatabaseServer,
    handles: tuple[SqlLedger, SqlLedger],
    lose: Callable[[DatabaseServer], None] | None,
) -> None:
    """The run that lost it can't write anything, not even its end, while the other process holds it."""
    first, second = handles
    lock = RunLock(first, "nightly")
    assert lock.try_acquire()
    run = begin(first)
    first.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    if lose is None:
        lock_connection_ends(first)
    else:
        lose(server)
    other = RunLock(second, "nightly")
    while not other.try_acquire():  # the server takes a moment to notice that a connection was closed
        pass
    for _ in range(2):
        with pytest.raises(LedgerError, match="was lost, and another run of plan nightly is in progress now") as caught:
            first.settle(run.id, [outcome("i1", "p1")])
        assert str(make_url(server.new_database()).password) not in str(caught.value)
    with pytest.raises(LedgerError, match="another run of plan nightly"):
        finish(first, run.id)
    assert second.totals(run.id)[Result.PENDING] == 2
    second.settle(run.id, [outcome("i1", "p1")])
    lock.release()
    assert not RunLock(first, "nightly").try_acquire()
    other.release()


def test_a_lock_that_another_process_took_and_released(
    server: DatabaseServer, handles: tuple[SqlLedger, SqlLedger]
) -> None:
    """The other process has sent the remaining pairs, so the first run stops although the lock is free."""
    first, second = handles
    assert isinstance(first._store, ServerStore)
    url = first._store._engine.url.render_as_string(hide_password=False)
    with RunLock(first, "nightly"):
        run = begin(first)
        first.enqueue(run.id, [Block("i1", ["p1"])])
        restart(server)
        command = [sys.executable, "-c", HOLD, url, "nightly"]
        other = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        for _ in range(2):
            with pytest.raises(LedgerError, match="was lost, and another run of plan nightly has started since"):
                first.settle(run.id, [outcome("i1", "p1")])
    assert second.totals(run.id)[Result.PENDING] == 1
    assert other.stdout.strip() == second.runs()[0].key
    with RunLock(first, "nightly"):  # a new start
        assert finish(first, first.reopen(run.id, now=NOW).id).totals[Result.PENDING] == 1


def test_a_released_lock_is_not_taken_again(server: DatabaseServer, handles: tuple[SqlLedger, SqlLedger]) -> None:
    """Once a run has ended, its ledger can be written to without the lock."""
    first, second = handles
    with RunLock(first, "nightly"):
        run = begin(first)
    restart(server)
    finish(first, run.id)
    with RunLock(second, "nightly"):
        first.label({"i1": "ubuntu"})
