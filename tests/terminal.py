"""A terminal of its own for a command."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.shell import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shell import Shell

TIMEOUT_SECONDS = 60


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], leader: int) -> None:
        self.process = process
        self._seen = bytearray()
        self._news = threading.Condition()
        self._leader = leader
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._leader, 65536)
            except OSError:  # Linux reports EIO once the other end is closed
                data = b""
            with self._news:
                self._seen += data
                self._news.notify_all()
            if not data:
                return

    def wait_for(self, text: str) -> None:
        """Wait until the command has written `text`."""
        with self._news:
            assert self._news.wait_for(lambda: text.encode() in self._seen, timeout=TIMEOUT_SECONDS), self._seen

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._leader, text.encode())

    def end(self) -> tuple[int, str]:
        """Wait until the command ends; return its exit code and everything it wrote."""
        code = self.process.wait(TIMEOUT_SECONDS)
        self._reader.join(TIMEOUT_SECONDS)
        return code, self._seen.decode()


@contextmanager
def terminal(shell: Shell, *args: str, columns: int = 80, **env: str) -> Iterator[Terminal]:
    """Run a command whose stdin, stdout and stderr are a terminal."""
    leader, follower = pty.openpty()
    with ExitStack() as stack:
        stack.callback(os.close, leader)
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = stack.enter_context(
            subprocess.Popen(
                [COMMAND, *args],
                cwd=shell.directory,
                env={**os.environ, **shell.env, "TERM": "xterm", **env},
                stdin=follower,
                stdout=follower,
                stderr=follower,
            )
        )
        os.close(follower)
        stack.callback(process.kill)
        yield Terminal(process, leader)
