"""Why a run's pairs are not as planned, from the ledger."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from bulkshare.report import SETTLED_BADLY, causes_of

if TYPE_CHECKING:
    from bulkshare.ports import Ledger
    from bulkshare.report import Cause

MOST_LOOKED_AT = 100_000  # pairs: beyond that a few more change nothing


def causes_in(ledger: Ledger, run_id: int) -> tuple[Cause, ...]:
    """Return what went wrong in a run, the most frequent first."""
    return causes_of(islice(ledger.outcomes(run_id, results=SETTLED_BADLY), MOST_LOOKED_AT))
