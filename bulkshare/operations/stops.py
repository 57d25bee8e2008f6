"""Signals, and the engines that they stop."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from bulkshare.errors import BulkshareError, InterruptedRunError

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskStatus

    from bulkshare.engine import Engine


class Stops:
    """The engines that a signal stops, including those that start after it."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._received = False
        self.came_too_early = False

    def add(self, engine: Engine) -> None:
        """Let signals stop an engine that is about to run. If one came before, the engine stops before it sends."""
        self._engines.append(engine)
        if self._received:
            engine.stop()

    async def watch(
        self, signals: tuple[signal.Signals, ...], give_up: Callable[[], None], *, task_status: TaskStatus[None]
    ) -> None:
        """Stop all engines at each signal; call `give_up` if there are none yet."""
        with anyio.open_signal_receiver(*signals) as received:
            task_status.started()
            async for _ in received:
                self._received = True
                for engine in self._engines:
                    engine.stop()
                if not self._engines:
                    self.came_too_early = True
                    give_up()


@asynccontextmanager
async def stopping_at(signals: tuple[signal.Signals, ...]) -> AsyncIterator[Stops]:
    """Let signals stop the engines of several clouds: the first one gracefully, the second one at once.

    Raises `InterruptedRunError` if a signal came before there was an engine.
    """
    stops, error = Stops(), None
    async with anyio.create_task_group() as watchers:
        if signals:
            await watchers.start(stops.watch, signals, watchers.cancel_scope.cancel)
        try:
            yield stops
        except BulkshareError as raised:  # kept out of the task group, which would wrap it
            error = raised
        watchers.cancel_scope.cancel()
    if stops.came_too_early:
        raise InterruptedRunError("interrupted; nothing was sent")
    if error is not None:
        raise error
