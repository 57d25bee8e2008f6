"""A fleet of processes whose workers and coordinator are killed: complete, true, and never faster than allowed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.model import AS_PLANNED
from tests.chaos.served import ServedSandbox
from tests.fleet.worker_pool import DaskProcesses, kill

if TYPE_CHECKING:
    import subprocess

    from tests.shell import Shell

pytestmark = pytest.mark.xdist_group("fleet")

IMAGES, MEMBERS, RATE = 200, 100, 800
PROJECTS = [f"{number:032x}" for number in range(MEMBERS)]
JITTER = 0.05  # of the requests in a second: how much closer together they arrive than they left


def wait_for_posts(sandbox: ServedSandbox, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the cloud has seen so many POSTs of a command that is at work."""
    deadline = time.monotonic() + 120
    while sandbox.posts < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{sandbox.posts} of {count} POSTs"
        time.sleep(0.01)


def test_kills(shell: Shell) -> None:
    """20,000 pairs, four workers, TLS; two workers and the coordinator are killed with -9; `resume` ends it."""
    with ServedSandbox(IMAGES, latency_seconds=0.01) as sandbox:
        sandbox.serve_to(shell)
        limits = f"limits: {{concurrency: 64, rate: {RATE}}}\n"
        plan = shell.plan(sandbox.images, PROJECTS, more=limits)
        with DaskProcesses(shell) as yard:
            yard.hire(4)
            command = ("--os-cloud", "sandbox", "--fleet", yard.address)
            process = shell.start("run", plan, *command)
            wait_for_posts(sandbox, 2000, process)
            yard.workers[0].kill()
            wait_for_posts(sandbox, 5000, process)
            yard.workers[1].kill()
            wait_for_posts(sandbox, 9000, process)
            kill(process)
            shell.run("resume", *command)
            rows, posts = sandbox.rows(), sandbox.posts
    pairs = {(image, project) for image in sandbox.images for project in PROJECTS}
    assert set(rows) == pairs
    assert set(rows.values()) == {1}, "a member is there twice"
    ledger = SqlLedger.open(shell.env["BULKSHARE_LEDGER"])
    run = ledger.newest_run()
    assert run is not None
    outcomes = {(row.image_id, row.member_id): row for row in ledger.outcomes(run.id)}
    ledger.close()
    assert set(outcomes) == pairs
    assert {row.result for row in outcomes.values()} <= AS_PLANNED
    fullest = sandbox.most_in(1.0)
    print(f"fleet pairs={len(pairs)} posts={posts} fullest_second={fullest} of {RATE}")  # noqa: T201  shown with -rP
    assert fullest <= RATE * (1 + JITTER)
