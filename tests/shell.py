"""The installed command, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkshare.errors import LedgerError
from bulkshare.model import Result
from bulkshare.operations.defaults import open_ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.forkserver import Commands

COMMAND = Path(sys.executable).with_name("bulkshare")
POLL_SECONDS = 0.02
UNKNOWN_IMAGE = "6f1c0000-0000-4000-8000-000000000000"  # an ID that no cloud of the tests has
SETTLED = frozenset(Result) - {Result.PENDING}


class Shell:
    """A directory to work in, and the `bulkshare` command. `env` is added to the test's environment.

    commands: run what `run` runs; None: the installed command does, as it always does what `start` starts.
    """

    def __init__(self, directory: Path, commands: Commands | None = None) -> None:
        self.directory = directory
        self._commands = commands
        self.env: dict[str, str] = {}
        self._processes = ExitStack()

    def run(self, *args: str, exit_code: int | None = 0, piped: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command, with `piped` on its standard input, until it ends and check its exit code."""
        env = {**os.environ, **self.env}
        if self._commands is not None:
            ended = self._commands.run(args, directory=self.directory, env=env, piped=piped)
            done = subprocess.CompletedProcess(args, ended.code, ended.out, ended.err)
        else:
            done = subprocess.run(
                [COMMAND, *args],
                cwd=self.directory,
                env=env,
                capture_output=True,
                text=True,
                timeout=300,
                input=piped,
                check=False,
            )
        assert exit_code is None or done.returncode == exit_code, (
            f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def run_json(self, *args: str, exit_code: int = 0) -> dict[str, Any]:
        """Run a command with --json and return the object that is all of its stdout."""
        document: dict[str, Any] = json.loads(self.run(*args, "--json", exit_code=exit_code).stdout)
        return document

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command; it is killed if it is still running when the test ends."""
        process = self._processes.enter_context(
            subprocess.Popen(
                [COMMAND, *args],
                cwd=self.directory,
                env={**os.environ, **self.env},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                stdin=subprocess.DEVNULL,
            )
        )
        self._processes.callback(process.kill)
        return process

    def start_sandbox(self, *args: str) -> subprocess.Popen[str]:
        """Start `bulkshare sandbox` and let the following commands use it as cloud `sandbox`."""
        process = self.start("sandbox", *args)
        assert process.stdout is not None
        lines: list[str] = []
        while (line := process.stdout.readline()).strip():
            lines.append(line)
        self.write("clouds.yaml", "".join(lines))
        self.env["OS_CLIENT_CONFIG_FILE"] = str(self.directory / "clouds.yaml")
        return process

    def interrupt(self, process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal and return exit code, stdout and stderr."""
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def write(self, name: str, text: str) -> Path:
        """Write a file in the working directory."""
        path = self.directory / name
        path.write_text(text, "utf-8")
        return path

    def plan(self, images: Sequence[str], projects: Sequence[str], *, name: str = "plan", more: str = "") -> str:
        """Write a plan that shares all images with all projects, which need not exist, and return its file's name."""
        self.write(
            f"{name}.yaml",
            f"version: 1\nname: {name}\ncheck_projects: never\n{more}share:\n  - images: {json.dumps(list(images))}\n"
            f"    projects: {json.dumps(list(projects))}\n",
        )
        return f"{name}.yaml"

    def rows(self, *args: str) -> list[dict[str, Any]]:
        """Return the exported rows of a run."""
        return [json.loads(line) for line in self.run("export", *args).stdout.splitlines()]

    def wait_for_rows(self, count: int, results: Collection[Result] = SETTLED) -> None:
        """Wait until the last run has `count` pairs with these results; polls often, because runs are short."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(LedgerError), open_ledger(self.env["BULKSHARE_LEDGER"], create=False) as ledger:
                run = ledger.find_run()
                if run is not None and sum(run.totals.get(result, 0) for result in results) >= count:
                    return
            time.sleep(POLL_SECONDS)
        raise TimeoutError("the run did not settle enough pairs")

    def close(self) -> None:
        """Kill the commands that are still running."""
        self._processes.close()
