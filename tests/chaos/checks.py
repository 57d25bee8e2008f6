"""What has to be true of every run, whatever the weather was."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Result
from tests.chaos.voyage import PAIRS

if TYPE_CHECKING:
    from tests.chaos.voyage import Voyage

EXACT = 1e-9  # seconds: what adding floats costs
ON_THE_WAY_SECONDS = 0.01  # between leaving and arriving, a new connection included


def check_members(voyage: Voyage) -> None:
    """The server has the plan, each pair once, and the ledger says so of each, with the server's own fields."""
    assert set(voyage.rows) == PAIRS
    doubled = {pair for pair, rows in voyage.rows.items() if len(rows) != 1}
    assert not doubled, f"rows that are there twice: {doubled}"
    outcomes = {(row.image_id, row.member_id): row for row in voyage.outcomes}
    assert set(outcomes) == PAIRS | voyage.task.extra
    assert len(voyage.outcomes) == len(outcomes)
    for pair in PAIRS:
        row = outcomes[pair]
        assert row.result in AS_PLANNED, row
        assert (row.status, row.schema) == (voyage.rows[pair][0], "/v2/schemas/member"), row
        assert None not in (row.created_at, row.updated_at, row.settled_at, row.http_status), row
        before = voyage.task.present.get(pair)
        assert row.status == ("accepted" if pair in voyage.task.to_accept else before or "pending"), row
        # Who added it can be unknown where the image's members could not be listed; then the reason says so.
        exact = Result.SHARED if before is None else Result.ALREADY
        assert row.result is exact or row.reason, f"not {exact}, and no reason told: {row}"
    assert {outcomes[pair].result for pair in voyage.task.extra} <= {Result.REMOVED}


def check_definite_answers(voyage: Voyage) -> None:
    """Once the server has said of a pair, without any fault, that it is as it is to be, it is not told again."""
    settled = set()
    for seen in voyage.seen:
        assert (seen.method, seen.pair) not in settled, f"sent again after a definite answer: {seen}"
        if seen.answer in {200, 204} or (seen.method == "POST" and seen.answer == 409):
            settled.add((seen.method if seen.method != "GET" else "POST", seen.pair))
        settled -= {("POST", None)}  # listings, and searches for images


def check_rate(voyage: Voyage, rate: float) -> None:
    """No window of t seconds has more than rate x t + 1 requests, where they leave and where they arrive."""
    gaps = [after - before for before, after in pairwise(voyage.left)]
    assert min(gaps) >= 1 / rate - EXACT  # which is the same as the claim about windows
    latest, ahead = float("-inf"), 0.0
    for number, seen in enumerate(voyage.seen):
        behind = seen.at - number / rate
        latest = max(latest, behind)
        ahead = max(ahead, latest - behind)  # how much too early the last of the fullest window that ends here came
    assert ahead <= ON_THE_WAY_SECONDS
