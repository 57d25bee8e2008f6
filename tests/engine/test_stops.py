"""What ends a run early, and what is recorded then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.engine import Recorder, SettleImage
from bulkshare.errors import CredentialsRefusedError, LedgerError
from bulkshare.model import Fault, FaultKind, Limits, Outcome, Reply, Request, Result, RetryPolicy, VerdictKind, Want
from tests.engine.bench import Bench, on_post
from tests.engine.fakes import NOW, Recording, response
from tests.engine.memory import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.engine import Engine


def test_stop_lets_what_is_in_flight_end() -> None:
    """After a stop nothing new is sent; what is in flight is recorded, and the rest stays pending."""
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
    """The error is raised unchanged; pairs without an answer stay pending, answered ones are recorded."""
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
    """If outcomes can't be written, the run ends with LedgerError."""
    bench = Bench(ledger=MemoryLedger(break_after=2))
    bench.plan(2, 500)
    with pytest.raises(LedgerError, match=r"disk full; not recorded, but answered by the cloud: i0\d p\d+ shared"):
        bench.run()
    assert bench.cloud.count("POST") < 900


async def test_what_a_group_has_committed_is_not_named_as_missing() -> None:
    """A group is committed in parts; an error names the pairs of the part that failed and of those after it."""

    class Ledger(MemoryLedger):
        def settle_rest(self, *_args: object, **_options: object) -> int:
            raise LedgerError("disk full")

    ledger = Ledger()
    ledger.enqueue_all([("i", "early"), ("i", "rest"), ("j", "late")])

    async def write() -> None:
        async with Recorder(1, ledger, Recording(), lambda: NOW, anyio.CapacityLimiter(1)) as recorder:
            recorder.put(Outcome("i", "early", Result.REJECTED, attempts=1, settled_at=NOW))
            recorder.put(SettleImage("i", "the image takes no members"))
            recorder.put(Outcome("j", "late", Result.SHARED, attempts=1, settled_at=NOW))

    with pytest.raises(BaseExceptionGroup) as caught:
        await write()
    message = str(caught.value.exceptions[0])
    assert "disk full; not recorded, but answered by the cloud: j late shared;" in message
    assert ledger.rows["i", "early"].result is Result.REJECTED


def test_only_committed_outcomes_are_reported() -> None:
    """The observer is notified of exactly the committed outcomes."""
    bench = Bench(ledger=MemoryLedger(break_after=2))
    bench.plan(2, 500)
    with pytest.raises(LedgerError):
        bench.run()
    assert len(bench.observer.shown) == sum(bench.ledger.commits)


def test_too_many_failures_stop_the_run() -> None:
    """The rest stays pending."""
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
    """What is in flight ends, and the rest stays pending."""
    bench = Bench()
    bench.plan(2, 100)
    bench.cloud.latency_seconds = 1.0
    bench.deadline_seconds = 10.0
    bench.run()
    totals = bench.totals()
    assert totals[Result.SHARED] == len(bench.cloud.members)
    assert totals[Result.PENDING] > 100
    assert "deadline" in bench.engine.stopped_because


def test_a_stop_with_nothing_left_is_no_interruption() -> None:
    """The very last pair exceeds --max-failures: the run is finished, not stopped early."""
    bench = Bench(max_failures=0)
    bench.plan(1, 3)
    bench.cloud.script = on_post(lambda _i, body: response(400, {"message": "no"}) if "p002" in body else None)
    bench.run()
    assert bench.totals() == {Result.SHARED: 2, Result.REJECTED: 1}
    assert not bench.engine.interrupted
    assert not bench.engine.stopped_because


def held_bench(images: int, projects: int, want: Want = Want.MEMBER) -> Bench:
    """Return a bench on which one request leaves per second, others wait, and a pair has one attempt."""
    bench = Bench(
        limits=Limits(concurrency=8, rate=1.0, per_image=8, members_per_image=0),
        policy=RetryPolicy(attempts=1, base_seconds=0.1, cap_seconds=0.1),
        through_pace=True,
    )
    bench.plan(images, projects, want)
    return bench


def held_listing() -> Bench:
    """List an image per second."""
    return held_bench(8, 2)


def held_inspecting() -> Bench:
    """Inspect 50 images per second."""
    return held_bench(200, 1)


def held_opening() -> Bench:
    """After inspecting, make an image shared per second."""
    bench = held_bench(8, 1, Want.SET_SHARED)
    bench.cloud.images = {f"i{i:02}": {"visibility": "private"} for i in range(8)}
    return bench


def held_sharing() -> Bench:
    """After listing and inspecting, add a member per second."""
    return held_bench(1, 8)


def held_asking() -> Bench:
    """Lose the answer to each POST, and ask for the member."""
    bench = held_sharing()
    bench.cloud.script = on_post(lambda _i, _b: Fault(FaultKind.LOST, "connection reset"))
    return bench


def held_accepting() -> Bench:
    """After listing and inspecting, accept a membership per second."""
    bench = held_bench(1, 8, Want.ACCEPTED)
    bench.cloud.members = set(bench.ledger.rows)
    return bench


def held_removing() -> Bench:
    """After listing and inspecting, remove a member per second."""
    bench = held_bench(1, 8, Want.REMOVE)
    bench.cloud.members = set(bench.ledger.rows)
    return bench


def held_describing() -> Bench:
    """After inspecting and adding members that were there already, list an image per second."""
    bench = held_bench(4, 1)
    bench.cloud.members = set(bench.ledger.rows)
    return bench


PHASES = [
    pytest.param(held_listing, 2.5, id="list"),
    pytest.param(held_inspecting, 1.5, id="inspect"),
    pytest.param(held_opening, 3.5, id="set shared"),
    pytest.param(held_sharing, 4.5, id="share"),
    pytest.param(held_asking, 4.5, id="get member"),
    pytest.param(held_accepting, 4.5, id="accept"),
    pytest.param(held_removing, 4.5, id="remove"),
    pytest.param(held_describing, 6.5, id="describe"),
]


def check_unsent_is_untouched(bench: Bench) -> None:
    """Check that what a stop kept from leaving is neither an answer, nor a retry, nor a failure."""
    sent, observer = bench.cloud.sent, bench.observer
    assert 2 <= len(sent) <= 7
    assert len(observer.answers) == len(sent)
    assert bench.engine.interrupted or not bench.totals().get(Result.PENDING)
    assert not {*bench.totals()} & {Result.FAILED, Result.SKIPPED}
    assert bench.engine.retries == 0
    assert not observer.rests
    assert {verdict.kind for verdict in observer.listings.values()} <= {VerdictKind.LISTED}
    assert {verdict.kind for verdict in observer.openings.values()} <= {VerdictKind.SET_SHARED}
    assert all(row.attempts <= 1 for row in observer.shown)
    assert len(bench.cloud.members) >= bench.totals().get(Result.SHARED, 0)


@pytest.mark.parametrize(("scene", "seconds"), PHASES)
def test_a_stop_leaves_what_was_not_sent_pending(scene: Callable[[], Bench], seconds: float) -> None:
    """A request that a stop kept from leaving says nothing about its pair, in any phase."""
    bench = scene()

    async def stop(engine: Engine) -> None:
        await anyio.sleep(seconds)
        engine.stop()
        await anyio.sleep_forever()

    bench.run(beside=stop)
    check_unsent_is_untouched(bench)


@pytest.mark.parametrize(("scene", "seconds"), PHASES)
def test_a_deadline_leaves_what_was_not_sent_pending(scene: Callable[[], Bench], seconds: float) -> None:
    """So does a deadline."""
    bench = scene()
    bench.deadline_seconds = seconds
    bench.run()
    check_unsent_is_untouched(bench)


@pytest.mark.parametrize(
    ("scene", "method"),
    [
        pytest.param(held_sharing, "POST", id="share"),
        pytest.param(held_accepting, "PUT", id="accept"),
        pytest.param(held_removing, "DELETE", id="remove"),
    ],
)
def test_max_failures_leaves_what_was_not_sent_pending(scene: Callable[[], Bench], method: str) -> None:
    """So does a rejection too many."""
    bench = scene()
    bench.max_failures = 0

    def reject(request: Request, _count: int) -> Reply | None:
        refused = request.method == method and bench.cloud.count(method) == 3
        return response(400, {"message": "no"}) if refused else None

    bench.cloud.script = reject
    bench.run()
    check_unsent_is_untouched(bench)
    assert bench.totals()[Result.REJECTED] == 1
    assert bench.totals()[Result.PENDING] == 5


@pytest.mark.parametrize(("scene", "seconds"), PHASES)
def test_a_stop_of_the_pace_alone_ends_the_run(scene: Callable[[], Bench], seconds: float) -> None:
    """An engine whose transport sends nothing more leaves the pairs pending, too, and does not wait for ever."""
    bench = scene()
    bench.pace_stops_at = seconds
    bench.run()
    check_unsent_is_untouched(bench)
