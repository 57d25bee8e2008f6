"""A ledger in PostgreSQL or MariaDB, which hosts share. No message has the password of its URL, nor its options.

What SQLite gives by itself is asked for here: one writer at a time (a lock that ends with the transaction), snapshots
for readers, and locks that end with their holder's connection.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bulkshare.errors import LedgerError
from bulkshare.ledger.schema import is_current, migrate
from bulkshare.ledger.store import ConnectionLostError, Store
from bulkshare.ledger.url import DRIVERS, shown
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine

BUSY_SECONDS = 30  # how long to wait for another process that writes
CONNECT_SECONDS = 10
# A host that has vanished is noticed within about 2 minutes: the server's by us, and ours by PostgreSQL, which then
# ends our locks.
IDLE_SECONDS, INTERVAL_SECONDS, PROBES = 60, 10, 5
UNHEARD_MILLISECONDS = 60_000  # how long what was sent may stay unanswered by the other host's kernel


class PostgreSQL:
    """What is particular to PostgreSQL. Its locks are numbers of 64 bits, of the database."""

    connect_args: ClassVar = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": IDLE_SECONDS,
        "keepalives_interval": INTERVAL_SECONDS,
        "keepalives_count": PROBES,
        "tcp_user_timeout": UNHEARD_MILLISECONDS,
    }
    # Classes of SQLSTATE: connection exceptions, the server going down or coming up, too many connections, deadlocks.
    passing = ("08", "57P", "53300", "40")

    @staticmethod
    def password_of(_: URL) -> dict[str, bytes]:
        """Return nothing: the driver takes any password."""
        return {}

    @staticmethod
    def notice(connection: Any, _: object) -> None:
        """Let the server look after us, too, on a new connection: by itself it would for 2 hours think we live."""
        wanted = {"idle": IDLE_SECONDS, "interval": INTERVAL_SECONDS, "count": PROBES}
        settings = (f"set_config('tcp_keepalives_{name}', '{value}', false)" for name, value in wanted.items())
        connection.execute(f"SELECT {', '.join(settings)}")
        connection.commit()

    @staticmethod
    def begin_writing(connection: Connection) -> None:
        """Be the one writer, until the transaction ends."""
        connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _number("writing")})

    @staticmethod
    def end_writing(connection: Connection) -> None:
        """Nothing to do: the lock ends with the transaction."""

    @staticmethod
    def try_lock(connection: Connection, name: str) -> bool:
        """Take a lock for as long as the connection lasts, if it is free."""
        return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _number(name)}))

    @classmethod
    def may_pass(cls, error: DBAPIError) -> bool:
        """Tell whether it may help to connect and do it again."""
        state = getattr(error.orig, "sqlstate", None)
        return state.startswith(cls.passing) if state else isinstance(error, OperationalError | InterfaceError)


class MariaDB:
    """What is particular to MariaDB. Its locks are names, of the server."""

    connect_args: ClassVar = {"connect_timeout": CONNECT_SECONDS, "charset": "utf8mb4"}
    # Can't connect, lost (while asking), shutting down, killed, deadlock, waited too long for a row.
    passing = frozenset({0, 1040, 1053, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2055})

    @staticmethod
    def password_of(url: URL) -> dict[str, bytes]:
        """Return the password as the server has it: the driver would send it in Latin-1, which few are in."""
        return {"password": url.password.encode()} if url.password else {}

    @staticmethod
    def notice(connection: Any, _: object) -> None:
        """Notice when the server's host is gone, on a new connection: the driver itself would wait for 15 minutes."""
        sock = connection._sock  # noqa: SLF001  the driver has no other way to it
        if sock.family == socket.AF_UNIX:
            return
        wanted = {
            "TCP_KEEPIDLE": IDLE_SECONDS,
            "TCP_KEEPINTVL": INTERVAL_SECONDS,
            "TCP_KEEPCNT": PROBES,
            "TCP_USER_TIMEOUT": UNHEARD_MILLISECONDS,
        }
        for name, value in wanted.items():
            if hasattr(socket, name):  # not every system has all
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    @staticmethod
    def begin_writing(connection: Connection) -> None:
        """Be the one writer, until `end_writing`."""
        question = text("SELECT GET_LOCK(CONCAT(DATABASE(), '.bulkshare'), :seconds)")
        if connection.scalar(question, {"seconds": BUSY_SECONDS}) != 1:
            raise LedgerError(f"another process has been writing for {BUSY_SECONDS} s; try again when it is done")

    @staticmethod
    def end_writing(connection: Connection) -> None:
        """Let others write."""
        connection.execute(text("SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.bulkshare'))"))

    @staticmethod
    def try_lock(connection: Connection, name: str) -> bool:
        """Take a lock for as long as the connection lasts, if it is free."""
        question = text("SELECT GET_LOCK(SHA2(CONCAT(DATABASE(), '.bulkshare.', :name), 224), 0)")  # 64 letters at most
        return bool(connection.scalar(question, {"name": name}) == 1)

    @classmethod
    def may_pass(cls, error: DBAPIError) -> bool:
        """Tell whether it may help to connect and do it again."""
        return error.orig is not None and error.orig.args[:1] != () and error.orig.args[0] in cls.passing


class ServerStore(Store):
    """A database on a server; see `Store`. With `create`, the tables are made where there are none."""

    def __init__(self, url: URL, *, create: bool) -> None:
        self.where = shown(url)
        self._kind: type[PostgreSQL | MariaDB] = PostgreSQL if url.get_backend_name() == "postgresql" else MariaDB
        self._engine = self._make_engine(url, pool_pre_ping=True)
        self._for_locks = self._make_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._locks: list[ServerLock] = []
        try:
            with self._doubting_url(), self.reading() as connection:
                current = is_current(connection)
            if not current:
                self._make(create=create)
        except LedgerError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Store`."""
        snapshot = self._engine.execution_options(isolation_level="REPEATABLE READ")
        with self._telling("read"), snapshot.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See `Store`."""
        for lock in self._locks:
            lock.keep()
        committed = self._engine.execution_options(isolation_level="READ COMMITTED")  # what the last writer left
        with self._telling("write"), committed.connect() as connection:
            try:
                with connection.begin():
                    self._kind.begin_writing(connection)
                    yield connection
            finally:
                with suppress(SQLAlchemyError):  # the connection may be gone, and the lock with it
                    self._kind.end_writing(connection)

    def lock_of(self, plan: str) -> ServerLock:
        """See `Store`."""
        return ServerLock(self, plan)

    def shrink(self) -> None:
        """See `Store`. Nothing to do: servers use the room again by themselves."""

    def close(self) -> None:
        """See `Store`."""
        self._engine.dispose()
        self._for_locks.dispose()

    def _make_engine(self, url: URL, **options: Any) -> Engine:
        try:
            with self._doubting_url():
                arguments = {**self._kind.connect_args, **self._kind.password_of(url)}
                engine = create_engine(url, connect_args=arguments, hide_parameters=True, **options)
        except ModuleNotFoundError as error:
            extra = DRIVERS[url.get_backend_name()][1]
            raise LedgerError(
                f"a ledger in {self.where} needs the package {error.name}: pip install '{extra}'"
            ) from error
        event.listen(engine, "connect", self._kind.notice)
        return engine

    @contextmanager
    def _doubting_url(self) -> Iterator[None]:
        # Drivers take their options from the URL, and raise whatever comes where they can't.
        try:
            yield
        except (ArgumentError, TypeError, ValueError, OSError) as error:
            # What can't be encoded may be a part of the password.
            said = clean(error.reason if isinstance(error, UnicodeEncodeError) else str(error))
            raise LedgerError(f"the ledger's URL does not work for {self.where}: {said}") from error

    def _make(self, *, create: bool) -> None:
        if not create:
            raise LedgerError(f"there is no ledger in {self.where}; the first run makes it, --ledger names another")
        with self.writing() as connection:
            migrate(connection)

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            lost = isinstance(error, DBAPIError) and (error.connection_invalidated or self._kind.may_pass(error))
            said = clean(str(cause.args[-1] if cause.args else cause))
            raise (ConnectionLostError if lost else LedgerError)(
                f"can't {what} the ledger {self.where}: {said}"
            ) from error
        except LedgerError as error:
            raise type(error)(f"can't use the ledger {self.where}: {error}") from error


class ServerLock:
    """A lock that lives as long as a connection of its own. May be used from any thread."""

    def __init__(self, store: ServerStore, plan: str) -> None:
        self._store = store
        self._plan = plan
        self._connection: Connection | None = None
        self._turn = threading.Lock()

    def try_acquire(self) -> bool:
        """See `store.PlanLock`."""
        with self._turn:
            if not self._connect():
                return False
            self._store._locks.append(self)  # noqa: SLF001  of the same module
            return True

    def release(self) -> None:
        """See `store.PlanLock`."""
        with self._turn:
            if self in self._store._locks:  # noqa: SLF001
                self._store._locks.remove(self)  # noqa: SLF001
            self._disconnect()

    def keep(self) -> None:
        """See to it that the lock is still ours: where the connection was lost, take it again.

        Raises `LedgerError` where somebody else has it by now, and `ConnectionLostError` where nobody can be asked.
        """
        with self._turn:
            if self._connection is not None:
                with suppress(SQLAlchemyError):
                    self._connection.execute(text("SELECT 1"))
                    return
            self._disconnect()
            if not self._connect():
                raise LedgerError(
                    f"the connection to the ledger {self._store.where} was lost, and another run of plan {self._plan} "
                    "is at work now"
                )

    def _connect(self) -> bool:
        with self._store._telling("lock"):  # noqa: SLF001
            connection = self._store._for_locks.connect()  # noqa: SLF001
            if self._store._kind.try_lock(connection, f"run of {self._plan}"):  # noqa: SLF001
                self._connection = connection
                return True
            connection.close()
            return False

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()


def _number(name: str) -> int:
    """Return the number of 64 bits that stands for a name."""
    return int.from_bytes(hashlib.sha256(f"bulkshare {name}".encode()).digest()[:8], "big", signed=True)
