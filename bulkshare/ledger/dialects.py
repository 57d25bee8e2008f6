"""Where SQLite, PostgreSQL and MariaDB want different words for the same, and rows in bulk for all of them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert
from sqlalchemy.dialects import mysql, postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Dialect, Table, UpdateBase

NAMED = re.compile(r"%\(\w+\)s")  # a driver's named parameter


def insert_unless_there(table: Table, values: Mapping[str, Any]) -> dict[str, UpdateBase]:
    """Return, by dialect, the statement that inserts a row unless one with its key is there."""
    plain = insert(table).values(values)
    ignoring = plain.prefix_with("IGNORE")
    return {
        "sqlite": plain.prefix_with("OR IGNORE"),
        "postgresql": postgresql.insert(table).values(values).on_conflict_do_nothing(),
        "mysql": ignoring,
        "mariadb": ignoring,
    }


def insert_or_update(connection: Connection, table: Table, key: str, column: str) -> UpdateBase:
    """Return the statement that inserts a row, or changes `column` of the one that has its `key`."""
    dialect = connection.dialect.name
    if dialect in {"mysql", "mariadb"}:
        into = mysql.insert(table)
        return into.on_duplicate_key_update({column: into.inserted[column]})
    made = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return made.on_conflict_do_update(index_elements=[key], set_={column: made.excluded[column]})


def execute_many(
    connection: Connection, statement: UpdateBase | Mapping[str, UpdateBase], rows: Sequence[tuple[Any, ...]]
) -> int:
    """Execute a statement once per row of plain values, in the order of its parameters; return how many rows changed.

    SQLAlchemy's own way goes over a dict per row, which takes longer than what SQLite then does with it. Servers get
    the rows in bulk, where their drivers can.
    """
    chosen = statement[connection.dialect.name] if isinstance(statement, dict) else statement
    return connection.exec_driver_sql(_by_position(chosen, connection.dialect), list(rows)).rowcount


@lru_cache(100)
def _by_position(statement: UpdateBase, dialect: Dialect) -> str:
    return NAMED.sub("%s", str(statement.compile(dialect=dialect)))
