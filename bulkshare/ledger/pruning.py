"""Deleting what is no longer wanted, in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, union

from bulkshare.ledger.schema import NAMES, PAIRS, RUNS

if TYPE_CHECKING:
    from sqlalchemy import Connection

NAMED = (PAIRS.c.image, PAIRS.c.member, PAIRS.c.status, PAIRS.c.schema, PAIRS.c.reason)


def delete_run(connection: Connection, run_id: int) -> None:
    """Delete a run and its pairs."""
    connection.execute(delete(PAIRS).where(PAIRS.c.run_id == run_id))
    connection.execute(delete(RUNS).where(RUNS.c.id == run_id))


def delete_unused_names(connection: Connection) -> None:
    """Delete the texts that no pair uses. Nobody else may remember the number of one of them."""
    used = union(*(select(column).where(column.is_not(None)) for column in NAMED))
    connection.execute(delete(NAMES).where(NAMES.c.id.not_in(used)))
