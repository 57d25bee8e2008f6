"""The same for each of many, several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")

# Members that are looked at together, where an image has many: some 400 bytes each, and there may be many images.
MOST_AT_ONCE = 50_000


async def for_each(
    items: Sequence[T],
    action: Callable[[T], Awaitable[None]],
    *,
    at_once: int,
    stopping: anyio.Event,
    size: Callable[[T], int] = lambda _item: 1,
) -> None:
    """Await `action` for the items, `at_once` of them together, and begin no more once `stopping` is set.

    There are fewer together where their sizes, members that have to be in memory meanwhile, add up to more than 50,000.
    """
    todo = iter(items)
    taken = 0
    freed = anyio.Event()

    async def work() -> None:
        nonlocal taken, freed
        for item in todo:
            needed = size(item)
            while taken and taken + needed > MOST_AT_ONCE:
                await freed.wait()
            if stopping.is_set():
                return
            taken += needed
            try:
                await action(item)
            finally:
                taken -= needed
                freed.set()
                freed = anyio.Event()

    async with anyio.create_task_group() as workers:
        for _ in range(min(at_once, len(items))):
            workers.start_soon(work)
