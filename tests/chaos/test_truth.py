"""The ledger agrees with the cloud, whatever faults occur.

Each seed is a run of 500 pairs with its own faults; one in four also accepts and removes members. The runs that send
batches are killed and started again as well. `BULKSHARE_CHAOS_SEEDS=2000 BULKSHARE_CHAOS_BATCH_SEEDS=1000 pytest
-n auto tests/chaos` runs more of them; `-rP` shows the figures.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from bulkshare.model import Limits
from tests.chaos.checks import check_definite_answers, check_members, check_rate
from tests.chaos.faults import FAULTS, FaultProfile
from tests.chaos.scenario import DEFAULT_LIMITS, PAIRS, ScenarioResult, run_scenario

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = int(os.environ.get("BULKSHARE_CHAOS_SEEDS", "200"))
BATCH_SEEDS = int(os.environ.get("BULKSHARE_CHAOS_BATCH_SEEDS", "20"))
GROUP = 10
MOST_REQUESTS_PER_JOB = 1.25
OUTAGES = ("refused", "silent", "503")


def conditions(seed: int) -> tuple[FaultProfile, Limits]:
    """Return a seed's faults and limits. Six in ten seeds have 10 % faults and nothing else."""
    match seed % 10:
        case 6:
            return FaultProfile(faults=0.4), DEFAULT_LIMITS
        case 7:
            return FaultProfile(outage=OUTAGES[seed // 10 % 3]), DEFAULT_LIMITS
        case 8:
            return FaultProfile(token_uses=200), DEFAULT_LIMITS
        case 9:
            return FaultProfile(faults=0.4, outage=OUTAGES[seed // 10 % 3], token_uses=200), Limits(32, 200.0, 8)
        case 5:
            return FaultProfile(), Limits(rate=50.0)  # low enough to bind
        case _:
            return FaultProfile(), DEFAULT_LIMITS


@pytest.mark.parametrize("group", range(-(-SEEDS // GROUP)))
def test_truth(group: int, tmp_path: Path) -> None:
    """Members, ledger, answers and rate are right for ten seeds, and each write took few requests."""
    for seed in range(group * GROUP, min((group + 1) * GROUP, SEEDS)):
        profile, limits = conditions(seed)
        result = run_scenario(tmp_path, seed, profile, limits, acts=seed % 4 == 3)
        try:
            check_members(result)
            check_definite_answers(result)
            check_rate(result, limits.rate)
            refused = sum(seen.answer == 401 for seen in result.seen)  # a token that expired: not a fault
            if profile.faults <= 0.1 and profile.outage is None:
                assert len(result.departures) - refused <= MOST_REQUESTS_PER_JOB * result.task.jobs
        except AssertionError as error:
            error.add_note(f"seed {seed}: {profile}, {limits}")
            raise
        print(figures(seed, profile, result))  # noqa: T201  shown with -rP


@pytest.mark.parametrize("group", range(-(-BATCH_SEEDS // GROUP)))
def test_truth_in_batches(group: int, tmp_path: Path) -> None:
    """The same for batches and their jobs: no pair is in two requests at once, also if the process is killed."""
    for seed in range(group * GROUP, min((group + 1) * GROUP, BATCH_SEEDS)):
        profile, limits = conditions(seed)
        random = Random(seed)
        limits = replace(limits, members_per_image=0, batch=random.choice((7, 25, 100)), jobs=random.choice((1, 4, 10)))
        kills = random.randrange(4)
        result = run_scenario(tmp_path, seed, profile, limits, acts=seed % 2 == 1, batches=True, kills=kills)
        try:
            check_members(result)
            if not kills:
                check_definite_answers(result)
                check_rate(result, limits.rate)
        except AssertionError as error:
            error.add_note(f"seed {seed}: {profile}, {limits}, {kills} kills")
            raise
        print(figures(seed, profile, result))  # noqa: T201  shown with -rP


def figures(seed: int, profile: FaultProfile, result: ScenarioResult) -> str:
    """Return a line of figures."""
    results = Counter(row.result.value for row in result.outcomes)
    posts = sum(seen.method == "POST" for seen in result.seen)
    batches = sum(seen.method != "GET" and seen.path.startswith("/v1/") for seen in result.seen)
    return (
        f"chaos seed={seed} faults={profile.faults:.0%} outage={profile.outage or '-'} token_uses={profile.token_uses} "
        f"pairs={len(PAIRS)} present={len(result.task.present)} jobs={result.task.jobs} "
        f"requests={len(result.departures)} posts={posts} batches={batches} kills={result.kills} "
        f"shared={results['shared']} already={results['already']} removed={results['removed']} "
        f"accepted={len(result.task.to_accept)} injected={sum(result.injected.values())} "
        f"virtual={result.virtual_seconds:.1f}s cpu={result.cpu_seconds:.2f}s"
    )


def test_every_fault_is_injected(tmp_path: Path) -> None:
    """Every kind of fault is injected."""
    result = run_scenario(tmp_path, 1, FaultProfile(faults=0.6))
    check_members(result)
    assert set(result.injected) == {f"{fault.how} {fault.status or ''}".strip() for fault in FAULTS}
