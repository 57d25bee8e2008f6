"""The ledger of an operation: one handle, used by one thread at a time, and the plan's lock held through it.

A server's lock belongs to the handle: after a lost connection the handle takes its locks again before it writes. So all
clouds of a run have to write through the handle that holds the lock; another one would write without.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from bulkshare.ledger import RunLock
from bulkshare.operations.stops import stopping_at

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from bulkshare.ledger import SqlLedger
    from bulkshare.operations.listener import Listener

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

POLL_SECONDS = 0.25  # between attempts to take a lock; a person does not notice it


class SharedLedger:
    """A ledger that engines and operations use from the event loop.

    ledger: the handle.
    turn: a limiter that lets one thread at a time use it; engines share it.
    """

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger = ledger
        self.turn = anyio.CapacityLimiter(1)

    async def call(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call a function that uses the ledger, in a thread, when it is its turn."""
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self.turn)


@asynccontextmanager
async def shared(opening: AbstractContextManager[SqlLedger]) -> AsyncIterator[SharedLedger]:
    """Open a ledger, and close it at the end, without blocking the event loop. Raises `LedgerError`."""
    ledger = SharedLedger(await anyio.to_thread.run_sync(opening.__enter__))
    try:
        yield ledger
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.call(opening.__exit__, None, None, None)


@asynccontextmanager
async def locked(
    ledger: SharedLedger, plan: str, listener: Listener, *, wait_seconds: float, signals: tuple[signal.Signals, ...]
) -> AsyncIterator[None]:
    """Hold the plan's lock; wait for it up to `wait_seconds`, after a note that names its holder.

    Raises `LockHeldError` if it does not become free, and `InterruptedRunError` if one of `signals` comes first.
    """
    lock = await ledger.call(RunLock, ledger.ledger, plan)
    try:
        if not await ledger.call(lock.try_acquire):
            if wait_seconds <= 0:
                raise await ledger.call(lock.refusal)
            async with stopping_at(signals):  # before the note, which may be answered with a signal
                listener.note(await ledger.call(lock.held))
                await _wait(ledger, lock, wait_seconds)
        yield
    finally:
        try:
            with anyio.CancelScope(shield=True):
                await ledger.call(lock.release)
        except BaseException:  # a shield is no protection when the event loop ends and cancels its tasks
            lock.release()
            raise


async def _wait(ledger: SharedLedger, lock: RunLock, seconds: float) -> None:
    """Take the lock as soon as it is free. Raises `LockHeldError` when the time is up."""
    deadline = anyio.current_time() + seconds
    while not await ledger.call(lock.try_acquire):
        left = deadline - anyio.current_time()
        if left <= 0:
            raise await ledger.call(lock.refusal)
        await anyio.sleep(min(POLL_SECONDS, left))
