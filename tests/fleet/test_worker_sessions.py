"""The sessions of a worker's process: one for each run that it has joined."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest
from distributed.core import error_message
from distributed.protocol import pickle

from bulkshare.errors import UsageError
from bulkshare.fleet import Grant, JoinRequest, worker
from bulkshare.fleet.dask import WorkerUnavailableError
from bulkshare.model import Limits, Settings
from bulkshare.operations import workers
from bulkshare.pacing import Breaker, Paced
from tests.engine.fakes import NOW, FakeCloud
from tests.engine.harness import ACCOUNT
from tests.fleet.in_process import FakeEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class UnpicklableError(Exception):
    """An error as a library may raise it."""


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the log-in and the image endpoint of workers."""

    @asynccontextmanager
    async def open_identity(*_settings: object, **_options: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(account=ACCOUNT)

    @asynccontextmanager
    async def open_endpoint(_identity: object, limits: Limits, **_options: object) -> AsyncIterator[FakeEndpoint]:
        stopping = anyio.Event()
        clock = anyio.current_time
        paced = Paced(FakeCloud(), limits, breaker=Breaker(), stopping=stopping, clock=clock, wall=lambda: NOW)
        yield FakeEndpoint(paced, paced, stopping)

    monkeypatch.setattr(workers, "open_identity", open_identity)
    monkeypatch.setattr(workers, "open_endpoint", open_endpoint)


def join_request(session_id: str, run: str = "run") -> JoinRequest:
    """Return a request to join a run."""
    return JoinRequest(session_id=session_id, run=run, settings=Settings(), give_up_after_seconds=900.0)


def grant(session_id: str) -> Grant:
    """Return a grant of no requests."""
    return Grant(session_id=session_id, number=1, rate=0.0, concurrency=0, until=0.0)


async def test_an_expired_session_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that was suspended has to join again; otherwise it would get empty shards back forever."""
    monkeypatch.setattr(worker, "EXPIRY_SECONDS", 0.0)
    monkeypatch.setattr(workers, "EXPIRY_CHECK_SECONDS", 0.01)
    await workers.join(join_request("expired"))
    await asyncio.sleep(0.1)
    with pytest.raises(WorkerUnavailableError):
        await workers.exchange(grant("expired"))
    assert not workers.SESSIONS


async def test_the_session_of_a_finished_run_ends() -> None:
    """So does the old session of a run that joins again; other runs keep theirs."""
    for session_id, run in (("first", "run"), ("other", "another run"), ("second", "run")):
        await workers.join(join_request(session_id, run))
    assert set(workers.SESSIONS) == {"other", "second"}
    for session_id in ("other", "second"):
        await workers.exchange(replace(grant(session_id), end=True))
    assert not workers.SESSIONS
    await asyncio.sleep(0.01)  # its task ends


@pytest.mark.parametrize("kind", [UsageError, RuntimeError])
async def test_an_error_while_joining_reaches_the_coordinator(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It arrives without its causes; a bug arrives as `RemoteBugError` with the worker's traceback."""

    def open_identity(*_settings: object, **_options: object) -> None:
        raise kind("no way to log in") from UnpicklableError(threading.Lock())

    monkeypatch.setattr(workers, "open_identity", open_identity)
    with pytest.raises(Exception, match="no way to log in") as raised:
        await workers.join(join_request("never"))
    arrived = pickle.loads(error_message(raised.value)["exception"].data)  # type: ignore[no-untyped-call]
    assert type(arrived) is (UsageError if kind is UsageError else workers.RemoteBugError)
    assert not workers.SESSIONS
