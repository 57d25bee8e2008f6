"""The Python API."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio
import pytest

import bulkshare
from bulkshare import Progress, load_plan, run, run_async
from bulkshare.errors import PlanError, UsageError
from bulkshare.ledger import SqlLedger
from bulkshare.model import Result, RunState

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shell import Shell


def plan_in(shell: Shell) -> Path:
    """Write a plan of six pairs."""
    return shell.directory / shell.plan(["image-1", "image-2"], ["a", "b", "c"])


def test_run(shell: Shell) -> None:
    """The report, the progress and the ledger agree."""
    seen: list[Progress] = []
    ledger = shell.directory / "ledger.db"
    report = run(load_plan(plan_in(shell)), sandbox=True, ledger=ledger, on_progress=seen.append)
    assert report.as_planned
    assert (report.summary.plan, report.summary.totals[Result.SHARED]) == ("plan", 6)
    assert len(report.parts) == 1
    assert (seen[0].cloud, seen[0].planned) == ("sandbox", 6)
    assert seen[-1].settled[Result.SHARED] == sum(seen[-1].settled.values()) == 6
    assert "sharing" in {progress.phase for progress in seen}
    assert len(shell.rows("--ledger", str(ledger))) == 6


async def test_run_async(shell: Shell) -> None:
    """It runs on the current event loop, and takes a path as well as a plan."""
    report = await run_async(plan_in(shell), sandbox=True, ledger=shell.directory / "ledger.db")
    assert report.summary.totals[Result.SHARED] == 6


@pytest.mark.parametrize("error", [None, RuntimeError("a bug of the program's")], ids=["cancelled", "callback raises"])
async def test_whatever_ends_a_run_is_in_the_ledger(shell: Shell, error: Exception | None) -> None:
    """After a cancellation or an exception in the callback the run is interrupted, not `running`."""
    plan = shell.directory / shell.plan(
        ["image-1"], [f"p{number}" for number in range(50)], more="limits: {rate: 20}\n"
    )
    with anyio.CancelScope() as scope:

        def end(progress: Progress) -> None:
            if not progress.settled[Result.SHARED]:
                return
            if error is not None:
                raise error
            scope.cancel()

        with pytest.raises(ExceptionGroup) if error else nullcontext():
            await run_async(plan, sandbox=True, ledger=shell.directory / "ledger.db", on_progress=end)
    ledger = SqlLedger.open(str(shell.directory / "ledger.db"))
    run = ledger.last_run()
    assert run is not None
    assert (run.state, run.enqueued) == (RunState.INTERRUPTED, True)
    assert 0 < run.totals[Result.SHARED] < 50
    assert run.requests > 0
    assert ledger.telemetry(run.id)
    ledger.close()


def test_dry_run_leaves_no_run(shell: Shell) -> None:
    """The parts say what would be done."""
    ledger = shell.directory / "ledger.db"
    report = run(plan_in(shell), sandbox=True, ledger=ledger, dry_run=True)
    assert report.parts[0].changes is not None
    assert report.parts[0].changes.add == 6
    assert not ledger.exists()


def test_errors_are_raised(shell: Shell) -> None:
    """They have the command's exit codes."""
    shell.write("broken.yaml", "version: 1\n")
    with pytest.raises(PlanError) as broken:
        load_plan(shell.directory / "broken.yaml")
    assert broken.value.exit_code == 2
    with pytest.raises(UsageError, match="--dry-run shares nothing"):
        run(plan_in(shell), sandbox=True, dry_run=True, verify=True)


def test_names_of_the_package() -> None:
    """Every public name can be imported, and no other."""
    assert all(hasattr(bulkshare, name) for name in bulkshare.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        getattr(bulkshare, "nothing")  # noqa: B009  mypy knows that there is none
