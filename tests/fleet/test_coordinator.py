"""Workers that come, go and are refused, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.errors import CredentialsRefusedError, StoppedEarlyError, UsageError
from bulkshare.fleet.dask import WorkerUnavailableError
from bulkshare.fleet.leases import LEASE_SECONDS
from bulkshare.model import Limits, Result, RetryPolicy
from tests.engine.fakes import FakeCloud
from tests.engine.harness import EngineHarness
from tests.engine.virtual_time import run_virtual
from tests.fleet.in_process import FakeWorker, with_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.engine import Engine
    from bulkshare.model import Reply, Request

REFUSAL = UsageError("it has no clouds.yaml")


@dataclass
class Refusing:
    """A way to a cloud, where that refuses who we are after some requests."""

    cloud: FakeCloud
    after: int

    async def send(self, request: Request) -> Reply:
        """Answer, or not."""
        self.after -= 1
        if self.after < 0:
            raise CredentialsRefusedError("the password is not right any more")
        return await self.cloud.send(request)


class SlowCloud(FakeCloud):
    """A cloud whose POSTs take longer than a lease."""

    async def send(self, request: Request) -> Reply:
        """Answer, in time."""
        self.latency_seconds = LEASE_SECONDS + 1.5 if request.method == "POST" else 0.01
        return await super().send(request)


@dataclass
class Late:
    """A way to a cloud that answers nothing any more after some requests."""

    cloud: FakeCloud
    after: int

    async def send(self, request: Request) -> Reply:
        """Answer, or not."""
        self.after -= 1
        if self.after < 0:
            await anyio.sleep(60.0)
        return await self.cloud.send(request)


def slow_bench(images: int = 20, projects: int = 50) -> EngineHarness:
    """Return a harness with work for some ten seconds."""
    harness = EngineHarness(limits=Limits(concurrency=8, per_image=4, rate=100, members_per_image=0))
    harness.plan(images, projects)
    return harness


def run_with(harness: EngineHarness, *events: tuple[float, Callable[[], object]]) -> None:
    """Run, with things that happen at seconds since the beginning."""

    async def happen(_engine: Engine) -> None:
        began = anyio.current_time()
        for at, event in events:
            await anyio.sleep_until(began + at)
            event()

    harness.run(beside=happen)


def test_all_are_refused() -> None:
    """The run ends at once, with the first refusal."""
    harness = slow_bench()
    with_workers(harness, 1).members["w0"].account = REFUSAL
    with pytest.raises(UsageError, match="it has no clouds"):
        harness.run()


def test_the_last_good_worker_goes() -> None:
    """A worker that was refused does not end the run then: it waits for others, as without it."""
    harness = slow_bench()
    cluster = with_workers(harness, 2)
    cluster.members["w1"].account = REFUSAL
    run_with(
        harness,
        (2.0, lambda: cluster.members.pop("w0")),
        (30.0, lambda: cluster.members.update(w2=FakeWorker(harness.cloud))),
    )
    assert set(harness.totals()) == {Result.SHARED, Result.ALREADY}  # the lost worker's, done again
    assert len(harness.cloud.members) == 1000


def test_nobody_comes() -> None:
    """After a minute the run ends, so that it can be gone on with."""
    harness = slow_bench()
    cluster = with_workers(harness, 2)
    cluster.members["w1"].account = REFUSAL
    with pytest.raises(ExceptionGroup) as stopped:
        run_with(harness, (2.0, lambda: cluster.members.pop("w0")))
    (error,) = stopped.value.exceptions
    assert isinstance(error, StoppedEarlyError)
    assert "no worker; the 1 worker there did not join" in str(error)


def test_a_refused_worker_is_mended() -> None:
    """Another process at the same address is asked anew."""
    harness = slow_bench()
    cluster = with_workers(harness, 2)
    cluster.members["w1"].account = REFUSAL
    mended = FakeWorker(harness.cloud)
    run_with(harness, (2.0, lambda: cluster.members.pop("w1")), (4.0, lambda: cluster.members.update(w1=mended)))
    assert harness.totals() == {Result.SHARED: 1000}
    assert mended.grants


def test_one_worker_can_not_go_on() -> None:
    """The run ends with why; what the others were at work on is given back and recorded."""
    harness = slow_bench()
    cluster = with_workers(harness, 3)
    cluster.members["w1"].cloud = Refusing(harness.cloud, after=50)
    with pytest.raises(CredentialsRefusedError):
        harness.run()
    shared = {pair for pair, row in harness.ledger.rows.items() if row.result is Result.SHARED}
    assert len(shared) > 100
    assert shared == harness.cloud.members


def test_a_stop_while_an_answer_is_late() -> None:
    """Workers give back what they have done before the coordinator's own time for that has passed."""
    harness = slow_bench()
    cluster = with_workers(harness, 2)
    cluster.members["w1"].cloud = Late(harness.cloud, after=20)

    async def stop(engine: Engine) -> None:
        await anyio.sleep(3.0)
        engine.stop("the deadline has passed")

    harness.run(beside=stop)
    shared = {pair for pair, row in harness.ledger.rows.items() if row.result is Result.SHARED}
    assert len(shared) > 100
    assert shared == harness.cloud.members


@pytest.mark.parametrize("cause", ["stop", "no scheduler", "no worker"])
def test_what_no_worker_has_sent_stays_pending(cause: str) -> None:
    """A stop, a lost scheduler or a lost worker keeps requests from leaving: that is no attempt, and no failure."""
    harness = EngineHarness(
        limits=Limits(concurrency=8, per_image=8, rate=1.0, members_per_image=0),
        policy=RetryPolicy(attempts=1, base_seconds=0.1, cap_seconds=0.1),
    )
    harness.plan(1, 100)
    cluster = with_workers(harness, 2)

    async def end(engine: Engine) -> None:
        await anyio.sleep(8.5)
        if cause == "stop":
            engine.stop()
        elif cause == "no scheduler":
            cluster.gone = True
        else:
            cluster.members.clear()
        await anyio.sleep_forever()

    if cause == "stop":
        harness.run(beside=end)
    else:
        with pytest.raises(ExceptionGroup) as ended:
            harness.run(beside=end)
        assert ended.group_contains(StoppedEarlyError)
    assert harness.cloud.members
    assert set(harness.totals()) <= {Result.SHARED, Result.PENDING}
    assert harness.totals()[Result.PENDING] > 50
    assert all(row.attempts <= 1 for row in harness.observer.shown)


def test_a_worker_that_was_silent() -> None:
    """It is lost, and met anew under another name: an order or a grant from before, which may come late, is void."""
    harness = slow_bench(images=40)
    cluster = with_workers(harness, 2)
    worker = cluster.members["w1"]
    run_with(harness, (2.0, lambda: setattr(worker, "silent", True)), (16.0, lambda: setattr(worker, "silent", False)))
    assert len(harness.cloud.members) == 2000
    assert len({grant.session_id for grant in worker.grants}) == 2
    assert len({order.session_id for order in worker.orders}) == 2
    with pytest.raises(WorkerUnavailableError):
        run_virtual(worker.run_shard(worker.orders[0]))


def test_a_shard_that_is_done_again() -> None:
    """What its first worker had in flight gets the time of a lost answer: no pair is in flight twice."""
    harness = EngineHarness(SlowCloud(), limits=Limits(concurrency=8, per_image=4, rate=100, members_per_image=0))
    harness.plan(2, 100)
    cluster = with_workers(harness, 3)

    def cut_off() -> None:
        """Let one that is at work not reach us any more; it reaches the cloud."""
        del cluster.members[next(name for name, worker in cluster.members.items() if worker.orders)]

    run_with(harness, (0.3, cut_off))
    assert len(cluster.notes) == 1
    assert len(harness.cloud.members) == 200
    twice = {pair for pair, most in harness.cloud.most_in_flight.items() if pair.startswith("pair ") and most > 1}
    assert not twice


def test_in_flight_while_shares_change() -> None:
    """What a worker has in flight beyond a smaller share is not lent to others before it is answered."""
    harness = slow_bench(images=8)
    harness.cloud.latency_seconds = 2.0
    cluster = with_workers(harness, 1)
    run_with(
        harness,
        (15.0, lambda: cluster.members.update(w1=FakeWorker(harness.cloud))),
        (25.0, lambda: cluster.members.update(w2=FakeWorker(harness.cloud))),
    )
    assert len(harness.cloud.members) == 400
    assert harness.cloud.most_in_flight["all"] <= harness.limits.concurrency
