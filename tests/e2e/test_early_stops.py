"""Runs that stop early, with exit code 5 and the rest pending, and how they are finished."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from bulkshare.sandbox import Cloud
from tests.chaos.served import ServedSandbox

if TYPE_CHECKING:
    from tests.shell import Shell

PROJECTS = [f"project-{number:03}" for number in range(40)]
IMAGES = list(Cloud.sample(3, 0).images)


def port_of(shell: Shell) -> str:
    """Return the port of the shell's sandbox."""
    found = re.search(r"127\.0\.0\.1:(\d+)", (shell.directory / "clouds.yaml").read_text("utf-8"))
    assert found is not None
    return found[1]


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process."""
    process.kill()
    process.communicate()


def test_too_many_failures(shell: Shell) -> None:
    """More rejections than allowed end the run; a percentage refers to the planned pairs."""
    shell.start_sandbox("--fault", "POST members 400 100%")
    for name, share in (("number", "3"), ("percentage", "3%")):
        plan = shell.plan(IMAGES, PROJECTS, name=name, more="limits: {concurrency: 2, rate: 1000}\n")
        summary = shell.run_json("run", plan, "--os-cloud", "sandbox", "--max-failures", share, exit_code=5)
        assert 3 < summary["rejected"] <= 3 + 1 + 2
        assert summary["pending"] == 120 - summary["rejected"]


def test_the_verification_has_a_stop_of_its_own(shell: Shell) -> None:
    """One rejection too many, of the last pair, leaves nothing to stop: the verification goes ahead."""
    shell.start_sandbox("--fault", "POST members 400 100%")
    plan = shell.plan(IMAGES[:1], PROJECTS[:1])
    done = shell.run("run", plan, "--os-cloud", "sandbox", "--max-failures", "0", "--verify", "--json", exit_code=1)
    summary = json.loads(done.stdout)
    assert (summary["rejected"], summary["pending"]) == (1, 0)
    assert summary["verify"]["missing"] == {IMAGES[0]: PROJECTS[:1]}


def test_one_signal_in_the_verification_is_one(shell: Shell) -> None:
    """The first signal lets the request in flight finish, so the comparison is complete."""
    with ServedSandbox(1, latency_seconds=0.3) as sandbox:
        sandbox.serve_to(shell)
        plan = shell.plan(sandbox.images, PROJECTS[:1])
        process = shell.start("run", plan, "--os-cloud", "sandbox", "--no-preflight", "--verify", "--json")
        while not sandbox.rows():
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        sandbox.held.set()
        while not sandbox.requests("GET members"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1.0)  # it waits for the answer
        sandbox.held.clear()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["verify"]["present"] == 1


def test_deadline(shell: Shell) -> None:
    """When the time is up the rest stays pending, and the same command continues."""
    shell.start_sandbox("--latency", "50ms")
    plan = shell.plan(IMAGES, PROJECTS, more="limits: {concurrency: 1, rate: 1000}\n")
    done = shell.run("run", plan, "--os-cloud", "sandbox", "--deadline", "1s", "--json", exit_code=5)
    first = json.loads(done.stdout)
    assert first["pending"] > 0
    assert "the deadline has passed" in done.stderr
    second = shell.run_json("run", plan, "--os-cloud", "sandbox", "--concurrency", "16")
    assert (second["run"], second["pending"], second["failed"]) == (first["run"], 0, 0)


def test_a_cloud_that_goes_away_and_comes_back(shell: Shell) -> None:
    """While it is down the run gives up without failing a pair; the rest is shared when it is back."""
    cloud = shell.start_sandbox("--latency", "200ms")
    port = port_of(shell)
    plan = shell.plan(IMAGES, PROJECTS, more="limits: {concurrency: 2, rate: 1000}\nretry: {base: 50ms, cap: 200ms}\n")
    process = shell.start("run", plan, "--os-cloud", "sandbox", "--give-up-after", "4s", "--json")
    shell.wait_for_rows(10)
    kill(cloud)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 5, err
    first = json.loads(out)
    assert first["pending"] > 0
    assert (first["failed"], first["rejected"], first["skipped"]) == (0, 0, 0)

    command = ("run", plan, "--os-cloud", "sandbox", "--json")
    down = shell.run(*command, "-q", "--give-up-after", "1s", exit_code=5)
    assert re.fullmatch(r"bulkshare: no token from the identity service .*: Connection refused\n", down.stderr)
    process = shell.start(*command)
    assert process.stderr is not None
    assert "waiting for the identity service" in process.stderr.readline()
    shell.start_sandbox("--port", port)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "answers again" in err
    second = json.loads(out)
    assert (second["run"], second["shared"], second["pending"]) == (first["run"], 120, 0)
