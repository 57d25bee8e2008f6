"""Blocking calls to the identity service, in threads that the process does not wait for when it ends.

keystoneauth blocks until its time-out, minutes if clouds.yaml says so, or until a person has logged in. anyio's worker
threads are not daemons: an abandoned call in one of them would delay the end of an interrupted command for as long.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Item = TypeVar("Item")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def call_in_daemon(
    function: Callable[[*Ts], T], *arguments: *Ts, limiter: anyio.CapacityLimiter | None = None
) -> T:
    """Call a blocking function in a daemon thread; return or raise what it does. If cancelled, abandon the thread.

    limiter: bounds how many calls that share it are waited for at once.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.done():  # cancelled
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # None only if that is a T

    def work() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except BaseException as raised:  # noqa: BLE001  raised again in the task
            error = raised
        with suppress(RuntimeError):  # the loop has ended, and with it the task
            loop.call_soon_threadsafe(settle, result, error)

    async with limiter or nullcontext():
        threading.Thread(target=work, name=f"bulkshare {function.__name__}", daemon=True).start()
        return await outcome


async def unless_stopped(stopping: anyio.Event, action: Callable[[], Awaitable[T]]) -> tuple[T] | None:
    """Return what `action` returns, in a tuple; None if `stopping` is set before, which cancels it."""
    if stopping.is_set():
        return None
    done: tuple[T] | None = None
    failure: Exception | None = None

    async def cancel() -> None:
        await stopping.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        try:
            done = (await action(),)
        except Exception as error:  # noqa: BLE001  raised below: a task group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return done


def map_in_daemons(function: Callable[[Item], T], items: Iterable[Item], *, at_once: int) -> list[T]:
    """Return the result of a blocking function for each item, from up to `at_once` threads. Raises the first error."""
    left = deque(enumerate(items))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def work() -> None:
        while left and not errors:
            try:
                position, item = left.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                results[position] = function(item)
            except BaseException as raised:  # noqa: BLE001  raised again in the caller's thread
                errors.append(raised)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(left)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[position] for position in sorted(results)]
