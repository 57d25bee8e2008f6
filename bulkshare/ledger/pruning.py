"""Deleting what is no longer wanted, in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, union

from bulkshare.ledger.schema import LABELS, NAMES, PAIRS, RUNS, TELEMETRY

if TYPE_CHECKING:
    from sqlalchemy import Connection

NAMED = (PAIRS.c.image, PAIRS.c.member, PAIRS.c.status, PAIRS.c.schema, PAIRS.c.reason)


def delete_run(connection: Connection, run_id: int) -> None:
    """Delete a run, its pairs and its telemetry."""
    for column in (PAIRS.c.run_id, TELEMETRY.c.run_id, RUNS.c.id):
        connection.execute(delete(column.table).where(column == run_id))


def delete_unused_names(connection: Connection, *, unless_after: int) -> bool:
    """Delete the texts that no pair uses, with their labels, unless there is a run newer than run `unless_after`.

    Return whether they were deleted. Nobody who is at work on that run or an older one may remember their numbers.
    """
    if (connection.scalar(select(func.max(RUNS.c.id))) or 0) > unless_after:
        return False
    used = union(*(select(column).where(column.is_not(None)) for column in NAMED))
    connection.execute(delete(NAMES).where(NAMES.c.id.not_in(used)))
    connection.execute(delete(LABELS).where(LABELS.c.id.not_in(select(NAMES.c.id))))
    return True
