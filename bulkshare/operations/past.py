"""The last runs of a plan, and two runs side by side, as the ledger has them. Blocking."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bulkshare.errors import UsageError
from bulkshare.operations.history import find_runs, run_status
from bulkshare.operations.retention import place_of
from bulkshare.report import History, Pair, PastRun, RunDifference, changes_in, worst_flapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run


LAST_RUNS = 30
MOST_PAIRS = 10_000_000  # of a history beside a page; counting them takes some ten seconds


def histories_of(ledger: SqlLedger, plan: str, *, limit: int) -> list[History]:
    """Return the last runs of a plan: one history for each account, the one with the newest run first."""
    places: dict[tuple[str, str, str], list[Run]] = {}
    for runs in ledger.invocations(limit, plan=plan):
        for run in reversed(runs):
            places.setdefault(place_of(run), []).append(run)
    return [history_of(ledger, found[::-1]) for found in places.values()]


def history_until(ledger: SqlLedger, run: Run) -> History:
    """Return the history of a run: itself and the runs before it of the same plan and account, at most `LAST_RUNS`.

    What changed and what flaps is only counted if the runs have no more than `MOST_PAIRS` pairs together.
    """
    earlier = [each for each in ledger.runs(plan=run.plan) if each.id <= run.id and place_of(each) == place_of(run)]
    runs = earlier[:LAST_RUNS][::-1]
    if sum(sum(each.totals.values()) for each in runs) > MOST_PAIRS:
        return History([PastRun(run_status(each)) for each in runs])
    return history_of(ledger, runs)


def history_of(ledger: SqlLedger, runs: Sequence[Run]) -> History:
    """Return the history of runs of one plan and account, at least one, the oldest first."""
    complete = [run for run in runs if run.enqueued]
    before_of = {run.id: before for before, run in pairwise(complete)}
    past = []
    for run in runs:
        before = before_of.get(run.id)
        if before is None:
            past.append(PastRun(run_status(run)))
            continue
        changes = changes_in(ledger.count_changes(before.id, run.id))
        # The same pairs have the same fingerprint, so nothing has to be counted.
        gone = 0 if before.fingerprint == run.fingerprint else ledger.count_gone(before.id, run.id)
        past.append(PastRun(run_status(run), before.key, changes, gone))
    flapping, count = worst_flapping(ledger.unsteady([run.id for run in runs]))
    names = ledger.labels_of({known_id for pair in flapping for known_id in (pair.image_id, pair.member_id)})
    return History(past, flapping, count, names)


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs of one account, the earlier and the later one as they were named."""

    before: Run
    now: Run
    difference: RunDifference

    def pairs(self, ledger: SqlLedger) -> Iterator[Pair]:
        """Yield the pairs that differ, grouped by image."""
        return (pair for pair in _pairs(ledger, self.before, self.now) if pair.differs)


def compare_runs(
    ledger: SqlLedger, first: str | None, second: str | None, note: Callable[[str], None]
) -> list[Compared]:
    """Compare what two names mean, cloud by cloud. Raises `UsageError` if they have no account in common.

    Without the first, each run is compared with the one before it of the same plan; without the second, too, it is the
    last one. Two runs are compared even if their accounts differ. `note` gets what is left out.
    """
    now = find_runs(ledger, second, note)
    before = find_runs(ledger, first, note) if first else [run for run in map(ledger.run_before, now) if run]
    if not before:
        raise UsageError(f"there is no run of plan {now[0].plan} before {now[0].key} to compare it with")
    if len(before) == len(now) == 1:
        couples = [(before[0], now[0])]
    else:
        known = {place_of(run)[1:]: run for run in before}
        couples = [(known[place_of(run)[1:]], run) for run in now if place_of(run)[1:] in known]
    if not couples:
        raise UsageError(
            f"{first} and {now[0].key} have no cloud and project in common; `bulkshare runs` lists the runs"
        )
    compared = {run.id for couple in couples for run in couple}
    for run in (*before, *now):
        if run.id not in compared:
            note(f"run {run.key} is left out: the other command has no run on cloud {run.account.cloud}")
    found = []
    for one, other in couples:
        difference = RunDifference()
        for pair in _pairs(ledger, one, other):
            difference.add(pair)
        found.append(Compared(one, other, difference))
    return found


def _pairs(ledger: SqlLedger, before: Run, now: Run) -> Iterator[Pair]:
    return (Pair(*sides) for sides in ledger.side_by_side(before.id, now.id))
