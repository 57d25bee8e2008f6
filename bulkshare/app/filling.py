"""Puts a plan's pairs into a run, with what is known to be in vain settled at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.app.places import utc_now
from bulkshare.model import Outcome, Result
from bulkshare.planner import expand

if TYPE_CHECKING:
    from bulkshare.app.preparing import Prepared
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Plan

NO_PROJECT = "the identity service knows no such project; Glance would take the ID, and nobody could use the image"


def fill(ledger: SqlLedger, run_id: int, plan: Plan, prepared: Prepared) -> None:
    """Enqueue the pairs of a plan, or a part of it, and keep the names that are known. Blocking."""
    ledger.enqueue(run_id, expand(plan))
    ledger.label(prepared.labels)
    if not prepared.unknown:
        return
    now = utc_now()
    for block in expand(plan):
        ledger.settle(
            run_id,
            [
                Outcome(block.image_id, member_id, Result.SKIPPED, reason=NO_PROJECT, settled_at=now, want=block.want)
                for member_id in block.member_ids
                # Of a run that goes on, what became of the pair stands: it may have been shared before anybody looked.
                if member_id in prepared.unknown and ledger.is_pending(run_id, block.image_id, member_id)
            ],
        )
