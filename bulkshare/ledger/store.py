"""The file itself: opened privately, durable when it says so, and every trouble with it told in a sentence."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bulkshare.errors import LedgerError
from bulkshare.ledger.schema import is_current, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlalchemy.engine import ExceptionContext

BUSY_SECONDS = 30.0  # how long to wait for another process that writes
POLL_SECONDS = 0.02
WRITING = "bulkshare_writing"  # an execution option: the transaction takes the write lock when it begins
SUPPORTED = "give a path, or sqlite:////absolute/path"
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


class Store:
    """An SQLite database that several processes may use. Raises `LedgerError` for whatever goes wrong with it."""

    def __init__(self, where: str, *, create: bool) -> None:
        self.path = _path_of(where)
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
        """Read from a snapshot: a run that writes meanwhile neither waits nor shows."""
        with self._telling("read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write in one transaction, on the disk when the context has ended."""
        with (
            self._telling("write"),
            self._engine.connect() as connection,
            connection.execution_options(**{WRITING: True}).begin(),
        ):
            yield connection

    def shrink(self) -> None:
        """Give back the room that deleted rows have left; others have to wait meanwhile."""
        with self._telling("write"), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None  # noqa: S101  the connection is open
            raw.execute("VACUUM").close()  # beside SQLAlchemy, which would begin a transaction
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """Close the file."""
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


def _path_of(where: str) -> Path:
    try:
        return Path(where).expanduser().absolute() if "://" not in where else _path_in(where)
    except (ValueError, RuntimeError) as error:  # of the URL's port, of a user that has no home
        raise LedgerError(f"the ledger's place can't be read: {error}; {SUPPORTED}") from error


def _path_in(where: str) -> Path:
    # No message has the URL in it: it may hold a password.
    try:
        url = make_url(where)
    except ArgumentError:
        raise LedgerError(f"the ledger is given as a URL that can't be read; {SUPPORTED}") from None
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise LedgerError(f"a ledger in {url.get_backend_name()} is not supported; {SUPPORTED}")
    if not url.database or url.database == ":memory:" or url.host or url.query:
        raise LedgerError(f"the ledger's sqlite URL has to name a file and nothing else; {SUPPORTED}")
    return Path(url.database).absolute()


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
