"""Fixtures for ledger tests: an account, a time, runs, outcomes, and functions that run in other processes."""

from __future__ import annotations

import sqlite3
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bulkshare.errors import LedgerError
from bulkshare.ledger import RunLock, SqlLedger
from bulkshare.ledger.sqlite import FileStore
from bulkshare.model import Account, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from bulkshare.model import Run
    from bulkshare.ports import Ledger

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ACCOUNT = Account("prod", "eu-de", "https://images.example", "alice", "golden", "0123456789abcdef0123456789abcdef")
FINGERPRINT = "f" * 64
HOLD = "import sys; from tests.ledger_fixtures import hold_lock; hold_lock(*sys.argv[1:])"  # a program: location, plan
SETTLED = tuple(result for result in Result if result is not Result.PENDING)


def begin(ledger: Ledger, plan: str = "nightly", account: Account = ACCOUNT, now: datetime = NOW) -> Run:
    """Begin a run of a plan."""
    return ledger.begin(plan=plan, fingerprint=FINGERPRINT, account=account, now=now)


def finish(ledger: Ledger, run_id: int) -> Run:
    """Finish a run that took 5 requests, 2 of them retries, and 1.5 seconds."""
    return ledger.finish(run_id, now=NOW, requests=5, retries=2, seconds=1.5)


def outcome(image_id: str, member_id: str, result: Result = Result.SHARED, **fields: Any) -> Outcome:
    """Return an outcome with every field set, as an answered POST gives it; `fields` override them."""
    full = Outcome(
        image_id,
        member_id,
        result,
        http_status=200,
        status="pending",
        created_at=NOW.replace(microsecond=0),
        updated_at=NOW.replace(microsecond=0),
        schema="/v2/schemas/member",
        attempts=1,
        request_id="req-01234567-89ab-cdef-0123-456789abcdef",
        reason="as asked",
        started_at=NOW,
        settled_at=NOW,
    )
    return full._replace(**fields)


def by_pair(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Outcome]:
    """Return outcomes by pair; fails if a pair occurs twice."""
    listed = list(outcomes)
    found = {(row.image_id, row.member_id): row for row in listed}
    assert len(found) == len(listed)
    return found


def store_of(ledger: SqlLedger) -> FileStore:
    """Return the store of a ledger in a file."""
    assert isinstance(ledger._store, FileStore)
    return ledger._store


def path_of(ledger: SqlLedger) -> Path:
    """Return the path of a ledger in a file."""
    return store_of(ledger).path


def watch_statements(
    ledger: SqlLedger,
    *,
    before: Callable[[str], object] = lambda _: None,
    after: Callable[[str], object] = lambda _: None,
) -> None:
    """Call functions with each statement that a ledger in a file executes from now on; they may raise."""

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            before(sql)
            done = super().execute(sql, *parameters)
            after(sql)
            return done

        def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
            before(sql)
            done = super().executemany(sql, parameters)
            after(sql)
            return done

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(store.path, isolation_level=None, check_same_thread=False, factory=Watched)

    store = store_of(ledger)
    setattr(store, "_connect", connect)  # noqa: B010  mypy takes no assignment to a method
    while store._idle:
        store._idle.pop().close()


def open_at_once(barrier: Barrier, places: list[str]) -> None:
    """Open each new ledger and begin a run in it, in step with other processes; exit with 1 if that fails."""
    for place in places:
        barrier.wait()
        try:
            ledger = SqlLedger.open(place)
            begin(ledger)
            ledger.close()
        except LedgerError as error:
            barrier.abort()
            sys.exit(str(error))  # on stderr, and the exit code is 1


def hold_lock(place: str, plan: str) -> None:
    """Hold the lock of a plan until standard input ends."""
    ledger = SqlLedger.open(place)
    with RunLock(ledger, plan):
        run = begin(ledger, plan)
        print(run.key, flush=True)  # noqa: T201  signals that the lock is held
        sys.stdin.read()
