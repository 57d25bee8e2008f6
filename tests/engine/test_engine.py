"""The engine against a fake cloud and a ledger in memory, in virtual time."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bulkshare.engine import Engine, Preflight
from bulkshare.errors import CredentialsRefusedError, LedgerError
from bulkshare.model import Fault, FaultKind, Limits, Reply, Request, Result, RetryPolicy
from bulkshare.pacing import Breaker, Paced
from tests.engine.fakes import NOW, FakeCloud, MemoryLedger, Recording, response
from tests.engine.virtual import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@dataclass
class Bench:
    """One engine with everything around it."""

    cloud: FakeCloud = field(default_factory=FakeCloud)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    observer: Recording = field(default_factory=Recording)
    limits: Limits = field(default_factory=lambda: Limits(concurrency=8, per_image=4))
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=4, base_seconds=1.0, cap_seconds=8.0))
    through_pace: bool = False
    max_failures: float = math.inf
    deadline_seconds: float = math.inf
    engine: Engine = field(init=False)

    def plan(self, images: int, projects: int) -> None:
        """Enqueue a product of images and projects."""
        self.ledger.enqueue_all([(f"i{i:02}", f"p{p:03}") for i in range(images) for p in range(projects)])

    def run(
        self,
        preflight: Preflight = Preflight.AUTO,
        *,
        share: bool = True,
        beside: Callable[[Engine], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Run an engine to its end, with a task beside it."""

        async def main() -> None:
            stopping = anyio.Event()
            paced = Paced(self.cloud, self.limits, breaker=Breaker(), stopping=stopping, wall=lambda: NOW)
            engine = self.engine = Engine(
                run_id=1,
                transport=paced if self.through_pace else self.cloud,
                ledger=self.ledger,  # type: ignore[arg-type]  # the part of it that an engine uses
                observer=self.observer,
                limits=self.limits,
                policy=self.policy,
                wall=lambda: NOW,
                jitter=random.Random(7).random,
                stopping=stopping,
                answered_at=(lambda: paced.answered_at) if self.through_pace else (lambda: math.inf),
                max_failures=self.max_failures,
            )
            if beside is None:
                await engine.run(preflight=preflight, share=share, deadline_seconds=self.deadline_seconds)
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(beside, engine)
                await engine.run(preflight=preflight, share=share)
                tasks.cancel_scope.cancel()

        run_virtual(main())

    def totals(self) -> dict[Result, int]:
        """Return the counts that are not zero."""
        return {result: count for result, count in self.ledger.totals(1).items() if count}


def on_post(reply_of: Callable[[str, str], Reply | None]) -> Callable[[Request, int], Reply | None]:
    """Make a script that answers POSTs by image and body."""

    def script(request: Request, _count: int) -> Reply | None:
        if request.method != "POST":
            return None
        return reply_of(request.path.split("/")[3], (request.body or b"").decode())

    return script


def test_every_pair_is_shared_with_one_post() -> None:
    """A first run sends one list request per image and one POST per pair, and every outcome is shown."""
    bench = Bench()
    bench.plan(5, 40)
    bench.run()
    assert bench.totals() == {Result.SHARED: 200}
    assert bench.cloud.members == set(bench.ledger.rows)
    assert (bench.cloud.count("GET"), bench.cloud.count("POST")) == (5, 200)
    assert len(bench.observer.shown) == 200
    assert bench.observer.phases == [("listing", 5), ("sharing", 200)]


def test_a_second_run_sends_no_post() -> None:
    """What is listed settles as already, with the cloud's own fields."""
    bench = Bench()
    bench.plan(3, 10)
    bench.cloud.members = set(bench.ledger.rows)
    bench.run()
    assert bench.totals() == {Result.ALREADY: 30}
    assert bench.cloud.count("POST") == 0
    row = bench.ledger.rows["i00", "p000"]
    assert (row.status, row.schema, row.attempts) == ("pending", "/v2/schemas/member", 0)
    assert row.created_at is not None


def test_more_pairs_than_a_page() -> None:
    """An image with more pairs than one page of the ledger is read on page by page."""
    bench = Bench()
    bench.plan(2, 700)
    bench.cloud.members = {("i00", f"p{p:03}") for p in range(600)}
    bench.run()
    assert bench.totals() == {Result.SHARED: 800, Result.ALREADY: 600}


def test_limits_are_kept() -> None:
    """Never more in flight than allowed, in all, per image, and one per pair."""
    bench = Bench(limits=Limits(concurrency=6, per_image=2))
    bench.plan(5, 30)
    bench.run()
    most = bench.cloud.most_in_flight
    assert most["all"] == 6
    assert max(count for key, count in most.items() if key.startswith("i")) == 2
    assert max(count for key, count in most.items() if key.startswith("/")) == 1


def test_auto_preflight_skips_images_with_one_pair() -> None:
    """A list request in place of one POST gains nothing."""
    bench = Bench()
    bench.plan(4, 1)
    bench.run()
    assert (bench.cloud.count("GET"), bench.cloud.count("POST")) == (0, 4)


def test_without_preflight_duplicates_are_described_by_one_list_each() -> None:
    """A 409 is a success; its fields come from one list request per image."""
    bench = Bench()
    bench.plan(2, 10)
    bench.cloud.members = {("i00", f"p{p:03}") for p in range(10)}
    bench.run(Preflight.NEVER)
    assert bench.totals() == {Result.ALREADY: 10, Result.SHARED: 10}
    assert (bench.cloud.count("GET"), bench.cloud.count("POST")) == (1, 20)
    assert bench.ledger.rows["i00", "p003"].status == "pending"


def test_dry_run_sends_no_write() -> None:
    """Without sharing, only list requests go out; what would be sent stays pending."""
    bench = Bench()
    bench.plan(3, 1)
    bench.cloud.members = {("i01", "p000")}
    bench.run(Preflight.ALWAYS, share=False)
    assert bench.cloud.count("POST") == 0
    assert bench.totals() == {Result.ALREADY: 1, Result.PENDING: 2}


def test_an_image_that_takes_no_members_costs_one_post() -> None:
    """A 404 about an image rejects one pair and skips the rest with the reason."""
    bench = Bench()
    bench.plan(3, 300)

    def script(request: Request, _count: int) -> Reply | None:
        return response(404, {"message": "Image i01 not found."}) if "/i01/" in request.path else None

    bench.cloud.script = script
    bench.run()
    assert bench.totals() == {Result.SHARED: 600, Result.REJECTED: 1, Result.SKIPPED: 299}
    assert sum("/i01/" in request.path for _, request in bench.cloud.sent) == 2
    skipped = bench.ledger.rows["i01", "p299"]
    assert "Image i01 not found" in skipped.reason
    assert bench.observer.rests[0][:3] == ("i01", 299, Result.SKIPPED)


def test_quota_is_told_from_duplicate() -> None:
    """After 413 the member is asked for: there means already, not there means the quota, and the rest is skipped."""
    bench = Bench(limits=Limits(concurrency=1, per_image=1))
    bench.plan(1, 20)
    bench.cloud.members = {("i00", "p000")}
    bench.cloud.script = on_post(
        lambda image, _body: (
            response(413, {"message": "limit exceeded"})
            if sum(i == image for i, _ in bench.cloud.members) >= 5
            else None
        )
    )
    bench.run(Preflight.NEVER)
    assert bench.totals() == {Result.ALREADY: 1, Result.SHARED: 4, Result.REJECTED: 1, Result.SKIPPED: 14}


def test_transient_errors_are_retried_until_they_pass() -> None:
    """Each pair's first POST answers 503; the second one shares it."""
    bench = Bench()
    bench.plan(2, 20)
    seen: set[tuple[str, str]] = set()

    def first_fails(image: str, body: str) -> Reply | None:
        new = (image, body) not in seen
        seen.add((image, body))
        return response(503) if new else None

    bench.cloud.script = on_post(first_fails)
    bench.run()
    assert bench.totals() == {Result.SHARED: 40}
    assert bench.engine.retries == 40
    assert {row.attempts for row in bench.ledger.rows.values()} == {2}


def test_attempts_used_up_is_failed_with_the_last_reason() -> None:
    """A pair that answers 500 for ever is asked for a last time and then failed."""
    bench = Bench()
    bench.plan(1, 3)
    bench.cloud.script = on_post(lambda _i, body: response(500, {"message": "boom"}) if "p001" in body else None)
    bench.run()
    row = bench.ledger.rows["i00", "p001"]
    assert (row.result, row.attempts) == (Result.FAILED, 4)
    assert "gave up after 4 attempts: 500: boom" in row.reason
    assert bench.totals() == {Result.SHARED: 2, Result.FAILED: 1}


def test_a_share_whose_answer_is_lost_is_found_by_asking() -> None:
    """The row was committed and the connection cut: a GET finds the member; there is no second POST."""
    bench = Bench()
    bench.plan(1, 10)

    def commit_and_cut(request: Request, _count: int) -> Reply | None:
        if request.method == "POST":
            bench.cloud._answer(request, "i00")
            return Fault(FaultKind.LOST, "connection reset")
        return None

    bench.cloud.script = commit_and_cut
    bench.run()
    assert bench.totals() == {Result.SHARED: 10}
    assert bench.cloud.count("POST") == 10
    assert "answer to the request was lost" in bench.ledger.rows["i00", "p000"].reason


def test_retry_after_is_waited_for() -> None:
    """A 429 with Retry-After 30 keeps the pair from being sent for 30 seconds."""
    bench = Bench()
    bench.plan(1, 1)
    bench.cloud.script = lambda _r, count: response(429, retry_after="30") if count == 1 else None
    bench.run()
    times = [at for at, _ in bench.cloud.sent]
    assert times[1] - times[0] >= 30
    assert bench.totals() == {Result.SHARED: 1}


def test_a_waiting_retry_holds_no_worker() -> None:
    """With one worker, a pair told to wait an hour does not delay the others."""
    bench = Bench(limits=Limits(concurrency=1, per_image=1))
    bench.plan(1, 50)
    bench.cloud.script = on_post(
        lambda _i, body: response(429, retry_after="600") if "p000" in body and bench.cloud.count("POST") == 1 else None
    )
    bench.run()
    order = [request.body for _, request in bench.cloud.sent if request.method == "POST"]
    assert order[-1] is not None
    assert b"p000" in order[-1]
    assert bench.totals() == {Result.SHARED: 50}


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


def test_no_pair_fails_while_the_endpoint_is_down() -> None:
    """In an outage longer than all the attempts of a pair, nothing fails; when it ends, everything is shared."""
    bench = Bench(policy=RetryPolicy(attempts=2, base_seconds=0.1, cap_seconds=1.0))
    bench.plan(2, 30)
    bench.through_pace = True

    def outage(_request: Request, _count: int) -> Reply | None:
        return Fault(FaultKind.UNSENT, "refused") if 1001.0 < anyio.current_time() < 1201.0 else None

    bench.cloud.script = outage
    bench.run()
    assert bench.totals() == {Result.SHARED: 60}


def test_a_pair_that_fails_alone_fails_beside_others_that_do_not() -> None:
    """The endpoint answers others, so that this pair's attempts are its own."""
    bench = Bench(policy=RetryPolicy(attempts=2, base_seconds=0.1, cap_seconds=1.0))
    bench.plan(2, 30)
    bench.through_pace = True
    bench.cloud.script = on_post(lambda _i, body: response(500) if "p007" in body else None)
    bench.run()
    assert bench.totals() == {Result.SHARED: 58, Result.FAILED: 2}


def test_a_single_pair_that_fails_for_ever_ends() -> None:
    """With nobody else to ask, the breaker's probe shows that it is the pair's own trouble."""
    bench = Bench(policy=RetryPolicy(attempts=3, base_seconds=0.1, cap_seconds=1.0))
    bench.plan(1, 1)
    bench.through_pace = True
    bench.cloud.script = on_post(lambda _i, _b: response(500))
    bench.run()
    assert bench.totals() == {Result.FAILED: 1}


def test_retries_stay_within_their_budget() -> None:
    """When everything fails at first, the retries are a fifth of the first tries and ten until answers come in."""
    bench = Bench(policy=RetryPolicy(attempts=100, base_seconds=0.01, cap_seconds=0.02))
    bench.plan(10, 50)
    first_tries: list[str] = []
    retries_then: list[int] = []

    def broken_at_first(image: str, body: str) -> Reply | None:
        if image + body not in first_tries:
            first_tries.append(image + body)
            retries_then.append(bench.cloud.count("POST") - len(first_tries))
        return response(503) if len(first_tries) < 250 else None

    bench.cloud.script = on_post(broken_at_first)
    bench.run()
    assert bench.totals() == {Result.SHARED: 500}
    for tries, retries in zip(range(1, 250), retries_then, strict=False):
        assert retries <= 10 + 0.2 * tries + bench.limits.concurrency  # first tries in flight count among them


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
