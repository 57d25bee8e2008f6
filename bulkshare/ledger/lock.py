"""One run of a plan at a time on a ledger, for as long as the process lives: the kernel releases what a kill leaves."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from bulkshare.errors import LedgerError, LockHeldError
from bulkshare.model import RunState

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from bulkshare.ledger.sql import SqlLedger
    from bulkshare.model import Run

LOOKED_AT = 10  # runs of a plan, in search of the one that is at work


class RunLock:
    """A lock beside the ledger's file, as a context manager. Raises `LockHeldError`, which says who holds it.

    It waits `wait_seconds` for the lock to become free; before it does, `waiting` is told who holds it. `plan` is a
    checked plan's name, which is safe in the name of a file.
    """

    def __init__(
        self,
        ledger: SqlLedger,
        plan: str,
        *,
        wait_seconds: float = 0,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._plan = plan
        self._wait_seconds = wait_seconds
        self._waiting = waiting
        beside = ledger.path.resolve()  # one lock, whichever link the ledger is reached by
        self._lock = FileLock(f"{beside}.{plan}.lock", timeout=0, mode=0o600)

    def __enter__(self) -> Self:
        try:
            if not self._acquired_at_once():
                self._waiting(self._held())
                self._lock.acquire(timeout=self._wait_seconds)
        except Timeout:
            raise LockHeldError(f"{self._held()}; try again when it has ended, or wait with --wait-lock") from None
        except OSError as error:
            raise LedgerError(f"can't lock {self._lock.lock_file}: {error.strerror}") from error
        return self

    def _acquired_at_once(self) -> bool:
        """Return whether the lock was free; raise `Timeout` where there is no time to wait for it."""
        try:
            self._lock.acquire()
        except Timeout:
            if self._wait_seconds <= 0:
                raise
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _held(self) -> str:
        return f"another run of plan {self._plan} is at work: {self._holder()}"

    def _holder(self) -> str:
        # Not only the newest one: of several clouds each has a run, and an older run may have been taken up again.
        for run in self._ledger.runs(plan=self._plan, limit=LOOKED_AT):
            if run.state is RunState.RUNNING and not is_dead(run):
                return f"run {run.key}, process {run.pid} on {run.host}, since {run.started_at:%Y-%m-%d %H:%M:%S} UTC"
        return "it has not written its run down yet"


def is_dead(run: Run) -> bool:
    """Tell whether the run's process is known to have ended: it was killed, and somebody else holds the lock."""
    if run.host != socket.gethostname():
        return False
    try:
        os.kill(run.pid, 0)  # sends nothing
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is another user's
        return False
    return False
