"""One run of a plan at a time on a ledger, for as long as its process lives."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from bulkshare.errors import LockHeldError
from bulkshare.model import RunState

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from bulkshare.ledger.ledger import SqlLedger
    from bulkshare.model import Run

RUNS_SEARCHED = 10  # newest runs of a plan to look through for the one that is running


class RunLock:
    """The lock of a plan on a ledger. Never waits; usable from any thread.

    As a context manager it raises `LockHeldError`, which names the holder, if the lock is taken. While it is held on a
    server, every write through the same `SqlLedger` checks that it still is, so a run must work through the ledger that
    it locks.
    """

    def __init__(self, ledger: SqlLedger, plan: str) -> None:
        self._ledger = ledger
        self._plan = plan
        self._lock = ledger.lock_of(plan)

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was. Raises `LedgerError` if locking is impossible."""
        return self._lock.try_acquire()

    def release(self) -> None:
        """Release the lock if it is held."""
        self._lock.release()

    def held(self) -> str:
        """Return a sentence about the lock's holder, as far as the ledger knows it."""
        return f"another run of plan {self._plan} is in progress: {self._holder()}"

    def refusal(self) -> LockHeldError:
        """Return the error to raise if the lock is taken."""
        return LockHeldError(f"{self.held()}; try again when it has ended, or wait with --wait-lock")

    def __enter__(self) -> Self:
        if not self.try_acquire():
            raise self.refusal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _holder(self) -> str:
        # Not only the newest run: a plan for several clouds has one for each, and an older one may have been resumed.
        for run in self._ledger.runs(plan=self._plan, limit=RUNS_SEARCHED):
            if run.state is RunState.RUNNING and not is_dead(run):
                return f"run {run.key}, process {run.pid} on {run.host}, since {run.started_at:%Y-%m-%d %H:%M:%S} UTC"
        return "it has not recorded its run yet"


def is_dead(run: Run) -> bool:
    """Return whether the run's process is known to have ended without recording it. False for other hosts."""
    if run.host != socket.gethostname():
        return False
    try:
        os.kill(run.pid, 0)  # signal 0 only checks for existence
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, as another user's
        return False
    return False
