"""What has to be true of every run, whatever the weather was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Result
from bulkshare.pacing.rate import CATCH_UP_SECONDS
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
    """No second has more requests than the rate; no shorter time has more than its share and what was made up for."""
    for before, after in zip(voyage.left, voyage.left[int(rate) :], strict=False):
        assert after - before >= int(rate) / rate - EXACT
    assert _ahead(voyage.left, rate) <= CATCH_UP_SECONDS + EXACT
    assert _ahead([seen.at for seen in voyage.seen], rate) <= CATCH_UP_SECONDS + ON_THE_WAY_SECONDS


def _ahead(times: list[float], rate: float) -> float:
    """Return how many seconds too early the last request of the fullest window is."""
    latest, ahead = float("-inf"), 0.0
    for number, at in enumerate(times):
        behind = at - number / rate
        latest = max(latest, behind)
        ahead = max(ahead, latest - behind)
    return ahead
