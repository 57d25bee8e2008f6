"""SQL for SQLite, PostgreSQL and MariaDB: what differs between them, and parameters as each driver takes them.

Statements are written once, in the SQL that all three understand. A parameter is written as `:name`; identifiers that
one of them reserves, like "key", are in double quotes, and nothing else is. Importing this is cheap: a command that
reads a file needs no library for SQL but the one that comes with Python.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PARAMETER = re.compile(r":(\w+)")
CACHED_STATEMENTS = 500  # there are about a hundred, some with lists of several lengths


class Dialect(NamedTuple):
    """What a database calls the things that have other names elsewhere.

    counted, binary: column types: a primary key that the database assigns, and bytes.
    options, clustered: what follows the columns of each table, and of one that is stored in the order of its key.
    tables, columns: queries for the names of the tables, and of the columns of a `:table`.
    parameter: how the driver writes a parameter.
    """

    name: str
    counted: str
    binary: str
    options: str
    clustered: str
    tables: str
    columns: str
    parameter: str


_SERVERS_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema = "
_SERVERS_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = :table AND table_schema = "
SQLITE = Dialect(
    name="sqlite",
    counted="INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",  # numbers are never reused, see `strings`
    binary="BLOB",
    options="",
    clustered="WITHOUT ROWID",
    tables="SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'",
    columns="SELECT name FROM pragma_table_info(:table)",
    parameter="?",
)
POSTGRESQL = Dialect(
    name="postgresql",
    counted="SERIAL NOT NULL PRIMARY KEY",
    binary="BYTEA",
    options="",
    clustered="",
    tables=f"{_SERVERS_TABLES} current_schema()",
    columns=f"{_SERVERS_COLUMNS} current_schema()",
    parameter="%s",
)
# By default MariaDB compares "a", "A" and "a " as equal.
_EXACT = "ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin"
MARIADB = Dialect(
    name="mariadb",
    counted="INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY",
    binary="BLOB",
    options=_EXACT,
    clustered=_EXACT,  # InnoDB stores every table so
    tables=f"{_SERVERS_TABLES} DATABASE()",
    columns=f"{_SERVERS_COLUMNS} DATABASE()",
    parameter="%s",
)


# --- statements ------------------------------------------------------------------------------------------------------


def insert(table: str, columns: Iterable[str]) -> str:
    """Return the statement that inserts a row; its parameters have the names of the columns, and their order."""
    names = list(columns)
    return f"INSERT INTO {table} ({_listed(names)}) VALUES ({', '.join(f':{name}' for name in names)})"


def assignments(columns: Iterable[str]) -> str:
    """Return what follows SET to set columns to the parameters of the same names."""
    return ", ".join(f'"{name}" = :{name}' for name in columns)


def insert_unless_there(dialect: Dialect, table: str, columns: Sequence[str]) -> str:
    """Return the statement that inserts a row unless its key exists."""
    statement = insert(table, columns)
    if dialect is MARIADB:
        return statement.replace("INSERT", "INSERT IGNORE", 1)
    return f"{statement} ON CONFLICT DO NOTHING"


def insert_or_update(dialect: Dialect, table: str, key: Sequence[str], *columns: str) -> str:
    """Return the statement that inserts a row of `key` and `columns`, or updates the columns of the row with its key.

    Its parameters have the names of the columns, and their order: the key first.
    """
    statement = insert(table, (*key, *columns))
    if dialect is MARIADB:
        return f"{statement} ON DUPLICATE KEY UPDATE {', '.join(f'{name} = VALUES({name})' for name in columns)}"
    new = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"{statement} ON CONFLICT ({_listed(key)}) DO UPDATE SET {new}"


def first(rows: int | None) -> str:
    """Return the clause that ends a query after so many rows; nothing for None."""
    return "" if rows is None else f" LIMIT {rows:d}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# --- parameters ------------------------------------------------------------------------------------------------------


def with_lists(sql: str, parameters: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Replace each parameter that is a list by a parenthesized list of parameters, to be used behind IN.

    An empty list becomes (NULL), which nothing is in.
    """
    lists = [name for name, value in parameters.items() if isinstance(value, list)]
    plain = dict(parameters)
    for name in lists:
        values = plain.pop(name)
        sql, names = _with_list(sql, name, len(values))
        plain.update(zip(names, values, strict=True))
    return sql, plain


@lru_cache(CACHED_STATEMENTS)
def _with_list(sql: str, name: str, length: int) -> tuple[str, list[str]]:
    """Replace one parameter by a list of so many; return the statement and their names."""
    names = [f"{name}_{number}" for number in range(length)]
    listed = f"({', '.join(f':{each}' for each in names) or 'NULL'})"
    return PARAMETER.sub(lambda found: listed if found[1] == name else found[0], sql), names


def bound(sql: str, parameters: Mapping[str, Any], dialect: Dialect) -> tuple[str, tuple[Any, ...]]:
    """Return a statement and its parameters as the driver takes them: by position, with lists as in `with_lists`.

    With names, SQLite would go through all those before each, of which a list has hundreds.
    """
    plain, values = with_lists(sql, parameters)
    return by_position(plain, dialect), tuple(values[name] for name in parameter_names(plain))


@lru_cache(CACHED_STATEMENTS)
def by_position(sql: str, dialect: Dialect) -> str:
    """Return a statement as the driver takes it with a tuple of parameters, in their order in the statement."""
    return PARAMETER.sub(dialect.parameter, quoted(sql, dialect))


@lru_cache(CACHED_STATEMENTS)
def parameter_names(sql: str) -> list[str]:
    """Return the names of a statement's parameters, in their order in it."""
    return PARAMETER.findall(sql)


def quoted(sql: str, dialect: Dialect) -> str:
    """Return a statement with its identifiers in the quotes that the database takes."""
    return sql.replace('"', "`") if dialect is MARIADB else sql


class Join(NamedTuple):
    """An UPDATE of many rows in one statement: its text before the values, of the values of a row, and after them.

    key: the indices in a row of those values that identify it.
    """

    head: str
    values: str
    tail: str
    key: tuple[int, ...]


@lru_cache(CACHED_STATEMENTS)
def as_join(sql: str, dialect: Dialect) -> Join:
    """Return an UPDATE for MariaDB that joins the table with a table of values. A key's parameters begin with `at_`."""
    names = PARAMETER.findall(sql)
    numbers = count()
    statement = PARAMETER.sub(lambda _: f"new.c{next(numbers)}", quoted(sql, dialect))
    table, _, rest = statement.removeprefix("UPDATE ").partition(" SET ")
    columns = ", ".join(f"NULL AS c{number}" for number in range(len(names)))
    return Join(
        # The SELECT only names the columns.
        f"UPDATE (SELECT {columns} FROM DUAL WHERE FALSE UNION ALL VALUES ",
        f"({', '.join(['%s'] * len(names))})",
        f") AS new STRAIGHT_JOIN {table} SET {rest}",  # from the values to the rows, whatever the optimizer estimates
        tuple(index for index, name in enumerate(names) if name.startswith("at_")),
    )
