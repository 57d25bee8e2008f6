"""Starts and stops server processes, and waits for their ports."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

READY_SECONDS = 60.0
GRACE_SECONDS = 10.0


def free_port() -> int:
    """Return a loopback port that is free now.

    It is below the range from which the kernel gives ports to outgoing connections, so that it is still free when the
    server that has it is stopped and started again.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port on the loopback address")


class Server:
    """One server process and its children, in a process group of their own."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        environ: Mapping[str, str],
        port: int,
        output: Path,
        host: str = "127.0.0.1",
    ) -> None:
        self._command = command
        self._environ = environ
        self._host = host
        self._port = port
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of the process while it runs, else 0."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it without waiting for an answer. Its standard input stays open as long as this process lives."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=self._output.parent,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, path: str) -> None:
        """Wait for any answer to GET `path`. Raises `RuntimeError` with its last output if it exits or takes long."""
        self._wait(lambda: self._answers(path))

    def _wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._output.read_text("utf-8", "replace")[-4000:]
                raise RuntimeError(f"no answer from port {self._port}; logs are in {self._output.parent}:\n{tail}")
            time.sleep(0.05)

    def wait_connectable(self) -> None:
        """Wait until its port accepts a connection. Raises `RuntimeError` like `wait_ready`."""
        self._wait(self._is_connectable)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Shut it down cleanly: requests in flight are answered. Does nothing if it is not running."""
        self._end(how)

    def kill(self) -> None:
        """Kill it."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # closes the pipe and reaps the process
            if process.poll() is None and how is not signal.SIGKILL:
                process.send_signal(how)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)
            with suppress(ProcessLookupError):  # all have exited already
                os.killpg(process.pid, signal.SIGKILL)

    def _is_connectable(self) -> bool:
        try:
            socket.create_connection((self._host, self._port), READY_SECONDS).close()
        except OSError:
            return False
        return True

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=READY_SECONDS)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        except OSError:
            return False
        else:
            return True
        finally:
            connection.close()
