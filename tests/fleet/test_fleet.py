"""A fleet as its users see it: requirements, failures, and the same results as without one."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from bulkshare._version import __version__
from bulkshare.sandbox import FaultRule
from tests.chaos.served import ServedSandbox
from tests.fleet.worker_pool import DaskWorkerPool

if TYPE_CHECKING:
    import subprocess

    from tests.shell import Shell

pytestmark = pytest.mark.xdist_group("fleet")

PROJECTS = [f"{number:032x}" for number in range(100)]
ON_SANDBOX = ("--os-cloud", "sandbox")
PRIVATE, UNKNOWN = 0, "00000000-0000-0000-0000-00000000dead"


def limits(rate: float, concurrency: int = 32) -> str:
    """Return a plan's `limits` line."""
    return f"limits: {{concurrency: {concurrency}, rate: {rate}}}\n"


def wait_for_posts(sandbox: ServedSandbox, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the cloud has received `count` POSTs from a running command."""
    deadline = time.monotonic() + 60
    while sandbox.posts < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{sandbox.posts} of {count} POSTs"
        time.sleep(0.01)


def rows_of(shell: Shell) -> dict[tuple[str, str], tuple[str, str]]:
    """Return result and reason of each pair of the last run."""
    return {(row["image_id"], row["member_id"]): (row["result"], row["reason"]) for row in shell.rows()}


def test_a_fleet_gives_the_results_of_a_run_without_one(shell: Shell) -> None:
    """Results, exit code and totals of a plan with pairs that fail are the same, and every such pair has a reason."""
    results, summaries = [], []
    for fleet in ([], ["--fleet", "local:2"]):
        with ServedSandbox(6, latency_seconds=0.002) as sandbox:
            list(sandbox.cloud.images.values())[PRIVATE].visibility = "private"
            sandbox.serve_to(shell)
            plan = shell.plan([*sandbox.images, UNKNOWN], PROJECTS[:40], more=limits(500))
            summary = shell.run_json("run", plan, *ON_SANDBOX, "--no-preflight", *fleet, exit_code=1)
            results.append(rows_of(shell))
            summaries.append([summary[name] for name in ("planned", "shared", "rejected", "skipped")])
    alone, together = results
    assert {pair: result for pair, (result, _) in together.items()} == {
        pair: result for pair, (result, _) in alone.items()
    }
    assert summaries[0] == summaries[1]
    for pair, (result, reason) in together.items():
        if result != "shared":
            assert reason, pair


def test_a_dead_scheduler(shell: Shell) -> None:
    """The run exits with 5 and says how to resume, which works without the fleet; nothing is lost."""
    with ServedSandbox(20, latency_seconds=0.002) as sandbox, DaskWorkerPool(shell) as pool:
        sandbox.serve_to(shell)
        pool.start_workers(2)
        process = shell.start(
            "run", shell.plan(sandbox.images, PROJECTS, more=limits(300)), *ON_SANDBOX, "--fleet", pool.address
        )
        wait_for_posts(sandbox, 300, process)
        pool.scheduler.kill()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 5, err
        assert f"the fleet's scheduler {pool.address} is gone" in err
        assert "bulkshare resume" in err
        assert "distributed" not in err, "the log of `distributed` stays out of it"
        time.sleep(0.5)  # until the workers notice, too
        shell.run("resume", *ON_SANDBOX, "--rate", "2000")
        assert set(sandbox.rows().values()) == {1}
        assert len(sandbox.rows()) == 20 * len(PROJECTS)
    assert {result for result, _ in rows_of(shell).values()} <= {"shared", "already"}


def test_one_429_pauses_all_workers(shell: Shell) -> None:
    """After a Retry-After to one worker none sends for that long, except until the news has reached it."""
    pause, news = 4, 1.0
    rule = FaultRule.parse(f"POST members 429 0.03% retry-after={pause} times=1")
    with ServedSandbox(20, latency_seconds=0.002, faults=[rule]) as sandbox, DaskWorkerPool(shell) as pool:
        sandbox.serve_to(shell)
        pool.start_workers(3)
        process = shell.start(
            "run", shell.plan(sandbox.images, PROJECTS, more=limits(200)), *ON_SANDBOX, "--fleet", pool.address
        )
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert set(sandbox.rows().values()) == {1}
        (throttled_at,) = sandbox.throttled_at
    assert len([at for at in sandbox.posted_at if at < throttled_at]) > 100, "all workers are sending"
    assert not [at for at in sandbox.posted_at if throttled_at + news < at < throttled_at + pause - 0.1]


def test_credentials_are_passed_over_tls(shell: Shell) -> None:
    """Workers without a clouds.yaml get the coordinator's; they appear in no log and in no task name."""
    with ServedSandbox(4, latency_seconds=0.002) as sandbox, DaskWorkerPool(shell) as pool:
        sandbox.serve_to(shell)
        pool.start_workers(2, OS_CLIENT_CONFIG_FILE="/nonexistent")
        secret = "Xq7-unlike-all-else"
        clouds = yaml.safe_load(Path(shell.env["OS_CLIENT_CONFIG_FILE"]).read_text("utf-8"))
        clouds["clouds"]["sandbox"]["auth"]["password"] = sandbox.cloud.admin.password = secret
        shell.write("clouds.yaml", json.dumps(clouds))
        plan = shell.plan(sandbox.images, PROJECTS[:20])
        command = ("run", plan, *ON_SANDBOX, "--fleet", pool.address)
        refused = shell.run(*command, exit_code=2)
        assert "can't join" in refused.stderr
        assert "/nonexistent" in refused.stderr
        done = shell.run(*command, "--fleet-credentials", "pass", "-v")
        for output in (done.stdout, done.stderr, pool.logs()):
            assert secret not in output
        assert "bulkshare-plan-" in pool.logs(), "task names are in the log"
        assert len(sandbox.rows()) == 80


def test_credentials_are_not_passed_in_the_clear(shell: Shell) -> None:
    """Without TLS the run is refused, and nothing is sent."""
    with ServedSandbox(1, latency_seconds=0.002) as sandbox, DaskWorkerPool(shell, tls=False) as pool:
        sandbox.serve_to(shell)
        plan = shell.plan(sandbox.images, PROJECTS[:2])
        refused = shell.run(
            "run", plan, *ON_SANDBOX, "--fleet", pool.address, "--fleet-credentials", "pass", exit_code=2
        )
        assert "not encrypted" in refused.stderr
        assert sandbox.posts == 0


def test_workers_join_and_leave_during_a_run(shell: Shell) -> None:
    """A run waits for its first worker, uses one that joins later, and continues without one that stops."""
    with ServedSandbox(20, latency_seconds=0.002) as sandbox, DaskWorkerPool(shell) as pool:
        sandbox.serve_to(shell)
        process = shell.start(
            "run", shell.plan(sandbox.images, PROJECTS, more=limits(200)), *ON_SANDBOX, "--fleet", pool.address
        )
        time.sleep(2)
        assert sandbox.posts == 0
        pool.start_workers(1)
        wait_for_posts(sandbox, 200, process)
        pool.start_workers(1)
        wait_for_posts(sandbox, 600, process)
        pool.workers[0].stop()
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "is lost" in err
        assert set(sandbox.rows().values()) == {1}
        assert sandbox.most_in(1.0) <= 210


def test_an_interrupted_fleet_run_is_resumed(shell: Shell) -> None:
    """Workers give back what they have done: the ledger has all that the cloud did, and the same command continues."""
    with ServedSandbox(20, latency_seconds=0.002) as sandbox:
        sandbox.serve_to(shell)
        command = ("run", shell.plan(sandbox.images, PROJECTS, more=limits(300)), *ON_SANDBOX, "--fleet", "local:2")
        process = shell.start(*command)
        wait_for_posts(sandbox, 300, process)
        code, _, err = shell.interrupt(process, signal.SIGTERM)
        assert code == 130, err
        there = set(sandbox.rows())
        assert not {pair: result for pair, result in rows_of(shell).items() if pair in there and result[0] != "shared"}
        assert {pair for pair, (result, _) in rows_of(shell).items() if result == "shared"} == there
        assert len(there) < 20 * len(PROJECTS)
        shell.run(*command)
        assert set(sandbox.rows().values()) == {1}
        assert len(sandbox.rows()) == 20 * len(PROJECTS)


@pytest.mark.parametrize(
    "address", ["local:0", "local:65", "host:8786", "http://host:1", "tls://a:b@host:1", "tls://host"]
)
def test_an_invalid_address_is_refused(shell: Shell, address: str) -> None:
    """The error says what an address looks like."""
    refused = shell.run("run", shell.plan(["i"], ["p"]), "--sandbox", "--fleet", address, exit_code=2)
    assert "local:4" in refused.stderr


def test_a_worker_with_another_version_does_not_join(shell: Shell) -> None:
    """One that cannot even read the handshake is reported like any other; the remaining workers do the work."""
    other = shell.directory / "other" / "bulkshare"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("", "utf-8")
    with ServedSandbox(1, latency_seconds=0.002) as sandbox, DaskWorkerPool(shell, tls=False) as pool:
        sandbox.serve_to(shell)
        command = ("run", shell.plan(sandbox.images, PROJECTS[:2]), *ON_SANDBOX, "--fleet", pool.address)
        pool.start_workers(1, PYTHONPATH=str(other.parent))
        alone = shell.run(*command, exit_code=2)
        assert f"bulkshare {__version__}" in alone.stderr
        assert "Traceback" not in alone.stderr
        pool.start_workers(1)
        pool.wait_for_workers(2)
        shell.run(*command)
        assert len(sandbox.rows()) == 2


def test_a_scheduler_that_does_not_answer(shell: Shell) -> None:
    """If the connection is accepted but never answered, the run gives up after a time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        refused = shell.run("run", shell.plan(["i"], ["p"]), "--fleet", address, exit_code=2)
    assert refused.stderr == f"bulkshare: --fleet {address}: no answer within 15 s\n"


def test_a_sandbox_needs_local_workers(shell: Shell) -> None:
    """Remote workers would log in to another cloud; the run is refused before it contacts them."""
    refused = shell.run("run", shell.plan(["i"], ["p"]), "--sandbox", "--fleet", "tcp://127.0.0.1:1", exit_code=2)
    assert "--fleet local:4" in refused.stderr


def test_missing_tls_configuration(shell: Shell) -> None:
    """The required setting is named, in one line."""
    refused = shell.run("run", shell.plan(["i"], ["p"]), "--fleet", "tls://127.0.0.1:1", exit_code=2)
    assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr


def test_an_unreachable_scheduler(shell: Shell) -> None:
    """The error names it."""
    refused = shell.run("run", shell.plan(["i"], ["p"]), "--fleet", "tcp://127.0.0.1:1", exit_code=2)
    assert "tcp://127.0.0.1:1" in refused.stderr
