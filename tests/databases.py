"""Database servers for tests: the machine's PostgreSQL and MariaDB, each on a loopback port, as an ordinary user."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import psycopg
import pymysql
import pytest
from psycopg import sql
from sqlalchemy.engine import URL

from tests.realcloud.process import READY_SECONDS, Server, free_port

if TYPE_CHECKING:
    from types import TracebackType

USER, PASSWORD = "alice", "s3cret/:@ of alice"  # a password that has to be quoted in a URL
ENVIRON = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
# Debian keeps these programs outside the PATH.
DIRECTORIES = ("/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)))


class Missing(Exception):  # noqa: N818  no error: such a server is not installed
    """The machine does not have this server."""


class DatabaseServer(ABC):
    """A server with its data in a directory of its own, as a context manager."""

    driver: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    account: ClassVar[str]  # the account that Debian creates for it; the server refuses to run as root
    stops_at: ClassVar[signal.Signals]

    def __init__(self) -> None:
        self.port = free_port()
        self._numbers = itertools.count(1)
        found = [
            shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *DIRECTORIES)))
            for name in self.programs
        ]
        if None in found:
            raise Missing(f"no {self.programs[0]}: install {self.driver.partition('+')[0]}'s server")
        self._paths = [str(path) for path in found]

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="bulkshare-db-"))  # short, and accessible to that account
        try:
            if os.geteuid() == 0:
                user = pwd.getpwnam(self.account)
                os.chown(self.directory, user.pw_uid, user.pw_gid)
            subprocess.run(
                self._as_ordinary_user(self._to_make()),
                env=ENVIRON,
                cwd=self.directory,
                check=True,
                capture_output=True,
            )
            output = self.directory / "log"
            self.server = Server(
                self._as_ordinary_user(self._to_serve()), environ=ENVIRON, port=self.port, output=output
            )
            self.start()
            self._make_user()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "server"):
            self.server.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers; PostgreSQL accepts connections before log-ins."""
        self.server.start()
        self.server.wait_connectable()
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.driver} does not answer; its log is in {self.directory}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down cleanly, without waiting for clients to disconnect."""
        self.server.stop(self.stops_at)

    def new_database(self) -> str:
        """Create an empty database and return its URL in the form that users give."""
        name = f"ledger_{next(self._numbers)}"
        self._make_database(name)
        url = URL.create(self.driver, USER, PASSWORD, "127.0.0.1", self.port, name)
        return url.render_as_string(hide_password=False)

    def _as_ordinary_user(self, command: list[str]) -> list[str]:
        if os.geteuid() != 0:
            return command
        return ["setpriv", f"--reuid={self.account}", f"--regid={self.account}", "--clear-groups", *command]

    @abstractmethod
    def _to_make(self) -> list[str]: ...

    @abstractmethod
    def _to_serve(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @abstractmethod
    def _make_user(self) -> None: ...

    @abstractmethod
    def make_user(self, name: str, password: str, database: str) -> None:
        """Grant another user access to a database."""

    @abstractmethod
    def _make_database(self, name: str) -> None: ...


class PostgreSQLServer(DatabaseServer):
    """PostgreSQL, with passwords (SCRAM)."""

    driver = "postgresql+psycopg"
    programs = ("initdb", "postgres")
    account = "postgres"
    stops_at = signal.SIGINT

    def _to_make(self) -> list[str]:
        words = self.directory / "password"
        words.write_text(PASSWORD)
        words.chmod(0o644)
        return [
            self._paths[0],
            "-D",
            "data",
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "--pwfile",
            str(words),
            "-E",
            "UTF8",
            "--no-sync",
        ]

    def _to_serve(self) -> list[str]:
        options = [f"-p{self.port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-F"]
        return [self._paths[1], "-D", "data", *options]

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_user(self) -> None:
        """Do nothing: the user was created with the data directory."""

    def make_user(self, name: str, password: str, database: str) -> None:
        """Grant another user access to a database."""
        with self._connect() as connection:
            user = sql.Identifier(name)
            connection.execute(sql.SQL("CREATE USER {} PASSWORD {}").format(user, sql.Literal(password)))
            connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), user))

    def _make_database(self, name: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname="postgres", autocommit=True
        )


class MariaDBServer(DatabaseServer):
    """MariaDB with its defaults, except for durability, which no test needs."""

    driver = "mysql+pymysql"
    programs = ("mariadb-install-db", "mariadbd")
    account = "mysql"
    stops_at = signal.SIGTERM

    def _to_make(self) -> list[str]:
        return [
            self._paths[0],
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]

    def _to_serve(self) -> list[str]:
        return [
            self._paths[1],
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.directory / 'socket'}",
            f"--tmpdir={self.directory}",  # a server that starts deletes the temporary files of others in /tmp
            f"--pid-file={self.directory / 'pid'}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
        ]

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except pymysql.err.OperationalError:
            return False
        return True

    def _make_user(self) -> None:
        self._execute("CREATE USER %s@'%%' IDENTIFIED BY %s", USER, PASSWORD)

    def make_user(self, name: str, password: str, database: str) -> None:
        """Grant another user access to a database."""
        self._execute("CREATE USER %s@'%%' IDENTIFIED BY %s", name, password)
        self._execute(f"GRANT ALL ON {database}.* TO %s@'%%'", name)

    def _make_database(self, name: str) -> None:
        self._execute(f"CREATE DATABASE {name}")
        self._execute(f"GRANT ALL ON {name}.* TO %s@'%%'", USER)

    def _execute(self, statement: str, *values: str) -> None:
        with (
            pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values or None)


SERVERS: dict[str, type[DatabaseServer]] = {"postgresql": PostgreSQLServer, "mariadb": MariaDBServer}
SHARED_DATABASES = [pytest.param(name, marks=pytest.mark.xdist_group("databases")) for name in SERVERS]
