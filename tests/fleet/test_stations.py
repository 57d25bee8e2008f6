"""What a worker's process keeps of the runs that it takes part in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.app import stations
from bulkshare.fleet import Grant, Muster, station
from bulkshare.fleet.cluster import AwayError
from bulkshare.model import Limits, Settings
from bulkshare.pacing import Breaker, Paced
from tests.engine.bench import ACCOUNT
from tests.engine.fakes import NOW, FakeCloud
from tests.fleet.inplace import Way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers log in to nothing."""

    @asynccontextmanager
    async def sign_in(*_settings: object, **_options: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(account=ACCOUNT)

    @asynccontextmanager
    async def open_line(_identity: object, limits: Limits, **_options: object) -> AsyncIterator[Way]:
        stopping = anyio.Event()
        clock = anyio.current_time
        paced = Paced(FakeCloud(), limits, breaker=Breaker(), stopping=stopping, clock=clock, wall=lambda: NOW)
        yield Way(paced, paced, stopping)

    monkeypatch.setattr(stations, "sign_in", sign_in)
    monkeypatch.setattr(stations, "open_line", open_line)


def muster(engagement: str, run: str = "run") -> Muster:
    """Ask to take part."""
    return Muster(engagement=engagement, run=run, settings=Settings(), give_up_after_seconds=900.0)


def grant(engagement: str) -> Grant:
    """Lend nothing."""
    return Grant(engagement=engagement, number=1, rate=0.0, concurrency=0, until=0.0)


async def test_a_run_that_nobody_asks_for_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is forgotten: a coordinator that was asleep has to ask anew, and gets no empty shards back without end."""
    monkeypatch.setattr(station, "FORSAKEN_SECONDS", 0.0)
    monkeypatch.setattr(stations, "WATCH_SECONDS", 0.01)
    await stations.muster(muster("forsaken"))
    await asyncio.sleep(0.1)
    with pytest.raises(AwayError):
        await stations.exchange(grant("forsaken"))
    assert not stations.POSTS


async def test_a_run_that_is_over() -> None:
    """Told so, or asked to begin anew, it is forgotten at once; another run is not touched by that."""
    for engagement, run in (("first", "run"), ("other", "another run"), ("second", "run")):
        await stations.muster(muster(engagement, run))
    assert set(stations.POSTS) == {"other", "second"}
    for engagement in ("other", "second"):
        await stations.exchange(replace(grant(engagement), end=True))
    assert not stations.POSTS
    await asyncio.sleep(0.01)  # its task ends
