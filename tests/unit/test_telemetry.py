"""Telemetry over time, on a clock that the test moves."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from bulkshare.model import Step, Verdict, VerdictKind
from bulkshare.model.events import Answered, AnswersCounted, BatchSent
from bulkshare.progress.telemetry import MOST_INTERVALS, Meter

BEGAN_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHARED = Verdict(VerdictKind.SHARED, http_status=200)


class Scene:
    """A meter with a clock and a window size that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.allowed = 4
        self.meter = Meter(BEGAN_AT, lambda: self.now, lambda: self.allowed)

    def answer(self, at: float, verdict: Verdict = SHARED, seconds: float = 0.01) -> None:
        """Let an answer come so many seconds after the start."""
        self.now = 1000.0 + at
        self.meter.notify(Answered(Step.ADD, "image", "project", verdict, seconds))


@pytest.fixture
def scene() -> Scene:
    """Return a new meter."""
    return Scene()


def test_a_run_without_requests_has_one_empty_interval(scene: Scene) -> None:
    """There is a value from the start."""
    telemetry = scene.meter.telemetry()
    assert telemetry.began_at == BEGAN_AT
    assert (telemetry.interval_seconds, telemetry.requests, telemetry.troubled) == (1.0, (0,), (0,))
    assert telemetry.allowed == (4,)
    assert not telemetry.latency
    assert not telemetry.statuses


def test_answers_are_counted_by_second(scene: Scene) -> None:
    """Each second has its count, including those without answers and those since the last one."""
    for at in (0.0, 0.9, 1.0, 3.5):
        scene.answer(at)
    scene.now = 1005.2
    assert scene.meter.telemetry().requests == (2, 1, 0, 1, 0, 0)


def test_answers_that_are_only_counted_weigh_as_many(scene: Scene) -> None:
    """A thousand at once change the telemetry as a thousand one by one do."""
    other = Scene()
    for verdict, seconds in ((SHARED, 0.01), (Verdict(VerdictKind.TRANSIENT, http_status=503), 0.3)):
        for _ in range(1000):
            scene.answer(0.5, verdict, seconds)
        other.now = 1000.5
        other.meter.notify(AnswersCounted(1000, verdict.kind, verdict.http_status, seconds))
    assert other.meter.telemetry() == scene.meter.telemetry()


def test_batches_are_counted_with_their_pairs(scene: Scene) -> None:
    """They are among the requests, which the answers count."""
    for pairs in (100, 7):
        scene.answer(0.5)
        scene.meter.notify(BatchSent(pairs))
    telemetry = scene.meter.telemetry()
    assert (telemetry.requests, telemetry.batches, telemetry.batched_pairs) == ((2,), 2, 107)


def test_the_window_is_that_at_the_end_of_an_interval(scene: Scene) -> None:
    """The allowed concurrency is kept for each interval; the last one has the current value."""
    scene.answer(0.5)
    scene.allowed = 8
    scene.answer(1.5)
    scene.answer(3.5)
    scene.allowed = 2
    assert scene.meter.telemetry().allowed == (8, 8, 8, 2)


def test_trouble_is_throttling_errors_of_the_server_and_no_answer(scene: Scene) -> None:
    """A definite no is not trouble."""
    for verdict in (
        SHARED,
        Verdict(VerdictKind.REJECTED, http_status=403),
        Verdict(VerdictKind.THROTTLED, http_status=429),
        Verdict(VerdictKind.TRANSIENT, http_status=503),
        Verdict(VerdictKind.TRANSIENT),
        Verdict(VerdictKind.LOST),
    ):
        scene.answer(0.5, verdict)
    telemetry = scene.meter.telemetry()
    assert (telemetry.requests, telemetry.troubled) == ((6,), (4,))
    assert telemetry.statuses == {"200": 1, "403": 1, "429": 1, "503": 1, "no answer": 1, "not sent": 1}


def test_latency_is_counted_by_upper_bounds_that_double(scene: Scene) -> None:
    """A time equal to a bound belongs to it; everything beyond the last bound is one bucket."""
    for seconds in (0.0, 0.001, 0.0011, 0.9, 100.0):
        scene.answer(0.5, seconds=seconds)
    assert scene.meter.telemetry().latency == {0.001: 2, 0.002: 1, 1.024: 1, math.inf: 1}


def test_a_long_run_gets_longer_intervals_and_loses_no_answer(scene: Scene) -> None:
    """The number of intervals is bounded, they have equal length, and they still add up."""
    for second in range(MOST_INTERVALS * 3):
        scene.allowed = second
        scene.answer(second + 0.5)
    telemetry = scene.meter.telemetry()
    assert telemetry.interval_seconds == 4.0
    assert telemetry.requests == (4,) * (MOST_INTERVALS * 3 // 4)
    assert len(telemetry.allowed) == len(telemetry.troubled) == len(telemetry.requests)
    assert telemetry.allowed[:2] == (4, 8), "each interval closes when the next one's first answer comes"


def test_a_long_pause_is_time_without_answers(scene: Scene) -> None:
    """After an idle hour the intervals still cover all the time since the start."""
    scene.answer(0.5)
    scene.answer(1.5)
    scene.answer(2.5)
    scene.answer(3600.0)
    telemetry = scene.meter.telemetry()
    assert telemetry.interval_seconds == 8.0
    assert len(telemetry.requests) == 451
    assert (telemetry.requests[0], telemetry.requests[450], sum(telemetry.requests)) == (3, 1, 4)
