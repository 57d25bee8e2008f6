"""What the ledger says is what the cloud has, whatever happens on the way.

Each seed is one run of 500 pairs through its own weather. `BULKSHARE_CHAOS_SEEDS=2000 pytest -n auto tests/chaos` runs
more of them; `-rP` shows the figures.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bulkshare.model import AS_PLANNED, Limits, Result
from tests.chaos.server import FAULTS, Weather
from tests.chaos.voyage import DEFAULT_LIMITS, PAIRS, Voyage, sail

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = int(os.environ.get("BULKSHARE_CHAOS_SEEDS", "200"))
GROUP = 10
MOST_REQUESTS_PER_JOB = 1.25
EXACT = 1e-9  # seconds: what adding floats costs
ON_THE_WAY_SECONDS = 0.01  # between leaving and arriving, a new connection included
OUTAGES = ("refused", "silent", "503")


def conditions(seed: int) -> tuple[Weather, Limits]:
    """Return what a seed means. Of ten seeds six have 10 % faults and nothing else."""
    match seed % 10:
        case 6:
            return Weather(faults=0.4), DEFAULT_LIMITS
        case 7:
            return Weather(outage=OUTAGES[seed // 10 % 3]), DEFAULT_LIMITS
        case 8:
            return Weather(token_uses=200), DEFAULT_LIMITS
        case 9:
            return Weather(faults=0.4, outage=OUTAGES[seed // 10 % 3], token_uses=200), Limits(32, 200.0, 8)
        case 5:
            return Weather(), Limits(rate=50.0)  # so low that it binds
        case _:
            return Weather(), DEFAULT_LIMITS


def check_members(voyage: Voyage) -> None:
    """The server has the plan, each pair once, and the ledger says so of each, with the server's own fields."""
    assert set(voyage.rows) == PAIRS
    doubled = {pair for pair, rows in voyage.rows.items() if len(rows) != 1}
    assert not doubled, f"rows that are there twice: {doubled}"
    assert {(row.image_id, row.member_id) for row in voyage.outcomes} == PAIRS
    assert len(voyage.outcomes) == len(PAIRS)
    for row in voyage.outcomes:
        pair = row.image_id, row.member_id
        assert row.result in AS_PLANNED, row
        assert (row.status, row.schema) == (voyage.rows[pair][0], "/v2/schemas/member"), row
        assert None not in (row.created_at, row.updated_at, row.settled_at, row.http_status), row
        # Who added it can be unknown where the image's members could not be listed; then the reason says so.
        exact = Result.ALREADY if pair in voyage.present else Result.SHARED
        assert row.result is exact or row.reason, f"not {exact}, and no reason told: {row}"


def check_definite_answers(voyage: Voyage) -> None:
    """Once the server has said of a pair, without any fault, that it is there, no POST of it comes."""
    settled = set()
    for seen in voyage.seen:
        assert seen.method != "POST" or seen.pair not in settled, f"POSTed again after a definite answer: {seen}"
        if seen.pair is not None and (seen.answer == 200 or (seen.method == "POST" and seen.answer == 409)):
            settled.add(seen.pair)


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


@pytest.mark.parametrize("group", range(-(-SEEDS // GROUP)))
def test_truth(group: int, tmp_path: Path) -> None:
    """Ten seeds: the members, the ledger, the answers, the rate, and how many requests it took."""
    for seed in range(group * GROUP, min((group + 1) * GROUP, SEEDS)):
        weather, limits = conditions(seed)
        voyage = sail(tmp_path, seed, weather, limits)
        try:
            check_members(voyage)
            check_definite_answers(voyage)
            check_rate(voyage, limits.rate)
            refused = sum(seen.answer == 401 for seen in voyage.seen)  # not faults but a token's natural end
            if weather.faults <= 0.1 and weather.outage is None:
                assert len(voyage.left) - refused <= MOST_REQUESTS_PER_JOB * len(PAIRS - voyage.present)
        except AssertionError as error:
            error.add_note(f"seed {seed}: {weather}, {limits}")
            raise
        print(figures(seed, weather, voyage))  # noqa: T201  shown with -rP


def figures(seed: int, weather: Weather, voyage: Voyage) -> str:
    """Return a line of figures."""
    results = Counter(row.result.value for row in voyage.outcomes)
    posts = sum(seen.method == "POST" for seen in voyage.seen)
    return (
        f"chaos seed={seed} faults={weather.faults:.0%} outage={weather.outage or '-'} token_uses={weather.token_uses} "
        f"pairs={len(PAIRS)} present={len(voyage.present)} requests={len(voyage.left)} posts={posts} "
        f"shared={results['shared']} already={results['already']} injected={sum(voyage.injected.values())} "
        f"virtual={voyage.virtual_seconds:.1f}s cpu={voyage.cpu_seconds:.2f}s"
    )


def test_every_fault_is_met(tmp_path: Path) -> None:
    """No kind of fault is left out by chance."""
    voyage = sail(tmp_path, 1, Weather(faults=0.6))
    check_members(voyage)
    assert set(voyage.injected) == {f"{fault.how} {fault.status or ''}".strip() for fault in FAULTS}
