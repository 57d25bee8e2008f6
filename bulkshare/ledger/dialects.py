"""SQL that differs between SQLite, PostgreSQL and MariaDB, and the execution of a statement for many rows.

`execute_many` bypasses SQLAlchemy's parameter handling, which makes a dict of every row and takes longer than SQLite
needs for the row itself. Drivers of servers send the rows of an INSERT in bulk. PyMySQL, however, sends an UPDATE once
for each row and waits for every response, so for MariaDB an UPDATE of many rows is rewritten as one statement that
joins the table with a table of values.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from sqlalchemy import UpdateBase, insert
from sqlalchemy.dialects import mysql, sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Dialect, Insert, Table
    from sqlalchemy.dialects import postgresql

NAMED = re.compile(r"%\(\w+\)s")  # a named parameter, as the drivers of servers write it
JOINED_ROWS = 1_000  # in one statement, which then has about 200 kB; servers take at least 1 MB


def insert_unless_there(dialect: str, table: Table, values: Mapping[str, Any]) -> UpdateBase:
    """Return the statement that inserts a row unless its key exists."""
    if dialect == "postgresql":
        return _insert_postgresql(table).values(values).on_conflict_do_nothing()
    return insert(table).values(values).prefix_with("OR IGNORE" if dialect == "sqlite" else "IGNORE")


def insert_or_update(connection: Connection, table: Table, key: Sequence[str], *columns: str) -> Insert:
    """Return the statement that inserts a row, or updates `columns` of the row that has its `key`."""
    dialect = connection.dialect.name
    if dialect in {"mysql", "mariadb"}:
        into = mysql.insert(table)
        return into.on_duplicate_key_update({column: into.inserted[column] for column in columns})
    made = _insert_postgresql(table) if dialect == "postgresql" else sqlite.insert(table)
    return made.on_conflict_do_update(index_elements=key, set_={column: made.excluded[column] for column in columns})


def _insert_postgresql(table: Table) -> postgresql.Insert:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  40 ms that a file needs not pay

    return postgresql.insert(table)


def execute_many(connection: Connection, statement: UpdateBase, rows: Sequence[tuple[Any, ...]]) -> int:
    """Execute a statement for each row, in order, and return how many rows changed.

    A row has plain values in the order of the statement's parameters.
    """
    if statement.is_update and connection.dialect.name in {"mysql", "mariadb"}:
        return _update_joined(connection, statement, rows)
    return connection.exec_driver_sql(_by_position(statement, connection.dialect), list(rows)).rowcount


def _update_joined(connection: Connection, statement: UpdateBase, rows: Sequence[tuple[Any, ...]]) -> int:
    head, values, tail, key = _as_join(statement, connection.dialect)
    # One statement updates a row once: of several rows with the same key only the last one counts, as in a loop.
    last = list({tuple(row[index] for index in key): row for row in rows}.values())
    changed = 0
    for first in range(0, len(last), JOINED_ROWS):
        part = last[first : first + JOINED_ROWS]
        joined = f"{head}{', '.join([values] * len(part))}{tail}"
        changed += connection.exec_driver_sql(joined, tuple(chain.from_iterable(part))).rowcount
    return changed


@lru_cache(100)
def _as_join(statement: UpdateBase, dialect: Dialect) -> tuple[str, str, str, tuple[int, ...]]:
    """Return the text before the rows of values, of one row, and after them, and the indices of the key in a row."""
    compiled = str(statement.compile(dialect=dialect))
    names = NAMED.findall(compiled)
    numbers = count()
    table, _, rest = NAMED.sub(lambda _: f"new.c{next(numbers)}", compiled).removeprefix("UPDATE ").partition(" SET ")
    columns = ", ".join(f"NULL AS c{number}" for number in range(len(names)))
    return (
        # The SELECT only names the columns.
        f"UPDATE (SELECT {columns} FROM DUAL WHERE FALSE UNION ALL VALUES ",  # noqa: S608  no part is a user's
        f"({', '.join(['%s'] * len(names))})",
        f") AS new STRAIGHT_JOIN {table} SET {rest}",  # from the values to the rows, whatever the optimizer estimates
        tuple(index for index, name in enumerate(names) if name.startswith("%(at_")),
    )


@lru_cache(100)
def _by_position(statement: UpdateBase, dialect: Dialect) -> str:
    return NAMED.sub("%s", str(statement.compile(dialect=dialect)))
