"""The rows of batches that were sent, and of which it isn't known yet what became of them.

A row is written before its request leaves and deleted once its pairs are decided, so there are few at any time. Every
function works in the caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.ledger.codecs import pack_json, unpack_json
from bulkshare.ledger.dialects import insert
from bulkshare.model import Batch, Step

if TYPE_CHECKING:
    from bulkshare.ledger.store import Connection

# What `step` holds: append, never renumber.
STEP_CODES = {Step.ADD: 1, Step.REMOVE: 2, Step.ACCEPT: 3}
STEPS = {code: step for step, code in STEP_CODES.items()}
THIS = "run_id = :run_id AND number = :number"


def add(connection: Connection, run_id: int, batch: Batch) -> None:
    """Insert a batch, unless that has been done before."""
    if connection.rows(f"SELECT 1 FROM batches WHERE {THIS}", run_id=run_id, number=batch.number):
        return
    row = {
        "run_id": run_id,
        "number": batch.number,
        "step": STEP_CODES[batch.step],
        "images": pack_json(batch.image_ids),
        "members": pack_json(batch.member_ids),
        "job_id": batch.job_id or None,
    }
    connection.execute(insert("batches", row), **row)


def set_job(connection: Connection, run_id: int, number: int, job_id: str) -> None:
    """Record the job that was started for a batch."""
    connection.execute(f"UPDATE batches SET job_id = :job_id WHERE {THIS}", run_id=run_id, number=number, job_id=job_id)


def remove(connection: Connection, run_id: int, number: int) -> None:
    """Delete a batch: what became of it is known."""
    connection.execute(f"DELETE FROM batches WHERE {THIS}", run_id=run_id, number=number)


def read(connection: Connection, run_id: int) -> list[Batch]:
    """Return the batches of a run, in the order in which they were sent."""
    query = "SELECT number, step, images, members, job_id FROM batches WHERE run_id = :run_id ORDER BY number"
    return [
        Batch(number, STEPS[step], tuple(unpack_json(images)), tuple(unpack_json(members)), job_id or "")
        for number, step, images, members, job_id in connection.rows(query, run_id=run_id)
    ]
