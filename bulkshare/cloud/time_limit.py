"""A time limit for each of many tasks, with one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Task = asyncio.Task[Any]


class TimeLimit:
    """Cancels what takes longer than `seconds`: `asyncio.timeout`, which makes a timer each time, takes a while.

    What is limited begins with `start` and ends with `end`, in one task, which limits nothing else meanwhile. If it
    raises CancelledError in between, `has_passed` says whether that is the limit's, and to be swallowed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[
            Task, tuple[float, int]
        ] = {}  # with how often it was being cancelled; the earliest comes first
        self._late: dict[Task, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> Task:
        """Limit the current task from now on, and return it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  only tasks await
        loop = task.get_loop()
        ends_at = loop.time() + self._seconds
        self._ends[task] = ends_at, task.cancelling()
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._cancel_late, loop)
        return task

    def end(self, task: Task) -> None:
        """Limit it no longer."""
        if self._ends.pop(task, None) is None and self._late.pop(task, None) is not None:
            task.uncancel()  # something else ended it

    def has_passed(self, task: Task) -> bool:
        """Whether the limit, and nothing else, has cancelled the task; then it goes on as if it were not."""
        cancelling = self._late.pop(task, None)
        return cancelling is not None and task.uncancel() <= cancelling

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task, (ends_at, cancelling) in list(self._ends.items()):
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._cancel_late, loop)
                return
            del self._ends[task]
            self._late[task] = cancelling
            task.cancel()
