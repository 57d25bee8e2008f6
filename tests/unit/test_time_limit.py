"""The time limit of requests, in virtual time."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import anyio
import pytest

from bulkshare.cloud.time_limit import TimeLimit
from tests.engine.virtual_time import run_virtual

LIMIT = 60.0


async def limited(limit: TimeLimit, seconds: float) -> str:
    """Sleep within the limit; return how that ended."""
    task = limit.start()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not limit.has_passed(task):
            raise
        return "late"
    finally:
        limit.end(task)
    return "done"


def test_each_task_has_the_whole_time_from_its_own_start() -> None:
    """Many that start at different times; what is quick or exactly in time is left alone."""
    ended: dict[float, tuple[str, float]] = {}

    async def main() -> None:
        limit = TimeLimit(LIMIT)

        async def one(start: float, seconds: float) -> None:
            await asyncio.sleep(start)
            ended[start] = await limited(limit, seconds), asyncio.get_running_loop().time() - began

        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for start, seconds in [(0, 1e6), (1, 59), (7, 61), (30, 0), (65, 1e6), (200, 59.5), (201, 1e6)]:
                tasks.create_task(one(start, seconds))

    run_virtual(main())
    assert {start: (how, round(at, 3)) for start, (how, at) in ended.items()} == {
        0: ("late", 60),
        1: ("done", 60),
        7: ("late", 67),
        30: ("done", 30),
        65: ("late", 125),
        200: ("done", 259.5),
        201: ("late", 261),
    }


def test_one_timer_serves_all() -> None:
    """A thousand limited tasks in a row, 64 at once, set no timer each."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        limit = TimeLimit(LIMIT)

        async def one() -> None:
            for _ in range(16):
                assert await limited(limit, 0) == "done"

        with patch.object(loop, "call_at", wraps=loop.call_at) as call_at:
            await asyncio.gather(*(one() for _ in range(64)))
        return call_at.call_count

    assert asyncio.run(main()) == 1


def test_the_task_goes_on_after_its_limit() -> None:
    """It is not cancelled any more, and may be limited again."""

    async def main() -> None:
        limit = TimeLimit(LIMIT)
        assert [await limited(limit, seconds) for seconds in (61, 0, 61, 1)] == ["late", "done", "late", "done"]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run_virtual(main())


@pytest.mark.parametrize("at", [59.0, 60.0, 61.0])
def test_a_cancellation_from_outside_counts(at: float) -> None:
    """Before the limit, in the same moment, or while what is late cleans up."""

    async def slow_to_end(limit: TimeLimit) -> None:
        task = limit.start()
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await asyncio.sleep(2)
            if not limit.has_passed(task):
                raise
        finally:
            limit.end(task)

    async def main() -> None:
        task = asyncio.create_task(slow_to_end(TimeLimit(LIMIT)))
        asyncio.get_running_loop().call_later(at, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_a_scope_that_is_cancelled_ends_what_is_limited() -> None:
    """And the scope swallows its own cancellation, as always."""

    async def main() -> None:
        limit = TimeLimit(LIMIT)
        with anyio.move_on_after(60) as scope:
            await limited(limit, 1e6)
            await limited(limit, 1e6)
        assert scope.cancelled_caught
        with anyio.move_on_after(1) as outer, anyio.CancelScope(shield=True):
            assert await limited(limit, 1e6) == "late"
        assert outer.cancel_called

    run_virtual(main())


def test_an_error_while_it_is_late_leaves_the_task_as_it_was() -> None:
    """What is limited may end in another way once it is cancelled."""

    async def fails(limit: TimeLimit) -> None:
        task = limit.start()
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            raise ConnectionResetError from None
        finally:
            limit.end(task)

    async def main() -> None:
        with pytest.raises(ConnectionResetError):
            await fails(TimeLimit(LIMIT))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run_virtual(main())
