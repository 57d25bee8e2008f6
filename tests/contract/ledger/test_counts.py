"""What is counted of a run besides its pairs: images made shared, and members that no one has accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkshare.model import AS_PLANNED, Block, Member, Orders, Outcome, Result
from tests.ledger_fixtures import NOW, SETTLED, begin, finish, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.ledger import SqlLedger


def test_opened_images_are_counted(ledger: SqlLedger, open_ledger: Callable[[], SqlLedger]) -> None:
    """Once it is known that they were made shared, each once, in their own run, while it runs and after its end."""
    run, other = begin(ledger), begin(ledger)
    ledger.mark_opened(run.id, ["i1", "i2", "i3"], None)
    assert (ledger.opening(run.id), ledger.opening(other.id)) == (["i1", "i2", "i3"], [])
    assert [each.opened for each in ledger.runs()] == [0, 0]
    ledger.mark_opened(run.id, ["i3", "i1"], NOW)
    ledger.mark_opened(run.id, ["i3"], NOW)
    again = open_ledger()
    assert again.opening(run.id) == ["i2"]
    assert [each.opened for each in again.runs()] == [0, 2]
    assert (again.opened(run.id), again.opened(other.id)) == ({"i1": NOW, "i3": NOW}, {})
    assert finish(again, run.id).opened == 2
    assert ledger.reopen(run.id, now=NOW).opened == 2


def test_an_opened_image_keeps_its_orders(ledger: SqlLedger) -> None:
    """And one that gets orders stays opened."""
    run = begin(ledger)
    ledger.set_orders(run.id, {"i1": Orders(prune=True)})
    ledger.mark_opened(run.id, ["i1"], NOW)
    assert ledger.orders(run.id) == {"i1": Orders(prune=True)}
    ledger.set_orders(run.id, {"i1": Orders(fill=True)})
    assert (ledger.orders(run.id), finish(ledger, run.id).opened) == ({"i1": Orders(fill=True)}, 1)


@pytest.mark.parametrize("status", ["pending", "accepted", "rejected", None])
def test_members_that_await_acceptance(ledger: SqlLedger, status: str | None) -> None:
    """They are those with Glance's status pending of pairs that are as planned."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["left", *SETTLED])])
    ledger.settle(run.id, [Outcome("i1", result, result, status=status) for result in SETTLED])
    expected = len(AS_PLANNED) if status == "pending" else 0
    assert ledger.runs()[0].awaiting_acceptance == expected
    assert finish(ledger, run.id).awaiting_acceptance == expected


def test_a_status_that_is_fetched_later_counts(ledger: SqlLedger) -> None:
    """A 409 says nothing about it, the member's details do."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    ledger.settle(run.id, [outcome("i1", p, Result.ALREADY, status=None) for p in ("p1", "p2")])
    ledger.describe(run.id, [Member("i1", "p1", "pending"), Member("i1", "p2", "accepted")])
    assert finish(ledger, run.id).awaiting_acceptance == 1
