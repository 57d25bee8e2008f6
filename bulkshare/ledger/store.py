"""The file itself: opened privately, durable when it says so, and every trouble with it told in a sentence."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bulkshare.errors import LedgerError
from bulkshare.ledger.schema import migrate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from sqlalchemy import Connection

BUSY_SECONDS = 30.0  # how long to wait for another process that writes
WRITING = "bulkshare_writing"  # an execution option: the transaction takes the write lock when it begins


class Store:
    """An SQLite database that several processes may use. Raises `LedgerError` for whatever goes wrong with it."""

    def __init__(self, where: str, *, create: bool) -> None:
        self.path = _path_of(where)
        _prepare_file(self.path, create=create)
        self._engine = _engine_for(self.path)
        with self.writing() as connection:
            migrate(connection)

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

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise LedgerError(f"can't {what} the ledger {self.path}: {cause}{_advice(cause)}") from error
        except LedgerError as error:
            raise LedgerError(f"{self.path}: {error}") from error


def _path_of(where: str) -> Path:
    if "://" not in where:
        return Path(where).expanduser().absolute()
    try:
        url = make_url(where)
    except ArgumentError:
        raise LedgerError("the ledger is given as a URL that can't be read; sqlite:////absolute/path works") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        # Not the whole URL: it may have a password in it.
        raise LedgerError(f"a ledger in {url.get_backend_name()} is not supported; give a path or sqlite:////path")
    return Path(url.database).absolute()


def _prepare_file(path: Path, *, create: bool) -> None:
    """See to it that the file is there and, when it is new, readable by its owner alone from the first byte."""
    try:
        if not create and not path.exists():
            raise LedgerError(f"there is no ledger {path}; the first run makes it")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LedgerError(f"can't open the ledger {path}: {error.strerror}; --ledger names another place") from error


def _engine_for(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},  # one thread at a time, not always the same
    )

    @event.listens_for(engine, "connect")
    def _configure(raw: sqlite3.Connection, _record: Any) -> None:
        raw.isolation_level = None  # SQLAlchemy's events below begin transactions, not the driver
        # WAL lets `show` read while a run writes; FULL makes a commit survive a power cut.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            raw.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail at once where another process wrote in between.
        writing = connection.get_execution_options().get(WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _advice(cause: BaseException) -> str:
    text = str(cause)
    if "locked" in text:
        return f"; another process has been writing for {BUSY_SECONDS:g} s"
    if "not a database" in text or "malformed" in text:
        return "; it is no ledger, or it is damaged: move it away, or name another with --ledger"
    if "readonly" in text:
        return "; give this user the right to write it, or name another with --ledger"
    if "full" in text:
        return "; make room, then run the plan again: it goes on where it was"
    return ""
