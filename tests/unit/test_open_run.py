"""Whatever ends the work on a run, its row is closed; and the steps that all clouds of an operation take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import EndpointRefusedError, LedgerError, PlanError, UsageError
from bulkshare.ledger import RunLock, SqlLedger
from bulkshare.ledger.store import ConnectionLostError
from bulkshare.model import Problem, RunState
from bulkshare.operations.execute import EngineStats, OpenRun
from bulkshare.operations.listener import SilentListener
from bulkshare.operations.lock import SharedLedger, locked
from bulkshare.operations.results import CloudResult, each, raise_refusals
from tests.ledger_fixtures import begin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bulkshare.model import Run


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """Return a new ledger."""
    opened = SqlLedger.open(str(tmp_path / "ledger.db"))
    yield opened
    opened.close()


def row(ledger: SqlLedger) -> Run:
    """Return the last run."""
    run = ledger.last_run()
    assert run is not None
    return run


@pytest.mark.parametrize("looked", [True, False])
@pytest.mark.parametrize("error", [None, RuntimeError(), KeyboardInterrupt(), LedgerError("no space left on device")])
async def test_a_run_is_closed(ledger: SqlLedger, error: BaseException | None, *, looked: bool) -> None:
    """With what the work took, once. It is finished only if all images were looked at, though nothing is pending."""
    run = OpenRun(SharedLedger(ledger), begin(ledger))
    run.stats = EngineStats(requests=7, retries=2, seconds=1.5)
    run.looked = looked
    await run.close(error)
    await run.close()
    state = RunState.FINISHED if looked else RunState.INTERRUPTED
    assert (row(ledger).state, row(ledger).requests, row(ledger).retries) == (state, 7, 2)


async def test_a_finished_run_is_not_closed_again(ledger: SqlLedger) -> None:
    """Its effort would count twice."""
    run = OpenRun(SharedLedger(ledger), begin(ledger))
    run.stats = EngineStats(requests=7)
    await run.finish()
    await run.close(RuntimeError())
    assert row(ledger).requests == 7


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_lost_server_is_not_waited_for_again(ledger: SqlLedger, *, wrapped: bool) -> None:
    """Whatever was asked of it last has waited for it; the row stays as it is."""
    lost: LedgerError = ConnectionLostError("server closed the connection")
    if wrapped:
        outer = LedgerError("can't write the ledger")
        outer.__cause__ = lost
        lost = outer
    run = OpenRun(SharedLedger(ledger), begin(ledger))
    await run.close(lost)
    await run.close()
    assert row(ledger).state is RunState.RUNNING


@dataclass
class Cloud:
    """Takes steps, one of which may fail."""

    name: str
    fails_at: str = ""
    taken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.result = CloudResult(self.name)

    async def first(self) -> None:
        """Take a step."""
        self._take("first")

    async def second(self) -> None:
        """Take another."""
        self._take("second")

    def _take(self, step: str) -> None:
        self.taken.append(step)
        if step == self.fails_at:
            raise EndpointRefusedError(f"{self.name} is down")


async def test_a_cloud_that_fails_takes_no_further_steps() -> None:
    """The others do; its error is in its result."""
    clouds = [Cloud("north", fails_at="first"), Cloud("south")]
    await each(clouds, Cloud.first)
    await each(clouds, Cloud.second)
    assert [cloud.taken for cloud in clouds] == [["first"], ["first", "second"]]
    assert str(clouds[0].result.error) == "north is down"
    assert clouds[1].result.error is None


def test_what_keeps_all_clouds_from_starting() -> None:
    """The problems of all clouds at once, each once; then wrong usage; a cloud that is down is no obstacle."""
    down = CloudResult("a", error=EndpointRefusedError("down"))
    raise_refusals([down])
    wrong = CloudResult("b", error=UsageError("another cloud"))
    with pytest.raises(UsageError, match="another cloud"):
        raise_refusals([down, wrong])
    problems = [Problem("plan.yaml", 3, 1, "no such image"), Problem("plan.yaml", 4, 1, "no such project")]
    misfits = [CloudResult("c", error=PlanError(problems[:1])), CloudResult("d", error=PlanError(problems))]
    with pytest.raises(PlanError) as raised:
        raise_refusals([wrong, *misfits])
    assert list(raised.value.problems) == problems


async def test_a_lock_is_released_while_the_event_loop_ends(ledger: SqlLedger) -> None:
    """It cancels every task once more, whatever is shielded."""
    holding = asyncio.Event()

    async def hold() -> None:
        async with locked(SharedLedger(ledger), "nightly", SilentListener(), wait_seconds=0, signals=()):
            holding.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await holding.wait()
    task.cancel()
    await asyncio.sleep(0)  # it is about to release the lock
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    lock = RunLock(ledger, "nightly")
    assert lock.try_acquire()
    lock.release()
