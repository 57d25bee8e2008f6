"""How the page says things: numbers, times, and what became of a run. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Result, RunState
from bulkshare.report.page.changes import ORDER
from bulkshare.text import counted

if TYPE_CHECKING:
    from datetime import datetime

    from bulkshare.model import Run


def number(value: float) -> str:
    """Return a number with its thousands apart, and with at most one decimal."""
    return f"{round(value, 1):,}".removesuffix(".0")


def moment(time: datetime) -> str:
    """Return a time of day, which is in UTC."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def verdict(run: Run) -> str:
    """Say in a sentence or two what became of a run."""
    planned = sum(run.totals.values())
    good = sum(run.totals.get(result, 0) for result in AS_PLANNED)
    pending = run.totals.get(Result.PENDING, 0)
    bad = planned - good - pending
    if not planned:
        return "The run has no pairs."
    if good == planned:
        return f"All {planned:,} pairs are as planned." if planned > 1 else "The one pair is as planned."
    sentences = []
    if bad:
        parts = [
            f"{run.totals[result]:,} {result.value}" for result in ORDER if _is_bad(result) and run.totals.get(result)
        ]
        none = "None" if not good else f"{good:,}"
        sentences.append(f"{none} of {counted(planned, 'pair')} {_are(good)} as planned; {_listed(parts)}.")
    if pending:
        subject = counted(pending, "pair") if bad else f"{pending:,} of {counted(planned, 'pair')}"
        if run.state is RunState.RUNNING:
            sentences.append(f"{subject} {_are(pending)} pending: the run is at work, or was killed.")
        else:
            sentences.append(f"{subject} {_are(pending)} pending: the run ended early.")
    return " ".join(sentences)


def _is_bad(result: Result) -> bool:
    return result not in AS_PLANNED and result is not Result.PENDING


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
