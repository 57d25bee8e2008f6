"""Signals stop the engines of all clouds, whenever these start."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, cast

import anyio

from bulkshare.operations.stops import stopping_at

if TYPE_CHECKING:
    from bulkshare.engine import Engine


class FakeEngine:
    """Remembers that it was stopped."""

    def __init__(self) -> None:
        self.stopped = anyio.Event()

    def stop(self) -> None:
        """Remember it."""
        self.stopped.set()


def test_an_engine_that_starts_after_the_signal_is_stopped_too() -> None:
    """One cloud may already be at work when the signal comes, and another one not yet."""

    async def main() -> None:
        early, late = FakeEngine(), FakeEngine()
        async with stopping_at((signal.SIGUSR1,)) as stops:
            stops.add(cast("Engine", early))
            os.kill(os.getpid(), signal.SIGUSR1)
            await early.stopped.wait()
            stops.add(cast("Engine", late))
            assert late.stopped.is_set()

    anyio.run(main)
