"""Which runs may be forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bulkshare.cli.pruning import prunable
from bulkshare.model import Account, Run, RunState

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY_SECONDS = 86_400.0


def run(key: str, *, plan: str = "plan", days: int, state: RunState = RunState.FINISHED) -> Run:
    """Return a run that began so many days ago."""
    account = Account("cloud", "region", "https://glance", "user", "project", "project-id")
    return Run(1, key, plan, "fingerprint", account, state, NOW - timedelta(days=days))


def pruned(*runs: Run, busy: frozenset[str] = frozenset()) -> list[str]:
    """Return the keys of the runs that go when 10 days are kept."""
    return [run.key for run in prunable(runs, now=NOW, keep_seconds=10 * DAY_SECONDS, busy=busy)]


def test_finished_runs_go_by_age() -> None:
    """Exactly as old as what is kept is not too old."""
    assert pruned(run("new", days=1), run("limit", days=10), run("old", days=11)) == ["old"]


def test_what_can_be_resumed_stays() -> None:
    """The last run of a plan stays while it is unfinished, however old; a later run of another plan changes nothing."""
    killed = run("killed", days=99, state=RunState.RUNNING)
    stopped = run("stopped", plan="other", days=99, state=RunState.INTERRUPTED)
    assert pruned(run("third", plan="third", days=1), killed, stopped) == []


def test_unfinished_runs_that_a_later_one_replaced() -> None:
    """They go like finished ones, unless a run of their plan is at work: it may be one of them."""
    runs = run("new", days=1), run("stopped", days=99, state=RunState.INTERRUPTED), run("old", days=100)
    assert pruned(*runs) == ["stopped", "old"]
    assert pruned(*runs, busy=frozenset({"plan"})) == ["old"]
