"""The `Want` of pairs: stored with them, returned with the work, and filtered by removals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkshare.model import Backlog, Block, Job, Outcome, Result, Want
from tests.ledger_fixtures import NOW, begin, by_pair, outcome

if TYPE_CHECKING:
    from bulkshare.ports import Ledger

MEMBER, ACCEPTED, FORCED, GONE, LISTED = Want.MEMBER, Want.ACCEPTED, Want.FORCED, Want.REMOVE, Want.ALREADY_MEMBER


def jobs(ledger: Ledger, run_id: int, image_id: str = "i1", *, removals: bool | None = None) -> dict[str, Want]:
    """Return the wants of an image's pending members."""
    found = ledger.pending_jobs(run_id, image_id, after=None, limit=100, removals=removals)
    assert {job.image_id for job in found} <= {image_id}
    return {job.member_id: job.want for job in found}


def backlog(ledger: Ledger, run_id: int, *, removals: bool | None = None) -> list[Backlog]:
    """Return the images with pending pairs."""
    return ledger.pending_images(run_id, after=None, limit=100, removals=removals)


@pytest.mark.parametrize("want", [*Want, MEMBER, ACCEPTED | FORCED | Want.AS_PROJECT, Want(63)], ids=repr)
def test_a_want_is_read_back(ledger: Ledger, want: Want) -> None:
    """With the work, and with the row of a pending and of a settled pair."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"], want)])
    assert ledger.pending_jobs(run.id, "i1", after=None, limit=1) == [Job("i1", "p1", want)]
    ledger.settle(run.id, [outcome("i1", "p1", want=want)])
    assert by_pair(ledger.outcomes(run.id)) == by_pair(
        [outcome("i1", "p1", want=want), Outcome("i1", "p2", Result.PENDING, want=want)]
    )


def test_an_image_has_the_union_of_its_wants(ledger: Ledger) -> None:
    """The wants of its pending pairs are combined; those of settled pairs are not included."""
    run = begin(ledger)
    ledger.enqueue(
        run.id,
        [
            Block("i1", ["p1"], MEMBER),
            Block("i1", ["p2", "p3"], ACCEPTED | FORCED),
            Block("i1", ["p4"], GONE),
            Block("i2", ["p1"], MEMBER),
        ],
    )
    assert backlog(ledger, run.id) == [Backlog("i1", 4, ACCEPTED | FORCED | GONE), Backlog("i2", 1, MEMBER)]
    ledger.settle(run.id, [outcome("i1", "p4", Result.REMOVED)])
    assert backlog(ledger, run.id) == [Backlog("i1", 3, ACCEPTED | FORCED), Backlog("i2", 1, MEMBER)]


def test_removals_are_filtered(ledger: Ledger) -> None:
    """`removals` selects only pairs to be removed, or only the others."""
    run = begin(ledger)
    ledger.enqueue(
        run.id,
        [
            Block("i1", ["p1", "p2"], ACCEPTED),
            Block("i1", ["p3"], GONE),
            Block("i2", ["p1"]),
            Block("i3", ["p1"], GONE),
        ],
    )
    assert backlog(ledger, run.id, removals=True) == [Backlog("i1", 1, GONE), Backlog("i3", 1, GONE)]
    assert backlog(ledger, run.id, removals=False) == [Backlog("i1", 2, ACCEPTED), Backlog("i2", 1)]
    assert jobs(ledger, run.id, removals=True) == {"p3": GONE}
    assert jobs(ledger, run.id, removals=False) == {"p1": ACCEPTED, "p2": ACCEPTED}
    assert jobs(ledger, run.id) == {"p1": ACCEPTED, "p2": ACCEPTED, "p3": GONE}


def test_settle_rest_of_removals(ledger: Ledger) -> None:
    """Only removals are settled, or only the others."""
    run = begin(ledger)
    for image_id in ("i1", "i2"):
        ledger.enqueue(run.id, [Block(image_id, ["p1", "p2"]), Block(image_id, ["p3"], GONE)])
    assert ledger.settle_rest(run.id, "i1", result=Result.SKIPPED, reason="too many", now=NOW, removals=True) == 1
    assert ledger.settle_rest(run.id, "i2", result=Result.SKIPPED, reason="full", now=NOW, removals=False) == 2
    assert jobs(ledger, run.id, "i1") == {"p1": MEMBER, "p2": MEMBER}
    assert jobs(ledger, run.id, "i2") == {"p3": GONE}
    skipped = {pair: row.reason for pair, row in by_pair(ledger.outcomes(run.id)).items() if row.reason}
    assert skipped == {("i1", "p3"): "too many", ("i2", "p1"): "full", ("i2", "p2"): "full"}


def test_the_last_want_of_a_pending_pair_counts(ledger: Ledger) -> None:
    """A pair enqueued again, in the same call or a later one, has the last want, and is not counted as new."""
    run = begin(ledger)
    assert ledger.enqueue(run.id, [Block("i1", ["p1", "p2"], ACCEPTED), Block("i1", ["p2"], FORCED)]) == 2
    assert jobs(ledger, run.id) == {"p1": ACCEPTED, "p2": FORCED}
    assert ledger.enqueue(run.id, [Block("i1", ["p1", "p3"])]) == 1
    assert jobs(ledger, run.id) == {"p1": MEMBER, "p2": FORCED, "p3": MEMBER}


def test_a_settled_pair_keeps_its_want(ledger: Ledger) -> None:
    """Neither enqueueing again nor an outcome with another want changes it."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"], ACCEPTED)])
    ledger.settle(run.id, [outcome("i1", "p1", want=GONE)])
    ledger.enqueue(run.id, [Block("i1", ["p1"], FORCED)])
    assert list(ledger.outcomes(run.id)) == [outcome("i1", "p1", want=ACCEPTED)]


def test_listed_pairs(ledger: Ledger) -> None:
    """Pending pairs are marked, and stay so if enqueued again; no other pair is marked or created."""
    run, other = begin(ledger), begin(ledger)
    for each in (run, other):
        ledger.enqueue(each.id, [Block(i, ["p1", "p2", "p3", "p4"], ACCEPTED) for i in ("i1", "i2")])
    settled = outcome("i1", "p3", Result.ALREADY, want=ACCEPTED)
    ledger.settle(run.id, [settled])
    ledger.mark_listed(run.id, "i1", ["p1", "p3", "p4", "p9"])
    ledger.mark_listed(run.id, "i1", ["p1"])
    ledger.mark_listed(run.id, "i1", [])
    assert jobs(ledger, run.id) == {"p1": ACCEPTED | LISTED, "p2": ACCEPTED, "p4": ACCEPTED | LISTED}
    assert by_pair(ledger.outcomes(run.id))["i1", "p3"] == settled
    assert LISTED not in jobs(ledger, run.id, "i2")["p1"] | jobs(ledger, other.id)["p1"]
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"], ACCEPTED), Block("i1", ["p4"], FORCED)])
    assert jobs(ledger, run.id) == {"p1": ACCEPTED | LISTED, "p2": ACCEPTED, "p4": FORCED | LISTED}


def test_a_member_that_was_added_and_could_not_be_accepted(ledger: Ledger) -> None:
    """The ledger keeps that it was this run that added it, for undo; nothing else changes a want."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2", "p3"], ACCEPTED)])
    added = ACCEPTED | LISTED | Want.ADDED
    ledger.settle(
        run.id,
        [
            outcome("i1", "p1", Result.REJECTED, want=added),
            outcome("i1", "p2", Result.REJECTED, want=ACCEPTED | Want.REMOVE),
            outcome("i1", "p3", Result.SHARED, want=added),
        ],
    )
    wants = {member: row.want for (_, member), row in by_pair(ledger.outcomes(run.id)).items()}
    assert wants == {"p1": added, "p2": ACCEPTED, "p3": ACCEPTED}
