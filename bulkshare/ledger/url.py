"""Where a ledger is: a path, or a URL of a file or of a database server, read and checked. Knows no connections."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bulkshare.errors import LedgerError

SUPPORTED = (
    "give a path, sqlite:////absolute/path, postgresql://user@host/database or mysql://user@host/database (MariaDB)"
)
# What each kind of server is spoken to with, and what installs that.
DRIVERS = {
    "postgresql": ("postgresql+psycopg", "bulkshare[postgresql]"),
    "mysql": ("mysql+pymysql", "bulkshare[mariadb]"),
    "mariadb": ("mariadb+pymysql", "bulkshare[mariadb]"),
}


def place_of(where: str) -> Path | URL:
    """Return the file, or the URL of the database server with its driver. Raises `LedgerError`."""
    try:
        return Path(where).expanduser().absolute() if "://" not in where else _place_in(where)
    except (ValueError, RuntimeError) as error:  # of the URL's port, of a user that has no home
        raise LedgerError(f"the ledger's place can't be read: {error}; {SUPPORTED}") from error


def shown(url: URL) -> str:
    """Return a server's URL as messages may show it: without the password, which options may hold as well."""
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()


def _place_in(where: str) -> Path | URL:
    # No message has the URL in it: it may hold a password.
    try:
        url = make_url(where)
    except ArgumentError:
        raise LedgerError(f"the ledger is given as a URL that can't be read; {SUPPORTED}") from None
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        if not url.database or url.database == ":memory:" or url.host or url.query:
            raise LedgerError(f"the ledger's sqlite URL has to name a file and nothing else; {SUPPORTED}")
        return Path(url.database).absolute()
    if where.count("@") > 1:  # what follows the first would be taken for the host, and shown
        raise LedgerError(f"the ledger's URL has more than one @; write those of its password as %40; {SUPPORTED}")
    driver, _ = DRIVERS.get(url.get_backend_name(), ("", ""))
    if url.drivername not in {driver, url.get_backend_name()} or not driver:
        raise LedgerError(f"a ledger in {url.drivername} is not supported; {SUPPORTED}")
    if not url.database:
        raise LedgerError(f"the ledger's URL has to name a database; {SUPPORTED}")
    return url.set(drivername=driver)
