"""The rows of batches that were sent, and of which it isn't known yet what became of them.

A row is written before its request leaves and deleted once its pairs are decided, so there are few at any time. Every
function works in the caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from bulkshare.ledger.schema import BATCHES
from bulkshare.model import Batch, Step

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

# What `step` holds: append, never renumber.
STEP_CODES = {Step.ADD: 1, Step.REMOVE: 2, Step.ACCEPT: 3}
STEPS = {code: step for step, code in STEP_CODES.items()}


def add(connection: Connection, run_id: int, batch: Batch) -> None:
    """Insert a batch, unless that has been done before."""
    if connection.scalar(select(BATCHES.c.number).where(_is(run_id, batch.number))) is not None:
        return
    row = {
        "run_id": run_id,
        "number": batch.number,
        "step": STEP_CODES[batch.step],
        "images": list(batch.image_ids),
        "members": list(batch.member_ids),
        "job_id": batch.job_id or None,
    }
    connection.execute(insert(BATCHES), row)


def set_job(connection: Connection, run_id: int, number: int, job_id: str) -> None:
    """Record the job that was started for a batch."""
    connection.execute(update(BATCHES).where(_is(run_id, number)).values(job_id=job_id))


def remove(connection: Connection, run_id: int, number: int) -> None:
    """Delete a batch: what became of it is known."""
    connection.execute(delete(BATCHES).where(_is(run_id, number)))


def read(connection: Connection, run_id: int) -> list[Batch]:
    """Return the batches of a run, in the order in which they were sent."""
    query = select(BATCHES).where(BATCHES.c.run_id == run_id).order_by(BATCHES.c.number)
    return [
        Batch(row.number, STEPS[row.step], tuple(row.images), tuple(row.members), row.job_id or "")
        for row in connection.execute(query)
    ]


def _is(run_id: int, number: int) -> ColumnElement[bool]:
    return (BATCHES.c.run_id == run_id) & (BATCHES.c.number == number)
