"""How workers tell runs apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

from bulkshare.model import Run, RunState, Settings
from bulkshare.operations.fleets import fleet_for
from bulkshare.operations.listener import SilentListener
from bulkshare.operations.options import Options
from bulkshare.operations.workers import Fleets
from tests.engine.fakes import NOW
from tests.engine.harness import ACCOUNT

RUN = Run(1, "nightly-20260102T030405Z", "nightly", "f", ACCOUNT, RunState.RUNNING, NOW)


async def name_of(run: Run, *, address: str = "tls://scheduler:8786") -> str:
    """Return the name by which workers know a run."""
    fleets = Fleets(SimpleNamespace(is_local=False), Options(fleet=address))  # type: ignore[arg-type]  # no Dask
    identity = SimpleNamespace(account=run.account)
    session = SimpleNamespace(settings=Settings(), identity=identity, listener=SilentListener())
    async with fleet_for(fleets, run, session) as fleet:  # type: ignore[arg-type]
        assert fleet is not None
        return fleet._request.run


async def test_runs_of_other_ledgers() -> None:
    """Two runs with the same key get different names; a run that is continued keeps its name."""
    first = await name_of(RUN)
    elsewhere = replace(RUN, account=replace(ACCOUNT, endpoint="https://images.other"))
    assert await name_of(elsewhere) != first
    assert await name_of(replace(RUN, started_at=NOW + timedelta(milliseconds=7))) != first
    assert await name_of(replace(RUN, pid=7, state=RunState.INTERRUPTED)) == first
