"""The engine against a fake cloud and a ledger in memory, in virtual time."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from bulkshare.engine import Engine
from bulkshare.engine.writer import IMAGES_PAGE, Recorder
from bulkshare.ledger import SqlLedger
from bulkshare.model import Backlog, Block, Limits, Reply, Request, Result, RetryPolicy
from bulkshare.pacing import Paced
from tests.engine.fakes import NOW, FakeCloud, RecordingObserver, response
from tests.engine.harness import ACCOUNT, EngineHarness, on_post
from tests.engine.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_every_pair_is_shared_with_one_post() -> None:
    """A first run lists each image, looks all up, sends one POST per pair, and reports every outcome."""
    harness = EngineHarness()
    harness.plan(5, 40)
    harness.run()
    assert harness.totals() == {Result.SHARED: 200}
    assert harness.cloud.members == set(harness.ledger.rows)
    assert (harness.cloud.count("GET"), harness.cloud.count("POST")) == (5 + 1, 200)
    assert len(harness.observer.shown) == 200
    assert harness.observer.phases == [("listing", 5), ("inspecting", 5), ("sharing", 200)]


def test_a_second_run_sends_no_post() -> None:
    """Listed members settle as already, with the cloud's own fields."""
    harness = EngineHarness()
    harness.plan(3, 10)
    harness.cloud.members = set(harness.ledger.rows)
    harness.run()
    assert harness.totals() == {Result.ALREADY: 30}
    assert harness.cloud.count("POST") == 0
    row = harness.ledger.rows["i00", "p000"]
    assert (row.status, row.schema, row.attempts) == ("pending", "/v2/schemas/member", 0)
    assert row.created_at is not None


def test_more_pairs_than_a_page() -> None:
    """An image with more pairs than one page of the ledger is read page by page."""
    harness = EngineHarness()
    harness.plan(2, 700)
    harness.cloud.members = {("i00", f"p{p:03}") for p in range(600)}
    harness.run()
    assert harness.totals() == {Result.SHARED: 800, Result.ALREADY: 600}


def test_limits_are_kept() -> None:
    """Never more in flight than allowed, in all, per image, and one per pair."""
    harness = EngineHarness(limits=Limits(concurrency=6, per_image=2))
    harness.plan(5, 30)
    harness.run()
    most = harness.cloud.most_in_flight
    assert most["all"] == 6
    assert max(count for key, count in most.items() if key.startswith("i")) == 2
    assert max(count for key, count in most.items() if key.startswith("pair")) == 1


def test_many_small_images_keep_all_workers_busy() -> None:
    """An image with fewer pairs than it may have requests in flight doesn't take the place of a large one."""
    harness = EngineHarness(limits=Limits(concurrency=12, per_image=6))
    harness.plan(60, 1)
    busy: list[int] = []

    def count(request: Request, _number: int) -> None:
        if request.method == "POST":
            busy.append(harness.cloud.in_flight["all"])

    harness.cloud.script = count
    harness.run()
    assert harness.totals() == {Result.SHARED: 60}
    assert busy[:48] == [12] * 48


def test_images_are_read_as_they_are_needed() -> None:
    """However many there are, no more than a few pages of them are in memory."""
    harness = EngineHarness()
    harness.plan(2_500, 1)
    kept: list[int] = []

    def count(_request: Request, number: int) -> None:
        if number % 500 == 250:
            kept.append(sum(isinstance(each, Backlog) for each in gc.get_objects()))

    harness.cloud.script = count
    harness.run()
    assert harness.totals() == {Result.SHARED: 2_500}
    assert len(kept) == 10
    assert max(kept) <= 1.5 * IMAGES_PAGE


def test_what_listings_show_is_compared_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one image is compared in the ledger's thread, the others that were listed meanwhile wait to go together."""
    calls: Counter[str] = Counter()
    call = Recorder._call

    async def counting(recorder: Recorder, function: Any, *args: Any) -> Any:
        calls[getattr(function, "func", function).__name__] += 1
        await anyio.sleep(0.05)  # longer than a listing takes, as on a busy machine
        return await call(recorder, function, *args)

    monkeypatch.setattr(Recorder, "_call", counting)
    harness = EngineHarness()
    harness.plan(80, 2)
    harness.cloud.members = set(harness.ledger.rows)
    harness.run()
    assert harness.totals() == {Result.ALREADY: 160}
    assert calls["_compare_all"] <= 2 * 80 / harness.limits.concurrency, "one for the first of eight, one for the rest"


def test_looked_up_names_are_recorded() -> None:
    """Of an image without a name, that it has none: no one has to ask again."""
    harness = EngineHarness()
    harness.plan(120, 1)
    harness.cloud.images = {"i00": {"name": "Ubuntu"}, "i01": {"name": None}}
    harness.run()
    assert harness.ledger.labels == {f"i{number:02}": "Ubuntu" if number == 0 else "" for number in range(120)}


class CountedLedger:
    """A ledger that counts the calls of its methods: each takes a thread, and a statement or two."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.ledger, name)
        if callable(found):
            self.calls[name] += 1
        return found


def test_the_ledger_is_asked_for_pages_not_for_images() -> None:
    """A first run of many small images reads pages of them, not each."""
    ledger = CountedLedger(MemoryLedger())
    harness = EngineHarness(ledger=cast("MemoryLedger", ledger))
    harness.plan(600, 2)
    harness.cloud.images = {f"i{number:02}": {"owner": "ours"} for number in range(600)}
    harness.run()
    assert harness.totals() == {Result.SHARED: 1200}
    assert ledger.calls["pending_wants"] == 600 / 50, "one for each GET that looks images up"
    assert ledger.calls["pending_jobs_between"] == 5, "256 pairs at a time"
    assert sum(ledger.calls.values()) - ledger.calls["settle"] < 40, ledger.calls


@pytest.mark.parametrize("projects", [1, 2, 10])
def test_a_night_in_which_nothing_changed_lists_each_image_once(projects: int) -> None:
    """However few projects an image has, the second run sends one GET per image and no write."""
    harness = EngineHarness()
    harness.plan(4, projects)
    harness.run()
    assert (harness.cloud.count("GET"), harness.cloud.count("POST")) == (4 + 1, 4 * projects)
    harness.again()
    harness.run()
    assert [request.method for _, request in harness.cloud.sent] == ["GET"] * 4
    assert harness.totals() == {Result.ALREADY: 4 * projects}


def test_without_preflight_duplicates_are_described_by_one_list_each() -> None:
    """A 409 is a success; the member fields come from one listing per image."""
    harness = EngineHarness()
    harness.plan(2, 10)
    harness.cloud.members = {("i00", f"p{p:03}") for p in range(10)}
    harness.preflight = False
    harness.run()
    assert harness.totals() == {Result.ALREADY: 10, Result.SHARED: 10}
    assert (harness.cloud.count("GET"), harness.cloud.count("POST")) == (1, 20)
    assert harness.ledger.rows["i00", "p003"].status == "pending"


def test_dry_run_sends_no_write() -> None:
    """A dry run sends only listings; what would be sent stays pending."""
    harness = EngineHarness()
    harness.plan(3, 1)
    harness.cloud.members = {("i01", "p000")}
    harness.run(share=False)
    assert harness.cloud.count("POST") == 0
    assert harness.totals() == {Result.ALREADY: 1, Result.PENDING: 2}


def test_an_image_that_takes_no_members_costs_one_post() -> None:
    """A 404 about an image rejects one pair and skips the rest with its reason."""
    harness = EngineHarness()
    harness.plan(3, 300)

    def script(request: Request, _count: int) -> Reply | None:
        return response(404, {"message": "Image i01 not found."}) if "/i01/" in request.path else None

    harness.cloud.script = script
    harness.run()
    assert harness.totals() == {Result.SHARED: 600, Result.REJECTED: 1, Result.SKIPPED: 299}
    assert sum("/i01/" in request.path for _, request in harness.cloud.sent) == 2
    skipped = harness.ledger.rows["i01", "p299"]
    assert "Image i01 not found" in skipped.reason
    assert harness.observer.rests[0][:3] == ("i01", 299, Result.SKIPPED)


def test_quota_is_distinguished_from_duplicate() -> None:
    """After a 413 a GET decides: a member is already there; otherwise it is the quota, and the rest is skipped."""
    harness = EngineHarness(limits=Limits(concurrency=1, per_image=1))
    harness.plan(1, 20)
    harness.cloud.members = {("i00", "p000")}
    harness.cloud.script = on_post(
        lambda image, _body: (
            response(413, {"message": "limit exceeded"})
            if sum(i == image for i, _ in harness.cloud.members) >= 5
            else None
        )
    )
    harness.preflight = False
    harness.run()
    assert harness.totals() == {Result.ALREADY: 1, Result.SHARED: 4, Result.REJECTED: 1, Result.SKIPPED: 14}


class OneAtATime:
    """A ledger that fails if two threads use it at once."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the ledger's method, guarded."""
        method = getattr(self._ledger, name)

        def guarded(*arguments: Any, **named: Any) -> Any:
            assert self._lock.acquire(blocking=False), "two threads at once"
            try:
                time.sleep(0.001)  # gives other threads a chance
                return method(*arguments, **named)
            finally:
                self._lock.release()

        return guarded


def test_engines_side_by_side(tmp_path: Path) -> None:
    """Two clouds, one ledger: each engine has its own run, and they take turns on the ledger."""
    ledger = SqlLedger.open(str(tmp_path / "ledger.db"))
    clouds = [FakeCloud(latency_seconds=0.001), FakeCloud(latency_seconds=0.001)]
    runs = [ledger.begin(plan="both", fingerprint="f" * 64, account=ACCOUNT, now=NOW) for _ in clouds]
    for run in runs:
        ledger.enqueue(run.id, [Block(f"i{number}", ["p1", "p2", "p3"]) for number in range(20)])

    async def main() -> None:
        turn, guarded = anyio.CapacityLimiter(1), OneAtATime(ledger)
        async with anyio.create_task_group() as tasks:
            for cloud, run in zip(clouds, runs, strict=True):
                engine = Engine(
                    run_id=run.id,
                    transport=cloud,
                    ledger=guarded,
                    observer=RecordingObserver(),
                    limits=Limits(),
                    policy=RetryPolicy(),
                    clock=anyio.current_time,
                    wall=lambda: NOW,
                    jitter=lambda: 0.5,
                    ledger_turn=turn,
                )
                tasks.start_soon(engine.run)

    anyio.run(main)
    assert [len(cloud.statuses) for cloud in clouds] == [60, 60]
    assert [ledger.totals(run.id)[Result.SHARED] for run in runs] == [60, 60]
    ledger.close()


def test_workers_take_no_pair_that_would_only_wait_for_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests come when there is a place in the window, however many workers there are; and it is kept full."""
    waits: list[int] = []
    wait = Paced._wait_for_place

    async def counted_wait(self: Paced) -> None:
        waits.append(self.allowed)
        await wait(self)

    monkeypatch.setattr(Paced, "_wait_for_place", counted_wait)
    harness = EngineHarness(limits=Limits(concurrency=64, per_image=64, rate=10_000.0), preflight=False)
    harness.plan(5, 1000)
    harness.through_pace = True
    harness.cloud.latency_seconds = 0.1
    harness.run()
    assert harness.totals() == {Result.SHARED: 5000}
    assert waits == []
    assert harness.cloud.most_in_flight["all"] == 64
