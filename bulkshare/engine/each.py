"""The same for each of many, several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")


async def for_each(
    items: Sequence[T], action: Callable[[T], Awaitable[None]], *, at_once: int, stopping: anyio.Event
) -> None:
    """Await `action` for the items, `at_once` of them together, and begin no more once `stopping` is set."""
    todo = iter(items)

    async def work() -> None:
        for item in todo:
            if stopping.is_set():
                return
            await action(item)

    async with anyio.create_task_group() as workers:
        for _ in range(min(at_once, len(items))):
            workers.start_soon(work)
