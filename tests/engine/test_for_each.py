"""`for_each`: how many items run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.engine.at_once import AtOnce
from bulkshare.engine.phases import MOST_MEMBERS_AT_ONCE, for_each
from tests.engine.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ([1] * 40, 8),
        ([MOST_MEMBERS_AT_ONCE // 4] * 20, 4),
        ([MOST_MEMBERS_AT_ONCE * 3] * 5, 1),
        ([MOST_MEMBERS_AT_ONCE * 3, 1, 1, 1, MOST_MEMBERS_AT_ONCE * 3], 3),
    ],
)
def test_large_items_run_beside_fewer(sizes: list[int], most: int) -> None:
    """No more than allowed at once, and no more than fit; an item larger than the limit runs alone."""
    together, seen, done = 0, 0, 0

    async def act(_size: int) -> None:
        nonlocal together, seen, done
        together += 1
        seen = max(seen, together)
        await anyio.sleep(1)
        together -= 1
        done += 1

    async def main() -> None:
        await for_each(sizes, act, at_once=AtOnce(8), stopping=anyio.Event(), size=lambda size: size)

    run_virtual(main())
    assert (seen, done) == (most, len(sizes))


def test_items_are_read_as_they_are_needed() -> None:
    """From an iterator, by one task at a time, and no further than they are worked on."""
    read, done = 0, 0
    ahead: list[int] = []

    async def items() -> AsyncGenerator[int]:
        nonlocal read
        for number in range(40):
            await anyio.sleep(0.1)  # an iterator that is asked by two tasks at once would raise
            read += 1
            yield number

    async def act(_number: int) -> None:
        nonlocal done
        ahead.append(read - done)
        await anyio.sleep(1)
        done += 1

    async def main() -> None:
        await for_each(items(), act, at_once=AtOnce(8), stopping=anyio.Event())

    run_virtual(main())
    assert (done, max(ahead)) == (40, 8)


def test_nothing_starts_after_a_stop() -> None:
    """Not even items that wait for room."""
    begun = []
    stopping = anyio.Event()

    async def act(number: int) -> None:
        begun.append(number)
        await anyio.sleep(1)
        stopping.set()

    async def main() -> None:
        await for_each(range(10), act, at_once=AtOnce(8), stopping=stopping, size=lambda _: MOST_MEMBERS_AT_ONCE)

    run_virtual(main())
    assert begun == [0]
