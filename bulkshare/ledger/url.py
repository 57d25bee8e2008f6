"""The location of a ledger: a path, or a URL of a file or a database server. Pure: parses and checks only."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bulkshare.errors import LedgerError

SUPPORTED = (
    "give a path, sqlite:////absolute/path, postgresql://user@host/database or mysql://user@host/database (MariaDB)"
)
# Backend: the SQLAlchemy dialect and driver to use, and the extra that installs the driver.
DRIVERS = {
    "postgresql": ("postgresql+psycopg", "postgresql"),
    "mysql": ("mysql+pymysql", "mariadb"),
    "mariadb": ("mariadb+pymysql", "mariadb"),
}


def parse_location(location: str) -> Path | URL:
    """Return the file's absolute path, or the server's URL with its driver. Raises `LedgerError`."""
    try:
        return _parse_url(location) if "://" in location else Path(location).expanduser().absolute()
    except (ValueError, RuntimeError) as error:  # a bad port in the URL, or "~user" without a home directory
        raise LedgerError(f"the ledger's location can't be read: {error}; {SUPPORTED}") from error


def without_password(url: URL) -> str:
    """Return a server's URL for messages. It has no password, and no options either: one may hold a password."""
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()


def _parse_url(location: str) -> Path | URL:
    # No message repeats the URL: it may hold a password.
    try:
        url = make_url(location)
    except ArgumentError:
        raise LedgerError(f"the ledger's URL can't be parsed; {SUPPORTED}") from None
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        if not url.database or url.database == ":memory:" or url.host or url.query:
            raise LedgerError(f"the ledger's sqlite URL must name a file and nothing else; {SUPPORTED}")
        return Path(url.database).absolute()
    if location.count("@") > 1:  # what follows the first would pass for the host, which messages show
        raise LedgerError(f"the ledger's URL has more than one @; write those in the password as %40; {SUPPORTED}")
    driver, _ = DRIVERS.get(url.get_backend_name(), ("", ""))
    if url.drivername not in {driver, url.get_backend_name()} or not driver:
        raise LedgerError(f"a ledger in {url.drivername} is not supported; {SUPPORTED}")
    if not url.database:
        raise LedgerError(f"the ledger's URL must name a database; {SUPPORTED}")
    return url.set(drivername=driver)
