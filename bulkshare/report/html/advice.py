"""How a run went, and what to do next. Pure."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import AS_PLANNED, Result, RunState
from bulkshare.report.html.pairs import ORDER
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from bulkshare.model import Run

LONGEST_COMMAND = 4_000  # characters


class Mark(StrEnum):
    """The verdict as a mark."""

    GOOD = "good"
    BAD = "bad"
    EARLY = "early"
    RUNNING = "running"
    EMPTY = "empty"


class NextStep(NamedTuple):
    """What to do next, and a command to paste for it; empty: there is none."""

    text: str
    command: str = ""


def mark_of(run: Run) -> Mark:
    """Return the mark of a run's verdict: what failed counts more than what is left."""
    if not sum(run.totals.values()):
        return Mark.EMPTY
    if any(count and _is_bad(result) for result, count in run.totals.items()):
        return Mark.BAD
    if run.totals.get(Result.PENDING):
        return Mark.RUNNING if run.state is RunState.RUNNING else Mark.EARLY
    return Mark.GOOD


def next_step(run: Run, *, ledger: str = "") -> NextStep:
    """Return what to do next. `ledger` is the path of the ledger if commands have to name it."""
    which = ["--ledger", ledger] if ledger else []
    origin = run.origins[-1] if run.origins else None
    again = clean(origin.command, LONGEST_COMMAND) if origin else ""
    file = next((each.plan_file for each in reversed(run.origins) if each.plan_file), "")
    words = again.split()
    cloud = ["--os-cloud", run.settings.cloud] if "--os-cloud" in words and run.settings.cloud else []
    if not sum(run.totals.values()):
        return NextStep("There was nothing to do.")
    if run.state is RunState.RUNNING:
        return NextStep("It may still be at work. This shows how far it is:", _line("show", run.key, *which))
    if run.settings.sandbox and mark_of(run) is not Mark.GOOD:
        return NextStep("The sandbox ended with the run. To try again:" if again else "The sandbox ended.", again)
    if run.totals.get(Result.PENDING):
        return NextStep("Finish it. Nothing is sent twice:", _line("resume", run.key, *which))
    if mark_of(run) is Mark.BAD:
        if file:
            return NextStep(
                "Once the causes are dealt with, try again what is not as planned:",
                _line("run", file, "--retry-failed", *cloud, *which),
            )
        if again:
            return NextStep("Once the causes are dealt with, enter the same command again:", again)
        return NextStep("This prints the pairs with their reasons:", _line("show", run.key, "--failed", *which))
    if file and not run.settings.sandbox:
        return NextStep("Nothing to do. To compare the cloud with the plan again:", _line("verify", file, *cloud))
    return NextStep("Nothing to do.")


def _line(*words: str) -> str:
    return shlex.join(["bulkshare", *(clean(word, LONGEST_COMMAND) for word in words)])


def verdict(run: Run) -> str:
    """Return the outcome of a run in a sentence or two."""
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
            sentences.append(f"{subject} {_are(pending)} pending: the run is still running, or was killed.")
        else:
            sentences.append(f"{subject} {_are(pending)} pending: the run ended early.")
    return " ".join(sentences)


def _is_bad(result: Result) -> bool:
    return result not in AS_PLANNED and result is not Result.PENDING


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
