"""A fleet of processes whose workers and coordinator are killed: complete, true, and within the rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.model import AS_PLANNED
from tests.chaos.served import ServedSandbox
from tests.fleet.worker_pool import DaskWorkerPool, kill

if TYPE_CHECKING:
    import subprocess

    from tests.shell import Shell

pytestmark = pytest.mark.xdist_group("fleet")

IMAGES, MEMBERS, RATE = 200, 100, 800
PROJECTS = [f"{number:032x}" for number in range(MEMBERS)]
JITTER = 0.05  # share of a second's requests that may arrive closer together than they left


def wait_for_posts(sandbox: ServedSandbox, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the cloud has received `count` POSTs from a running command."""
    deadline = time.monotonic() + 120
    while sandbox.posts < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{sandbox.posts} of {count} POSTs"
        time.sleep(0.01)


def test_a_run_survives_killed_workers_and_a_killed_coordinator(shell: Shell) -> None:
    """20,000 pairs, four workers, TLS: two workers and the coordinator get a SIGKILL; `resume` finishes the run."""
    with ServedSandbox(IMAGES, latency_seconds=0.01) as sandbox:
        sandbox.serve_to(shell)
        limits = f"limits: {{concurrency: 64, rate: {RATE}}}\n"
        plan = shell.plan(sandbox.images, PROJECTS, more=limits)
        with DaskWorkerPool(shell) as pool:
            pool.start_workers(4)
            command = ("--os-cloud", "sandbox", "--fleet", pool.address)
            process = shell.start("run", plan, *command)
            wait_for_posts(sandbox, 2000, process)
            pool.workers[0].kill()
            wait_for_posts(sandbox, 5000, process)
            pool.workers[1].kill()
            wait_for_posts(sandbox, 9000, process)
            kill(process)
            shell.run("resume", *command)
            rows, posts = sandbox.rows(), sandbox.posts
    pairs = {(image, project) for image in sandbox.images for project in PROJECTS}
    assert set(rows) == pairs
    assert set(rows.values()) == {1}, "duplicate member"
    ledger = SqlLedger.open(shell.env["BULKSHARE_LEDGER"])
    run = ledger.last_run()
    assert run is not None
    outcomes = {(row.image_id, row.member_id): row for row in ledger.outcomes(run.id)}
    ledger.close()
    assert set(outcomes) == pairs
    assert {row.result for row in outcomes.values()} <= AS_PLANNED
    fullest = sandbox.most_in(1.0)
    print(f"fleet pairs={len(pairs)} posts={posts} fullest_second={fullest} of {RATE}")  # noqa: T201  shown with -rP
    assert fullest <= RATE * (1 + JITTER)
