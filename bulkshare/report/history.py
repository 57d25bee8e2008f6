"""The last runs of a plan: what changed from each to the next, which pairs flap, and two runs side by side. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group
from rich.text import Text

from bulkshare.model import AS_PLANNED, Result, RunState
from bulkshare.report.runs import KILLED, UNKNOWN, render_line, run_document
from bulkshare.report.text import STYLES, Prose, WideOrNarrow, aligned, duration, labelled, named, whole
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from bulkshare.model import Outcome
    from bulkshare.report.runs import RunStatus

FAILING = frozenset({Result.FAILED, Result.REJECTED, Result.SKIPPED})
DONE = frozenset(
    {Result.SHARED, Result.ACCEPTED, Result.DECLINED, Result.RESET, Result.REMOVED}
)  # something had to be done
MOST_FLAPPING = 20  # pairs shown, and in the document
LEAST_RELAPSES = 2  # of a pair that flaps
VERSION = 1  # of the JSON of `history` and `compare`
NOT_IN_IT = "not in it"


class Change(StrEnum):
    """How a pair changed since the previous run, as shown to the user."""

    SHARED = "newly shared"
    ACCEPTED = "newly accepted"
    DECLINED = "newly declined"
    RESET = "pending again"
    FAILING = "newly failing"
    FIXED = "fixed"
    REMOVED = "removed"


def change_of(before: Result | None, now: Result) -> Change | None:
    """Return what changed; `before` is None if the previous run did not have the pair."""
    if now is Result.REMOVED:
        return Change.REMOVED
    if now in FAILING:
        return None if before in FAILING else Change.FAILING
    if now in AS_PLANNED and before in FAILING:
        return Change.FIXED
    return {
        Result.SHARED: Change.SHARED,
        Result.ACCEPTED: Change.ACCEPTED,
        Result.DECLINED: Change.DECLINED,
        Result.RESET: Change.RESET,
    }.get(now)


def relapses(results: Iterable[Result | None]) -> int:
    """Return how often a pair was as planned and then failed or had to be done again. None and pending are passed over.

    A new pair that is shared and stays has none, and one that fails for a week and is then shared has one at most.
    """
    settled = [result for result in results if result is not None and result is not Result.PENDING]
    return sum(before in AS_PLANNED and (now in FAILING or now in DONE) for before, now in pairwise(settled))


class Mark(StrEnum):
    """A run in a strip of runs, as one character."""

    SAME = "."
    CHANGED = "+"
    BAD = "!"
    EARLY = "i"
    RUNNING = "r"
    KILLED = "k"


MARKS = {  # what they stand for, and the style
    Mark.SAME: ("as planned, nothing changed", "green"),
    Mark.CHANGED: ("as planned, members changed", "green"),
    Mark.BAD: ("not all as planned", "red"),
    Mark.EARLY: ("ended early", "yellow"),
    Mark.RUNNING: ("running", "cyan"),
    Mark.KILLED: ("killed", "red"),
}


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run and what changed since the one before; `before` is that one's key, None if there is none to compare with.

    gone: pairs of the run before that this one doesn't have, and that were not removed.
    """

    status: RunStatus
    before: str | None = None
    changes: Mapping[Change, int] = field(default_factory=dict)
    gone: int = 0

    @property
    def mark(self) -> Mark:
        """How the run is shown in a strip."""
        run = self.status.run
        if self.status.state == KILLED:
            return Mark.KILLED
        if run.state is RunState.RUNNING:
            return Mark.RUNNING
        if any(run.totals.get(result) for result in FAILING):
            return Mark.BAD
        if run.state is RunState.INTERRUPTED:
            return Mark.EARLY
        return Mark.CHANGED if run.opened or any(run.totals.get(result) for result in DONE) else Mark.SAME


class Flapping(NamedTuple):
    """A pair that flaps, with its result in each run, None if it wasn't in it."""

    image_id: str
    member_id: str
    results: tuple[Result | None, ...]
    relapses: int


@dataclass(frozen=True, slots=True)
class History:
    """The last runs of a plan for one account, at least one, the oldest first.

    flapping: the worst of the pairs that flap; `flapping_count` is the number of all.
    names: of images and projects by ID, at least of those that flap, as far as they are known.
    """

    runs: Sequence[PastRun]
    flapping: Sequence[Flapping] = ()
    flapping_count: int = 0
    names: Mapping[str, str] = field(default_factory=dict)


def worst_flapping(pairs: Iterable[tuple[str, str, tuple[Result | None, ...]]]) -> tuple[list[Flapping], int]:
    """Return the pairs that flap most, and how many flap. Holds no more than twice what it returns."""
    found: list[Flapping] = []
    count = 0
    for image_id, member_id, results in pairs:
        times = relapses(results)
        if times >= LEAST_RELAPSES:
            count += 1
            found.append(Flapping(image_id, member_id, results, times))
            if len(found) > 2 * MOST_FLAPPING:
                found = _worst(found)
    return _worst(found), count


def _worst(found: list[Flapping]) -> list[Flapping]:
    return sorted(found, key=lambda pair: -pair.relapses)[:MOST_FLAPPING]


def changes_in(counts: Iterable[tuple[Result | None, Result, int]]) -> Counter[Change]:
    """Count changes, from numbers of pairs by their result in the run before (None: not in it) and now."""
    changes: Counter[Change] = Counter()
    for before, now, pairs in counts:
        change = change_of(before, now)
        if change is not None:
            changes[change] += pairs
    return changes


def history_document(plan: str, histories: Sequence[History]) -> dict[str, Any]:
    """Return the object of `history --json`, as documented there; `clouds` has one for each account."""
    return {"version": VERSION, "plan": plan, "clouds": [_one_document(history) for history in histories]}


def _one_document(history: History) -> dict[str, Any]:
    account = history.runs[-1].status.run.account
    return {
        "cloud": account.cloud,
        "endpoint": account.endpoint,
        "project_id": account.project_id,
        "strip": "".join(run.mark for run in history.runs),
        "runs": [
            run_document(run.status)
            | {
                "mark": run.mark.value,
                "before": run.before,
                "changes": {change.value: run.changes.get(change, 0) for change in Change}
                | {"no longer planned": run.gone},
            }
            for run in history.runs
        ],
        "flapping_pairs": history.flapping_count,
        "flapping": [
            {
                "image_id": pair.image_id,
                "image_name": history.names.get(pair.image_id),
                "member_id": pair.member_id,
                "member_name": history.names.get(pair.member_id),
                "relapses": pair.relapses,
                "results": [None if result is None else result.value for result in pair.results],
            }
            for pair in history.flapping
        ],
    }


def render_history(plan: str, history: History) -> RenderableType:
    """Return a strip of the runs, a line for each of them, the newest first, and the pairs that flap."""
    account = history.runs[-1].status.run.account
    strip = Text()
    for run in history.runs:
        strip.append(run.mark.value, MARKS[run.mark][1])
    there = {run.mark for run in history.runs}
    legend = ", ".join(f"{mark} {meaning}" for mark, (meaning, _) in MARKS.items() if mark in there)
    parts: list[RenderableType] = [
        whole(Text.assemble((plan, "bold"), f"  on {account.cloud}, {counted(len(history.runs), 'run')}")),
        whole(Text.assemble("  ", strip)),
        Prose(f"oldest to newest: {legend}", indent=2, hanging=2),
        _table(history.runs),
    ]
    if history.flapping_count:
        parts += _render_flapping(history)
    return Group(*parts)


def _table(runs: Sequence[PastRun]) -> RenderableType:
    rows: list[tuple[Text, ...]] = [tuple(map(Text, ("", "run", "took", "requests", "results", "changed")))]
    narrow: list[Text | Prose] = []
    for past in reversed(runs):
        status = past.status
        mark = Text(past.mark.value, MARKS[past.mark][1])
        took = UNKNOWN if status.seconds is None else duration(status.seconds)
        requests = UNKNOWN if status.requests is None else f"{status.requests:,}"
        results, changed = render_line(status.run), since(past)
        rows.append((mark, Text(status.run.key), Text(took), Text(requests), results, Text(changed)))
        narrow += [
            whole(Text.assemble("  ", mark, f"  {status.run.key}")),
            Prose(Text.assemble(results, f"; {took}, {requests} requests; {changed}"), indent=6, hanging=2),
        ]
    lines = aligned(rows, right={2, 3}, indent=2)
    lines[0].stylize("bold")
    return WideOrNarrow(lines, narrow)


def since(past: PastRun) -> str:
    """Return in words what changed since the run before."""
    if past.before is None:
        return UNKNOWN
    parts = [f"{count:,} {change.value}" for change in Change if (count := past.changes.get(change, 0))]
    if past.gone:
        parts.append(f"{past.gone:,} no longer planned")
    return ", ".join(parts) or "nothing"


def _render_flapping(history: History) -> list[RenderableType]:
    flap = f"{history.flapping_count:,} pairs flap" if history.flapping_count > 1 else "1 pair flaps"
    lines: list[RenderableType] = [
        Prose(f"{flap}: as planned, then failed or to be done again, {LEAST_RELAPSES} times or more", hanging=4)
    ]
    for pair in history.flapping:
        results = [Text(result.value, STYLES[result]) for result in pair.results if result is not None]
        lines += [
            whole(Text(f"  image {named(pair.image_id, history.names)}")),
            whole(Text(f"    project {named(pair.member_id, history.names)}")),
            Prose(Text(" ").join(results), indent=6, hanging=2),
        ]
    if (more := history.flapping_count - len(history.flapping)) > 0:
        lines.append(Text(f"  ... and {counted(more, 'more pair')}"))
    return lines


class Pair(NamedTuple):
    """A pair in two runs, None in the one that doesn't have it."""

    before: Outcome | None
    now: Outcome | None

    @property
    def any(self) -> Outcome:
        """One of the two, for their IDs."""
        found = self.now or self.before
        assert found is not None  # noqa: S101  one of the runs has it
        return found

    @property
    def differs(self) -> bool:
        """Whether only one run has it, or its result or member status is not the same in both."""
        if self.before is None or self.now is None:
            return True
        return (self.before.result, self.before.status) != (self.now.result, self.now.status)


@dataclass(slots=True)
class RunDifference:
    """How many pairs of two runs differ, by what they were and are; "" stands for a pair that is not there."""

    same: int = 0
    ways: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, pair: Pair) -> None:
        """Count a pair."""
        if pair.differs:
            self.ways[_said(pair.before), _said(pair.now)] += 1
        else:
            self.same += 1

    @property
    def new(self) -> int:
        """Pairs that only the later run has."""
        return sum(count for (before, _), count in self.ways.items() if not before)

    @property
    def gone(self) -> int:
        """Pairs that only the earlier run has."""
        return sum(count for (_, now), count in self.ways.items() if not now)

    @property
    def different(self) -> int:
        """Pairs that differ, the new and the gone ones included."""
        return self.ways.total()


def _said(outcome: Outcome | None) -> str:
    """Return a pair's result, with the member status if there is one; empty if there is no pair."""
    if outcome is None:
        return ""
    return f"{outcome.result.value} ({clean(outcome.status)})" if outcome.status else outcome.result.value


def difference_document(difference: RunDifference) -> dict[str, Any]:
    """Return the counts of `compare --json`."""
    return {
        "different": difference.different,
        "new": difference.new,
        "gone": difference.gone,
        "same": difference.same,
        "counts": [
            {"before": before or None, "now": now or None, "pairs": count}
            for (before, now), count in difference.ways.most_common()
        ],
    }


def pair_document(pair: Pair, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a pair of `compare --json`."""
    image_id, member_id = pair.any.image_id, pair.any.member_id
    sides = {"before": pair.before, "now": pair.now}
    return {
        "image_id": image_id,
        "image_name": names.get(image_id),
        "member_id": member_id,
        "member_name": names.get(member_id),
    } | {
        side: one and {"result": one.result.value, "status": one.status, "reason": one.reason}
        for side, one in sides.items()
    }


def render_difference(difference: RunDifference) -> RenderableType:
    """Return how many pairs differ, by what they were and are."""
    rows = [
        (Text(f"{count:,}"), Text(before or NOT_IN_IT), Text("->"), Text(now or NOT_IN_IT))
        for (before, now), count in difference.ways.most_common()
    ]
    differ = f"{difference.different:,} pairs differ" if difference.different != 1 else "1 pair differs"
    total = f"{differ}: {difference.new:,} new, {difference.gone:,} gone; {difference.same:,} are the same"
    return Group(Prose(total, hanging=4), *(aligned(rows, right={0}, indent=2) if rows else ()))


def render_pairs(pairs: Iterable[Pair], names: Mapping[str, str]) -> Iterator[RenderableType]:
    """Yield two lines for each pair, and above those of an image its name."""
    image_id = None
    for pair in pairs:
        if pair.any.image_id != image_id:
            image_id = pair.any.image_id
            yield labelled("image", image_id, names)
        reason = f": {clean(pair.now.reason)}" if pair.now is not None and pair.now.reason else ""
        yield whole(Text(f"  project {named(pair.any.member_id, names)}"))
        yield Prose(f"{_said(pair.before) or NOT_IN_IT} -> {_said(pair.now) or NOT_IN_IT}{reason}", indent=4, hanging=2)
