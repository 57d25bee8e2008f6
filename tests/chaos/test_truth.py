"""What the ledger says is what the cloud has, whatever happens on the way.

Each seed is one run of 500 pairs through its own weather; one in four also accepts and removes members.
`BULKSHARE_CHAOS_SEEDS=2000 pytest -n auto tests/chaos` runs more of them; `-rP` shows the figures.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bulkshare.model import Limits
from tests.chaos.checks import check_definite_answers, check_members, check_rate
from tests.chaos.voyage import DEFAULT_LIMITS, PAIRS, Voyage, sail
from tests.chaos.weather import FAULTS, Weather

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = int(os.environ.get("BULKSHARE_CHAOS_SEEDS", "200"))
GROUP = 10
MOST_REQUESTS_PER_JOB = 1.25
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


@pytest.mark.parametrize("group", range(-(-SEEDS // GROUP)))
def test_truth(group: int, tmp_path: Path) -> None:
    """Ten seeds: the members, the ledger, the answers, the rate, and how many requests it took for each write."""
    for seed in range(group * GROUP, min((group + 1) * GROUP, SEEDS)):
        weather, limits = conditions(seed)
        voyage = sail(tmp_path, seed, weather, limits, acts=seed % 4 == 3)
        try:
            check_members(voyage)
            check_definite_answers(voyage)
            check_rate(voyage, limits.rate)
            refused = sum(seen.answer == 401 for seen in voyage.seen)  # not faults but a token's natural end
            if weather.faults <= 0.1 and weather.outage is None:
                assert len(voyage.left) - refused <= MOST_REQUESTS_PER_JOB * voyage.task.jobs
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
        f"pairs={len(PAIRS)} present={len(voyage.task.present)} jobs={voyage.task.jobs} requests={len(voyage.left)} "
        f"posts={posts} shared={results['shared']} already={results['already']} removed={results['removed']} "
        f"accepted={len(voyage.task.to_accept)} injected={sum(voyage.injected.values())} "
        f"virtual={voyage.virtual_seconds:.1f}s cpu={voyage.cpu_seconds:.2f}s"
    )


def test_every_fault_is_met(tmp_path: Path) -> None:
    """No kind of fault is left out by chance."""
    voyage = sail(tmp_path, 1, Weather(faults=0.6))
    check_members(voyage)
    assert set(voyage.injected) == {f"{fault.how} {fault.status or ''}".strip() for fault in FAULTS}
