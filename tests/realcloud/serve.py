"""Serves Keystone or Glance under gunicorn. Run by the real cloud's own Python, which has them; never imported.

    python serve.py {keystone|glance} PORT WORKERS THREADS DIRECTORY    (configuration by OS_*_CONFIG_DIR)

It exits when its standard input is closed. The parent holds the other end, which the kernel closes even if the parent
is killed. (PR_SET_PDEATHSIG is bound to the thread that started us instead of the process.)
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Neither library is in the environment that type-checks this file.
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from sqlalchemy import Engine, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


# Nearly all of a service's start-up time: imported before the workers are forked, it is spent once.
HEAVY_IMPORTS = {"keystone": "keystone.api", "glance": "glance.api.v2.router"}


def queue_sqlite_writers() -> None:
    """Make every SQLite transaction BEGIN IMMEDIATE.

    oslo.db opens them deferred. A transaction that reads before it writes (PUT and DELETE of a member, a log-in) then
    fails at once with "database is locked", whatever the time-out, if another one wrote in between.
    """

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def begin_immediate(
        connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any
    ) -> tuple[str, Any]:
        if statement == "BEGIN" and connection.dialect.name == "sqlite":
            statement = "BEGIN IMMEDIATE"
        return statement, parameters


def recorded(application: Application, log: Path) -> Application:
    """Wrap a WSGI application: each answer adds the line "METHOD TARGET STATUS" to `log` before it leaves.

    gunicorn's own access log is written after the answer was sent, too late for a client that then reads the log.
    """
    line_by_line = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            entry = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {status[:3]}\n"
            os.write(line_by_line, entry.encode("latin-1"))
            return start_response(status, headers, exc_info)

        return application(environ, start)

    return answer


class Service(BaseApplication):  # type: ignore[misc]  # a base class that the type checker can't see
    """One of the services as a gunicorn application."""

    def __init__(self, name: str, settings: dict[str, Any], directory: Path) -> None:
        self._name = name
        self._settings = settings
        self._directory = directory
        super().__init__()

    def load_config(self) -> None:
        """Pass the settings to gunicorn."""
        for key, value in self._settings.items():
            self.cfg.set(key, value)

    def load(self) -> Application:
        """Import the service, in each worker."""
        module = importlib.import_module(f"{self._name}.wsgi.api")
        return recorded(module.application, self._directory / f"{self._name}.requests")


def end_with_input() -> None:
    """Wait for the end of standard input, then send SIGTERM to this process."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until SIGTERM or the end of standard input."""
    name, port, workers, threads, directory = sys.argv[1:]
    del sys.argv[1:]  # Keystone's oslo.config would read them as its own
    queue_sqlite_writers()
    settings = {
        "bind": f"127.0.0.1:{port}",
        "workers": int(workers),
        "threads": int(threads),
        "timeout": 120,
        "keepalive": 75,
        "graceful_timeout": 5,
        "control_socket_disable": True,  # else it writes to the home directory
        "worker_tmp_dir": directory,
    }
    importlib.import_module(HEAVY_IMPORTS[name])
    threading.Thread(target=end_with_input, daemon=True).start()
    Service(name, settings, Path(directory)).run()


if __name__ == "__main__":
    main()
