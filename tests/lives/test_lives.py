from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lives.jobs import LifeWithJobs
from tests.lives.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.forkserver import Commands

LIVES = int(os.environ.get("BULKSHARE_LIVES", "200"))
FIRST = int(os.environ.get("BULKSHARE_LIVES_FIRST", "0"))
AT_ONCE = 5  # lives of a test: few enough to spread them evenly over pytest-xdist's workers


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Return what serves the clouds."""
    with World() as world:
        yield world


@pytest.mark.parametrize(
    "seeds", [range(seed, min(seed + AT_ONCE, FIRST + LIVES)) for seed in range(FIRST, FIRST + LIVES, AT_ONCE)], ids=str
)
def test_lives(commands: Commands, world: World, tmp_path: Path, seeds: range) -> None:
    """Whatever happens in a life, all that bulkshare does and says is what the model says."""
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        life = LifeWithJobs(seed, commands, world, folder)
        try:
            life.live()
        except AssertionError as error:
            again = f"BULKSHARE_LIVES_FIRST={seed} BULKSHARE_LIVES=1 python -m pytest -n 0 tests/lives"
            pytest.fail("\n".join([*life.history, life.last_output, f"life {seed}: {error}", again]), pytrace=False)
