"""A run that is killed with SIGKILL at any moment and started again ends complete and correct.

`BULKSHARE_CHAOS_KILLS=100 pytest -n auto -rP tests/chaos/test_kill.py` kills more often and shows the figures.
"""

from __future__ import annotations

import os
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.model import AS_PLANNED, Outcome, Result
from tests.chaos.served import ServedSandbox

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.shell import Shell

KILLS = int(os.environ.get("BULKSHARE_CHAOS_KILLS", "10"))
KILLS_PER_PLAN = 5
IMAGES, MEMBERS = 20, 100
CONCURRENCY = 16
START_UP_SECONDS = 1.0  # within which some kills fall, before the first request or between the first ones
SOON_SECONDS = 0.1


def wait_for_the_moment(process: subprocess.Popen[str], sandbox: ServedSandbox, random: Random, left: int) -> None:
    """Wait until a random moment of the run: during start-up, after some more POSTs, or a little later."""
    if random.random() < 0.2:
        time.sleep(random.uniform(0, START_UP_SECONDS))
        return
    until = sandbox.posts + random.randrange(max(left // 2, 1))  # the rest is for later kills
    while sandbox.posts < until and process.poll() is None:
        time.sleep(0.001)
    time.sleep(random.choice((0, random.uniform(0, SOON_SECONDS))))


def settled(path: Path) -> dict[tuple[str, str], Outcome]:
    """Return what the ledger has settled; nothing if it doesn't exist yet."""
    if not path.exists():
        return {}
    ledger = SqlLedger.open(str(path))
    run = ledger.last_run()
    found = () if run is None else ledger.outcomes(run.id)
    outcomes = {(row.image_id, row.member_id): row for row in found if row.result is not Result.PENDING}
    ledger.close()
    return outcomes


def decided(outcomes: dict[tuple[str, str], Outcome]) -> dict[tuple[str, str], Outcome]:
    """Return the outcomes without the member's fields, which after a 409 are filled in later."""
    return {
        pair: row._replace(status=None, created_at=None, updated_at=None, schema=None) for pair, row in outcomes.items()
    }


@pytest.mark.parametrize("seed", range(-(-KILLS // KILLS_PER_PLAN)))
def test_kill(shell: Shell, seed: int) -> None:
    """2,000 pairs, five kills: no pair is lost or duplicated, no outcome changes, few are sent twice."""
    random = Random(seed)
    ledger = shell.directory / "ledger.db"
    began = time.monotonic()
    with ServedSandbox(IMAGES, latency_seconds=0.02) as sandbox:
        sandbox.serve_to(shell)
        projects = [f"project-{number:03}" for number in range(MEMBERS)]
        limits = f"limits: {{concurrency: {CONCURRENCY}, rate: 2000}}\n"
        command = ("run", shell.plan(sandbox.images, projects, more=limits), "--os-cloud", "sandbox", "-q")
        kills = 0
        known: dict[tuple[str, str], Outcome] = {}
        moments = []
        for _ in range(KILLS_PER_PLAN):
            process = shell.start(*command)
            wait_for_the_moment(process, sandbox, random, IMAGES * MEMBERS - len(known))
            kills += process.poll() is None
            process.kill()
            process.communicate()
            before, known = known, settled(ledger)
            moments.append(len(known))
            assert decided(before).items() <= decided(known).items(), "an outcome that was recorded changed"
            if len(known) == IMAGES * MEMBERS:
                shell.run("resume", "-q")  # it had finished, and the same command would start another run
                break
        else:
            shell.run(*command)
        final, rows, posts = settled(ledger), sandbox.rows(), sandbox.posts

    pairs = {(image, project) for image in sandbox.images for project in projects}
    assert decided(known).items() <= decided(final).items(), "an outcome that was recorded changed"
    assert set(final) == pairs
    assert {row.result for row in final.values()} <= AS_PLANNED
    assert all(row.status == "pending" and row.created_at and row.updated_at and row.schema for row in final.values())
    assert set(rows) == pairs
    assert set(rows.values()) == {1}, "a member is there twice"
    beyond = posts - len(pairs)
    assert beyond <= CONCURRENCY * kills
    print(  # noqa: T201  shown with -rP
        f"kill seed={seed} pairs={len(pairs)} kills={kills} posts_beyond_one_per_pair={beyond} "
        f"settled_at_kills={'/'.join(map(str, moments))} "
        f"wall={time.monotonic() - began:.1f}s"
    )
