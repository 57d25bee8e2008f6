"""Which runs of a ledger are kept, and why: by age, and as `restic forget` keeps snapshots. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from datetime import datetime

    from bulkshare.model import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What to keep; a run that one of the rules keeps is kept. None and 0 keep nothing.

    seconds: runs that began no longer ago.
    last: so many of the newest runs. This and what follows is counted for each plan and account.
    daily, weekly, monthly: the newest run of each of the newest so many days, ISO weeks or months (UTC) that have runs.
    """

    seconds: float | None = None
    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return self.seconds is not None or bool(self.last or self.daily or self.weekly or self.monthly)


class Kept(NamedTuple):
    """A run, and the reasons to keep it; without any it may be deleted."""

    run: Run
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Rule:
    """Keeps a run if it is in another period than the last one kept, as long as there is a `count` left."""

    reason: str
    count: int
    period_of: Callable[[datetime, int], Hashable]
    last: Hashable = field(default=None)

    def keeps(self, began: datetime, number: int, *, oldest: bool) -> str:
        """Return why the run is kept; empty if it isn't. The oldest run of all fills a period that has begun."""
        if not self.count:
            return ""
        period = self.period_of(began, number)
        new = period != self.last
        if not (new or oldest):
            return ""
        self.count, self.last = self.count - 1, period
        return self.reason if new else f"oldest {self.reason}"


def _rules(retention: Retention) -> tuple[_Rule, ...]:
    return (
        _Rule("last", retention.last, lambda _began, number: number),
        _Rule("daily", retention.daily, lambda began, _number: (began.year, began.month, began.day)),
        _Rule("weekly", retention.weekly, lambda began, _number: began.isocalendar()[:2]),
        _Rule("monthly", retention.monthly, lambda began, _number: (began.year, began.month)),
    )


def place_of(run: Run) -> tuple[str, str, str]:
    """Return plan and account of a run, what the rules count by. All sandboxes are one account: each has its own port.

    The account is the endpoint and the project.
    """
    return run.plan, "sandbox" if run.settings.sandbox else run.account.endpoint, run.account.project_id


def reasons_to_keep(runs: Sequence[Run], *, now: datetime, retention: Retention, busy: frozenset[str]) -> list[Kept]:
    """Return each run with the reasons to keep it, in the same order.

    Whatever is asked for, an unfinished run is kept while it is the last one of its plan at its endpoint for its
    project, or while a run of its plan is in progress.

    runs: newest first.
    busy: the plans of which a run is in progress.
    """
    places: dict[tuple[str, str, str], list[int]] = {}
    for number, run in enumerate(runs):
        places.setdefault(place_of(run), []).append(number)
    reasons: list[list[str]] = [[] for _ in runs]
    seen: set[tuple[str, str, str]] = set()
    for run, found in zip(runs, reasons, strict=True):
        target = run.plan, run.account.endpoint, run.account.project_id
        superseded = target in seen and run.plan not in busy
        seen.add(target)
        if run.state is not RunState.FINISHED and not superseded:
            found.append("unfinished")
        if retention.seconds is not None and (now - run.started_at).total_seconds() <= retention.seconds:
            found.append("age")
    for numbers in places.values():
        rules = _rules(retention)
        for position, number in enumerate(numbers):
            began, oldest = runs[number].started_at, position == len(numbers) - 1
            reasons[number] += filter(None, (rule.keeps(began, position, oldest=oldest) for rule in rules))
    return [Kept(run, tuple(found)) for run, found in zip(runs, reasons, strict=True)]
