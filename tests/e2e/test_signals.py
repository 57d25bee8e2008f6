"""A signal ends a command in good order, whenever it comes."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bulkshare.sandbox import Cloud
from tests.shell import COMMAND

if TYPE_CHECKING:
    from tests.shell import Shell

IMAGES = list(Cloud.sample(3, 0).images)
PROJECTS = [f"project-{number:03}" for number in range(10)]
STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
STOP_SECONDS = 5  # below the 10 s that an answer of the identity service may take
CLOUD = """
clouds:
  silent:
    api_timeout: 600
    auth: {auth_url: "http://127.0.0.1:%d/v3", username: a, password: hush, project_name: p, user_domain_name: Default}
"""


@pytest.mark.parametrize("number", STOPS)
def test_in_a_log_in_that_hangs(shell: Shell, number: signal.Signals) -> None:
    """Nothing was sent, so there is nothing to wait for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shell.write("clouds.yaml", CLOUD % silent.getsockname()[1])
        process = shell.start("run", shell.plan(IMAGES, PROJECTS), "--os-cloud", "silent")
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(number)
            _, err = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 130
    assert err == "bulkshare: interrupted; nothing was sent\n"


@pytest.mark.parametrize("command", ["run", "diff", "verify"])
def test_while_it_waits_for_an_identity_service_that_is_down(shell: Shell, command: str) -> None:
    """The wait, which would take a quarter of an hour, ends at once."""
    shell.write("clouds.yaml", CLOUD % 1)
    process = shell.start(command, shell.plan(IMAGES, PROJECTS), "--os-cloud", "silent")
    assert process.stderr is not None
    assert "waiting for the identity service" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=STOP_SECONDS)
    assert (process.returncode, err) == (130, "bulkshare: interrupted; nothing was sent\n")


# Sends itself a signal when the command calls a function for the first time; those are called in this order.
TRIGGER = """
import importlib, os, signal, sys
from bulkshare.__main__ import main
module, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]
def trace(frame, event, argument):
    if frame.f_code.co_name == name and frame.f_globals.get("__name__") == module:
        sys.setprofile(None)
        os.kill(os.getpid(), number)
sys.setprofile(trace)
main()
"""


@pytest.mark.parametrize(
    "place",
    [
        "bulkshare.cli.exit_status guarded_stdout",
        "bulkshare.cli.run run_command",
        "bulkshare.plan.load load_plan",
        "bulkshare.operations.run run_plan",
        "bulkshare.operations.stops stopping_at",
        "bulkshare.operations.resolve resolve",
        "bulkshare.operations.run record",
        "bulkshare.operations.execute execute",
        "bulkshare.operations.execute finish",
        "bulkshare.operations.results causes_in",
        "bulkshare.operations.execute close",
        "bulkshare.cli.run print_results",
        "bulkshare.report.text render_summary",
    ],
)
def test_anywhere_in_a_run(shell: Shell, place: str) -> None:
    """From the first line to the last one: a sentence and a documented code, and the ledger has no run at work."""
    plan = shell.plan(IMAGES, PROJECTS)
    done = subprocess.run(
        [sys.executable, "-c", TRIGGER, *place.split(), str(int(signal.SIGTERM)), "run", plan, "--sandbox"],
        cwd=shell.directory,
        env={**os.environ, **shell.env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in {0, 130}, done.stderr
    assert done.returncode == 0 or "bulkshare: interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    ledger = shell.directory / "ledger.db"
    if ledger.exists():
        with sqlite3.connect(ledger) as connection:
            assert connection.execute("SELECT count(*) FROM runs WHERE state = 'running'").fetchone() == (0,)


def test_a_hang_up_that_nohup_ignores(shell: Shell) -> None:
    """The run goes on, as it was asked to."""
    shell.start_sandbox("--latency", "50ms")
    plan = shell.plan(IMAGES, PROJECTS, more="limits: {concurrency: 1, rate: 1000}\n")
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", ignoring, str(COMMAND), "run", plan, "--os-cloud", "sandbox", "-q"],
        cwd=shell.directory,
        env={**os.environ, **shell.env},
    ) as process:
        shell.wait_for_rows(3)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 0
