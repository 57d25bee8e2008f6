"""The Python API: `from bulkshare import load_plan, run`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import anyio.to_thread

from bulkshare.errors import UsageError
from bulkshare.model import Plan, PruneLimit
from bulkshare.model.events import AlikeSettled, PairsSettled, PhaseStarted, RestSettled
from bulkshare.operations.execute import run_async as _in_event_loop
from bulkshare.operations.listener import SilentListener
from bulkshare.operations.options import Options
from bulkshare.operations.run import run_plan
from bulkshare.plan.load import load_plan as _load_plan
from bulkshare.progress import Observers
from bulkshare.report import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike
    from typing import Self

    from bulkshare.model import Account, Result
    from bulkshare.model.events import Event
    from bulkshare.operations.results import CloudResult
    from bulkshare.progress import Observer, Tracker, View
    from bulkshare.report import Summary


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is on one cloud. `phase` is as in `events.PhaseStarted`; `settled` counts pairs by result."""

    plan: str
    cloud: str
    phase: str
    planned: int
    settled: Mapping[Result, int]
    retries: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of a plan: `parts` has the results of its clouds, `summary` their sum."""

    summary: Summary
    parts: tuple[CloudResult, ...]

    @property
    def as_planned(self) -> bool:
        """Whether everything is as the plan says, on every cloud."""
        return all(part.as_planned for part in self.parts)


class RunOptions(TypedDict, total=False):
    """How to run a plan: the options of `bulkshare run`; see `operations.options.Options` for what they mean."""

    ledger: str | PathLike[str]
    cloud: str  # --os-cloud
    sandbox: bool
    dry_run: bool
    retry_failed: bool
    verify: bool
    prune: bool
    prune_limit: float | str  # share of an image's members (0 to 1), or text as in a plan
    preflight: bool  # False: --no-preflight
    concurrency: int
    rate: float
    max_failures: int | str
    deadline_seconds: float
    give_up_after_seconds: float
    wait_lock_seconds: float
    on_progress: Callable[[Progress], None]


def load_plan(path: str | PathLike[str]) -> Plan:
    """Read a plan file and the lists it names. Raises `PlanError` with everything that is wrong with them."""
    return _load_plan(Path(path))


def run(plan: Plan | str | PathLike[str], **options: Unpack[RunOptions]) -> RunReport:
    """Reconcile the clouds with a plan, as `bulkshare run` does, and return what became of it.

    `on_progress` is called often, from the thread that does the work: it must return quickly and not raise. Pairs that
    are not as planned are in the report. Raises the `BulkshareError` that ended the run early; its `exit_code` is the
    command's. Installs no signal handlers. Use `run_async` if an event loop is running already.
    """
    return _in_event_loop(partial(run_async, plan, **options))


async def run_async(plan: Plan | str | PathLike[str], **options: Unpack[RunOptions]) -> RunReport:
    """Do what `run` does, on asyncio's event loop. If cancelled, it first records what the clouds have answered."""
    loaded = plan if isinstance(plan, Plan) else await anyio.to_thread.run_sync(load_plan, plan)
    given: dict[str, Any] = {**options}
    on_progress = given.pop("on_progress", None)
    listener = SilentListener() if on_progress is None else _ProgressListener(on_progress)
    if given.get("prune_limit") is not None:
        given["prune_limit"] = _prune_limit(given["prune_limit"])
    parts = await run_plan(loaded, Options(**given), listener)
    for part in parts:
        if part.error is not None:
            raise part.error
    return RunReport(merged([part.summary for part in parts if part.summary is not None]), tuple(parts))


def _prune_limit(limit: float | str) -> PruneLimit:
    if isinstance(limit, str):
        try:
            return PruneLimit.parse(limit)
        except ValueError as error:
            raise UsageError(f"prune_limit {limit!r}: {error}") from None
    if not 0 <= limit <= 1:
        raise UsageError(f"prune_limit {limit!r}: give a share from 0 to 1, or text such as '10%, at least 1'")
    return PruneLimit(limit)


class _ProgressListener(SilentListener):
    """Reports progress to a function."""

    def __init__(self, on_progress: Callable[[Progress], None], cloud: str = "") -> None:
        self._on_progress = on_progress
        self._cloud = cloud

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Self:
        """Return a listener that knows the cloud's name."""
        del doing, what, plan, run
        return type(self)(self._on_progress, account.cloud)

    @contextmanager
    def following(self, view: View, *observers: Observer) -> Iterator[Observers]:
        """See `Listener`."""
        reporter = _ProgressReporter(view.tracker, self._cloud, self._on_progress)
        yield Observers(view.tracker, *observers, reporter)


class _ProgressReporter:
    """An observer that passes on what a tracker counted, whenever a count changes."""

    def __init__(self, tracker: Tracker, cloud: str, on_progress: Callable[[Progress], None]) -> None:
        self._tracker = tracker
        self._cloud = cloud
        self._on_progress = on_progress

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if not isinstance(event, PhaseStarted | PairsSettled | AlikeSettled | RestSettled):
            return
        tracker = self._tracker
        self._on_progress(
            Progress(
                tracker.plan, self._cloud, tracker.phase_name, tracker.planned, dict(tracker.totals), tracker.retries
            )
        )
