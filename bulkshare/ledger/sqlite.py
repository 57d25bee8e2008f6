"""A ledger in a file: opened privately, durable when it says so, and every trouble with it told in a sentence."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from bulkshare.errors import LedgerError
from bulkshare.ledger.schema import is_current, migrate
from bulkshare.ledger.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.engine import ExceptionContext


BUSY_SECONDS = 30.0  # how long to wait for another process that writes
POLL_SECONDS = 0.02
WRITING = "bulkshare_writing"  # an execution option: the transaction takes the write lock when it begins
ELSEWHERE = "name another with --ledger"
ADVICE = {  # by the beginning of SQLite's name for the error
    "SQLITE_BUSY": f"another process has been writing for {BUSY_SECONDS:g} s; try again when it is done",
    "SQLITE_NOTADB": f"it is no ledger; {ELSEWHERE}",
    "SQLITE_CORRUPT": f"it is damaged; put back a copy, or move it away and run the plan anew, or {ELSEWHERE}",
    "SQLITE_READONLY": f"give this user the right to write it and its directory, or {ELSEWHERE}",
    "SQLITE_CANTOPEN": f"give this user the right to write its directory, or {ELSEWHERE}",
    "SQLITE_FULL": "make room on the disk, then run the plan again: it goes on where it was",
    "SQLITE_IOERR": "see to the disk, then run the plan again: it goes on where it was",
}


class FileStore(Store):
    """An SQLite database; see `Store`. With `create`, it is made where there is none."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        _prepare_file(self.path, create=create)
        self._engine = _engine_for(self.path)
        try:
            with self.reading() as connection:
                current = is_current(connection)
            if not current:
                self._log_ahead()
                with self.writing() as connection:
                    migrate(connection)
        except LedgerError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Store`."""
        with self._telling("read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See `Store`."""
        with (
            self._telling("write"),
            self._engine.connect() as connection,
            connection.execution_options(**{WRITING: True}).begin(),
        ):
            yield connection

    def lock_of(self, plan: str) -> LockFile:
        """See `Store`."""
        return LockFile(self.path, plan)

    def shrink(self) -> None:
        """See `Store`; others have to wait meanwhile."""
        with self._telling("write"), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None  # noqa: S101  the connection is open
            raw.execute("VACUUM").close()  # beside SQLAlchemy, which would begin a transaction
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """See `Store`."""
        self._engine.dispose()

    def _log_ahead(self) -> None:
        """Let readers and a writer not wait for each other (WAL), from now on and for every process."""
        deadline = time.monotonic() + BUSY_SECONDS
        with self._telling("write"), closing(self._engine.raw_connection()) as raw:
            while True:
                try:
                    raw.cursor().execute("PRAGMA journal_mode=WAL")
                except sqlite3.OperationalError as error:
                    # Here SQLite itself does not wait for others who open the new file at the same time.
                    if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                        raise
                    time.sleep(POLL_SECONDS)
                else:
                    return

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            raise LedgerError(f"can't {what} the ledger {self.path}: {cause}{_advice(cause)}") from error
        except LedgerError as error:
            raise LedgerError(f"can't use the ledger {self.path}: {error}") from error


class LockFile:
    """A file beside the ledger's; the kernel releases what a kill leaves. May be used from any thread."""

    def __init__(self, ledger: Path, plan: str) -> None:
        beside = ledger.resolve()  # one lock, whichever link the ledger is reached by
        self._lock = FileLock(f"{beside}.{plan}.lock", timeout=0, mode=0o600, thread_local=False)

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
    """See to it that the file is there and, when it is new, readable by its owner alone from the first byte.

    A file that is there is not opened: to close it would drop the locks of every connection that this process has to
    it (POSIX), and another process would take the log away under them (SQLite, "How To Corrupt", 2.2).
    """
    if create:
        _make_directory_of(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if not create:
            raise LedgerError(f"there is no ledger {path}; the first run makes it, --ledger names another") from error
        _make_file(path)
        return
    except OSError as error:
        raise LedgerError(f"can't open the ledger {path}: {error.strerror}; {ELSEWHERE}") from error
    if not stat.S_ISREG(mode):
        raise LedgerError(f"can't open the ledger {path}: it is no regular file; {ELSEWHERE}")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise LedgerError(f"can't open the ledger {path}: {os.strerror(errno.EACCES)}; {ELSEWHERE}")


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return  # another process was quicker
    except OSError as error:
        raise LedgerError(f"can't make the ledger {path}: {error.strerror}; {ELSEWHERE}") from error


def _make_directory_of(path: Path) -> None:
    """Make the directory of a file and those above it that are missing, each for its owner alone."""
    for directory in reversed(path.parents):
        try:
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            # What is above it is there: then ENOENT is how /proc and its like say that they take no new directories.
            reason = "it can't be made there" if isinstance(error, FileNotFoundError) else error.strerror
            raise LedgerError(f"no directory {directory} for the ledger {path}: {reason}; {ELSEWHERE}") from error


def _engine_for(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},  # one thread at a time, not always the same
    )

    @event.listens_for(engine, "connect")
    def _configure(raw: sqlite3.Connection, _record: Any) -> None:
        raw.isolation_level = None  # SQLAlchemy's events below begin transactions, not the driver
        raw.execute("PRAGMA synchronous=FULL").close()  # a commit survives a power cut

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail at once where another process wrote in between.
        writing = connection.get_execution_options().get(WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    @event.listens_for(engine, "handle_error")
    def _roll_back(context: ExceptionContext) -> None:
        # Ctrl-C would drop the connection instead, and while a traceback holds its cursor SQLite keeps the write lock.
        context.is_disconnect = False

    return engine


def _advice(cause: BaseException) -> str:
    name = getattr(cause, "sqlite_errorname", "")
    return next((f"; {advice}" for beginning, advice in ADVICE.items() if name.startswith(beginning)), "")
