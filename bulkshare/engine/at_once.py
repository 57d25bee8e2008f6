"""How many tasks do the same work at once. The limit may rise while they do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio

from bulkshare.model import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class AtOnce:
    """As many tasks as requests may be in flight: more would only wait for the pace, and fewer would not use it.

    A limit that falls ends no task: the pace holds them back.

    useful: how many requests are worth having under way now, at least one. More would wait for the pace, which costs.
    """

    def __init__(self, limit: int, useful: Callable[[], int] = lambda: UNLIMITED) -> None:
        self.limit = limit
        self.useful = useful
        self._at_work: list[Callable[[], None]] = []  # each starts as many tasks as the limit allows by now

    def allow(self, limit: int) -> None:
        """Let so many tasks work at once, unless there are more already."""
        self.limit = max(limit, self.limit)
        for start in self._at_work:
            start()

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]], *, most: float = math.inf) -> None:
        """Run tasks, `most` at most, until all of them have ended. Each ends when there is nothing left to do."""
        started = 0
        tasks = anyio.create_task_group()

        def start() -> None:
            nonlocal started
            while started < min(self.limit, most):
                tasks.start_soon(work)
                started += 1

        try:
            async with tasks:
                start()
                self._at_work.append(start)
        finally:
            if start in self._at_work:
                self._at_work.remove(start)
