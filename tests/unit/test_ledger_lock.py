"""The lock: one run of a plan at a time on a ledger, for as long as its process lives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import InterruptedRunError, LockHeldError, PlanError
from bulkshare.ledger import RunLock, SqlLedger
from bulkshare.operations.listener import SilentListener
from bulkshare.operations.lock import SharedLedger, locked
from bulkshare.plan.load import load_plan
from tests.ledger_fixtures import HOLD, begin, finish, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the path of the ledger."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(place: Path) -> Iterator[SqlLedger]:
    """Return a new ledger."""
    opened = SqlLedger.open(str(place))
    yield opened
    opened.close()


@pytest.fixture
def holder(ledger: SqlLedger) -> Iterator[subprocess.Popen[str]]:
    """Return a process that holds the lock of plan nightly."""
    command = [sys.executable, "-c", HOLD, str(path_of(ledger)), "nightly"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("nightly-")
        try:
            yield process
        finally:
            process.kill()


def test_the_refusal_names_the_holder(ledger: SqlLedger, holder: subprocess.Popen[str]) -> None:
    """The message has the run's name and its process; the ledger is unchanged."""
    run = ledger.runs()[0]
    with pytest.raises(
        LockHeldError, match=f"another run of plan nightly is in progress: run {run.key}, process {holder.pid} "
    ):
        RunLock(ledger, "nightly").__enter__()
    assert ledger.runs() == [run]


def test_a_killed_process_leaves_no_lock(ledger: SqlLedger, holder: subprocess.Popen[str], place: Path) -> None:
    """A process cannot clean up on SIGKILL; the lock file that remains is no obstacle."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert place.with_name("ledger.db.nightly.lock").exists()
    with RunLock(ledger, "nightly"):
        assert len(ledger.runs()) == 1


class Listening(SilentListener):
    """Collects the notes, and calls a function for each."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.notes: list[str] = []
        self._then = then

    def note(self, message: str) -> None:
        """Keep it."""
        self.notes.append(message)
        self._then()


async def test_waiting_for_a_killed_process(ledger: SqlLedger, holder: subprocess.Popen[str]) -> None:
    """The waiting process reports the holder, and gets the lock when that one ends; afterwards it is free again."""
    listener = Listening(holder.kill)
    async with locked(SharedLedger(ledger), "nightly", listener, wait_seconds=60, signals=()):
        holder.wait()
        assert not RunLock(ledger, "nightly").try_acquire()
    assert len(listener.notes) == 1
    assert f"process {holder.pid} " in listener.notes[0]
    assert RunLock(ledger, "nightly").try_acquire()


async def test_waiting_in_vain(ledger: SqlLedger) -> None:
    """After the timeout, the error names the holder and says what to do."""
    listener = Listening()
    with RunLock(ledger, "nightly"):
        begin(ledger)
        with pytest.raises(LockHeldError) as caught:
            async with locked(SharedLedger(ledger), "nightly", listener, wait_seconds=0.01, signals=()):
                pass
    assert str(caught.value) == f"{listener.notes[0]}; try again when it has ended, or wait with --wait-lock"


async def test_a_signal_ends_the_wait(ledger: SqlLedger) -> None:
    """A long wait can be interrupted; nothing was sent, and the holder keeps the lock."""
    listener = Listening(lambda: asyncio.get_running_loop().call_later(0, os.kill, os.getpid(), signal.SIGTERM))
    with RunLock(ledger, "nightly"):
        with pytest.raises(InterruptedRunError, match="nothing was sent"):
            async with locked(SharedLedger(ledger), "nightly", listener, wait_seconds=3600, signals=(signal.SIGTERM,)):
                pass
        assert not RunLock(ledger, "nightly").try_acquire()
    assert RunLock(ledger, "nightly").try_acquire()


def test_a_stale_lock_file_is_no_obstacle(ledger: SqlLedger, place: Path) -> None:
    """An existing file can be locked, whatever it contains."""
    place.with_name("ledger.db.nightly.lock").write_text("4711")
    with RunLock(ledger, "nightly"):
        pass


def test_a_holder_without_a_run(ledger: SqlLedger) -> None:
    """Before the holder has recorded its run there is none to name; an ended one is not named."""
    finish(ledger, begin(ledger).id)
    with RunLock(ledger, "nightly"), pytest.raises(LockHeldError, match="it has not recorded its run yet"):
        RunLock(ledger, "nightly").__enter__()


def test_a_holder_of_several_runs(ledger: SqlLedger) -> None:
    """The running one is named, although another cloud's run of the plan began later and has ended."""
    running = begin(ledger)
    finish(ledger, begin(ledger).id)
    begin(ledger, "other")
    with RunLock(ledger, "nightly"), pytest.raises(LockHeldError, match=f"in progress: run {running.key}, process"):
        RunLock(ledger, "nightly").__enter__()


def test_a_holder_is_not_taken_for_the_killed_one_before(ledger: SqlLedger, holder: subprocess.Popen[str]) -> None:
    """A RUNNING run may belong to a process that was killed; it is not named as the holder."""
    holder.kill()
    holder.wait()
    with RunLock(ledger, "nightly"), pytest.raises(LockHeldError, match="it has not recorded its run yet"):
        RunLock(ledger, "nightly").__enter__()


def test_a_holder_on_another_host(ledger: SqlLedger, holder: subprocess.Popen[str]) -> None:
    """Whether a process on another host is alive is unknown here, so it is named."""
    holder.kill()
    holder.wait()
    with ledger._store.writing() as connection:
        connection.execute("UPDATE runs SET host = 'elsewhere'")
    with RunLock(ledger, "nightly"), pytest.raises(LockHeldError, match=f"process {holder.pid} on elsewhere, since"):
        RunLock(ledger, "nightly").__enter__()


def test_a_lock_is_released_by_an_error(ledger: SqlLedger) -> None:
    """However the run ends, the next one can begin."""
    with pytest.raises(KeyboardInterrupt), RunLock(ledger, "nightly"):
        raise KeyboardInterrupt
    with RunLock(ledger, "nightly"):
        pass


def test_links_to_a_ledger_share_its_locks(ledger: SqlLedger, place: Path, tmp_path: Path) -> None:
    """A ledger that is opened through links to its file or its directory is the same ledger."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.db").symlink_to(place)
    (tmp_path / "linked").symlink_to(tmp_path)
    for other in ("elsewhere/link.db", "linked/ledger.db", "elsewhere/../ledger.db"):
        linked = SqlLedger.open(str(tmp_path / other))
        with RunLock(ledger, "nightly"), pytest.raises(LockHeldError):
            RunLock(linked, "nightly").__enter__()
        linked.close()


def test_plans_do_not_hinder_each_other(ledger: SqlLedger, place: Path, tmp_path: Path) -> None:
    """Other plans on the ledger, also those with the same prefix, and the plan on another ledger are not locked."""
    other = SqlLedger.open(str(tmp_path / "other.db"))
    with ExitStack() as locks:
        for plan in ("nightly", "nightly-2", "night"):
            locks.enter_context(RunLock(ledger, plan))
        locks.enter_context(RunLock(other, "nightly"))
        with pytest.raises(LockHeldError):
            RunLock(SqlLedger.open(str(place)), "night").__enter__()
    other.close()


@pytest.mark.parametrize("name", ["../nightly", "a/b", "/etc/nightly", "..", "nightly\\n", "Nightly", "a b"])
def test_a_plan_name_does_not_leave_the_ledgers_directory(ledger: SqlLedger, tmp_path: Path, name: str) -> None:
    """A name that would put the lock file elsewhere is refused; valid names put it beside the ledger."""
    file = tmp_path / "plan.yaml"
    share = "share: [{images: [i1], projects: [p1]}]"
    file.write_text(f'version: 1\nname: "{name}"\n{share}\n')
    with pytest.raises(PlanError, match="name"):
        load_plan(file)
    file.write_text(f"version: 1\nname: night-ly-0\n{share}\n")
    with RunLock(ledger, load_plan(file).name):
        assert {path.name for path in tmp_path.glob("*.lock")} == {"ledger.db.night-ly-0.lock"}
