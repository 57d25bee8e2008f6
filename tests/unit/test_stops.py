"""Signals stop the engines of several clouds, whenever these begin."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, cast

import anyio

from bulkshare.operations.stops import stopping_at

if TYPE_CHECKING:
    from bulkshare.engine import Engine


class FakeEngine:
    """Remembers that it was told to stop."""

    def __init__(self) -> None:
        self.told = anyio.Event()

    def stop(self) -> None:
        """Take note."""
        self.told.set()


def test_an_engine_that_begins_after_the_signal_is_stopped_too() -> None:
    """One cloud may still be logging in or filling its ledger when the signal comes for another."""

    async def main() -> None:
        early, late = FakeEngine(), FakeEngine()
        async with stopping_at((signal.SIGUSR1,)) as stops:
            stops.add(cast("Engine", early))
            os.kill(os.getpid(), signal.SIGUSR1)
            await early.told.wait()
            stops.add(cast("Engine", late))
            assert late.told.is_set()

    anyio.run(main)
