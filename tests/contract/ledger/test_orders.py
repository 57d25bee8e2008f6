"""What a plan says about whole images is kept with its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Block, Orders, PruneLimit
from tests.ledger_fixtures import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from bulkshare.ledger import SqlLedger

EACH = {  # every field, alone and with others, with values other than the default
    "prune": Orders(prune=True),
    "fill": Orders(fill=True),
    "selected": Orders(selected=True),
    "kept": Orders(prune=True, kept=frozenset({"b", "a", "Ä\u2028"})),
    "limits": Orders(prune=True, prune_limits=(PruneLimit(0.125, 3), PruneLimit(0.0))),
    "all": Orders(True, True, frozenset({"a"}), True, (PruneLimit(),)),  # noqa: FBT003  by position, so that a new field shows
    "none": Orders(),
}


def test_they_come_back_as_they_were(ledger: SqlLedger) -> None:
    """Each image's of each run; an image without any has none."""
    run, other = begin(ledger), begin(ledger)
    ledger.set_orders(run.id, EACH)
    ledger.set_orders(other.id, {})
    assert ledger.orders(run.id) == EACH
    assert ledger.orders(other.id) == ledger.orders(other.id + 1) == {}
    ledger.enqueue(run.id, [Block("fill", ["p1"])])
    assert ledger.orders(run.id) == EACH


def test_new_orders_take_the_place_of_old_ones(ledger: SqlLedger, open_ledger: Callable[[], SqlLedger]) -> None:
    """Image by image, also from another process."""
    run = begin(ledger)
    ledger.set_orders(run.id, EACH)
    open_ledger().set_orders(run.id, {"fill": Orders(prune=True), "new": Orders(fill=True)})
    assert ledger.orders(run.id) == {**EACH, "fill": Orders(prune=True), "new": Orders(fill=True)}


def test_equal_ones_are_stored_once(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images have them, and in however many transactions they are written."""
    monkeypatch.setattr("bulkshare.ledger.ledger.ENQUEUE_PAIRS", 7)
    run = begin(ledger)
    keep = frozenset(f"p{number}" for number in range(1000))
    wanted = {f"i{number}": Orders(prune=True, kept=frozenset(keep), fill=number % 2 == 0) for number in range(50)}
    for _ in range(2):  # as when the command is repeated
        ledger.set_orders(run.id, wanted)
    assert ledger.orders(run.id) == wanted
    with ledger._store.reading() as connection:
        assert connection.scalar("SELECT COUNT(*) FROM orders") == 2
        assert connection.scalar("SELECT COUNT(*) FROM images") == 50


def test_they_go_with_their_run(ledger: SqlLedger) -> None:
    """An image's ID is kept for as long as orders refer to it, though no pair does."""
    gone, kept = begin(ledger), begin(ledger)
    for run in (gone, kept):
        ledger.set_orders(run.id, EACH)
    ledger.prune([gone.id], names_unless_after=kept.id)
    assert ledger.orders(gone.id) == {}
    assert ledger.orders(kept.id) == EACH
    ledger.prune([kept.id], names_unless_after=kept.id)
    with ledger._store.reading() as connection:
        assert connection.rows("SELECT run_id FROM orders UNION SELECT run_id FROM images") == []
