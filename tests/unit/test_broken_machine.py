"""What is wrong with the machine is a sentence and exit code 2, or does no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bulkshare.cloud import CloudIdentity, read_entry
from bulkshare.errors import UsageError
from tests.fake_keystone import auth, message_of
from tests.shell import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shell import Shell

pytestmark = pytest.mark.usefixtures("own_configuration")
PLAN = "version: 1\nname: nightly\nshare:\n  - images: [image-1]\n    projects: [project-1]\n"


def run_in_shell(shell: Shell, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh, in which $BULKSHARE is the command."""
    env = {**os.environ, **shell.env, "BULKSHARE": str(COMMAND)}
    done = subprocess.run(  # noqa: S602  the test's own line
        line, shell=True, cwd=shell.directory, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_working_directory_that_is_gone(shell: Shell) -> None:
    """The cloud's configuration may be there."""
    path = shell.write("plan.yaml", PLAN)
    done = run_in_shell(shell, f'mkdir gone && cd gone && rmdir ../gone && "$BULKSHARE" run {path}')
    assert done.returncode == 2
    assert done.stderr.endswith("bulkshare: the working directory is gone, change to another one\n")


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "<&- >/dev/null 2>&-"])
def test_stderr_that_takes_nothing(shell: Shell, closed: str) -> None:
    """The exit code is that of the command."""
    shell.write("plan.yaml", PLAN)
    assert run_in_shell(shell, f'"$BULKSHARE" check plan.yaml {closed}').returncode == 0
    assert run_in_shell(shell, f'"$BULKSHARE" check nothing.yaml {closed}').returncode == 2


def test_a_log_line_for_a_closed_stderr(shell: Shell) -> None:
    """A run has some, and goes on without them."""
    shell.write("plan.yaml", PLAN)
    done = run_in_shell(shell, '"$BULKSHARE" run plan.yaml --sandbox -v 2>&-')
    assert done.returncode == 0
    assert "added by this run" in done.stdout


def test_an_installation_without_a_package(shell: Shell) -> None:
    """It is named."""
    shell.write("plan.yaml", PLAN)
    without = "import sys; sys.modules['aiohttp'] = None; from bulkshare.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, "run", "plan.yaml", "--sandbox"],
        cwd=shell.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("bulkshare: this installation is broken, install it again: import of aiohttp halted")


@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
async def test_a_socks_proxy(write: Any, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its password is not shown."""
    write({"x": {"auth": auth("http://identity.example/v3")}})
    monkeypatch.setenv(variable, "socks5h://ann:hush@127.0.0.1:1080")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"the proxy 127\.0\.0\.1:1080 can't be used: only http and https") as error:
        await CloudIdentity(read_entry("x", None)).token()
    assert "no_proxy" in message_of(error)
