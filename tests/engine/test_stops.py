"""What ends a run early, and what is recorded then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.engine import Recorder, SettleImage
from bulkshare.engine.client import MOST_FOREIGN
from bulkshare.errors import CredentialsRefusedError, EndpointRefusedError, LedgerError
from bulkshare.model import (
    Fault,
    FaultKind,
    Limits,
    Orders,
    Outcome,
    Reply,
    Request,
    Response,
    Result,
    RetryPolicy,
    VerdictKind,
    Want,
)
from tests.engine.fakes import NOW, RecordingObserver, response
from tests.engine.harness import EngineHarness, on_post
from tests.engine.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.engine import Engine

PAGE = Response(200, {"content-type": "text/html"}, b"<html>Please wait</html>")


def test_stop_lets_what_is_in_flight_end() -> None:
    """After a stop nothing new is sent; what is in flight is recorded, and the rest stays pending."""
    harness = EngineHarness()
    harness.cloud.latency_seconds = 1.0
    harness.plan(4, 25)

    async def stop(engine: Engine) -> None:
        await anyio.sleep(5.5)
        engine.stop()

    harness.run(beside=stop)
    assert harness.engine.interrupted
    assert harness.totals() == {
        Result.SHARED: len(harness.cloud.members),
        Result.PENDING: 100 - len(harness.cloud.members),
    }
    assert 0 < len(harness.cloud.members) < 100
    harness.run()
    assert harness.totals() == {Result.SHARED: 100}


@pytest.mark.parametrize(("stops", "waited"), [(1, 10.0), (2, 0.0)])
def test_stop_gives_up_on_what_hangs(stops: int, waited: float) -> None:
    """A hanging request is given ten seconds after the first stop and none after the second."""
    harness = EngineHarness(limits=Limits(concurrency=2, per_image=2))
    harness.cloud.latency_seconds = 1000.0
    harness.plan(2, 1)
    began: list[float] = []

    async def stop(engine: Engine) -> None:
        await anyio.sleep(5)
        began.append(anyio.current_time())
        for _ in range(stops):
            engine.stop()
        await anyio.sleep(waited + 0.5)
        pytest.fail("still running")

    harness.run(beside=stop)
    assert harness.totals() == {Result.PENDING: 2}


def test_refused_credentials_stop_the_run_and_mark_nothing() -> None:
    """The error is raised unchanged; pairs without an answer stay pending, answered ones are recorded."""
    harness = EngineHarness()
    harness.plan(2, 50)

    def refuse(_request: Request, count: int) -> Reply | None:
        if count > 20:
            raise CredentialsRefusedError("no")
        return None

    harness.cloud.script = refuse
    with pytest.raises(CredentialsRefusedError):
        harness.run()
    assert harness.totals() == {
        Result.SHARED: len(harness.cloud.members),
        Result.PENDING: 100 - len(harness.cloud.members),
    }


def test_a_broken_ledger_stops_the_run() -> None:
    """If outcomes can't be written, the run ends with LedgerError."""
    harness = EngineHarness(ledger=MemoryLedger(break_after=2))
    harness.plan(2, 500)
    with pytest.raises(LedgerError, match=r"disk full; not recorded, but answered by the cloud: i0\d p\d+ shared"):
        harness.run()
    assert harness.cloud.count("POST") < 900


async def test_what_a_group_has_committed_is_not_named_as_missing() -> None:
    """A group is committed in parts; an error names the pairs of the part that failed and of those after it."""

    class Ledger(MemoryLedger):
        def settle_rest(self, *_args: object, **_options: object) -> int:
            raise LedgerError("disk full")

    ledger = Ledger()
    ledger.enqueue_all([("i", "early"), ("i", "rest"), ("j", "late")])

    async def write() -> None:
        async with Recorder(1, ledger, RecordingObserver(), lambda: NOW, anyio.CapacityLimiter(1)) as recorder:
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
    harness = EngineHarness(ledger=MemoryLedger(break_after=2))
    harness.plan(2, 500)
    with pytest.raises(LedgerError):
        harness.run()
    assert len(harness.observer.shown) == sum(harness.ledger.commits)


def test_too_many_failures_stop_the_run() -> None:
    """The rest stays pending."""
    harness = EngineHarness()
    harness.plan(1, 100)
    harness.max_failures = 5
    harness.cloud.script = on_post(lambda _i, _b: response(400, {"message": "no"}))
    harness.run()
    totals = harness.totals()
    assert 6 <= totals[Result.REJECTED] <= 6 + harness.limits.concurrency
    assert totals[Result.PENDING] == 100 - totals[Result.REJECTED]
    assert "too many" in harness.engine.stopped_because


def test_a_deadline_stops_the_run() -> None:
    """What is in flight ends, and the rest stays pending."""
    harness = EngineHarness()
    harness.plan(2, 100)
    harness.cloud.latency_seconds = 1.0
    harness.deadline_seconds = 10.0
    harness.run()
    totals = harness.totals()
    assert totals[Result.SHARED] == len(harness.cloud.members)
    assert totals[Result.PENDING] > 100
    assert "deadline" in harness.engine.stopped_because


def test_a_stop_with_nothing_left_is_no_interruption() -> None:
    """The very last pair exceeds --max-failures: the run is finished, not stopped early."""
    harness = EngineHarness(max_failures=0)
    harness.plan(1, 3)
    harness.cloud.script = on_post(lambda _i, body: response(400, {"message": "no"}) if "p002" in body else None)
    harness.run()
    assert harness.totals() == {Result.SHARED: 2, Result.REJECTED: 1}
    assert not harness.engine.interrupted
    assert not harness.engine.stopped_because


def held_bench(images: int, projects: int, want: Want = Want.MEMBER) -> EngineHarness:
    """Return a harness on which one request leaves per second, others wait, and a pair has one attempt."""
    harness = EngineHarness(
        limits=Limits(concurrency=8, rate=1.0, per_image=8, members_per_image=0),
        policy=RetryPolicy(attempts=1, base_seconds=0.1, cap_seconds=0.1),
        through_pace=True,
    )
    harness.plan(images, projects, want)
    return harness


def held_listing() -> EngineHarness:
    """List an image per second."""
    return held_bench(8, 2)


def held_inspecting() -> EngineHarness:
    """Inspect 50 images per second."""
    harness = held_bench(200, 1)
    harness.orders = {f"i{i:02}": Orders(make_shared=True) for i in range(200)}
    harness.preflight = False
    return harness


def held_setting_shared() -> EngineHarness:
    """After inspecting, make an image shared per second."""
    harness = held_bench(8, 1)
    harness.orders = {f"i{i:02}": Orders(make_shared=True) for i in range(8)}
    harness.preflight = False
    harness.cloud.images = {f"i{i:02}": {"visibility": "private"} for i in range(8)}
    return harness


def held_sharing() -> EngineHarness:
    """After listing and inspecting, add a member per second."""
    return held_bench(1, 8)


def held_get_member() -> EngineHarness:
    """Lose the answer to each POST, and ask for the member."""
    harness = held_sharing()
    harness.cloud.script = on_post(lambda _i, _b: Fault(FaultKind.LOST, "connection reset"))
    return harness


def held_accepting() -> EngineHarness:
    """After listing and inspecting, accept a membership per second."""
    harness = held_bench(1, 8, Want.ACCEPTED)
    harness.cloud.members = set(harness.ledger.rows)
    return harness


def held_removing() -> EngineHarness:
    """After listing and inspecting, remove a member per second."""
    harness = held_bench(1, 8, Want.REMOVE)
    harness.cloud.members = set(harness.ledger.rows)
    return harness


def held_describing() -> EngineHarness:
    """After adding members that were there already, list an image per second."""
    harness = held_bench(4, 1)
    harness.preflight = False
    harness.cloud.members = set(harness.ledger.rows)
    return harness


PHASES = [
    pytest.param(held_listing, 2.5, id="list"),
    pytest.param(held_inspecting, 1.5, id="inspect"),
    pytest.param(held_setting_shared, 3.5, id="set shared"),
    pytest.param(held_sharing, 4.5, id="share"),
    pytest.param(held_get_member, 4.5, id="get member"),
    pytest.param(held_accepting, 4.5, id="accept"),
    pytest.param(held_removing, 4.5, id="remove"),
    pytest.param(held_describing, 5.5, id="describe"),
]


def check_unsent_is_untouched(harness: EngineHarness) -> None:
    """Check that what a stop kept from leaving is neither an answer, nor a retry, nor a failure."""
    sent, observer = harness.cloud.sent, harness.observer
    assert 2 <= len(sent) <= 7
    assert len(observer.answers) == len(sent)
    assert harness.engine.interrupted or not harness.totals().get(Result.PENDING)
    assert not {*harness.totals()} & {Result.FAILED, Result.SKIPPED}
    assert harness.engine.retries == 0
    assert not observer.rests
    assert {verdict.kind for verdict in observer.listings.values()} <= {VerdictKind.LISTED}
    assert {verdict.kind for verdict in observer.set_shared.values()} <= {VerdictKind.SET_SHARED}
    assert all(row.attempts <= 1 for row in observer.shown)
    assert len(harness.cloud.members) >= harness.totals().get(Result.SHARED, 0)


@pytest.mark.parametrize(("scene", "seconds"), PHASES)
def test_a_stop_leaves_what_was_not_sent_pending(scene: Callable[[], EngineHarness], seconds: float) -> None:
    """A request that a stop kept from leaving says nothing about its pair, in any phase."""
    harness = scene()

    async def stop(engine: Engine) -> None:
        await anyio.sleep(seconds)
        engine.stop()
        await anyio.sleep_forever()

    harness.run(beside=stop)
    check_unsent_is_untouched(harness)


@pytest.mark.parametrize(("scene", "seconds"), PHASES)
def test_a_deadline_leaves_what_was_not_sent_pending(scene: Callable[[], EngineHarness], seconds: float) -> None:
    """So does a deadline."""
    harness = scene()
    harness.deadline_seconds = seconds
    harness.run()
    check_unsent_is_untouched(harness)


@pytest.mark.parametrize(
    ("scene", "method"),
    [
        pytest.param(held_sharing, "POST", id="share"),
        pytest.param(held_accepting, "PUT", id="accept"),
        pytest.param(held_removing, "DELETE", id="remove"),
    ],
)
def test_max_failures_leaves_what_was_not_sent_pending(scene: Callable[[], EngineHarness], method: str) -> None:
    """So does a rejection too many."""
    harness = scene()
    harness.max_failures = 0

    def reject(request: Request, _count: int) -> Reply | None:
        refused = request.method == method and harness.cloud.count(method) == 3
        return response(400, {"message": "no"}) if refused else None

    harness.cloud.script = reject
    harness.run()
    check_unsent_is_untouched(harness)
    assert harness.totals()[Result.REJECTED] == 1
    assert harness.totals()[Result.PENDING] == 5


@pytest.mark.parametrize(("scene", "seconds"), PHASES)
def test_a_stop_of_the_pace_alone_ends_the_run(scene: Callable[[], EngineHarness], seconds: float) -> None:
    """An engine whose transport sends nothing more leaves the pairs pending, too, and does not wait for ever."""
    harness = scene()
    harness.pace_stops_at = seconds
    harness.run()
    check_unsent_is_untouched(harness)


@pytest.mark.parametrize("reply", [response(301, location="https://elsewhere/"), PAGE, response(404)])
def test_an_endpoint_that_is_no_image_service_ends_the_run(reply: Reply) -> None:
    """It says nothing about images: after a few requests the run ends, and every pair stays pending."""
    harness = EngineHarness()
    harness.plan(50, 4)
    harness.cloud.script = lambda _request, _count: reply
    with pytest.raises(EndpointRefusedError, match="does not answer as an image service does"):
        harness.run()
    assert harness.totals() == {Result.PENDING: 200}
    assert len(harness.cloud.sent) <= MOST_FOREIGN + harness.limits.concurrency


def test_a_single_page_does_not_end_the_run() -> None:
    """A proxy may answer now and then in place of the image service."""
    harness = EngineHarness()
    harness.plan(5, 10)
    harness.cloud.script = lambda _request, count: PAGE if count in {1, 2, 9} else None
    harness.run()
    assert harness.totals() == {Result.SHARED: 50}
