"""Local workers: no other user can connect to them, and they ignore Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from distributed.comm.core import connect

from bulkshare.fleet import Cluster, open_cluster

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.xdist_group("fleet")


async def own_id(_message: str) -> int:
    """Return the ID of the worker's process."""
    return os.getpid()


async def blocked_signals(_message: str) -> set[int]:
    """Return the signals that are blocked in a worker."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


async def loop_kind(_message: str) -> str:
    """Return the module of the worker's event loop."""
    return type(asyncio.get_running_loop()).__module__


async def test_local_workers_are_processes_behind_tls() -> None:
    """Other users of the machine can't connect to their scheduler."""
    async with open_cluster("local:1") as cluster:
        scheduler: Any = cluster._client.scheduler
        assert scheduler.address.startswith("tls://")
        with pytest.raises(OSError, match=r"timed out|closed|reset"):
            await (await connect(scheduler.address.replace("tls://", "tcp://"), timeout=2)).read()  # type: ignore[no-untyped-call]
        (worker,) = await cluster.workers()
        process = await cluster.ask(worker, own_id, "")
    assert process != os.getpid()


async def test_local_workers_ignore_sigint() -> None:
    """The terminal sends it to all of its processes, but only the coordinator acts on it. Their loop is uvloop."""
    async with open_cluster("local:1") as cluster:
        (worker,) = await cluster.workers()
        assert (await cluster.ask(worker, loop_kind, "")).startswith("uvloop" if find_spec("uvloop") else "asyncio")
        assert signal.SIGINT in await cluster.ask(worker, blocked_signals, "")
    assert signal.SIGINT not in await blocked_signals("")


class FakeClient:
    """A client, and its own future, that fetches all results with one task, as Dask does."""

    scheduler_comm = None

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.task: asyncio.Task[bool] | None = None

    def submit(self, *_arguments: object, **_options: object) -> FakeClient:
        """Return a future."""
        return self

    def release(self) -> None:
        """Do nothing."""

    def __await__(self) -> Generator[Any, Any, bool]:
        self.task = self.task or asyncio.ensure_future(self.arrived.wait())
        return self.task.__await__()


async def test_an_abandoned_result_does_not_block_others() -> None:
    """Cancelling the wait for one worker's result leaves the others' waits intact."""
    client = FakeClient()
    cluster = Cluster(client, "local:2")  # type: ignore[arg-type]  # the part of one that is used here
    results: list[bool] = []

    async def fetch(worker: str, scope: anyio.CancelScope) -> None:
        with scope:
            results.append(await cluster.run_shard(worker, own_id, "", worker) > 0)

    lost = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, "w0", lost)
        tasks.start_soon(fetch, "w1", anyio.CancelScope())
        await anyio.sleep(0.01)
        lost.cancel()
        await anyio.sleep(0.01)
        client.arrived.set()
    assert results == [True]
