"""Holding a plan's lock while a run is at work, and waiting for it in a way that a signal can end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.ledger import RunLock
from bulkshare.operations.execute import stopping_at

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator

    from bulkshare.ledger import SqlLedger
    from bulkshare.operations.listener import Listener


POLL_SECONDS = 0.25  # as often as a person who waits could tell


@asynccontextmanager
async def locked(
    ledger: SqlLedger, plan: str, voice: Listener, *, wait_seconds: float, signals: tuple[signal.Signals, ...]
) -> AsyncIterator[None]:
    """Hold the plan's lock, waiting for it up to `wait_seconds` once the voice has said who has it.

    Raises `LockHeldError` where it does not become free, and `InterruptedRunError` where one of `signals` comes first.
    """
    lock = RunLock(ledger, plan)
    try:
        if not await anyio.to_thread.run_sync(lock.try_acquire):
            if wait_seconds <= 0:
                raise lock.refusal()
            async with stopping_at(signals):  # before anybody is told to wait: who is told may answer with a signal
                voice.note(lock.held())
                await _wait(lock, wait_seconds)
        yield
    finally:
        lock.release()


async def _wait(lock: RunLock, seconds: float) -> None:
    """Take the lock as soon as it is free, and raise `LockHeldError` when the time is over."""
    deadline = anyio.current_time() + seconds
    while not await anyio.to_thread.run_sync(lock.try_acquire):
        left = deadline - anyio.current_time()
        if left <= 0:
            raise lock.refusal()
        await anyio.sleep(min(POLL_SECONDS, left))
