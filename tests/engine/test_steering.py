"""A run that is watched and steered through its ledger while an engine works on it, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.engine.batches import LONGEST_JOB_SECONDS
from bulkshare.errors import LedgerError, StoppedEarlyError
from bulkshare.ledger import SqlLedger
from bulkshare.model import Action, Control, Fault, FaultKind, Limits, Reply, Request, Result
from bulkshare.operations.lock import SharedLedger
from bulkshare.operations.steering import Steering
from bulkshare.pacing.breaker import LONGEST_PROBE_SECONDS
from bulkshare.progress import Tracker, View
from tests.engine.fakes import NOW
from tests.engine.harness import EngineHarness
from tests.engine.ims_cloud import ImsCloud
from tests.ledger_fixtures import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bulkshare.engine import Engine
    from bulkshare.model import Heartbeat

LIMITS = Limits(concurrency=8, rate=100, per_image=100, members_per_image=0)


@dataclass
class Steered:
    """An engine's run, its ledger, and what is asked of it at which second."""

    ledger: SqlLedger
    harness: EngineHarness
    asked: dict[float, Control] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)
    obeyed: dict[int, float] = field(default_factory=dict)  # control's number: seconds until it was obeyed
    look_seconds: float = 0.5  # between two looks of a watcher
    began: float = 0.0

    def run(self) -> None:
        """Run the engine to its end."""
        run = begin(self.ledger)
        asked_at: dict[int, float] = {}

        async def ask(seconds: float, control: Control) -> None:
            await anyio.sleep(seconds)
            stored = self.ledger.ask(run.id, control)
            assert stored is not None
            asked_at[stored.number] = anyio.current_time()

        async def beside(engine: Engine) -> None:
            self.began = anyio.current_time()
            tracker = Tracker("nightly", self.harness.ledger.totals(1), anyio.current_time, allowed_rate=LIMITS.rate)
            paced = self.harness.paced
            steering = Steering(
                SharedLedger(self.ledger),
                run.id,
                View(tracker, paced.state),
                requests=lambda: paced.sent,
                limits=LIMITS,
                paced=paced,
                fleet=None,
                note=self.notes.append,
            )
            async with anyio.create_task_group() as tasks:
                for seconds, control in self.asked.items():
                    tasks.start_soon(ask, seconds, control)
                tasks.start_soon(steering.keep, engine)
                while True:
                    await anyio.sleep(self.look_seconds)
                    _, beat = self.ledger.pulses([run.id])[run.id]
                    if beat is not None and beat not in self.beats:
                        self.beats.append(beat)
                    for control in self.ledger.controls(run.id):
                        if control.obeyed_at is not None and control.number not in self.obeyed:
                            self.obeyed[control.number] = anyio.current_time() - asked_at[control.number]

        self.harness.run(beside=beside)

    def sent_in(self, start: float, end: float) -> int:
        """Return how many requests left between two seconds of the run."""
        return sum(self.began + start <= at < self.began + end for at, _ in self.harness.cloud.sent)


@pytest.fixture
def steered(tmp_path: Path) -> Iterator[Steered]:
    """Return a run of 3000 pairs that takes half a minute at its own limits."""
    ledger = SqlLedger.open(str(tmp_path / "ledger.db"))
    harness = EngineHarness(limits=LIMITS, through_pace=True, preflight=False)
    harness.plan(3, 1000)
    yield Steered(ledger, harness)
    ledger.close()


def test_a_heartbeat_a_second(steered: Steered) -> None:
    """It says where the run stands, and costs nothing but a row."""
    steered.run()
    assert 25 <= len(steered.beats) <= 35
    assert all(beat.allowed_rate == 100 and beat.concurrency == 8 for beat in steered.beats)
    requests = [beat.requests for beat in steered.beats]
    assert requests == sorted(requests)
    assert 80 <= requests[0] <= 110
    assert steered.harness.totals() == {Result.SHARED: 3000}


def test_a_new_rate_is_kept_from_then_on(steered: Steered) -> None:
    """Slower, then faster than the plan allows; obeyed within two seconds, and not exceeded."""
    steered.asked = {5.0: Control(NOW, "alice", "ops1", rate=10), 15.0: Control(NOW, "alice", "ops1", rate=400)}
    steered.harness.cloud.latency_seconds = 0.001
    steered.run()
    assert steered.sent_in(2, 5) == pytest.approx(300, abs=5)
    assert steered.sent_in(7, 15) == pytest.approx(80, abs=2)
    assert steered.sent_in(17, 19) == pytest.approx(800, rel=0.05)
    assert max(steered.obeyed.values()) <= 2
    assert steered.notes[0] == "rate=10, as alice on ops1 asked at 03:04:05 UTC"
    assert {beat.allowed_rate for beat in steered.beats} == {100, 10, 400}
    assert steered.harness.totals() == {Result.SHARED: 3000}


def test_a_new_concurrency_is_kept_from_then_on(steered: Steered) -> None:
    """Fewer at once, then more than the plan allows: there is work under way for as many."""
    steered.asked = {5.0: Control(NOW, concurrency=2), 20.0: Control(NOW, concurrency=32)}
    steered.harness.cloud.latency_seconds = 0.5
    most: dict[str, int] = {}

    def look(name: str) -> Callable[[], None]:
        def note() -> None:
            most[name] = steered.harness.cloud.most_in_flight.pop("all", 0)

        return note

    steered.harness.at = {5.0: look("plan"), 7.5: look("change"), 20.0: look("two"), 60.0: look("many")}
    steered.run()
    assert most["plan"] <= 8
    assert most["two"] == 2
    assert 16 < most["many"] <= 32
    assert steered.harness.totals() == {Result.SHARED: 3000}


def test_a_pause_sends_nothing_new(steered: Steered) -> None:
    """What is in flight is answered and recorded; "go" goes on, and nothing is lost."""
    steered.asked = {5.0: Control(NOW, action=Action.PAUSE), 100.0: Control(NOW, action=Action.GO)}
    steered.harness.cloud.latency_seconds = 0.2
    steered.run()
    assert steered.sent_in(6.5, 100) == 0
    paused = [beat for beat in steered.beats if beat.paused]
    assert paused[-1].pace == "paused, 0 in flight"
    assert steered.harness.totals() == {Result.SHARED: 3000}
    assert steered.harness.engine.retries == 0


@pytest.mark.parametrize("down_again", [False, True])
def test_a_pause_is_no_outage(steered: Steered, *, down_again: bool) -> None:
    """It doesn't count towards the time after which a silent endpoint is given up; the outage around it does."""
    paused, went_on = 20.0, 120.0
    back = went_on + (1e6 if down_again else 20.0)

    def script(_request: Request, _count: int) -> Reply | None:
        now = anyio.current_time() - steered.began
        return Fault(FaultKind.UNSENT, "refused") if 10.0 < now < back else None

    steered.harness.cloud.script = script
    steered.harness.give_up_after_seconds = 60.0
    steered.asked = {paused: Control(NOW, action=Action.PAUSE), went_on: Control(NOW, action=Action.GO)}
    if down_again:
        with pytest.raises(ExceptionGroup) as raised:
            steered.run()
        assert raised.value.subgroup(StoppedEarlyError) is not None
        last = steered.harness.cloud.sent[-1][0] - steered.began
        assert went_on + 45 < last < went_on + 60 + LONGEST_PROBE_SECONDS
    else:
        steered.run()
        assert steered.harness.totals() == {Result.SHARED: 3000}
    assert steered.sent_in(paused + 2, went_on) == 0


@pytest.mark.parametrize("paused_first", [False, True])
def test_stop_is_the_first_ctrl_c(steered: Steered, *, paused_first: bool) -> None:
    """What is in flight is recorded, and the rest stays pending; also during a pause, and asked for twice."""
    stop = {10.0: Control(NOW, action=Action.STOP), 10.3: Control(NOW, action=Action.STOP)}
    steered.asked = {5.0: Control(NOW, action=Action.PAUSE)} | stop if paused_first else stop
    steered.harness.cloud.latency_seconds = 3.0
    steered.run()
    assert steered.harness.engine.interrupted
    assert steered.harness.engine.stopped_because == ""
    totals = steered.harness.totals()
    assert totals[Result.SHARED] == len(steered.harness.cloud.members)
    assert totals[Result.PENDING] == 3000 - totals[Result.SHARED]


def test_a_deadline_counts_a_pause(steered: Steered) -> None:
    """It is about the clock on the wall."""
    steered.asked = {5.0: Control(NOW, action=Action.PAUSE)}
    steered.harness.deadline_seconds = 60.0
    steered.run()
    assert steered.harness.engine.stopped_because == "the deadline has passed"


@pytest.mark.parametrize("seconds", [30.0, LONGEST_JOB_SECONDS + 60.0])
def test_a_pause_sends_no_new_batch(steered: Steered, seconds: float) -> None:
    """Nor is a job asked for; what has become of the batches on their way is found out afterwards, however late."""
    cloud = ImsCloud()
    steered.harness = EngineHarness(cloud=cloud, limits=replace(LIMITS, batch=20, jobs=2), batches=True)
    steered.harness.through_pace = True
    steered.look_seconds = 10.0
    steered.harness.plan(4, 200)
    steered.asked = {3.0: Control(NOW, action=Action.PAUSE), 3.0 + seconds: Control(NOW, action=Action.GO)}
    steered.run()
    assert steered.sent_in(5.5, 3.0 + seconds) == 0
    assert steered.harness.totals() == {Result.SHARED: 800}
    assert len(cloud.batches) == 40
    assert not steered.harness.ledger.batches


def test_a_heartbeat_that_fails_ends_nothing(steered: Steered, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is judged by its outcomes; once the ledger is back, what was asked meanwhile is obeyed."""
    beat, failing = steered.ledger.beat, iter([False] * 3 + [True] * 8 + [False] * 99)

    def sometimes(run_id: int, heartbeat: Heartbeat) -> list[Control]:
        if next(failing):
            raise LedgerError("no space left")
        return beat(run_id, heartbeat)

    monkeypatch.setattr(steered.ledger, "beat", sometimes)
    steered.asked = {5.0: Control(NOW, rate=50)}
    steered.run()
    assert 6 < steered.obeyed[1] < 9
    assert steered.harness.totals() == {Result.SHARED: 3000}
