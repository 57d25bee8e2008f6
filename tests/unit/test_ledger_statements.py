"""Statements as text: parameters as each driver takes them, and lists behind IN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.ledger.dialects import MARIADB, POSTGRESQL, SQLITE, Dialect, bound, by_position, with_lists

if TYPE_CHECKING:
    from pathlib import Path

STATEMENT = 'UPDATE pairs SET "schema" = :schema WHERE run_id = :run_id AND want <> :schema'


@pytest.mark.parametrize(
    ("dialect", "positional"),
    [
        (SQLITE, 'UPDATE pairs SET "schema" = ? WHERE run_id = ? AND want <> ?'),
        (
            POSTGRESQL,
            'UPDATE pairs SET "schema" = %s WHERE run_id = %s AND want <> %s',
        ),
        (
            MARIADB,
            "UPDATE pairs SET `schema` = %s WHERE run_id = %s AND want <> %s",
        ),
    ],
)
def test_parameters_of_each_driver(dialect: Dialect, positional: str) -> None:
    """By position, a repeated one again, with names in the quotes of the database."""
    assert by_position(STATEMENT, dialect) == positional
    assert bound(STATEMENT, {"run_id": 7, "schema": None}, dialect) == (positional, (None, 7, None))


def test_lists() -> None:
    """Each value is a parameter; a name that begins like another one's is not that one's."""
    sql, parameters = with_lists("x IN :ids AND y IN :ids_of AND z = :id", {"ids": [7, 8], "ids_of": ["a"], "id": 1})
    assert sql == "x IN (:ids_0, :ids_1) AND y IN (:ids_of_0) AND z = :id"
    assert parameters == {"ids_0": 7, "ids_1": 8, "ids_of_0": "a", "id": 1}


def test_an_empty_list(tmp_path: Path) -> None:
    """Nothing is in it."""
    ledger = SqlLedger.open(f"{tmp_path}/ledger.db")
    with ledger._store.reading() as connection:
        assert connection.rows("SELECT 1 WHERE 1 IN :none", none=[]) == []
        assert connection.rows("SELECT 1 WHERE 1 IN :some", some=[1]) == [(1,)]
    ledger.close()
