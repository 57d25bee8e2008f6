"""The workers of this machine: nobody else may talk to them, and a Ctrl-C is not for them."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from distributed.comm.core import connect

from bulkshare.fleet import open_cluster

pytestmark = pytest.mark.xdist_group("fleet")


async def own_id(_message: str) -> int:
    """Return a worker's process."""
    return os.getpid()


async def blocked(_message: str) -> set[int]:
    """Return the signals that do not reach a worker."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


async def test_local_workers() -> None:
    """They are other processes, and other users of the machine can't connect to their scheduler."""
    async with open_cluster("local:1") as cluster:
        scheduler: Any = cluster._client.scheduler
        assert scheduler.address.startswith("tls://")
        with pytest.raises(OSError, match=r"timed out|closed|reset"):
            await (await connect(scheduler.address.replace("tls://", "tcp://"), timeout=2)).read()  # type: ignore[no-untyped-call]
        (worker,) = await cluster.workers()
        process = await cluster.ask(worker, own_id, "")
    assert process != os.getpid()


async def test_local_workers_are_blind_to_sigint() -> None:
    """It goes to all processes of a terminal, and is for the coordinator."""
    async with open_cluster("local:1") as cluster:
        (worker,) = await cluster.workers()
        assert signal.SIGINT in await cluster.ask(worker, blocked, "")
    assert signal.SIGINT not in await blocked("")
