"""Which runs may be deleted, and that nothing is deleted that a run in progress may need."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.cli import ledger as pruning
from bulkshare.cli.ledger import prune_ledger
from bulkshare.ledger import RunLock, SqlLedger
from bulkshare.model import Account, Block, Run, RunState, Settings
from bulkshare.operations.defaults import open_ledger
from bulkshare.operations.retention import Retention, reasons_to_keep
from tests import ledger_fixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY_SECONDS = 86_400.0
ALL = Retention(seconds=0)


def run(
    key: str, *, plan: str = "plan", days: int, state: RunState = RunState.FINISHED, endpoint: str = "https://glance"
) -> Run:
    """Return a run that began so many days ago."""
    account = Account("cloud", "region", endpoint, "user", "project", "project-id")
    return Run(1, key, plan, "fingerprint", account, state, NOW - timedelta(days=days))


def pruned(*runs: Run, busy: frozenset[str] = frozenset()) -> list[str]:
    """Return the keys of the runs that are deleted if 10 days are kept."""
    keep = Retention(seconds=10 * DAY_SECONDS)
    return [each.run.key for each in reasons_to_keep(runs, now=NOW, retention=keep, busy=busy) if not each.reasons]


def test_finished_runs_are_deleted_by_age() -> None:
    """A run exactly as old as the limit is kept."""
    assert pruned(run("new", days=1), run("limit", days=10), run("old", days=11)) == ["old"]


def test_what_can_be_resumed_stays() -> None:
    """An unfinished last run of a plan is kept, however old; a later run of another plan changes nothing."""
    killed = run("killed", days=99, state=RunState.RUNNING)
    stopped = run("stopped", plan="other", days=99, state=RunState.INTERRUPTED)
    assert pruned(run("third", plan="third", days=1), killed, stopped) == []


def test_each_cloud_of_a_plan_has_a_last_run() -> None:
    """A later run on another cloud does not supersede one that can be resumed."""
    stopped = run("stopped", days=99, state=RunState.INTERRUPTED)
    elsewhere = run("elsewhere", days=1, endpoint="https://elsewhere")
    assert pruned(elsewhere, stopped) == []
    assert pruned(run("later", days=1), elsewhere, stopped) == ["stopped"]


def test_superseded_unfinished_runs() -> None:
    """They are deleted like finished ones, unless a run of their plan is in progress: it may be one of them."""
    runs = run("new", days=1), run("stopped", days=99, state=RunState.INTERRUPTED), run("old", days=100)
    assert pruned(*runs) == ["stopped", "old"]
    assert pruned(*runs, busy=frozenset({"plan"})) == ["old"]


def kept(retention: Retention, *runs: Run) -> dict[str, str]:
    """Return the runs that are kept, with the reasons."""
    decided = reasons_to_keep(runs, now=NOW, retention=retention, busy=frozenset())
    return {each.run.key: ", ".join(each.reasons) for each in decided if each.reasons}


def test_the_newest_run_of_each_period_is_kept() -> None:
    """As restic forget does: a run may be kept for several reasons, and periods without runs don't count."""
    nights = [run(f"{NOW - timedelta(days=days):%m-%d}{half}", days=days) for days in (0, 1, 2, 9, 40) for half in "ba"]
    assert kept(Retention(last=1), *nights) == {"05-01b": "last"}
    assert kept(Retention(daily=3), *nights) == {"05-01b": "daily", "04-30b": "daily", "04-29b": "daily"}
    assert kept(Retention(last=3, weekly=2, monthly=2), *nights) == {
        "05-01b": "last, weekly, monthly",
        "05-01a": "last",
        "04-30b": "last, monthly",
        "04-22b": "weekly",
    }


def test_the_oldest_run_fills_a_period_that_has_begun() -> None:
    """So that with fewer months than asked for, the first run of all stays."""
    nights = [run(f"{NOW - timedelta(days=days):%m-%d}", days=days) for days in (1, 2, 3)]
    assert kept(Retention(monthly=12), *nights) == {"04-30": "monthly", "04-28": "oldest monthly"}


def test_rules_count_for_each_plan_and_account() -> None:
    """Sandboxes are one account, though each has its own endpoint; age keeps in addition."""
    settings = Settings(sandbox=True)
    runs = [
        replace(run("tried-2", days=1, endpoint="http://127.0.0.1:2"), settings=settings),
        replace(run("tried-1", days=2, endpoint="http://127.0.0.1:1"), settings=settings),
        run("west", days=3, endpoint="https://west"),
        run("other", plan="other", days=4),
        run("new", days=5),
        run("old", days=6),
    ]
    assert kept(Retention(last=1), *runs) == dict.fromkeys(["tried-2", "west", "other", "new"], "last")
    both = kept(Retention(last=1, seconds=2 * DAY_SECONDS), *runs)
    assert (both["tried-2"], both["tried-1"], both["new"]) == ("age, last", "age", "last")
    stopped = run("stopped", days=9, state=RunState.INTERRUPTED, plan="third")
    assert kept(Retention(seconds=0), stopped) == {"stopped": "unfinished"}


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["a", "b"])), max_size=40),
    st.builds(Retention, last=st.integers(0, 5), daily=st.integers(0, 5), weekly=st.integers(0, 5)),
)
def test_what_is_kept_stays_kept(nights: list[tuple[int, str]], retention: Retention) -> None:
    """The newest run of a plan always stays, and pruning twice deletes no more than pruning once."""
    runs = [run(str(number), plan=plan, days=days) for number, (days, plan) in enumerate(sorted(nights))]
    first = kept(retention, *runs)
    again = kept(retention, *(each for each in runs if each.key in first))
    assert again.keys() == first.keys()
    newest = {each.plan: each.key for each in reversed(runs)}
    assert not retention.any or set(newest.values()) <= first.keys()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of a ledger with an old finished run of one pair."""
    ledger = SqlLedger.open(str(tmp_path / "ledger.db"))
    old = ledger_fixtures.begin(ledger)
    ledger.enqueue(old.id, [Block("image", ["member"])])
    ledger.settle(old.id, [ledger_fixtures.outcome("image", "member")])
    ledger_fixtures.finish(ledger, old.id)
    ledger.close()
    return str(ledger_fixtures.path_of(ledger))


def keys_left(path: str) -> list[str]:
    """Return the plans of the runs that are left, and whether the old run's texts are left."""
    ledger = SqlLedger.open(path, create=False)
    with ledger._store.reading() as connection:
        texts = connection.scalar("SELECT count(*) FROM names")
    left = [*(run.plan for run in ledger.runs()), "texts" if texts else "no texts"]
    ledger.close()
    return left


def test_the_file_shrinks_if_no_run_is_in_progress(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An old run is deleted entirely; an unfinished one of another plan is no obstacle once its process has ended."""
    ledger = SqlLedger.open(path)
    ledger_fixtures.begin(ledger, "other")
    ledger.close()
    prune_ledger(path, retention=ALL, dry_run=True)
    assert "Would delete 1 run with 1 pair; nothing is deleted." in capsys.readouterr().out
    prune_ledger(path, retention=ALL, dry_run=False)
    output = capsys.readouterr().out
    assert "Deleted 1 run with 1 pair." in output
    assert "keeps its size" not in output
    assert keys_left(path) == ["other", "no texts"]
    prune_ledger(path, retention=ALL, dry_run=False)
    assert "nothing is deleted" in capsys.readouterr().out


def test_the_file_keeps_its_size_during_a_run(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The texts stay, because the run may hold their numbers; its plan is named."""
    ledger = SqlLedger.open(path)
    with RunLock(ledger, "other"):
        ledger_fixtures.begin(ledger, "other")
        prune_ledger(path, retention=ALL, dry_run=False)
    ledger.close()
    assert "keeps its size because a run is in progress (other)" in capsys.readouterr().out
    assert keys_left(path) == ["other", "texts"]


def test_a_run_that_begins_during_a_prune(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its texts: it was not among the runs that were examined."""

    def look(ledger: SqlLedger) -> list[Run]:
        runs = SqlLedger.runs(ledger)
        other = SqlLedger.open(path)
        ledger_fixtures.begin(other, "other")
        other.close()
        return runs

    monkeypatch.setattr(pruning, "open_ledger", lambda where, create: open_looking(where, look, create=create))
    prune_ledger(path, retention=ALL, dry_run=False)
    assert "keeps its size because a run began in the meantime" in capsys.readouterr().out
    assert keys_left(path) == ["other", "texts"]


@contextmanager
def open_looking(where: str, look: Callable[[SqlLedger], list[Run]], *, create: bool) -> Iterator[SqlLedger]:
    """Open a ledger whose `runs` is `look`."""
    with open_ledger(where, create=create) as ledger:
        ledger.runs = partial(look, ledger)  # type: ignore[method-assign]  # what it does otherwise is not asked
        yield ledger
