"""Signals, and the engines that they stop.

The handlers are Python's, not the event loop's: a loop that forgets a handler sets the signal's default action, and
the next signal kills the process without a word. So for the whole of a command each signal has a handler, and
`stopping_at` replaces it only for a while.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio

from bulkshare.errors import BulkshareError, InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from bulkshare.engine import Engine


class Stops:
    """The engines that a signal stops, including those that start after it."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._received = False
        self.came_too_early = False
        self._scopes: list[anyio.CancelScope] = []

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal end what is done in the context, since no engine of its own runs yet.

        Raises `InterruptedRunError` then.
        """
        with anyio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                if self._received:
                    scope.cancel()
                yield
            finally:
                self._scopes.remove(scope)
        if scope.cancelled_caught:
            raise InterruptedRunError("interrupted; nothing was sent")

    def add(self, engine: Engine) -> None:
        """Let signals stop an engine that is about to run. If one came before, the engine stops before it sends."""
        self._engines.append(engine)
        if self._received:
            engine.stop()

    def receive(self, give_up: Callable[[], None]) -> None:
        """Stop all engines because of a signal; call `give_up` if there are none yet."""
        self._received = True
        for scope in self._scopes:
            scope.cancel()
        for engine in self._engines:
            engine.stop()
        if not self._engines:
            self.came_too_early = True
            give_up()


@contextmanager
def _calling(callback: Callable[[], None], signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Call back in the running loop at each signal; at the end put back the handlers that were there before."""
    loop = asyncio.get_running_loop()
    before = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback)) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@asynccontextmanager
async def stopping_at(signals: tuple[signal.Signals, ...]) -> AsyncIterator[Stops]:
    """Let signals stop the engines of several clouds: the first one gracefully, the second one at once.

    Raises `InterruptedRunError` if a signal came before there was an engine.
    """
    stops, error = Stops(), None
    with anyio.CancelScope() as scope, _calling(lambda: stops.receive(scope.cancel), signals):
        try:
            yield stops
        except BulkshareError as raised:
            error = raised
    if stops.came_too_early:
        raise InterruptedRunError("interrupted; nothing was sent")
    if error is not None:
        raise error


@contextmanager
def held_at_the_end() -> Iterator[Callable[[], None]]:
    """Yield what holds back all signals that have a handler, from its call to the end of the context.

    The first one that came is then sent again. In other threads than the main one, which gets the signals, it does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    came: list[int] = []

    def hold() -> None:
        for number in handlers:
            signal.signal(number, lambda signal_number, _: came.append(signal_number))

    try:
        yield hold
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
