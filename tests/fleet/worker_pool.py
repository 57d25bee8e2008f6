"""A scheduler and workers as processes on loopback, with TLS, as a user starts them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme

from tests.realcloud.process import Server, free_port

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

    from tests.shell import Shell

DASK = Path(sys.executable).with_name("dask")


class DaskProcesses:
    """A scheduler, and workers that `hire` starts, as a context manager. The shell's commands know its TLS files."""

    def __init__(self, shell: Shell, *, tls: bool = True) -> None:
        self._shell = shell
        self._tls = tls
        self.directory = shell.directory / "yard"
        self.directory.mkdir()
        self.port = free_port()
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self.port}"
        self.workers: list[Server] = []
        self._options = ["--no-dashboard"]
        if tls:
            self._make_certificates()
        where = ["--host", "127.0.0.1", "--port", str(self.port), *(["--protocol", "tls"] if tls else [])]
        self.scheduler = self._server("scheduler", where)

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

    def hire(self, count: int, **environ: str) -> None:
        """Start workers that have the shell's clouds.yaml, unless `environ` says otherwise."""
        for _ in range(count):
            number = len(self.workers)
            place = ["--host", "127.0.0.1", "--nthreads", "8", "--no-nanny", "--name", f"w{number}"]
            directory = ["--local-directory", str(self.directory / f"work{number}")]
            worker = self._server(f"worker{number}", [self.address, *place, *directory], **environ)
            worker.start()
            self.workers.append(worker)

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers have found the scheduler."""
        deadline = time.monotonic() + 60
        while self.said().count("Register worker addr") < count:
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        """Return all that scheduler and workers have logged."""
        return "".join(path.read_text("utf-8", "replace") for path in self.directory.rglob("log"))

    def _server(self, name: str, arguments: list[str], **environ: str) -> Server:
        directory = self.directory / name
        directory.mkdir()
        kind = name.rstrip("0123456789")
        everything = {**os.environ, **self._shell.env, "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "debug", **environ}
        command: list[str | Path] = [DASK, kind, *self._options, *arguments]
        return Server(command, environ=everything, port=self.port, output=directory / "log")

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        own = authority.issue_cert("127.0.0.1")
        paths = {name: str(self.directory / f"{name}.pem") for name in ("ca", "cert", "key")}
        authority.cert_pem.write_to_path(paths["ca"])
        own.private_key_pem.write_to_path(paths["key"])
        for blob in own.cert_chain_pems:
            blob.write_to_path(paths["cert"], append=True)
        self._options += ["--tls-ca-file", paths["ca"], "--tls-cert", paths["cert"], "--tls-key", paths["key"]]
        self._shell.env["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = paths["ca"]
        self._shell.env["DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT"] = paths["cert"]
        self._shell.env["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"] = paths["key"]


def kill(process: subprocess.Popen[str]) -> None:
    """End a command with SIGKILL."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
