"""SQL that differs between SQLite, PostgreSQL and MariaDB, and bulk execution for all of them."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from sqlalchemy import UpdateBase, insert
from sqlalchemy.dialects import mysql, sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Dialect, Table
    from sqlalchemy.dialects import postgresql

NAMED = re.compile(r"%\(\w+\)s")  # a driver's named parameter
JOINED_AT_ONCE = 1_000  # rows in one statement of some 200 kB; servers accept at least 1 MB


def insert_unless_there(dialect: str, table: Table, values: Mapping[str, Any]) -> UpdateBase:
    """Return the statement that inserts a row unless one with its key exists."""
    if dialect == "postgresql":
        return _insert_postgresql(table).values(values).on_conflict_do_nothing()
    return insert(table).values(values).prefix_with("OR IGNORE" if dialect == "sqlite" else "IGNORE")


def insert_or_update(connection: Connection, table: Table, key: str, column: str) -> UpdateBase:
    """Return the statement that inserts a row, or updates `column` of the existing one with its `key`."""
    dialect = connection.dialect.name
    if dialect in {"mysql", "mariadb"}:
        into = mysql.insert(table)
        return into.on_duplicate_key_update({column: into.inserted[column]})
    made = _insert_postgresql(table) if dialect == "postgresql" else sqlite.insert(table)
    return made.on_conflict_do_update(index_elements=[key], set_={column: made.excluded[column]})


def _insert_postgresql(table: Table) -> postgresql.Insert:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  takes 40 ms; most ledgers are files

    return postgresql.insert(table)


def execute_many(connection: Connection, statement: UpdateBase, rows: Sequence[tuple[Any, ...]]) -> int:
    """Execute a statement once per row of plain values, in the order of its parameters; return the changed rows.

    SQLAlchemy would build a dict per row, which takes longer than SQLite's own work. Servers get the rows in bulk.
    """
    if statement.is_update and connection.dialect.name in {"mysql", "mariadb"}:
        return _update_joined(connection, statement, rows)
    return connection.exec_driver_sql(_by_position(statement, connection.dialect), list(rows)).rowcount


def _update_joined(connection: Connection, statement: UpdateBase, rows: Sequence[tuple[Any, ...]]) -> int:
    """Update many rows in one statement: MariaDB's driver would send one per row and wait for each answer."""
    head, one, tail, key = _by_join(statement, connection.dialect)
    last = list({tuple(row[place] for place in key): row for row in rows}.values())  # the last of a key wins
    changed = 0
    for first in range(0, len(last), JOINED_AT_ONCE):
        part = last[first : first + JOINED_AT_ONCE]
        sent = f"{head}{', '.join([one] * len(part))}{tail}"
        changed += connection.exec_driver_sql(sent, tuple(chain.from_iterable(part))).rowcount
    return changed


@lru_cache(100)
def _by_join(statement: UpdateBase, dialect: Dialect) -> tuple[str, str, str, tuple[int, ...]]:
    """Return the parts of an update from a table of values: head, one row, tail, and the indexes of its key."""
    wanted = str(statement.compile(dialect=dialect))
    names = NAMED.findall(wanted)
    numbers = count()
    table, _, rest = NAMED.sub(lambda _: f"new.c{next(numbers)}", wanted).removeprefix("UPDATE ").partition(" SET ")
    columns = ", ".join(f"NULL AS c{number}" for number in range(len(names)))
    return (
        # The SELECT names the columns.
        f"UPDATE (SELECT {columns} FROM DUAL WHERE FALSE UNION ALL VALUES ",  # noqa: S608  contains no user input
        f"({', '.join(['%s'] * len(names))})",
        f") AS new STRAIGHT_JOIN {table} SET {rest}",  # from the values to the rows, whatever the statistics say
        tuple(place for place, name in enumerate(names) if name.startswith("%(at_")),
    )


@lru_cache(100)
def _by_position(statement: UpdateBase, dialect: Dialect) -> str:
    return NAMED.sub("%s", str(statement.compile(dialect=dialect)))
