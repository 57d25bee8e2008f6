"""A Dask scheduler and workers as processes on loopback, with TLS, started as a user starts them."""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme

from tests.realcloud.process import Server, free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from types import TracebackType

    from tests.shell import Shell

DASK = Path(sys.executable).with_name("dask")


class DaskWorkerPool:
    """A scheduler, and workers that `start_workers` adds, as a context manager.

    The shell's commands get its TLS files by their environment.
    """

    def __init__(self, shell: Shell, *, tls: bool = True, host: str = "127.0.0.1") -> None:
        self._shell = shell
        self._tls = tls
        self._host = host
        self.directory = shell.directory / "dask"
        self.directory.mkdir()
        self.port = free_port()
        self.address = f"{'tls' if tls else 'tcp'}://{host}:{self.port}"
        self.workers: list[Server] = []
        self.environment: dict[str, str] = {}  # of commands that use it
        self._options = ["--no-dashboard"]
        if tls:
            self._make_certificates()
        options = ["--host", host, "--port", str(self.port), *(["--protocol", "tls"] if tls else [])]
        self.scheduler = self._server("scheduler", options)

    def __enter__(self) -> Self:
        self.scheduler.start()
        self.scheduler.wait_connectable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.kill()
        self.scheduler.kill()

    def start_workers(self, count: int, **environ: str) -> None:
        """Start `count` workers with the shell's environment; `environ` overrides it."""
        for _ in range(count):
            self.start_worker(self._host, **environ)

    def start_worker(self, host: str, *within: str, **environ: str) -> None:
        """Start a worker at another address than the scheduler's: `within` is a command that runs commands there."""
        number = len(self.workers)
        options = ["--host", host, "--nthreads", "8", "--no-nanny", "--name", f"w{number}"]
        directory = ["--local-directory", str(self.directory / f"work{number}")]
        worker = self._server(f"worker{number}", [self.address, *options, *directory], within, **environ)
        worker.start()
        self.workers.append(worker)

    def wait_for_workers(self, count: int) -> None:
        """Wait until `count` workers have registered with the scheduler."""
        deadline = time.monotonic() + 60
        while self.logs().count("Register worker addr") < count:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def logs(self) -> str:
        """Return everything that the scheduler and the workers have logged."""
        return "".join(path.read_text("utf-8", "replace") for path in self.directory.rglob("log"))

    def _server(self, name: str, arguments: list[str], within: Sequence[str] = (), **environ: str) -> Server:
        directory = self.directory / name
        directory.mkdir()
        kind = name.rstrip("0123456789")
        variables = {**os.environ, **self._shell.env, "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "debug", **environ}
        if find_spec("uvloop") is not None:
            variables["DASK_DISTRIBUTED__ADMIN__EVENT_LOOP"] = "uvloop"  # as the manual says
        command: list[str | Path] = [*within, DASK, kind, *self._options, *arguments]
        return Server(command, environ=variables, port=self.port, output=directory / "log", host=self._host)

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        paths = {name: str(self.directory / f"{name}.pem") for name in ("ca", "cert", "key")}
        authority.cert_pem.write_to_path(paths["ca"])
        server.private_key_pem.write_to_path(paths["key"])
        for blob in server.cert_chain_pems:
            blob.write_to_path(paths["cert"], append=True)
        self._options += ["--tls-ca-file", paths["ca"], "--tls-cert", paths["cert"], "--tls-key", paths["key"]]
        self.environment["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = paths["ca"]
        self.environment["DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT"] = paths["cert"]
        self.environment["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"] = paths["key"]
        self._shell.env |= self.environment


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command with SIGKILL."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
