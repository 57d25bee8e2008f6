"""Virtual time for real sockets: minutes of waiting pass at once, and the load of the machine changes nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
import pytest

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
TICK_SECONDS = 1e-4  # an idle iteration of the loop, so that a task that yields until some moment sees it come
LONG_SECONDS = 0.5  # before a longer jump, wait for what the kernel may still deliver
DELIVERY_SECONDS = 0.002
EPOCH = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class SocketLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when no socket is ready.

    Client and server both run in it, over loopback: what one has sent the other can read at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = 0.0
        selector: selectors.BaseSelector = self._selector  # type: ignore[attr-defined]  # asyncio's own
        poll = selector.select

        def select(timeout: float | None = None) -> list[Any]:
            events = poll(0)
            if not events and (timeout is None or timeout > LONG_SECONDS):
                events = poll(DELIVERY_SECONDS)
            if not events:
                self._virtual_now += timeout or TICK_SECONDS
            return events

        selector.select = select  # type: ignore[method-assign]

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_now


def wall() -> datetime:
    """Return the wall clock of the running loop."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def run_over_sockets(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, with thread calls made in place so that time doesn't pass meanwhile."""

    async def in_place(function: Callable[..., T], *args: Any, **_options: Any) -> T:
        await asyncio.sleep(0)
        return function(*args)

    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=SocketLoop) as runner:
        patch.setattr(anyio.to_thread, "run_sync", in_place)
        return runner.run(coroutine)
