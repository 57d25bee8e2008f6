"""What ends a run before its time, and what stands then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.errors import CredentialsRefusedError, LedgerError
from bulkshare.model import Limits, Reply, Request, Result
from tests.engine.bench import Bench, on_post
from tests.engine.fakes import response
from tests.engine.memory import MemoryLedger

if TYPE_CHECKING:
    from bulkshare.engine import Engine


def test_stop_lets_what_is_in_flight_end() -> None:
    """After a stop nothing new is sent, what is in flight is recorded, and the rest stays pending."""
    bench = Bench()
    bench.cloud.latency_seconds = 1.0
    bench.plan(4, 25)

    async def stop(engine: Engine) -> None:
        await anyio.sleep(5.5)
        engine.stop()

    bench.run(beside=stop)
    assert bench.engine.interrupted
    assert bench.totals() == {Result.SHARED: len(bench.cloud.members), Result.PENDING: 100 - len(bench.cloud.members)}
    assert 0 < len(bench.cloud.members) < 100
    bench.run()
    assert bench.totals() == {Result.SHARED: 100}


@pytest.mark.parametrize(("stops", "waited"), [(1, 10.0), (2, 0.0)])
def test_stop_gives_up_on_what_hangs(stops: int, waited: float) -> None:
    """A hanging request is given ten seconds after the first stop and none after the second."""
    bench = Bench(limits=Limits(concurrency=2, per_image=2))
    bench.cloud.latency_seconds = 1000.0
    bench.plan(2, 1)
    began: list[float] = []

    async def stop(engine: Engine) -> None:
        await anyio.sleep(5)
        began.append(anyio.current_time())
        for _ in range(stops):
            engine.stop()
        await anyio.sleep(waited + 0.5)
        pytest.fail("still running")

    bench.run(beside=stop)
    assert bench.totals() == {Result.PENDING: 2}


def test_refused_credentials_stop_the_run_and_mark_nothing() -> None:
    """The error comes through as itself; pairs without an answer stay pending, answered ones are recorded."""
    bench = Bench()
    bench.plan(2, 50)

    def refuse(_request: Request, count: int) -> Reply | None:
        if count > 20:
            raise CredentialsRefusedError("no")
        return None

    bench.cloud.script = refuse
    with pytest.raises(CredentialsRefusedError):
        bench.run()
    assert bench.totals() == {Result.SHARED: len(bench.cloud.members), Result.PENDING: 100 - len(bench.cloud.members)}


def test_a_broken_ledger_stops_the_run() -> None:
    """When outcomes can't be written, sending ends with LedgerError."""
    bench = Bench(ledger=MemoryLedger(break_after=2))
    bench.plan(2, 500)
    with pytest.raises(LedgerError, match=r"disk full; not recorded, but answered by the cloud: i0\d p\d+ shared"):
        bench.run()
    assert bench.cloud.count("POST") < 900


def test_only_what_is_in_the_ledger_is_shown() -> None:
    """The observer hears of exactly the committed outcomes."""
    bench = Bench(ledger=MemoryLedger(break_after=2))
    bench.plan(2, 500)
    with pytest.raises(LedgerError):
        bench.run()
    assert len(bench.observer.shown) == sum(bench.ledger.commits)


def test_too_many_failures_stop_the_run() -> None:
    """With --max-failures the rest stays pending."""
    bench = Bench()
    bench.plan(1, 100)
    bench.max_failures = 5
    bench.cloud.script = on_post(lambda _i, _b: response(400, {"message": "no"}))
    bench.run()
    totals = bench.totals()
    assert 6 <= totals[Result.REJECTED] <= 6 + bench.limits.concurrency
    assert totals[Result.PENDING] == 100 - totals[Result.REJECTED]
    assert "too many" in bench.engine.stopped_because


def test_a_deadline_stops_the_run() -> None:
    """When the time is over, what is in flight ends and the rest stays pending."""
    bench = Bench()
    bench.plan(2, 100)
    bench.cloud.latency_seconds = 1.0
    bench.deadline_seconds = 10.0
    bench.run()
    totals = bench.totals()
    assert totals[Result.SHARED] == len(bench.cloud.members)
    assert totals[Result.PENDING] > 100
    assert "deadline" in bench.engine.stopped_because


def test_a_stop_that_finds_nothing_left_is_none() -> None:
    """The very last pair reaches --max-failures: the run is finished, not stopped early."""
    bench = Bench(max_failures=0)
    bench.plan(1, 3)
    bench.cloud.script = on_post(lambda _i, body: response(400, {"message": "no"}) if "p002" in body else None)
    bench.run()
    assert bench.totals() == {Result.SHARED: 2, Result.REJECTED: 1}
    assert not bench.engine.interrupted
    assert not bench.engine.stopped_because
