"""A run that is killed with SIGKILL at any moment and started again ends complete and correct.

`BULKSHARE_CHAOS_KILLS=100 pytest -n auto -rP tests/chaos/test_kill.py` kills more often and shows the figures.
"""

from __future__ import annotations

import os
import time
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.model import AS_PLANNED, Outcome, Result
from bulkshare.sandbox import Behaviour, Dialect
from tests.chaos.served import ServedSandbox

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.shell import Shell

KILLS = int(os.environ.get("BULKSHARE_CHAOS_KILLS", "10"))
# None unless asked for: half a minute passes after each until a batch counts as lost. `test_truth` has virtual ones.
BATCH_KILLS = int(os.environ.get("BULKSHARE_CHAOS_KILLS", "0"))
KILLS_PER_PLAN = 5
IMAGES, MEMBERS = 20, 100
CONCURRENCY = 16
BATCH, JOBS = 20, 10
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


class Killed(NamedTuple):
    """What is left of a plan whose process was killed several times, and then completed."""

    final: dict[tuple[str, str], Outcome]
    kills: int
    posts: int


def kill_often(
    shell: Shell,
    sandbox: ServedSandbox,
    random: Random,
    *,
    kills: int,
    projects: list[str],
    limits: str,
    at_once: int = 1,
) -> Killed:
    """Run a plan, kill it at random moments, and run it to its end: no pair is lost or doubled, no outcome changes.

    limits: the plan's.
    at_once: how many pairs a POST has.
    """
    ledger = shell.directory / "ledger.db"
    began = time.monotonic()
    sandbox.serve_to(shell)
    command = (
        "run",
        shell.plan(sandbox.images, projects, more=f"limits: {{{limits}}}\n"),
        "--os-cloud",
        "sandbox",
        "-q",
    )
    pairs = {(image, project) for image in sandbox.images for project in projects}
    killed = 0
    known: dict[tuple[str, str], Outcome] = {}
    moments = []
    for _ in range(kills):
        process = shell.start(*command)
        wait_for_the_moment(process, sandbox, random, (len(pairs) - len(known)) // at_once)
        killed += process.poll() is None
        process.kill()
        process.communicate()
        before, known = known, settled(ledger)
        moments.append(len(known))
        assert decided(before).items() <= decided(known).items(), "an outcome that was recorded changed"
        if len(known) == len(pairs):
            shell.run("resume", "-q")  # it had finished, and the same command would start another run
            break
    else:
        shell.run(*command)
    final, rows = settled(ledger), sandbox.rows()
    assert decided(known).items() <= decided(final).items(), "an outcome that was recorded changed"
    assert set(final) == pairs
    assert {row.result for row in final.values()} <= AS_PLANNED
    assert all(row.status == "pending" and row.created_at and row.updated_at and row.schema for row in final.values())
    assert set(rows) == pairs
    assert set(rows.values()) == {1}, "a member is there twice"
    print(  # noqa: T201  shown with -rP
        f"kill pairs={len(pairs)} kills={killed} posts={sandbox.posts} settled_at_kills={'/'.join(map(str, moments))} "
        f"wall={time.monotonic() - began:.1f}s"
    )
    return Killed(final, killed, sandbox.posts)


@pytest.mark.parametrize("seed", range(-(-KILLS // KILLS_PER_PLAN)))
def test_kill(shell: Shell, seed: int) -> None:
    """2,000 pairs, five kills: few are sent twice."""
    projects = [f"project-{number:03}" for number in range(MEMBERS)]
    limits = f"concurrency: {CONCURRENCY}, rate: 2000"
    with ServedSandbox(IMAGES, latency_seconds=0.02) as sandbox:
        result = kill_often(shell, sandbox, Random(seed), kills=KILLS_PER_PLAN, projects=projects, limits=limits)
    assert result.posts - len(result.final) <= CONCURRENCY * result.kills


@pytest.mark.parametrize("seed", range(-(-BATCH_KILLS // KILLS_PER_PLAN)))
def test_kill_between_batches(shell: Shell, seed: int) -> None:
    """Their jobs run on: what these add is this run's doing, and no batch is sent again while its job may run."""
    limits = f"batch: {BATCH}, jobs: {JOBS}, rate: 2000"
    served = ServedSandbox(
        IMAGES,
        latency_seconds=0.02,
        projects=MEMBERS,
        dialect=Dialect.HUAWEI,
        behaviour=Behaviour(job_seconds=0.5),
    )
    with served as sandbox:
        result = kill_often(
            shell, sandbox, Random(seed), kills=KILLS_PER_PLAN, projects=sandbox.projects, limits=limits, at_once=BATCH
        )
        alone = sandbox.requests("POST members")
    assert alone == 0
    assert {row.result for row in result.final.values()} == {Result.SHARED}
    assert result.posts <= len(result.final) / BATCH + JOBS * result.kills
