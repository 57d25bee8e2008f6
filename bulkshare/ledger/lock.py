"""One run of a plan at a time on a ledger, for as long as the process lives."""

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

LOOKED_AT = 10  # runs of a plan, in search of the one that is at work


class RunLock:
    """The lock of a plan on a ledger, which never waits. May be used from any thread.

    As a context manager it raises `LockHeldError`, which says who holds it.
    """

    def __init__(self, ledger: SqlLedger, plan: str) -> None:
        self._ledger = ledger
        self._plan = plan
        self._lock = ledger.lock_of(plan)

    def try_acquire(self) -> bool:
        """Take the lock if it is free, and tell whether it was. Raises `LedgerError` where there can be no lock."""
        return self._lock.try_acquire()

    def release(self) -> None:
        """Give the lock back if it was taken."""
        self._lock.release()

    def held(self) -> str:
        """Say who holds the lock, as far as the ledger tells."""
        return f"another run of plan {self._plan} is at work: {self._holder()}"

    def refusal(self) -> LockHeldError:
        """Return the error for who can't have the lock."""
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
