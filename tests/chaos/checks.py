"""Invariants of every run, whatever its faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Result
from bulkshare.pacing.rate import CATCH_UP_SECONDS
from tests.chaos.scenario import PAIRS

if TYPE_CHECKING:
    from tests.chaos.scenario import ScenarioResult

EXACT = 1e-9  # seconds: rounding of floats
TRANSIT_SECONDS = 0.01  # from leaving to arriving, including a new connection


def check_members(result: ScenarioResult) -> None:
    """The server has every pair of the plan once, and the ledger has it with the server's own fields."""
    assert set(result.rows) == PAIRS
    doubled = {pair for pair, rows in result.rows.items() if len(rows) != 1}
    assert not doubled, f"duplicate rows: {doubled}"
    outcomes = {(row.image_id, row.member_id): row for row in result.outcomes}
    assert set(outcomes) == PAIRS | result.task.extra
    assert len(result.outcomes) == len(outcomes)
    alone = {seen.pair for seen in result.seen if seen.method != "GET"}  # sent in requests of their own
    for pair in PAIRS:
        row = outcomes[pair]
        assert row.result in AS_PLANNED, row
        assert (row.status, row.schema) == (result.rows[pair][0], "/v2/schemas/member"), row
        assert None not in (row.created_at, row.updated_at, row.settled_at, row.http_status), row
        before = result.task.present.get(pair)
        assert row.status == ("accepted" if pair in result.task.to_accept else before or "pending"), row
        # If the image's members could not be listed, the origin of one may be unknown; the reason says so.
        # So may that of one whose own request was in flight at a kill.
        present = Result.ALREADY if before == row.status else Result.ACCEPTED
        exact = Result.SHARED if before is None else present
        unsure = row.reason or (result.kills and pair in alone)
        assert row.result is exact or unsure, f"not {exact}, and without a reason: {row}"
    for pair in result.task.extra:
        unsure = result.kills and pair in alone
        assert outcomes[pair].result is Result.REMOVED or (outcomes[pair].result is Result.ABSENT and unsure)
    assert not result.overlaps, "in two requests at once, of which one was a batch"


def check_definite_answers(result: ScenarioResult) -> None:
    """After a faultless answer that settles a pair, the request is not sent again."""
    settled = set()
    for seen in result.seen:
        assert (seen.method, seen.pair) not in settled, f"sent again after a definite answer: {seen}"
        if seen.answer in {200, 204} or (seen.method == "POST" and seen.answer == 409):
            settled.add((seen.method if seen.method != "GET" else "POST", seen.pair))
        settled -= {("POST", None), ("PUT", None), ("DELETE", None)}  # listings, image queries and batches


def check_rate(result: ScenarioResult, rate: float) -> None:
    """No second has more requests than the rate, and no shorter time more than its share plus the catch-up."""
    for before, after in zip(result.departures, result.departures[int(rate) :], strict=False):
        assert after - before >= int(rate) / rate - EXACT
    assert _ahead(result.departures, rate) <= CATCH_UP_SECONDS + EXACT
    assert _ahead([seen.at for seen in result.seen], rate) <= CATCH_UP_SECONDS + TRANSIT_SECONDS


def _ahead(times: list[float], rate: float) -> float:
    """Return how many seconds too early the last request of the fullest window is."""
    latest, ahead = float("-inf"), 0.0
    for number, at in enumerate(times):
        behind = at - number / rate
        latest = max(latest, behind)
        ahead = max(ahead, latest - behind)
    return ahead
