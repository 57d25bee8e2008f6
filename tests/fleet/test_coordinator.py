"""Workers that join, leave, are lost or refused, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
from tests.fleet.in_process import FakeWorker, coordinator_of, with_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.engine import Engine
    from bulkshare.model import Reply, Request

REFUSAL = UsageError("it has no clouds.yaml")


@dataclass
class RefusingCloud:
    """A transport whose cloud refuses the credentials after `after` requests."""

    cloud: FakeCloud
    after: int

    async def send(self, request: Request) -> Reply:
        """Answer, or raise."""
        self.after -= 1
        if self.after < 0:
            raise CredentialsRefusedError("the password is no longer right")
        return await self.cloud.send(request)


class SlowCloud(FakeCloud):
    """A cloud whose POSTs take longer than a lease."""

    async def send(self, request: Request) -> Reply:
        """Answer, a POST late."""
        self.latency_seconds = LEASE_SECONDS + 1.5 if request.method == "POST" else 0.01
        return await super().send(request)


@dataclass
class HangingCloud:
    """A transport whose answers take a minute after `after` requests."""

    cloud: FakeCloud
    after: int

    async def send(self, request: Request) -> Reply:
        """Answer, late after the first requests."""
        self.after -= 1
        if self.after < 0:
            await anyio.sleep(60.0)
        return await self.cloud.send(request)


def slow_harness(images: int = 20, projects: int = 50) -> EngineHarness:
    """Return a harness with work for about ten seconds."""
    harness = EngineHarness(limits=Limits(concurrency=8, per_image=4, rate=100, members_per_image=0))
    harness.plan(images, projects)
    return harness


def run_with(harness: EngineHarness, *events: tuple[float, Callable[[], object]]) -> None:
    """Run; each event happens the given number of seconds after the start."""

    async def happen(_engine: Engine) -> None:
        began = anyio.current_time()
        for at, event in events:
            await anyio.sleep_until(began + at)
            event()

    harness.run(beside=happen)


def test_a_run_ends_if_every_worker_is_refused() -> None:
    """The run ends at once, with the first refusal."""
    harness = slow_harness()
    with_workers(harness, 1).processes["w0"].account = REFUSAL
    with pytest.raises(UsageError, match="it has no clouds"):
        harness.run()


def test_a_run_waits_for_another_worker_when_the_last_one_leaves() -> None:
    """A refused worker among those left does not end the run, either."""
    harness = slow_harness()
    cluster = with_workers(harness, 2)
    cluster.processes["w1"].account = REFUSAL
    run_with(
        harness,
        (2.0, lambda: cluster.processes.pop("w0")),
        (30.0, lambda: cluster.processes.update(w2=FakeWorker(harness.cloud))),
    )
    assert set(harness.totals()) == {Result.SHARED, Result.ALREADY}  # the lost worker's pairs were sent again
    assert len(harness.cloud.members) == 1000


def test_a_run_without_workers_stops_after_a_minute() -> None:
    """It stops early, so that it can be resumed."""
    harness = slow_harness()
    cluster = with_workers(harness, 2)
    cluster.processes["w1"].account = REFUSAL
    with pytest.raises(ExceptionGroup) as stopped:
        run_with(harness, (2.0, lambda: cluster.processes.pop("w0")))
    (error,) = stopped.value.exceptions
    assert isinstance(error, StoppedEarlyError)
    assert "no worker; the 1 worker there did not join" in str(error)


def test_a_refused_worker_may_be_replaced() -> None:
    """A new process at the same address is asked to join again."""
    harness = slow_harness()
    cluster = with_workers(harness, 2)
    cluster.processes["w1"].account = REFUSAL
    fixed = FakeWorker(harness.cloud)
    run_with(harness, (2.0, lambda: cluster.processes.pop("w1")), (4.0, lambda: cluster.processes.update(w1=fixed)))
    assert harness.totals() == {Result.SHARED: 1000}
    assert fixed.grants


def test_refused_credentials_at_one_worker_end_the_run() -> None:
    """The error is raised; the others give back what they have done, and it is recorded."""
    harness = slow_harness()
    cluster = with_workers(harness, 3)
    cluster.processes["w1"].cloud = RefusingCloud(harness.cloud, after=50)
    with pytest.raises(CredentialsRefusedError):
        harness.run()
    shared = {pair for pair, row in harness.ledger.rows.items() if row.result is Result.SHARED}
    assert len(shared) > 100
    assert shared == harness.cloud.members


def test_a_stop_while_an_answer_is_outstanding() -> None:
    """Workers give back what they have done before the coordinator stops waiting for them."""
    harness = slow_harness()
    cluster = with_workers(harness, 2)
    cluster.processes["w1"].cloud = HangingCloud(harness.cloud, after=20)

    async def stop(engine: Engine) -> None:
        await anyio.sleep(3.0)
        engine.stop("the deadline has passed")

    harness.run(beside=stop)
    shared = {pair for pair, row in harness.ledger.rows.items() if row.result is Result.SHARED}
    assert len(shared) > 100
    assert shared == harness.cloud.members


@pytest.mark.parametrize("cause", ["stop", "no scheduler", "no worker"])
def test_what_no_worker_has_sent_stays_pending(cause: str) -> None:
    """A request held back by a stop, a lost scheduler or a lost worker is neither an attempt nor a failure."""
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
            cluster.scheduler_lost = True
        else:
            cluster.processes.clear()
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


def test_a_worker_that_falls_silent_joins_again() -> None:
    """It is lost, then joins with a new session: a shard or a grant of the old one, which may arrive late, is void."""
    harness = slow_harness(images=40)
    cluster = with_workers(harness, 2)
    worker = cluster.processes["w1"]
    run_with(harness, (2.0, lambda: setattr(worker, "silent", True)), (16.0, lambda: setattr(worker, "silent", False)))
    assert len(harness.cloud.members) == 2000
    assert len({grant.session_id for grant in worker.grants}) == 2
    assert len({task.session_id for task in worker.tasks}) == 2
    with pytest.raises(WorkerUnavailableError):
        run_virtual(worker.run_shard(worker.tasks[0]))


def test_the_share_of_a_silent_worker_is_used_once_its_lease_is_over() -> None:
    """The others don't wait until it is given up, nor does it wait for its share when it is heard again."""
    harness = slow_harness(images=40)
    cluster = with_workers(harness, 4)
    worker, counts = cluster.processes["w1"], Counts(harness.cloud)
    silent_at = 2.0
    heard_at = silent_at + LEASE_SECONDS + 3.0
    run_with(
        harness,
        (silent_at, lambda: setattr(worker, "silent", True)),
        (heard_at - 2.0, counts.look),
        (heard_at, counts.look),
        (heard_at, lambda: setattr(worker, "silent", False)),
        (heard_at + 1.5, lambda: counts.sent.append(int(worker.grants[-1].rate))),
    )
    before, after, rate = counts.sent
    assert after - before == pytest.approx(2 * 100, abs=5)
    assert rate == 25
    assert not cluster.notes


def test_a_lost_workers_shard_is_not_in_flight_twice() -> None:
    """What the lost worker had in flight is given the time of a lost answer before it is sent again."""
    harness = EngineHarness(SlowCloud(), limits=Limits(concurrency=8, per_image=4, rate=100, members_per_image=0))
    harness.plan(2, 100)
    cluster = with_workers(harness, 3)

    def cut_off() -> None:
        """Cut a working worker off from the coordinator, not from the cloud."""
        del cluster.processes[next(name for name, worker in cluster.processes.items() if worker.tasks)]

    run_with(harness, (0.3, cut_off))
    assert len(cluster.notes) == 1
    assert len(harness.cloud.members) == 200
    twice = {pair for pair, most in harness.cloud.most_in_flight.items() if pair.startswith("pair ") and most > 1}
    assert not twice


def test_a_share_is_given_as_soon_as_it_is_free() -> None:
    """A worker that joins doesn't wait for its next turn once another has given back what it is due."""
    harness = slow_harness()
    cluster = with_workers(harness, 1)
    joining = FakeWorker(harness.cloud)
    rates: list[float] = []

    def look() -> None:
        if joining.tasks:
            rates.append(joining.grants[-1].rate)

    looks = ((2.0 + number / 10, look) for number in range(1, 20))
    run_with(harness, (2.0, lambda: cluster.processes.update(w1=joining)), *looks)
    assert rates[1:] == [50.0] * (len(rates) - 1)


def test_requests_in_flight_count_while_shares_change() -> None:
    """What a worker has in flight beyond its new, smaller share is not lent to others until it is answered."""
    harness = slow_harness(images=8)
    harness.cloud.latency_seconds = 2.0
    cluster = with_workers(harness, 1)
    run_with(
        harness,
        (15.0, lambda: cluster.processes.update(w1=FakeWorker(harness.cloud))),
        (25.0, lambda: cluster.processes.update(w2=FakeWorker(harness.cloud))),
    )
    assert len(harness.cloud.members) == 400
    assert harness.cloud.most_in_flight["all"] <= harness.limits.concurrency


@dataclass
class Counts:
    """What a cloud was sent, at a moment of a run."""

    cloud: FakeCloud
    sent: list[int] = field(default_factory=list)
    most: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Note the requests so far, and the most in flight since the last look."""
        self.sent.append(len(self.cloud.sent))
        self.most.append(self.cloud.most_in_flight.pop("all", 0))


def test_workers_obey_new_limits() -> None:
    """Two seconds later none exceeds its share of fewer; more than the plan's are used, too."""
    harness = slow_harness(images=40, projects=100)
    harness.cloud.latency_seconds = 0.05
    cluster = with_workers(harness, 4)
    fleet, counts = coordinator_of(harness), Counts(harness.cloud)
    fewer, more = (replace(harness.limits, rate=rate, concurrency=at_once) for rate, at_once in ((20, 4), (400, 64)))
    run_with(
        harness,
        (4.0, lambda: fleet.limit(fewer)),
        (6.0, counts.look),
        (16.0, counts.look),
        (16.0, lambda: fleet.limit(more)),
        (18.0, counts.look),
        (22.0, counts.look),
    )
    six, sixteen, eighteen, last = counts.sent
    assert sixteen - six == pytest.approx(200, abs=10)
    assert counts.most[1] <= 4
    assert last - eighteen == pytest.approx(1600, rel=0.2)
    assert counts.most[3] > 8
    assert harness.totals() == {Result.SHARED: 4000}
    assert not cluster.notes


def test_workers_obey_a_pause() -> None:
    """None sends anything new, not one that joins meanwhile either, and none is lost for it."""
    harness = slow_harness()
    cluster = with_workers(harness, 3)
    fleet, counts = coordinator_of(harness), Counts(harness.cloud)
    run_with(
        harness,
        (3.0, fleet.pause),
        (5.0, counts.look),
        (60.0, lambda: cluster.processes.update(w3=FakeWorker(harness.cloud))),
        (100.0, counts.look),
        (100.0, fleet.go),
        (102.0, counts.look),
    )
    assert counts.sent[1] == counts.sent[0]
    assert counts.sent[2] > counts.sent[1] + 50
    assert harness.totals() == {Result.SHARED: 1000}
    assert not cluster.notes


@pytest.mark.parametrize("paused", [False, True])
def test_workers_stop_during_a_pause(*, paused: bool) -> None:
    """A stop ends the run as without one: nothing is lost, and the rest stays pending."""
    harness = slow_harness()
    with_workers(harness, 2)
    fleet = coordinator_of(harness)

    def stop() -> None:
        harness.engine.stop()

    run_with(harness, (3.0, fleet.pause if paused else fleet.go), (5.0, stop))
    assert harness.totals()[Result.SHARED] == len(harness.cloud.members)
    assert harness.totals()[Result.PENDING] == 1000 - len(harness.cloud.members)
