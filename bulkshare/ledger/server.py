"""A ledger in PostgreSQL or MariaDB, shared by hosts. No message shows the URL's password or options.

What SQLite provides by itself takes explicit requests here: one writer at a time (a lock that ends with the
transaction), snapshots for readers, and plan locks that end with their holder.

A plan lock is an advisory lock of a connection of its own, so it ends when that connection does: with the holder's
process, but also when the server restarts. Therefore each write first checks every lock that its store holds, and
takes a lost one again. If another process holds it by then, or held it in between (it has put its host and PID into a
run of the plan), the write fails and the run stops. Until its next write a run doesn't know that it lost its lock, so
it may go on for one group of outcomes; checks are as frequent as commits.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bulkshare.errors import LedgerError
from bulkshare.ledger import dialects
from bulkshare.ledger.schema import LATEST, migrate, version_of
from bulkshare.ledger.store import BUSY_SECONDS, Connection, ConnectionLostError, Store
from bulkshare.ledger.url import missing_driver, without_password
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy
    from sqlalchemy import URL, CursorResult, Engine

    from bulkshare.ledger.dialects import Dialect

CONNECT_SECONDS = 10
# TCP keepalives detect a vanished host within about 2 minutes: the client does so for the server's host, and PostgreSQL
# for the client's, whose locks it then releases.
IDLE_SECONDS, INTERVAL_SECONDS, PROBES = 60, 10, 5
UNACKNOWLEDGED_MILLISECONDS = 60_000  # TCP_USER_TIMEOUT
JOINED_ROWS = 1_000  # in one statement, which then has about 200 kB; servers take at least 1 MB


class PostgreSQL:
    """The particulars of PostgreSQL. Its advisory locks are 64-bit numbers, scoped to the database."""

    dialect = dialects.POSTGRESQL
    connect_args: ClassVar = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": IDLE_SECONDS,
        "keepalives_interval": INTERVAL_SECONDS,
        "keepalives_count": PROBES,
        "tcp_user_timeout": UNACKNOWLEDGED_MILLISECONDS,
    }
    # SQLSTATE prefixes: connection exceptions, server shutdown or startup, too many connections, deadlocks.
    transient = ("08", "57P", "53300", "40")

    @staticmethod
    def password_argument(_: URL) -> dict[str, bytes]:
        """Return nothing: the driver takes any password from the URL."""
        return {}

    @staticmethod
    def enable_keepalives(connection: Any, _: object) -> None:
        """Have the server probe the client, too, on a new connection. Its default idle time is 2 hours."""
        wanted = {"idle": IDLE_SECONDS, "interval": INTERVAL_SECONDS, "count": PROBES}
        settings = (f"set_config('tcp_keepalives_{name}', '{value}', false)" for name, value in wanted.items())
        connection.execute(f"SELECT {', '.join(settings)}")
        connection.commit()

    @staticmethod
    def begin_writing(connection: sqlalchemy.Connection, *, durable: bool) -> None:
        """Become the only writer until the transaction ends."""
        if not durable:
            connection.execute(text("SET LOCAL synchronous_commit TO off"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_number("writing")})

    @staticmethod
    def end_writing(connection: sqlalchemy.Connection) -> None:
        """Do nothing: the lock ends with the transaction."""

    @staticmethod
    def try_lock(connection: sqlalchemy.Connection, name: str) -> bool:
        """Take a lock for the life of the connection, if it is free."""
        return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _lock_number(name)}))

    @classmethod
    def is_transient(cls, error: DBAPIError) -> bool:
        """Return whether reconnecting and repeating the operation may help."""
        state = getattr(error.orig, "sqlstate", None)
        return state.startswith(cls.transient) if state else isinstance(error, OperationalError | InterfaceError)


class MariaDB:
    """The particulars of MariaDB. Its locks are names, scoped to the server."""

    dialect = dialects.MARIADB
    connect_args: ClassVar = {"connect_timeout": CONNECT_SECONDS, "charset": "utf8mb4"}
    # Can't connect, connection lost (also in a query), shutting down, killed, deadlock, lock wait timeout.
    transient = frozenset({0, 1040, 1053, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2055})

    @staticmethod
    def password_argument(url: URL) -> dict[str, bytes]:
        """Return the password in UTF-8, as the server stores it; the driver would encode it in Latin-1."""
        return {"password": url.password.encode()} if url.password else {}

    @staticmethod
    def enable_keepalives(connection: Any, _: object) -> None:
        """Detect a vanished server host, on a new connection; the driver alone would wait for 15 minutes."""
        sock = connection._sock  # noqa: SLF001  the driver has no public access to it
        if sock.family == socket.AF_UNIX:
            return
        wanted = {
            "TCP_KEEPIDLE": IDLE_SECONDS,
            "TCP_KEEPINTVL": INTERVAL_SECONDS,
            "TCP_KEEPCNT": PROBES,
            "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MILLISECONDS,
        }
        for name, value in wanted.items():
            if hasattr(socket, name):  # not every system has all of them
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    @staticmethod
    def begin_writing(connection: sqlalchemy.Connection, *, durable: bool) -> None:
        """Become the only writer until `end_writing`. How durable a commit is, only the server's settings decide."""
        del durable
        question = text("SELECT GET_LOCK(CONCAT(DATABASE(), '.bulkshare'), :seconds)")
        if connection.scalar(question, {"seconds": BUSY_SECONDS}) != 1:
            raise LedgerError(f"another process has been writing for {BUSY_SECONDS} s; try again when it is done")

    @staticmethod
    def end_writing(connection: sqlalchemy.Connection) -> None:
        """Let others write."""
        connection.execute(text("SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.bulkshare'))"))

    @staticmethod
    def try_lock(connection: sqlalchemy.Connection, name: str) -> bool:
        """Take a lock for the life of the connection, if it is free."""
        # Lock names have at most 64 characters.
        question = text("SELECT GET_LOCK(SHA2(CONCAT(DATABASE(), '.bulkshare.', :name), 224), 0)")
        return bool(connection.scalar(question, {"name": name}) == 1)

    @classmethod
    def is_transient(cls, error: DBAPIError) -> bool:
        """Return whether reconnecting and repeating the operation may help."""
        return error.orig is not None and error.orig.args[:1] != () and error.orig.args[0] in cls.transient


class ServerConnection(Connection):
    """A connection to a server; see `Connection`.

    Statements go past SQLAlchemy's handling of parameters, which takes longer than the database needs for a row.
    Drivers send the rows of an INSERT in bulk. PyMySQL, however, sends an UPDATE once for each row and waits for every
    response, so for MariaDB an UPDATE of many rows becomes one statement that joins the table with a table of values.
    """

    def __init__(self, connection: sqlalchemy.Connection, dialect: Dialect) -> None:
        self._connection = connection
        self.dialect = dialect

    def rows(self, sql: str, /, **parameters: Any) -> list[Any]:
        """See `Connection`."""
        return list(self._execute(sql, parameters).all())

    def execute(self, sql: str, /, **parameters: Any) -> int:
        """See `Connection`."""
        return self._execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """See `Connection`."""
        if self.dialect is dialects.MARIADB and sql.startswith("UPDATE"):
            return self._update_joined(sql, rows)
        return self._connection.exec_driver_sql(dialects.by_position(sql, self.dialect), list(rows)).rowcount

    def _execute(self, sql: str, parameters: dict[str, Any]) -> CursorResult[Any]:
        return self._connection.exec_driver_sql(*dialects.bound(sql, parameters, self.dialect))

    def _update_joined(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        join = dialects.as_join(sql, self.dialect)
        # One statement updates a row once: of several rows with the same key only the last counts, as in a loop.
        last = list({tuple(row[index] for index in join.key): row for row in rows}.values())
        changed = 0
        for start in range(0, len(last), JOINED_ROWS):
            part = last[start : start + JOINED_ROWS]
            joined = f"{join.head}{', '.join([join.values] * len(part))}{join.tail}"
            changed += self._connection.exec_driver_sql(joined, tuple(chain.from_iterable(part))).rowcount
        return changed


class ServerStore(Store):
    """A database on a server; see `Store`. With `create`, missing tables are created.

    `held_locks` are the plan locks that every write checks.
    """

    _errors = (SQLAlchemyError,)

    def __init__(self, url: URL, *, create: bool) -> None:
        self.where = without_password(url)
        self.held_locks: set[ServerLock] = set()
        self._kind: type[PostgreSQL | MariaDB] = PostgreSQL if url.get_backend_name() == "postgresql" else MariaDB
        self._engine = self._make_engine(url, pool_pre_ping=True)
        self._lock_engine = self._make_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            with self._translating_url_errors(), self.reading() as connection:
                version = version_of(connection)
            if version < LATEST:
                self._update_tables(create=create or version > 0)
        except LedgerError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Store`."""
        snapshot = self._engine.execution_options(isolation_level="REPEATABLE READ")
        with self._translating_errors("read"), snapshot.connect() as connection:
            yield ServerConnection(connection, self._kind.dialect)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """See `Store`. Raises `LedgerError` if another process has taken a lock that this store held."""
        for lock in tuple(self.held_locks):
            lock.ensure_held()
        committed = self._engine.execution_options(isolation_level="READ COMMITTED")  # sees the last writer's commit
        with self._translating_errors("write"), committed.connect() as connection:
            try:
                with connection.begin():
                    self._kind.begin_writing(connection, durable=durable)
                    yield ServerConnection(connection, self._kind.dialect)
            finally:
                with suppress(SQLAlchemyError):  # the connection may be gone, and the lock with it
                    self._kind.end_writing(connection)

    def lock_of(self, plan: str) -> ServerLock:
        """See `Store`."""
        return ServerLock(self, plan)

    def connect_locked(self, name: str) -> sqlalchemy.Connection | None:
        """Return a new connection that holds a lock until it is closed; None if the lock is taken."""
        with self._translating_errors("lock"):
            connection = self._lock_engine.connect()
            if self._kind.try_lock(connection, name):
                return connection
            connection.close()
            return None

    def owners(self, connection: sqlalchemy.Connection, plan: str) -> set[tuple[int, str, int]]:
        """Return ID, host and PID of a plan's runs: of the process that last began or resumed each."""
        query = "SELECT id, host, pid FROM runs WHERE plan = :plan"
        with self._translating_errors("lock"):
            try:
                return {tuple(row) for row in ServerConnection(connection, self._kind.dialect).rows(query, plan=plan)}
            except SQLAlchemyError:
                connection.close()  # and with it the lock
                raise

    def shrink(self) -> None:
        """See `Store`. Does nothing: servers reuse the space by themselves."""

    def close(self) -> None:
        """See `Store`."""
        self._engine.dispose()
        self._lock_engine.dispose()

    def _failure(self, message: str, error: Exception) -> LedgerError:
        cause = getattr(error, "orig", None) or error  # the driver's own
        lost = isinstance(error, DBAPIError) and (error.connection_invalidated or self._kind.is_transient(error))
        reason = clean(str(cause.args[-1] if cause.args else cause))
        return (ConnectionLostError if lost else LedgerError)(f"{message}: {reason}")

    def _make_engine(self, url: URL, **options: Any) -> Engine:
        try:
            with self._translating_url_errors():
                arguments = {**self._kind.connect_args, **self._kind.password_argument(url)}
                engine = create_engine(url, connect_args=arguments, hide_parameters=True, **options)
        except ModuleNotFoundError as error:
            raise missing_driver(url.drivername, error) from error
        event.listen(engine, "connect", self._kind.enable_keepalives)
        return engine

    @contextmanager
    def _translating_url_errors(self) -> Iterator[None]:
        # Drivers take options from the URL, and raise all sorts of errors for those that they can't use.
        try:
            yield
        except (ArgumentError, TypeError, ValueError, OSError) as error:
            # The text of a UnicodeEncodeError may have a part of the password.
            reason = clean(error.reason if isinstance(error, UnicodeEncodeError) else str(error))
            raise LedgerError(f"the ledger's URL does not work for {self.where}: {reason}") from error

    def _update_tables(self, *, create: bool) -> None:
        if not create:
            raise LedgerError(f"there is no ledger in {self.where}; the first run makes it, --ledger names another")
        with self.writing() as connection:
            migrate(connection)


class ServerLock:
    """The lock of a plan, held by a connection of its own. Usable from any thread."""

    def __init__(self, store: ServerStore, plan: str) -> None:
        self._store = store
        self._plan = plan
        self._name = f"run of {plan}"
        self._connection: sqlalchemy.Connection | None = None
        self._owners: set[tuple[int, str, int]] = set()  # when the lock was first taken
        self._mutex = threading.Lock()

    def try_acquire(self) -> bool:
        """See `store.PlanLock`."""
        with self._mutex:
            connection = self._store.connect_locked(self._name)
            if connection is None:
                return False
            self._owners = self._store.owners(connection, self._plan)
            self._connection = connection
            self._store.held_locks.add(self)
            return True

    def release(self) -> None:
        """See `store.PlanLock`."""
        with self._mutex:
            self._store.held_locks.discard(self)
            self._disconnect()

    def ensure_held(self) -> None:
        """Take the lock again if its connection was lost; do nothing once it has been released.

        Raises `LedgerError` if another process holds it by now or has held it in between, `ConnectionLostError` if the
        server can't be reached.
        """
        with self._mutex:
            if self not in self._store.held_locks:
                return
            if self._connection is not None:
                with suppress(SQLAlchemyError):
                    self._connection.execute(text("SELECT 1"))
                    return
            self._disconnect()
            connection = self._store.connect_locked(self._name)
            if connection is None:
                raise self._lost("is in progress now")
            here = (socket.gethostname(), os.getpid())
            new = self._store.owners(connection, self._plan) - self._owners
            if any((host, pid) != here for _, host, pid in new):
                connection.close()
                raise self._lost("has started since")
            self._connection = connection

    def _lost(self, state: str) -> LedgerError:
        return LedgerError(
            f"the connection to the ledger {self._store.where} was lost, and another run of plan {self._plan} {state}"
        )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()


def _lock_number(name: str) -> int:
    """Return the 64-bit number of a PostgreSQL lock."""
    return int.from_bytes(hashlib.sha256(f"bulkshare {name}".encode()).digest()[:8], "big", signed=True)
