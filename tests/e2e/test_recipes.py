"""Every command of the manual's recipes does what it says there, on the sandbox that they name, one after the other."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bulkshare.cli.manual import load_chapters
from tests.shell import COMMAND

if TYPE_CHECKING:
    from tests.shell import Shell

ROOT = Path(__file__).parents[2]
OPENSTACK = """#!/bin/sh
[ "$*" = "project list --domain customers -f value -c ID" ] && cat customers
"""


def commands() -> list[str]:
    """Return the lines of the blocks that are shell commands."""
    blocks = re.findall(r"^```sh\n(.*?)^```", load_chapters()["recipes"].text, re.MULTILINE | re.DOTALL)
    return "".join(blocks).splitlines()


def codes(command: str) -> set[int]:
    """Return the exit codes that a command may have."""
    if " --dry-run" in command or " diff " in command:
        return {0, 10, 11}
    return {0, 10, 11} if {"audit", "compare"} & set(command.split()) else {0}


def test_every_command_works(shell: Shell) -> None:
    """Those with a pipe in a real shell, with a stand-in for the openstack command."""
    shell.start_sandbox("--example")
    shell.env["OS_CLOUD"] = "sandbox"
    for name in ("golden-nightly.yaml", "rotate.yaml"):
        shutil.copy(ROOT / "plans" / name, shell.directory)
    tools = shell.directory / "bin"
    tools.mkdir()
    (tools / "bulkshare").symlink_to(COMMAND)
    (tools / "openstack").write_text(OPENSTACK)
    (tools / "openstack").chmod(0o755)
    shell.env["PATH"] = f"{tools}:/usr/bin:/bin"
    shell.write(
        "plan.yaml", "version: 1\nname: p\nshare: [{images: [{name: 'ubuntu-*'}], projects: [{domain: customers}]}]\n"
    )
    found = shell.run_json("diff", "plan.yaml", exit_code=10)
    shell.write("customers", "\n".join(found["images"][0]["add"]) + "\n")
    for command in commands():
        if "|" in command:
            done = subprocess.run(
                ["/bin/bash", "-o", "pipefail", "-c", command],
                cwd=shell.directory,
                env=shell.env,
                capture_output=True,
                text=True,
                check=False,
            )
        else:
            program, *words = shlex.split(command)
            assert program == "bulkshare"
            done = shell.run(*words, exit_code=None)
        assert done.returncode in codes(command), f"{command}\n{done.stdout}\n{done.stderr}"
