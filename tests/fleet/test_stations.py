"""What a worker's process keeps of the runs that it takes part in."""

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
from bulkshare.fleet import Grant, JoinRequest
from bulkshare.fleet import worker as station
from bulkshare.fleet.dask import AwayError
from bulkshare.model import Limits, Settings
from bulkshare.operations import stations
from bulkshare.pacing import Breaker, Paced
from tests.engine.bench import ACCOUNT
from tests.engine.fakes import NOW, FakeCloud
from tests.fleet.inplace import Way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class UnpicklableError(Exception):
    """What a library may raise."""


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers log in to nothing."""

    @asynccontextmanager
    async def sign_in(*_settings: object, **_options: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(account=ACCOUNT)

    @asynccontextmanager
    async def open_endpoint(_identity: object, limits: Limits, **_options: object) -> AsyncIterator[Way]:
        stopping = anyio.Event()
        clock = anyio.current_time
        paced = Paced(FakeCloud(), limits, breaker=Breaker(), stopping=stopping, clock=clock, wall=lambda: NOW)
        yield Way(paced, paced, stopping)

    monkeypatch.setattr(stations, "sign_in", sign_in)
    monkeypatch.setattr(stations, "open_endpoint", open_endpoint)


def muster(session_id: str, run: str = "run") -> JoinRequest:
    """Ask to take part."""
    return JoinRequest(session_id=session_id, run=run, settings=Settings(), give_up_after_seconds=900.0)


def grant(session_id: str) -> Grant:
    """Lend nothing."""
    return Grant(session_id=session_id, number=1, rate=0.0, concurrency=0, until=0.0)


async def test_a_run_that_nobody_asks_for_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is forgotten: a coordinator that was asleep has to ask anew, and gets no empty shards back without end."""
    monkeypatch.setattr(station, "FORSAKEN_SECONDS", 0.0)
    monkeypatch.setattr(stations, "WATCH_SECONDS", 0.01)
    await stations.muster(muster("forsaken"))
    await asyncio.sleep(0.1)
    with pytest.raises(AwayError):
        await stations.exchange(grant("forsaken"))
    assert not stations.SESSIONS


async def test_a_run_that_is_over() -> None:
    """Told so, or asked to begin anew, it is forgotten at once; another run is not touched by that."""
    for session_id, run in (("first", "run"), ("other", "another run"), ("second", "run")):
        await stations.muster(muster(session_id, run))
    assert set(stations.SESSIONS) == {"other", "second"}
    for session_id in ("other", "second"):
        await stations.exchange(replace(grant(session_id), end=True))
    assert not stations.SESSIONS
    await asyncio.sleep(0.01)  # its task ends


@pytest.mark.parametrize("kind", [UsageError, RuntimeError])
async def test_what_keeps_a_worker_from_a_run(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """It arrives where it is told, whatever led to it; of a bug its traceback there."""

    def sign_in(*_settings: object, **_options: object) -> None:
        raise kind("no way to log in") from UnpicklableError(threading.Lock())

    monkeypatch.setattr(stations, "sign_in", sign_in)
    with pytest.raises(Exception, match="no way to log in") as raised:
        await stations.muster(muster("never"))
    arrived = pickle.loads(error_message(raised.value)["exception"].data)  # type: ignore[no-untyped-call]
    assert type(arrived) is (UsageError if kind is UsageError else stations.FailedThereError)
    assert not stations.SESSIONS
