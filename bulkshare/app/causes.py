"""Why a run's pairs are not as planned, from the ledger."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from bulkshare.report import SETTLED_BADLY, causes_of

if TYPE_CHECKING:
    from bulkshare.model import Run
    from bulkshare.ports import Ledger
    from bulkshare.report import Cause

MOST_LOOKED_AT = 100_000  # pairs: beyond that a few more change nothing


def causes_in(ledger: Ledger, run: Run) -> tuple[Cause, ...]:
    """Return what went wrong in a run, as its totals count it, the most frequent first."""
    if not any(run.totals.get(result) for result in SETTLED_BADLY):
        return ()  # of a million pairs it would take a while to find none
    return causes_of(islice(ledger.outcomes(run.id, results=SETTLED_BADLY), MOST_LOOKED_AT))
