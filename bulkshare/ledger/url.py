"""The location of a ledger: a path, or a URL of a file or a database server. Pure: parses and checks only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bulkshare.errors import LedgerError
from bulkshare.text import how_to_install

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SUPPORTED = (
    "give a path, sqlite:////absolute/path, postgresql://user@host/database or mysql://user@host/database (MariaDB)"
)
# Backend: the SQLAlchemy dialect and driver to use, and the extra that installs the driver.
DRIVERS = {
    "postgresql": ("postgresql+psycopg", "postgresql"),
    "mysql": ("mysql+pymysql", "mariadb"),
    "mariadb": ("mariadb+pymysql", "mariadb"),
}
is_scheme = re.compile(r"[\w+]+").fullmatch


def parse_location(location: str) -> Path | URL:
    """Return the file's absolute path, or the server's URL with its driver. Raises `LedgerError`."""
    try:
        return _parse_url(location) if "://" in location else Path(location).expanduser().absolute()
    except (ValueError, RuntimeError) as error:  # a bad port in the URL, or "~user" without a home directory
        raise LedgerError(f"the ledger's location can't be read: {error}; {SUPPORTED}") from error


def without_password(url: URL) -> str:
    """Return a server's URL for messages. It has no password, and no options either: one may hold a password."""
    return url.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()


def missing_driver(scheme: str, error: ModuleNotFoundError) -> LedgerError:
    """Return the error to raise if a package that ledgers with this scheme need is not installed."""
    backend = scheme.partition("+")[0]
    return LedgerError(f"a ledger in {backend} needs the package {error.name}: {how_to_install(DRIVERS[backend][1])}")


def _parse_url(location: str) -> Path | URL:
    # No message repeats the URL: it may hold a password.
    scheme, _, rest = location.partition("://")
    if scheme in {"sqlite", "sqlite+pysqlite"}:
        path = unquote(rest.removeprefix("/"))
        if not rest.startswith("/") or path in {"", ":memory:"} or "?" in rest or "\0" in path:
            raise LedgerError(f"the ledger's sqlite URL must name a file and nothing else; {SUPPORTED}")
        return Path(path).absolute()
    driver, _ = DRIVERS.get(scheme.partition("+")[0], ("", ""))
    if not is_scheme(scheme):
        raise LedgerError(f"the ledger's URL can't be parsed; {SUPPORTED}")
    if scheme not in {driver, driver.partition("+")[0]}:
        raise LedgerError(f"a ledger in {scheme} is not supported; {SUPPORTED}")
    if location.count("@") > 1:  # what follows the first would pass for the host, which messages show
        raise LedgerError(f"the ledger's URL has more than one @; write those in the password as %40; {SUPPORTED}")
    try:
        from sqlalchemy.engine import make_url  # noqa: PLC0415  of an extra, and not needed for a file
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_driver(scheme, error) from error
    try:
        url = make_url(location)
    except ArgumentError:
        raise LedgerError(f"the ledger's URL can't be parsed; {SUPPORTED}") from None
    if not url.database:
        raise LedgerError(f"the ledger's URL must name a database; {SUPPORTED}")
    return url.set(drivername=driver)
