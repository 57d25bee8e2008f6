"""The installed command without its second of imports: a process that has imported bulkshare forks for each call.

Each command is a process of its own that runs the entry point with its own arguments, directory, environment, streams
and signals. So its exit code, what a signal does to it, and what a kill leaves behind are those of the installed
command. Only one thing is left out: taking all modules apart at the end. The server has neither threads nor an event
loop, which a fork would tear.

Run as a module it is the server, with its listening socket as standard input; `Commands` is the client.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

import bulkshare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType


MODULE = "tests.forkserver"
NUMBER = struct.Struct("!i")  # the length of a call, a process ID, an exit code
CRASHED = 70  # EX_SOFTWARE
START_SECONDS, END_SECONDS = 60, 120  # what takes longer hangs


class Ended(NamedTuple):
    """How a command ended; `code` is negative for a signal, as in subprocess."""

    code: int
    out: str
    err: str


class Command:
    """A running command."""

    def __init__(self, answers: socket.socket, out: IO[bytes], err: IO[bytes]) -> None:
        self._answers, self._out, self._err = answers, out, err
        self._pid = _receive_number(answers)
        self._ended: Ended | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable once it has ended, for `select`."""
        return self._answers.fileno()

    def has_ended(self, seconds: float = 0) -> bool:
        """Return whether it has ended, or does so within this time."""
        return self._ended is not None or bool(select.select([self], [], [], seconds)[0])

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if not self.has_ended():
            os.kill(self._pid, number)

    def wait(self) -> Ended:
        """Wait until it has ended."""
        if self._ended is None:
            self._answers.settimeout(END_SECONDS)
            with self._answers, self._out as out, self._err as err:
                code = _receive_number(self._answers)
                out.seek(0)
                err.seek(0)
                self._ended = Ended(code, out.read().decode(), err.read().decode())
        return self._ended


class Commands:
    """Starts commands, as a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="commands-")
        self._path = str(Path(self._folder.name) / "socket")
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            listener.listen()
            root = Path(__file__).parents[MODULE.count(".")]
            self._server = subprocess.Popen([sys.executable, "-m", MODULE], stdin=listener.fileno(), cwd=root)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
        self._folder.cleanup()

    def start(self, args: Sequence[str], *, directory: Path, env: Mapping[str, str], piped: str = "") -> Command:
        """Start a command with this environment, and `piped` on its standard input."""
        answers = socket.socket(socket.AF_UNIX)
        answers.settimeout(START_SECONDS)
        answers.connect(self._path)
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  the command closes them
        with tempfile.TemporaryFile() as stdin:
            stdin.write(piped.encode())
            stdin.seek(0)
            self._call(answers, args, directory, env, (stdin.fileno(), out.fileno(), err.fileno()))
        return Command(answers, out, err)

    def _call(
        self,
        answers: socket.socket,
        args: Sequence[str],
        directory: Path,
        env: Mapping[str, str],
        streams: tuple[int, int, int],
    ) -> None:
        call = json.dumps({"args": list(args), "cwd": str(directory), "env": dict(env)}).encode()
        socket.send_fds(answers, [NUMBER.pack(len(call)) + call], streams)

    def run(self, args: Sequence[str], *, directory: Path, env: Mapping[str, str], piped: str = "") -> Ended:
        """Run a command until it ends."""
        return self.start(args, directory=directory, env=env, piped=piped).wait()


def _receive(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            raise EOFError("the other side has ended")
        data += part
    return data


def _receive_number(source: socket.socket) -> int:
    number: int = NUMBER.unpack(_receive(source, NUMBER.size))[0]
    return number


# --- the server ------------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """What a child is to run; `streams` are its descriptors 0, 1 and 2 to be."""

    args: list[str]
    cwd: str
    env: dict[str, str]
    streams: tuple[int, ...]


def import_all() -> None:
    """Import all of bulkshare, and what it would import late."""
    for module in pkgutil.walk_packages(bulkshare.__path__, "bulkshare."):
        importlib.import_module(module.name)
    importlib.import_module("openstack.config")


def serve(listener: socket.socket) -> Call:
    """Fork for each call until the server is ended. Returns in the children only."""
    running: dict[int, tuple[int, socket.socket]] = {}  # by process descriptor: its ID, and who waits for it
    while True:
        for ready in select.select([listener.fileno(), *running], [], [])[0]:
            if ready in running:
                pid, answers = running.pop(ready)
                os.close(ready)
                with answers:
                    answers.sendall(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
                continue
            answers, _ = listener.accept()
            head, streams, _, _ = socket.recv_fds(answers, NUMBER.size, 3)
            call = Call(**json.loads(_receive(answers, NUMBER.unpack(head)[0])), streams=tuple(streams))
            pid = os.fork()
            if not pid:
                for inherited in (listener, answers, *(other for _, other in running.values())):
                    inherited.close()
                for descriptor in running:
                    os.close(descriptor)
                return call
            for stream in streams:
                os.close(stream)
            running[os.pidfd_open(pid)] = pid, answers
            answers.sendall(NUMBER.pack(pid))


def carry_out(call: Call, program: Any) -> None:
    """Run the command with the streams, the directory, the environment and the arguments of a call, and exit."""
    for number, descriptor in enumerate(call.streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as the process lives
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  as above
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115  as above
    os.chdir(call.cwd)
    os.environ.clear()
    os.environ.update(call.env)
    sys.argv = ["bulkshare", *call.args]
    code: Any = CRASHED
    try:
        program()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  as the interpreter does
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does before it exits
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    import_all()
    gc.collect()
    gc.freeze()  # a collection in a child would write to each object, and so copy all memory
    carry_out(serve(socket.socket(fileno=os.dup(0))), importlib.import_module("bulkshare.__main__").main)
