"""What users see: on a terminal of any width, on one that can't move its cursor or is closed, and after Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from bulkshare.cli.manual import load_chapters
from bulkshare.sandbox import Cloud
from tests.shell import COMMAND
from tests.terminal import TIMEOUT_SECONDS, terminal

if TYPE_CHECKING:
    from tests.shell import Shell

PROJECTS = [f"{number:032x}" for number in range(30)]


@pytest.fixture
def plan(shell: Shell) -> str:
    """Return a plan of 90 pairs, on a sandbox that is slow."""
    shell.start_sandbox("--latency", "20ms", "--fault", "POST members 503 10%")
    return shell.plan(list(Cloud.sample(3, 0).images), PROJECTS, more="limits: {concurrency: 2, rate: 1000}\n")


def test_a_live_display(shell: Shell, plan: str) -> None:
    """A bar and counts, then the table; no log lines and no traceback."""
    with terminal(shell, "run", plan, "--os-cloud", "sandbox") as screen:
        code, seen = screen.end()
    assert code == 0
    assert "sharing" in seen
    assert "of 1,000/s" in seen
    assert "added by this run" in seen
    assert "[info" not in seen
    assert "Traceback" not in seen


def test_no_color(shell: Shell, plan: str) -> None:
    """With NO_COLOR neither the display nor the log has colours; the cursor is moved all the same."""
    for args in ((), ("-v",)):
        with terminal(shell, "run", plan, "--os-cloud", "sandbox", *args, NO_COLOR="1") as screen:
            code, seen = screen.end()
        assert code == 0
        assert "\x1b[?25l" in seen  # hides the cursor
        assert not re.search(r"\x1b\[(\d+;)*[39]\dm", seen)


def test_ctrl_c_on_a_terminal(shell: Shell, plan: str) -> None:
    """The display ends, what was done is printed, and there is no traceback."""
    with terminal(shell, "run", plan, "--os-cloud", "sandbox") as screen:
        screen.wait_for("sharing")
        screen.process.send_signal(signal.SIGINT)
        code, seen = screen.end()
    assert code == 130
    assert "not finished" in seen
    assert "continue with the same command" in seen
    assert "Traceback" not in seen


def test_a_terminal_that_is_closed(shell: Shell, plan: str) -> None:
    """It interrupts a run, though nothing can be printed any more."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        ["/usr/bin/setsid", "--ctty", COMMAND, "run", plan, "--os-cloud", "sandbox"],
        cwd=shell.directory,
        env={**os.environ, **shell.env, "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        seen = b""
        while b"sharing" not in seen:
            seen += os.read(leader, 65536)
        os.close(leader)
        assert process.wait(TIMEOUT_SECONDS) == 130
    assert "interrupted" in shell.run("runs").stdout


def test_a_dumb_terminal_gets_the_log(shell: Shell, plan: str) -> None:
    """If the cursor can't be moved, there are log lines and no escape sequences."""
    with terminal(shell, "run", plan, "--os-cloud", "sandbox", TERM="dumb") as screen:
        code, seen = screen.end()
    assert code == 0
    assert "sharing" in seen
    assert "[info" in seen
    assert "\x1b" not in seen


@pytest.mark.parametrize("columns", [60, 80, 100, 130, 200])
def test_nothing_is_lost_on_a_narrow_terminal(shell: Shell, columns: int) -> None:
    """IDs and the run's name are not broken."""
    shell.start_sandbox()
    unknown = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
    plan = shell.plan([unknown], PROJECTS[:2])
    run = shell.run_json("run", plan, "--os-cloud", "sandbox", exit_code=1)["run"]
    for args in (["runs"], ["show"], ["show", "--failed"], ["run", plan, "--os-cloud", "sandbox", "--dry-run"]):
        with terminal(shell, *args, columns=columns) as screen:
            code, seen = screen.end()
        assert code == (11 if "--dry-run" in args else 0), seen
        expected = [unknown] if "--dry-run" in args else [run] if args == ["runs"] else [run, unknown, *PROJECTS[:2]]
        assert not [name for name in expected if name not in seen], seen


def test_help_on_a_terminal(shell: Shell) -> None:
    """A chapter is rendered, and the pager gets it."""
    shell.write("pager", "#!/bin/sh\necho paged; cat\n").chmod(0o700)
    topic, chapter = next(iter(load_chapters().items()))
    title = chapter.text.splitlines()[0]
    with terminal(shell, "help", topic, PAGER=str(shell.directory / "pager")) as screen:
        code, seen = screen.end()
    assert code == 0
    assert seen.startswith("paged")
    assert title.removeprefix("# ") in seen
    assert title not in seen
