"""The sharded sender in virtual time: a run with a fleet gives the results of one without."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bulkshare.model import Limits, Result, Step, Want
from bulkshare.progress import Tracker
from bulkshare.progress.telemetry import Meter
from tests.engine.fakes import NOW, RecordingObserver, response
from tests.engine.harness import EngineHarness, on_post
from tests.fleet.in_process import with_workers

if TYPE_CHECKING:
    from bulkshare.model import Reply
    from bulkshare.model.events import Event

ACCEPT = Want.MEMBER | Want.ACCEPTED


def test_every_pair_is_sent_once() -> None:
    """The workers together send one POST per pair."""
    harness = EngineHarness(limits=Limits(concurrency=8, per_image=4, rate=200, members_per_image=0))
    cluster = with_workers(harness, 3)
    harness.plan(20, 50)
    harness.run()
    assert harness.totals() == {Result.SHARED: 1000}
    assert harness.cloud.count("POST") == 1000
    assert not cluster.notes


class Observed(RecordingObserver):
    """An Observer that also counts, as a run's telemetry and display do."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter(NOW, lambda: 0.0, lambda: 1)
        self.tracker = Tracker("plan", {}, lambda: 0.0)

    def notify(self, event: Event) -> None:
        """See the port."""
        for observer in (self.meter, self.tracker):
            observer.notify(event)
        super().notify(event)


@pytest.mark.parametrize("every_answer", [False, True])
def test_all_answers_are_counted(*, every_answer: bool) -> None:
    """Telemetry and retries are those of a run without a fleet; single answers are reported only where wanted."""
    troubled = {f"p{number:03}" for number in range(7)}

    def script(image_id: str, body: str) -> Reply | None:
        member_id = json.loads(body)["member"]
        if image_id != "i00" or member_id not in troubled:
            return None
        troubled.discard(member_id)
        return response(503)

    harness = EngineHarness(limits=Limits(concurrency=8, per_image=4, rate=200, members_per_image=0))
    harness.observer = observed = Observed()
    with_workers(harness, 2, every_answer=every_answer)
    harness.cloud.script = on_post(script)
    harness.plan(4, 50)
    harness.run()
    assert harness.totals() == {Result.SHARED: 200}
    telemetry = observed.meter.telemetry()
    assert telemetry.statuses == {"200": len(harness.cloud.sent) - 7, "503": 7}
    assert sum(telemetry.latency.values()) == len(harness.cloud.sent)
    assert observed.tracker.retries == len(observed.retried) == 7
    sent = [step for step, _ in observed.answers if step is not Step.LIST]
    assert (len(sent) >= 207) is every_answer
    assert len(sent) >= 7


def test_a_full_image_keeps_no_member_from_being_accepted() -> None:
    """As without a fleet, also in shards dealt out after the one that met the quota."""
    harness = EngineHarness(limits=Limits(concurrency=4, per_image=2, rate=200, members_per_image=0))
    with_workers(harness, 2)
    harness.plan(1, 700, ACCEPT)
    members = [f"p{number:03}" for number in (*range(5, 25), *range(150, 160), *range(650, 700))]
    harness.cloud.statuses = {("i00", member_id): "pending" for member_id in members}
    harness.cloud.script = on_post(lambda _image, _body: response(413, {"message": "limit exceeded"}))
    harness.run()
    totals = harness.totals()
    assert totals[Result.ACCEPTED] == harness.cloud.count("PUT") == len(members)
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    assert (totals[Result.REJECTED] + totals[Result.SKIPPED], Result.PENDING in totals) == (620, False)
    assert totals[Result.REJECTED] <= 2  # those in flight together
