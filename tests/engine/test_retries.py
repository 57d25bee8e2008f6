"""Transient failures and lost answers: retries, GETs of the member, and outages, in virtual time."""

from __future__ import annotations

import anyio
import pytest

from bulkshare.model import Fault, FaultKind, Limits, Reply, Request, Result, RetryPolicy
from tests.engine.fakes import response
from tests.engine.harness import EngineHarness, on_post


def test_transient_errors_are_retried_until_they_pass() -> None:
    """Each pair's first POST is answered with 503, its second succeeds."""
    harness = EngineHarness()
    harness.plan(2, 20)
    seen: set[tuple[str, str]] = set()

    def first_fails(image: str, body: str) -> Reply | None:
        new = (image, body) not in seen
        seen.add((image, body))
        return response(503) if new else None

    harness.cloud.script = on_post(first_fails)
    harness.run()
    assert harness.totals() == {Result.SHARED: 40}
    assert harness.engine.retries == 40
    assert {row.attempts for row in harness.ledger.rows.values()} == {2}


def test_attempts_used_up_is_failed_with_the_last_reason() -> None:
    """A pair that always gets 500 is asked for a last time, then failed."""
    harness = EngineHarness()
    harness.plan(1, 3)
    harness.cloud.script = on_post(lambda _i, body: response(500, {"message": "boom"}) if "p001" in body else None)
    harness.run()
    row = harness.ledger.rows["i00", "p001"]
    assert (row.result, row.attempts) == (Result.FAILED, 4)
    assert "gave up after 4 attempts: 500: boom" in row.reason
    assert harness.totals() == {Result.SHARED: 2, Result.FAILED: 1}


def test_a_pair_whose_answer_is_lost_is_found_by_a_get() -> None:
    """The row was committed before the connection broke: a GET finds the member, and there is no second POST."""
    harness = EngineHarness()
    harness.plan(1, 10)

    def commit_and_cut(request: Request, _count: int) -> Reply | None:
        if request.method == "POST":
            harness.cloud.answer(request)
            return Fault(FaultKind.LOST, "connection reset")
        return None

    harness.cloud.script = commit_and_cut
    harness.run()
    assert harness.totals() == {Result.SHARED: 10}
    assert harness.cloud.count("POST") == 10
    assert "answer to the request was lost" in harness.ledger.rows["i00", "p000"].reason


def test_retry_after_is_respected() -> None:
    """After a 429 with Retry-After 30 the pair is not sent for 30 seconds."""
    harness = EngineHarness()
    harness.plan(1, 1)
    harness.cloud.script = lambda _r, count: response(429, retry_after="30") if count == 1 else None
    harness.preflight = False
    harness.run()
    times = [at for at, _ in harness.cloud.sent]
    assert times[1] - times[0] >= 30
    assert harness.totals() == {Result.SHARED: 1}


def test_a_waiting_retry_holds_no_worker() -> None:
    """With one worker, a pair that has to wait for an hour does not delay the others."""
    harness = EngineHarness(limits=Limits(concurrency=1, per_image=1))
    harness.plan(1, 50)
    harness.cloud.script = on_post(
        lambda _i, body: (
            response(429, retry_after="600") if "p000" in body and harness.cloud.count("POST") == 1 else None
        )
    )
    harness.run()
    order = [request.body for _, request in harness.cloud.sent if request.method == "POST"]
    assert order[-1] is not None
    assert b"p000" in order[-1]
    assert harness.totals() == {Result.SHARED: 50}


def test_no_pair_fails_while_the_endpoint_is_down() -> None:
    """In an outage longer than all attempts of a pair nothing fails; when it ends, everything is shared."""
    harness = EngineHarness(policy=RetryPolicy(attempts=2, base_seconds=0.1, cap_seconds=1.0))
    harness.plan(2, 30)
    harness.through_pace = True

    def outage(_request: Request, _count: int) -> Reply | None:
        return Fault(FaultKind.UNSENT, "refused") if 1001.0 < anyio.current_time() < 1201.0 else None

    harness.cloud.script = outage
    harness.run()
    assert harness.totals() == {Result.SHARED: 60}


def test_a_pair_that_fails_alone_fails_beside_others_that_do_not() -> None:
    """The endpoint answers for others, so this pair's attempts count."""
    harness = EngineHarness(policy=RetryPolicy(attempts=2, base_seconds=0.1, cap_seconds=1.0))
    harness.plan(2, 30)
    harness.through_pace = True
    harness.cloud.script = on_post(lambda _i, body: response(500) if "p007" in body else None)
    harness.run()
    assert harness.totals() == {Result.SHARED: 58, Result.FAILED: 2}


def test_a_single_pair_that_fails_for_ever_ends() -> None:
    """Without other pairs, the breaker's probe shows that the failure is the pair's own."""
    harness = EngineHarness(policy=RetryPolicy(attempts=3, base_seconds=0.1, cap_seconds=1.0))
    harness.plan(1, 1)
    harness.through_pace = True
    harness.cloud.script = on_post(lambda _i, _b: response(500))
    harness.run()
    assert harness.totals() == {Result.FAILED: 1}


def test_retries_stay_within_their_budget() -> None:
    """While everything fails, there are ten retries plus a fifth of the first tries."""
    harness = EngineHarness(policy=RetryPolicy(attempts=100, base_seconds=0.01, cap_seconds=0.02))
    harness.plan(10, 50)
    first_tries: list[str] = []
    retries_then: list[int] = []

    def broken_at_first(image: str, body: str) -> Reply | None:
        if image + body not in first_tries:
            first_tries.append(image + body)
            retries_then.append(harness.cloud.count("POST") - len(first_tries))
        return response(503) if len(first_tries) < 250 else None

    harness.cloud.script = on_post(broken_at_first)
    harness.run()
    assert harness.totals() == {Result.SHARED: 500}
    for tries, retries in zip(range(1, 250), retries_then, strict=False):
        assert retries <= 10 + 0.2 * tries + harness.limits.concurrency  # first tries in flight count among them


@pytest.mark.parametrize("down", [Fault(FaultKind.UNSENT, "refused"), Fault(FaultKind.TIMEOUT, "60 s"), response(503)])
def test_the_backlog_of_an_outage_is_soon_done(down: Reply) -> None:
    """Parked pairs are released as fast as the endpoint answers, even without first tries left."""
    harness = EngineHarness(limits=Limits(concurrency=16, rate=1000.0), policy=RetryPolicy())
    harness.plan(10, 50)
    harness.through_pace = True
    harness.cloud.latency_seconds = 0.02
    outage = 1000.5, 1008.5
    harness.cloud.script = lambda _request, _count: down if outage[0] < anyio.current_time() < outage[1] else None
    harness.run()
    assert harness.totals() == {Result.SHARED: 500}
    assert sum(at > outage[1] for at, _ in harness.cloud.sent) > 100, "the outage left nothing behind"
    assert harness.cloud.sent[-1][0] - outage[1] < 10


def test_a_lost_answer_is_asked_about_after_a_while() -> None:
    """Whatever the jitter, a server gets four bases to finish before the GET."""
    harness = EngineHarness(jitter=lambda: 0.0)
    harness.plan(1, 1)
    harness.cloud.script = lambda _request, count: Fault(FaultKind.TIMEOUT, "60 s") if count == 1 else None
    harness.preflight = False
    harness.run()
    (posted, _), (asked, question) = harness.cloud.sent[:2]
    assert question.method == "GET"
    assert asked - posted >= 4 * harness.policy.base_seconds


def test_a_late_commit_is_explained() -> None:
    """Lost, not found by a GET, then 409: the reason says that the first attempt may have added it."""
    harness = EngineHarness()
    harness.plan(1, 1)

    def script(request: Request, count: int) -> Reply | None:
        if count == 1:
            return Fault(FaultKind.LOST, "connection reset")
        if request.method == "GET" and harness.cloud.count("POST") == 1:
            harness.cloud.members = {("i00", "p000")}  # the first POST commits only now
            return response(404)
        return None

    harness.cloud.script = script
    harness.preflight = False
    harness.run()
    row = harness.ledger.rows["i00", "p000"]
    assert (row.result, row.attempts) == (Result.ALREADY, 2)
    assert "connection reset" in row.reason


def test_a_listing_that_makes_no_sense_is_repeated() -> None:
    """A 200 that is not a list of members is not believed: the next answer counts."""
    harness = EngineHarness()
    harness.plan(1, 10)
    harness.cloud.members = set(harness.ledger.rows)
    harness.cloud.script = lambda _request, count: response(200, {"page": "welcome"}) if count == 1 else None
    harness.run()
    assert harness.totals() == {Result.ALREADY: 10}
    assert (harness.cloud.count("GET"), harness.cloud.count("POST")) == (2, 0)
