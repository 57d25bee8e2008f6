"""A ledger in an SQLite file: created private, durable at every commit, each failure reported with what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from bulkshare.errors import LedgerError
from bulkshare.ledger import dialects
from bulkshare.ledger.schema import LATEST, migrate, version_of
from bulkshare.ledger.store import BUSY_SECONDS, Connection, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


POLL_SECONDS = 0.02
ANOTHER_LEDGER = "name another with --ledger"
ADVICE = {  # by the prefix of SQLite's error name
    "SQLITE_BUSY": f"another process has been writing for {BUSY_SECONDS} s; try again when it is done",
    "SQLITE_NOTADB": f"it is not a ledger; {ANOTHER_LEDGER}",
    "SQLITE_CORRUPT": f"it is corrupt; restore a copy, or move it away and run the plan anew, or {ANOTHER_LEDGER}",
    "SQLITE_READONLY": f"give this user write permission for it and its directory, or {ANOTHER_LEDGER}",
    "SQLITE_CANTOPEN": f"give this user write permission for its directory, or {ANOTHER_LEDGER}",
    "SQLITE_FULL": "free some disk space, then run the plan again: it continues where it stopped",
    "SQLITE_IOERR": "check the disk, then run the plan again: it continues where it stopped",
}


class FileConnection(Connection):
    """A connection to an SQLite database; see `Connection`."""

    dialect = dialects.SQLITE

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def rows(self, sql: str, /, **parameters: Any) -> list[Any]:
        """See `Connection`."""
        return self._execute(sql, parameters).fetchall()

    def execute(self, sql: str, /, **parameters: Any) -> int:
        """See `Connection`."""
        return self._execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """See `Connection`."""
        return self._raw.executemany(dialects.by_position(sql, self.dialect), rows).rowcount

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        return self._raw.execute(*dialects.bound(sql, parameters, self.dialect))


class FileStore(Store):
    """An SQLite database; see `Store`. With `create`, a missing file is created.

    Each transaction has a connection of its own: readers keep theirs for as long as they read, in any thread.
    """

    _errors = (sqlite3.Error,)

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        self.where = str(path)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        _prepare_file(path, create=create)
        try:
            with self.reading() as connection:
                version = version_of(connection)
            if version < LATEST:
                self._enable_wal()
                with self.writing() as connection:
                    migrate(connection)
        except LedgerError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Store`."""
        with self._translating_errors("read"), self._connected() as raw, _transaction(raw, "BEGIN"):
            yield FileConnection(raw)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """See `Store`."""
        with self._translating_errors("write"), self._connected() as raw:
            # FULL waits for the disk at each commit, NORMAL at a checkpoint or with the next commit that is FULL.
            raw.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            # A deferred transaction that reads and then writes fails at once if another process wrote in between.
            with _transaction(raw, "BEGIN IMMEDIATE"):
                yield FileConnection(raw)

    def lock_of(self, plan: str) -> LockFile:
        """See `Store`."""
        return LockFile(self.path, plan)

    def shrink(self) -> None:
        """See `Store`; other processes wait meanwhile."""
        with self._translating_errors("write"), self._connected() as raw:
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """See `Store`; a connection that is in use is closed when it no longer is."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _failure(self, message: str, error: Exception) -> LedgerError:
        name = getattr(error, "sqlite_errorname", "")
        advice = next((f"; {advice}" for prefix, advice in ADVICE.items() if name.startswith(prefix)), "")
        return LedgerError(f"{message}: {error}{advice}")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            raw = self._idle.pop()
        except IndexError:
            raw = self._connect()
        try:
            yield raw
        finally:
            if self._closed:
                raw.close()
            else:
                self._idle.append(raw)

    def _connect(self) -> sqlite3.Connection:
        # One thread at a time, not always the same. Transactions are begun by `_transaction`, not by the driver.
        return sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    def _enable_wal(self) -> None:
        """Switch the file to write-ahead logging for good, so that readers and a writer don't block each other."""
        deadline = time.monotonic() + BUSY_SECONDS
        with self._translating_errors("write"), self._connected() as raw:
            while True:
                try:
                    raw.execute("PRAGMA journal_mode=WAL")
                except sqlite3.OperationalError as error:
                    # SQLite's own busy timeout doesn't cover this statement when others open the new file, too.
                    if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                        raise
                    time.sleep(POLL_SECONDS)
                else:
                    return


@contextmanager
def _transaction(raw: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Commit what is done in the context, or nothing of it, whatever ends it."""
    try:
        raw.execute(begin)
        yield
        raw.execute("COMMIT")
    finally:
        if raw.in_transaction:
            raw.rollback()


class LockFile:
    """A lock file beside the ledger's; the kernel releases it when the process ends. Usable from any thread."""

    def __init__(self, ledger: Path, plan: str) -> None:
        resolved = ledger.resolve()  # one lock, whichever link leads to the ledger
        self._lock = FileLock(f"{resolved}.{plan}.lock", timeout=0, mode=0o600, thread_local=False)

    def try_acquire(self) -> bool:
        """See `store.PlanLock`."""
        try:
            self._lock.acquire()
        except Timeout:
            return False
        except OSError as error:
            raise LedgerError(f"can't lock {self._lock.lock_file}: {error.strerror}") from error
        return True

    def release(self) -> None:
        """See `store.PlanLock`."""
        self._lock.release()


def _prepare_file(path: Path, *, create: bool) -> None:
    """Ensure that the file exists; a new one is readable by its owner alone from the first byte.

    An existing file is not opened here: closing it would drop the locks of every connection that this process has to
    it (POSIX), and another process could then delete the log under them (SQLite, "How To Corrupt", 2.2).
    """
    if create:
        _make_parents(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if not create:
            raise LedgerError(f"there is no ledger {path}; the first run makes it, --ledger names another") from error
        _make_file(path)
        return
    except OSError as error:
        raise LedgerError(f"can't open the ledger {path}: {error.strerror}; {ANOTHER_LEDGER}") from error
    if not stat.S_ISREG(mode):
        raise LedgerError(f"can't open the ledger {path}: it is not a regular file; {ANOTHER_LEDGER}")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise LedgerError(f"can't open the ledger {path}: {os.strerror(errno.EACCES)}; {ANOTHER_LEDGER}")


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return  # another process was faster
    except OSError as error:
        raise LedgerError(f"can't make the ledger {path}: {error.strerror}; {ANOTHER_LEDGER}") from error


def _make_parents(path: Path) -> None:
    """Create the missing directories above a file, each accessible to its owner alone."""
    for directory in reversed(path.parents):
        try:
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            # The directory above exists, so ENOENT means that a file system like /proc takes no new directories.
            reason = "it can't be made there" if isinstance(error, FileNotFoundError) else error.strerror
            raise LedgerError(f"no directory {directory} for the ledger {path}: {reason}; {ANOTHER_LEDGER}") from error
