"""`runs`, `show` and `export`: which run a name means, its state, and output that can't be written."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bulkshare.sandbox import Cloud
from tests.shell import COMMAND, UNKNOWN_IMAGE

if TYPE_CHECKING:
    from tests.shell import Shell

PROJECTS = [f"project-{number:03}" for number in range(30)]
ON_SANDBOX = ("--os-cloud", "sandbox")


@pytest.fixture
def images(shell: Shell) -> list[str]:
    """Start a sandbox and return its images."""
    shell.start_sandbox("--latency", "20ms")
    return list(Cloud.sample(3, 0).images)


def in_sh(shell: Shell, script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell."""
    return subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=shell.directory,
        env={**os.environ, **shell.env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_run_by_its_plan(shell: Shell, images: list[str]) -> None:
    """A plan's name means its last run, a run's name that run; a mistyped name gets a hint."""
    first = shell.run_json("run", shell.plan(images, ["p1"], name="golden"), *ON_SANDBOX)["run"]
    second = shell.run_json("run", shell.plan(images, ["p1", "p2"], name="golden"), *ON_SANDBOX)["run"]
    shell.run("run", shell.plan(images, ["p3"], name="silver"), *ON_SANDBOX)
    assert shell.run_json("show", "golden")["run"] == second
    assert shell.run_json("show", first)["run"] == first
    assert "did you mean golden" in shell.run("show", "goldne", exit_code=2).stderr


def test_a_run_on_a_sandbox_does_not_count_as_the_last_one(shell: Shell, images: list[str]) -> None:
    """Trying something out does not hide the run on the cloud; a message names the later run."""
    tried = shell.plan(images, ["p1"], name="tried")
    alone = shell.run_json("run", tried, "--sandbox")["run"]
    assert shell.run_json("show")["run"] == alone
    real = shell.run_json("run", shell.plan(images, ["p1"], name="real"), *ON_SANDBOX)["run"]
    later = shell.run_json("run", tried, "--sandbox")["run"]
    shown = shell.run("show", "--json")
    assert json.loads(shown.stdout)["run"] == real
    assert later in shown.stderr
    assert shell.run_json("show", "tried")["run"] == later


def test_a_run_in_progress_and_a_killed_one(shell: Shell, images: list[str]) -> None:
    """During a run, its duration and its requests so far are known; after a kill it is not called running."""
    plan = shell.plan(images, PROJECTS, more="limits: {concurrency: 1, rate: 2}\n")  # takes 45 s, if it is not killed
    process = shell.start("run", plan, *ON_SANDBOX)
    shell.wait_for_rows(3)
    document = shell.run_json("show")
    assert document["state"] == "running"
    assert document["requests"] >= document["heartbeat"]["shared"] > 0
    assert document["seconds"] > 0
    assert " so far" in shell.run("show").stdout
    process.kill()
    process.communicate()
    (document,) = [json.loads(line) for line in shell.run("runs", "--json").stdout.splitlines()]
    assert (document["state"], document["seconds"], document["requests"]) == ("killed", None, None)
    assert "  killed" in shell.run("show").stdout
    assert "  killed" in shell.run("runs").stdout


def test_no_trailing_blanks_in_pipes(shell: Shell, images: list[str]) -> None:
    """No line ends with blanks, and no ID is cut."""
    run = shell.run_json("run", shell.plan([*images, UNKNOWN_IMAGE], PROJECTS[:3]), *ON_SANDBOX, exit_code=1)["run"]
    for args in (["runs"], ["show"], ["show", "--failed"]):
        lines = shell.run(*args).stdout.splitlines()
        assert not [line for line in lines if line != line.rstrip()]
        assert lines[0].strip()
        assert sum(run in line for line in lines) == 1


@pytest.mark.parametrize("command", ["export", "show -n 0", "runs"])
def test_a_closed_pipe(shell: Shell, images: list[str], command: str) -> None:
    """`| head` ends a command as it does any other: silently, with the exit code of SIGPIPE."""
    shell.run("run", shell.plan(images, PROJECTS), *ON_SANDBOX)
    process = shell.start(*command.split())
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # long before the command writes
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("command", ["export", "show", "runs", "show --json", "export -o /dev/full"])
def test_a_full_disk(shell: Shell, images: list[str], command: str) -> None:
    """Output that can't be written is an error, reported in a sentence."""
    shell.run("run", shell.plan(images, PROJECTS[:2]), *ON_SANDBOX)
    done = in_sh(shell, f"'{COMMAND}' {command} > /dev/full")
    assert done.returncode == 2
    assert "can't write" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_stdout(shell: Shell, images: list[str]) -> None:
    """A command started without a stdout reports that or prints nothing; it does not crash."""
    shell.run("run", shell.plan(images, PROJECTS[:2]), *ON_SANDBOX)
    for command in ("export", "show", "runs"):
        done = in_sh(shell, f"'{COMMAND}' {command} >&-")
        assert "Traceback" not in done.stderr
        assert done.returncode in {0, 2}


def test_check_counts(shell: Shell) -> None:
    """A good plan is summed up in one grammatical line."""
    assert shell.run("check", shell.plan(["i"], ["p"])).stdout == "plan: 1 pair of 1 image and 1 project\n"
    repeated = shell.run("check", shell.plan(["i", "j"], ["p", "q", "p"])).stdout
    assert repeated == "plan: 4 pairs of 2 images and 2 projects; 2 repeated pairs are counted once\n"
