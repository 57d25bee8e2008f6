"""Virtual time: an event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
import pytest

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
TICK_SECONDS = 1e-5  # an iteration of the loop, so that a task that yields until some moment sees it come


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that waits for nothing but its own timers."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = 1000.0
        selector: selectors.BaseSelector = self._selector  # type: ignore[attr-defined]  # asyncio's own
        poll = selector.select

        def select(timeout: float | None = None) -> list[Any]:
            events = poll(0)
            if not events:
                assert timeout is not None, "every task waits for an event that no one sets"
                self._virtual_now += timeout or TICK_SECONDS
            return events

        selector.select = select  # type: ignore[method-assign]

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_now


def run_virtual(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, with thread calls made in place so that time doesn't pass meanwhile."""

    async def in_place(function: Callable[..., T], *args: Any, **_options: Any) -> T:
        await asyncio.sleep(0)
        return function(*args)

    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        patch.setattr(anyio.to_thread, "run_sync", in_place)
        return runner.run(coroutine)
