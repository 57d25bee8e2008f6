"""What differs between runs, as each kind of ledger counts and reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Block, Result
from bulkshare.report.history import FAILING, Pair, change_of, changes_in
from tests.ledger_fixtures import begin, finish, outcome

if TYPE_CHECKING:
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run

Pairs = dict[tuple[str, str], Result]

S, A, F, NO = Result.SHARED, Result.ALREADY, Result.FAILED, Result.REJECTED
P, GONE = Result.PENDING, Result.REMOVED
NIGHTS: tuple[Pairs, ...] = (
    {
        ("i1", "p1"): S,
        ("i1", "p2"): F,
        ("i2", "p1"): S,
        ("i3", "p9"): GONE,
    },
    {
        ("i1", "p1"): A,
        ("i1", "p2"): A,
        ("i2", "p1"): F,
        ("i2", "p3"): S,
    },
    {
        ("i1", "p1"): S,
        ("i1", "p2"): A,
        ("i0", "p1"): P,
        ("i2", "p3"): A,
    },
    {
        ("i1", "p1"): A,
        ("i1", "p2"): NO,
        ("i2", "p3"): A,
        ("i2", "p1"): S,
    },
    {
        ("i1", "p1"): S,
        ("i1", "p2"): A,
        ("i2", "p3"): A,
        ("i2", "p1"): A,
    },
)


def record(ledger: SqlLedger, night: Pairs) -> Run:
    """Run a plan with these outcomes."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block(image, [member]) for image, member in night])
    ledger.mark_enqueued(run.id)
    settled = {pair: result for pair, result in night.items() if result is not Result.PENDING}
    ledger.settle(run.id, [outcome(*pair, result) for pair, result in settled.items()])
    return finish(ledger, run.id)


def test_runs_side_by_side(ledger: SqlLedger) -> None:
    """Each pair of the two once, with its outcomes, whichever of them have it; counts agree with plain dicts."""
    runs = [record(ledger, night) for night in NIGHTS]
    for one, before in zip(runs, NIGHTS, strict=True):
        for other, now in zip(runs, NIGHTS, strict=True):
            sides = [Pair(*pair) for pair in ledger.side_by_side(one.id, other.id)]
            found = {
                (pair.any.image_id, pair.any.member_id): tuple(side and side.result for side in pair) for pair in sides
            }
            assert found == {pair: (before.get(pair), now.get(pair)) for pair in before.keys() | now.keys()}
            assert len(sides) == len(found)
            changes = [change_of(before.get(pair), result) for pair, result in now.items()]
            counted = changes_in(ledger.count_changes(one.id, other.id))
            assert counted == {change: changes.count(change) for change in changes if change is not None}
            there = {pair for pair, result in before.items() if result not in {Result.REMOVED, Result.ABSENT}}
            assert ledger.count_gone(one.id, other.id) == len(there - now.keys())


def test_pairs_that_were_not_steady(ledger: SqlLedger) -> None:
    """Those with work or failures in two runs, with their results in all of them."""
    runs = [record(ledger, night) for night in NIGHTS]
    found = {(image, member): results for image, member, results in ledger.unsteady([run.id for run in runs])}
    restless = FAILING | {Result.SHARED, Result.ACCEPTED, Result.REMOVED}
    every = {pair for night in NIGHTS for pair in night}
    series = {pair: tuple(night.get(pair) for night in NIGHTS) for pair in every}
    assert found == {
        pair: results for pair, results in series.items() if sum(result in restless for result in results) > 1
    }
    assert len(found) == 3
