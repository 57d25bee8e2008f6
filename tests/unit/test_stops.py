"""Signals stop the engines of all clouds, whenever these start."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, cast

import anyio
import pytest

from bulkshare.operations.execute import run_async
from bulkshare.operations.stops import stopping_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_while_the_event_loop_ends_waits_until_it_is_closed(number: signal.Signals, *, fails: bool) -> None:
    """A KeyboardInterrupt amid the end of a loop leaves it running, and the command with a traceback."""
    ended, open_to_the_end = [], []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:  # the loop does this once `main` is done
            signal.raise_signal(number)
            ended.append(number)

    async def main() -> None:
        open_to_the_end.append(numbers())
        await anext(open_to_the_end[0])
        if fails:
            raise ValueError

    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_async(main)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert ended == [number]
