"""Nothing blocks the event loop: ledger calls and computations on whole plans run in threads.

Shown without measuring time: each of them waits until the event loop has turned once more, which it can't do on the
loop's own thread. So each is also slower than the loop, as with a slow ledger.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from bulkshare.engine import client
from bulkshare.image_api.glance import interpret
from bulkshare.ledger import SqlLedger
from bulkshare.model import Result, Step
from bulkshare.operations import diff, execute, history, resolve, run, session, verify
from bulkshare.operations.listener import SilentListener
from bulkshare.operations.options import Options
from bulkshare.operations.resume import resume_runs
from bulkshare.operations.run import run_plan
from bulkshare.operations.saved_plan import load_saved, save
from bulkshare.operations.verify import verify_plan
from bulkshare.plan.load import load_plan
from bulkshare.sandbox import Cloud, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from bulkshare.model import Plan, Verdict

WAIT_SECONDS = 30.0
LISTENER = SilentListener()


class Watchdog:
    """Lets watched functions wait until the event loop has turned once more.

    called: counts the calls by name.
    blocking: names of functions that were called on the event loop's thread, or while it stood still.
    overlapping: names of a ledger's methods that were called during another call.
    """

    def __init__(self) -> None:
        self.called: Counter[str] = Counter()
        self.blocking: set[str] = set()
        self.overlapping: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def watched(
        self, name: str, function: Callable[..., Any], turn: threading.Lock | None = None
    ) -> Callable[..., Any]:
        """Return the function, watched; `turn` is held during calls of the same ledger."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            self._wait(name)
            if turn is not None and not turn.acquire(blocking=False):
                self.overlapping.add(name)
                return function(*arguments, **keywords)
            try:
                found = function(*arguments, **keywords)
            finally:
                if turn is not None:
                    turn.release()
            if isinstance(found, GeneratorType):
                return self._each(name, found)
            return WatchedLedger(self, found, turn) if name == "lock_of" else found

        return call

    def _each(self, name: str, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self._wait(name)
            yield item

    def _wait(self, name: str) -> None:
        self.called[name] += 1
        if threading.get_ident() == self._thread:
            self.blocking.add(name)
            return
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        if not turned.wait(WAIT_SECONDS):
            self.blocking.add(name)


class WatchedLedger:
    """A ledger, or its lock, all of whose methods are watched."""

    def __init__(self, watchdog: Watchdog, ledger: object, turn: threading.Lock | None = None) -> None:
        self._watchdog = watchdog
        self._ledger = ledger
        self._turn = turn or threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return self._watchdog.watched(name, getattr(self._ledger, name), self._turn)


COMPUTATIONS = {
    session: ["for_cloud"],
    resolve: ["selectors", "resolved", "orders", "project_ids", "check_ids"],
    execute: ["expand"],
    history: ["causes_of"],
    run: ["fingerprint", "narrow", "require_unchanged"],
    diff: ["changes_of"],
    verify: ["Comparer"],
}


@pytest.fixture
async def watchdog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    """Watch all ledgers, and what is computed of whole plans."""
    watchdog = Watchdog()
    opened = watchdog.watched("open", SqlLedger.open)
    monkeypatch.setattr(SqlLedger, "open", lambda *given, **more: WatchedLedger(watchdog, opened(*given, **more)))
    for module, names in COMPUTATIONS.items():
        for name in names:
            monkeypatch.setattr(module, name, watchdog.watched(name, getattr(module, name)))
    return watchdog


@pytest.fixture
async def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Options]:
    """Serve a cloud; return options for it, with a new ledger."""
    async with Sandbox(Cloud.sample(2, 0)) as sandbox:
        (tmp_path / "clouds.yaml").write_text(sandbox.clouds_yaml())
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        yield Options(ledger=tmp_path / "ledger.db", cloud="sandbox")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Return a plan of two images, one of which there is not."""
    images = [*Cloud.sample(1, 0).images, "11111111-1111-4111-8111-111111111111"]
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"version: 1\nname: nightly\ncheck_projects: never\nshare:\n  - {{images: {images}, projects: [a, b, c]}}\n"
    )
    return load_plan(file)


def require_unblocked(watchdog: Watchdog, *names: str) -> None:
    """Require that these were called, and that no call blocked the event loop or overlapped another."""
    assert not watchdog.blocking
    assert not watchdog.overlapping
    assert not set(names) - set(watchdog.called)


async def test_run(watchdog: Watchdog, plan: Plan, options: Options) -> None:
    """From the lock to the verification, then again for the pairs that failed."""
    (result,) = await run_plan(plan, replace(options, verify=True), LISTENER)
    assert result.summary is not None
    assert (result.summary.planned, result.summary.totals[Result.SHARED]) == (6, 3)
    require_unblocked(watchdog, "open", "try_acquire", "begin", "enqueue", "finish", "record_telemetry", "release")
    require_unblocked(watchdog, "resolved", "orders", "expand", "fingerprint", "causes_of", "Comparer", "close")
    await run_plan(plan, replace(options, retry_failed=True), LISTENER)
    require_unblocked(watchdog, "last_enqueued", "narrow")


async def test_diff_and_the_saved_plan(watchdog: Watchdog, plan: Plan, options: Options, tmp_path: Path) -> None:
    """A diff has a ledger as well, and a saved plan is compared with it."""
    results = await run_plan(plan, replace(options, dry_run=True), LISTENER)
    require_unblocked(watchdog, "changes_of", "outcomes", "labels")
    save(tmp_path / "saved.plan", plan, results)
    saved = load_saved(tmp_path / "saved.plan", (tmp_path / "saved.plan").read_bytes())
    await run_plan(saved.plan, options, LISTENER, expected=saved.parts)
    require_unblocked(watchdog, "require_unchanged")


async def test_several_clouds(watchdog: Watchdog, plan: Plan, options: Options, tmp_path: Path) -> None:
    """They take turns on one handle, the one that holds the lock."""
    async with Sandbox(Cloud.sample(2, 0)) as other:
        document = yaml.safe_load((tmp_path / "clouds.yaml").read_text())
        document["clouds"]["other"] = yaml.safe_load(other.clouds_yaml())["clouds"]["sandbox"]
        (tmp_path / "clouds.yaml").write_text(yaml.safe_dump(document))
        both = replace(plan, clouds=("sandbox", "other"))
        results = await run_plan(both, replace(options, cloud=None, deadline_seconds=0.0), LISTENER)
        assert [str(result.error).partition(";")[0] for result in results] == ["the deadline has passed"] * 2
        require_unblocked(watchdog, "lock_of", "enqueue")
        assert watchdog.called["open"] == 1
        await resume_runs(None, options, LISTENER)
        require_unblocked(watchdog, "reopen")
        assert watchdog.called["open"] == 2


async def test_verify(watchdog: Watchdog, plan: Plan, options: Options) -> None:
    """The comparison uses a ledger as well."""
    await verify_plan(plan, options, LISTENER)
    require_unblocked(watchdog, "begin", "enqueue", "Comparer")


async def test_a_list_of_many_members(
    watchdog: Watchdog, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading and comparing it takes a second for 100,000 members, so that is done in a thread."""
    cloud = Cloud.sample(1, 0, member_quota=-1)
    (image,) = cloud.images.values()
    for number in range(500):
        image.insert(f"project-{number:03}", datetime.now(UTC))

    def interpreted(step: Step, *more: Any) -> Verdict:
        return (watchdog.watched("interpret", interpret) if step is Step.LIST else interpret)(step, *more)

    async with Sandbox(cloud) as sandbox:
        (tmp_path / "clouds.yaml").write_text(sandbox.clouds_yaml())
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        monkeypatch.setattr(client, "interpret", interpreted)
        long = replace(plan, entries=(replace(plan.entries[0], images=(image.id,)),))
        (comparison,) = (await verify_plan(long, Options(cloud="sandbox"), LISTENER)).values()
    assert len(comparison.extra[image.id]) == 500
    require_unblocked(watchdog, "interpret")


async def test_resume(watchdog: Watchdog, plan: Plan, options: Options) -> None:
    """A run that is unfinished, and one that is finished."""
    await run_plan(plan, replace(options, deadline_seconds=0.0), LISTENER)
    (result,) = await resume_runs(None, options, LISTENER)
    assert result.error is None
    require_unblocked(watchdog, "runs", "reopen", "try_acquire", "finish", "release")
    (result,) = await resume_runs(None, options, LISTENER)
    require_unblocked(watchdog, "causes_of")
