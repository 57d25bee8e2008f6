"""The pairs of a run: the work list, the outcomes, and reading them back."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from bulkshare.model import Alike, Backlog, Block, Job, Member, Outcome, Result, Want
from tests.ledger_fixtures import NOW, SETTLED, begin, by_pair, finish, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.ledger import SqlLedger
    from bulkshare.ports import Ledger

LATER = NOW + timedelta(hours=1)


def images_of(ledger: Ledger, run_id: int, limit: int) -> list[tuple[str, int]]:
    """Read the pending images in pages of `limit`."""
    found: list[Backlog] = []
    while page := ledger.pending_images(run_id, after=found[-1].image_id if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    return [(backlog.image_id, backlog.pairs) for backlog in found]


def members_of(ledger: Ledger, run_id: int, image_id: str, limit: int) -> list[str]:
    """Read an image's pending members in pages of `limit`."""
    found: list[Job] = []
    while page := ledger.pending_jobs(run_id, image_id, after=found[-1].member_id if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    assert {job.image_id for job in found} <= {image_id}
    return [job.member_id for job in found]


def undescribed(ledger: Ledger, run_id: int, limit: int = 1000) -> list[tuple[str, list[str]]]:
    """Read the undescribed pairs in pages of `limit`."""
    found: list[tuple[str, list[str]]] = []
    while page := ledger.undescribed(run_id, after=found[-1][0] if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    return found


# --- the work list ---------------------------------------------------------------------------------------------------


def test_enqueued_pairs_are_pending(ledger: Ledger) -> None:
    """A pair that is only enqueued has its image, its member and nothing else."""
    run = begin(ledger)
    assert ledger.enqueue(run.id, [Block("i1", ["p1", "p2"]), Block("i2", ["p1"])]) == 3
    expected = [Outcome(i, p, Result.PENDING) for i, p in (("i1", "p1"), ("i1", "p2"), ("i2", "p1"))]
    assert sorted(ledger.outcomes(run.id), key=repr) == sorted(expected, key=repr)


def test_enqueue_again_adds_what_is_new(ledger: Ledger) -> None:
    """Enqueueing is idempotent, and counts only the new pairs."""
    run = begin(ledger)
    assert ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])]) == 2
    assert ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])]) == 0
    assert ledger.enqueue(run.id, [Block("i1", ["p2", "p3"]), Block("i2", ["p1"])]) == 2
    assert ledger.totals(run.id)[Result.PENDING] == 4


def test_a_pair_enqueued_twice_in_one_call_is_one(ledger: Ledger) -> None:
    """Repeats within a call, in one block or in two, are one pair."""
    run = begin(ledger)
    assert ledger.enqueue(run.id, [Block("i1", ["p1", "p1"]), Block("i1", ["p1", "p2"])]) == 2
    assert members_of(ledger, run.id, "i1", 10) == ["p1", "p2"]


def test_enqueue_keeps_what_is_settled(ledger: Ledger) -> None:
    """A settled pair that is enqueued again is not changed."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    ledger.settle(run.id, [outcome("i1", "p1")])
    assert ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])]) == 0
    assert by_pair(ledger.outcomes(run.id))["i1", "p1"] == outcome("i1", "p1")


@pytest.mark.parametrize("blocks", [[], [Block("i1", [])]])
def test_enqueue_of_nothing(ledger: Ledger, blocks: list[Block]) -> None:
    """No blocks, or a block without members, add no pair."""
    run = begin(ledger)
    assert ledger.enqueue(run.id, blocks) == 0
    assert images_of(ledger, run.id, 10) == []


def test_enqueue_takes_a_stream_larger_than_its_transactions(ledger: Ledger) -> None:
    """Blocks come from a generator; one block is larger than a transaction, others share one."""
    run = begin(ledger)
    large = [f"p{number}" for number in range(45_000)]
    small = large[:7]
    assert ledger.enqueue(run.id, (Block(f"i{n}", large if n == 1 else small) for n in range(4))) == 45_021
    assert images_of(ledger, run.id, 10) == [("i0", 7), ("i1", 45_000), ("i2", 7), ("i3", 7)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_have_each_pending_pair_once(ledger: Ledger, limit: int) -> None:
    """With any page size, each pending pair is returned once, in the same order each time."""
    run = begin(ledger)
    members = [f"p{number * 7 % 10}" for number in range(10)]  # not sorted
    ledger.enqueue(run.id, [Block(image_id, members) for image_id in ("i2", "i9", "i1", "i5")])
    ledger.settle(run.id, [outcome("i9", member) for member in members[:4]] + [outcome("i1", p) for p in members])
    images = images_of(ledger, run.id, limit)
    assert dict(images) == {"i2": 10, "i9": 6, "i5": 10}
    assert images == images_of(ledger, run.id, 1000)
    assert len(images) == 3
    for image_id, settled in (("i2", 0), ("i9", 4), ("i5", 0), ("i1", 10)):
        read = members_of(ledger, run.id, image_id, limit)
        assert sorted(read) == sorted(members[settled:])
        assert read == members_of(ledger, run.id, image_id, 1000)


def test_the_order_stays_when_pairs_are_added_and_settled(ledger: Ledger) -> None:
    """A reader in the middle of the images misses none while pairs are settled and added."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block(f"i{n}", ["p1", "p2"]) for n in range(6)])
    before = [image_id for image_id, _ in images_of(ledger, run.id, 10)]
    ledger.settle(run.id, [outcome(before[0], p, reason=f"new text {p}") for p in ("p1", "p2")])
    ledger.enqueue(run.id, [Block("a-new-one", ["p1"])])
    after = [image_id for image_id, _ in images_of(ledger, run.id, 10) if image_id != "a-new-one"]
    assert after == before[1:]
    page = ledger.pending_images(run.id, after=before[0], limit=100)  # which is settled by now
    assert [backlog.image_id for backlog in page if backlog.image_id != "a-new-one"] == before[1:]


def test_an_unknown_run_has_no_pending_pairs(ledger: Ledger) -> None:
    """Unknown runs and images have no pending pairs."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    assert ledger.pending_images(run.id + 1, after=None, limit=10) == []
    assert ledger.pending_jobs(run.id, "no such image", after=None, limit=10) == []
    assert ledger.pending_jobs(run.id + 1, "i1", after=None, limit=10) == []


def test_a_pair_is_pending_until_it_is_settled(ledger: Ledger) -> None:
    """A pair of another run, or an unknown one, is not pending."""
    run, other = begin(ledger), begin(ledger)
    ledger.enqueue(run.id, [Block("a", ["w"]), Block("a", ["x", "y"], Want.ACCEPTED), Block("b", ["w"])])
    ledger.settle(run.id, [outcome("a", "y")])
    images = ["a", "b", "unknown"]
    assert ledger.pending_wants(run.id, images, "x") == {"a": Want.ACCEPTED}
    assert ledger.pending_wants(run.id, images, "w") == {"a": Want.MEMBER, "b": Want.MEMBER}
    assert [ledger.pending_wants(run.id, images, member) for member in ("y", "z")] == [{}, {}]
    assert ledger.pending_wants(other.id, images, "x") == {}


def test_small_images_are_read_together(ledger: Ledger) -> None:
    """From one image to another, in order, with those in between that have pending pairs of the kind."""
    run = begin(ledger)
    blocks = [Block(f"i{n}", ["p2", "p1"]) for n in range(4)]
    ledger.enqueue(run.id, [*blocks, Block("i1", ["p3"], Want.REMOVE)])
    ledger.settle(run.id, [outcome("i2", "p1"), outcome("i2", "p2")])
    pairs = [(job.image_id, job.member_id) for job in ledger.pending_jobs_between(run.id, "i1", "i3", removals=False)]
    assert pairs == [("i1", "p2"), ("i1", "p1"), ("i3", "p2"), ("i3", "p1")]
    assert ledger.pending_jobs_between(run.id, "i0", "i3", removals=True) == [Job("i1", "p3", Want.REMOVE)]
    assert len(ledger.pending_jobs_between(run.id, "i0", "i3")) == 7


def test_an_images_pairs_are_read_as_blocks(ledger: Ledger) -> None:
    """Those with the same want and the same result are one, also beyond what other reads have on a page."""
    run = begin(ledger)
    members = [f"p{number:04}" for number in range(1500)]
    ledger.enqueue(run.id, [Block("i1", members), Block("i1", ["a", "b"], Want.REMOVE), Block("i2", ["p1"])])
    ledger.settle(run.id, [outcome("i1", "a", Result.ABSENT)])
    blocks = ledger.image_pairs(run.id, "i1")
    assert {(want, result): sorted(member_ids) for (_, member_ids, want), result in blocks} == {
        (Want.MEMBER, Result.PENDING): members,
        (Want.REMOVE, Result.PENDING): ["b"],
        (Want.REMOVE, Result.ABSENT): ["a"],
    }
    assert len(blocks) == 3
    assert ledger.image_pairs(run.id, "unknown") == []


# --- the record ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", SETTLED)
def test_settled_pairs_are_read_as_they_were_written(ledger: Ledger, result: Result) -> None:
    """Every field comes back, full or empty."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2", "p3"])])
    full, bare = outcome("i1", "p1", result), Outcome("i1", "p2", result)
    ledger.settle(run.id, [full, bare])
    assert by_pair(ledger.outcomes(run.id)) == {
        ("i1", "p1"): full,
        ("i1", "p2"): bare,
        ("i1", "p3"): Outcome("i1", "p3", Result.PENDING),
    }


@pytest.mark.parametrize("pairs", [1, 15, 16, 1100])
def test_pairs_settled_alike_are_read_as_if_each_had_been_settled(ledger: Ledger, pairs: int) -> None:
    """However many they are; other pairs, and what was wanted, stay."""
    run = begin(ledger)
    members = [f"p{number}" for number in range(pairs)]
    ledger.enqueue(run.id, [Block("i1", members, Want.ACCEPTED), Block("i2", [*members, "other"])])
    one, other = outcome("i1", members[0], want=Want.ACCEPTED), outcome("i2", members[0], Result.FAILED, reason="no")
    ledger.settle_alike(run.id, [])
    ledger.settle_alike(run.id, [Alike(one, members), Alike(other, members)])
    assert by_pair(ledger.outcomes(run.id)) == {
        **{("i1", member): one._replace(member_id=member) for member in members},
        **{("i2", member): other._replace(member_id=member) for member in members},
        ("i2", "other"): Outcome("i2", "other", Result.PENDING),
    }


def test_settle_overwrites(ledger: Ledger) -> None:
    """A pair settled again has the fields of the last outcome only."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    ledger.settle(run.id, [outcome("i1", "p1", Result.FAILED, http_status=500)])
    last = Outcome("i1", "p1", Result.ALREADY, settled_at=LATER)
    ledger.settle(run.id, [last])
    assert list(ledger.outcomes(run.id)) == [last]


def test_settle_of_nothing(ledger: Ledger) -> None:
    """An empty list of outcomes changes nothing."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    ledger.settle(run.id, [])
    ledger.describe(run.id, [])
    assert list(ledger.outcomes(run.id)) == [Outcome("i1", "p1", Result.PENDING)]


def test_runs_have_pairs_of_their_own(ledger: Ledger) -> None:
    """The same pair in two runs is two independent rows."""
    first, second = begin(ledger), begin(ledger)
    for run in (first, second):
        ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    ledger.settle(first.id, [outcome("i1", "p1", Result.ALREADY, status=None)])
    ledger.settle_rest(first.id, "i1", result=Result.SKIPPED, reason="why", now=NOW)
    ledger.describe(first.id, [Member("i1", "p1", "accepted")])
    assert {row.result for row in ledger.outcomes(second.id)} == {Result.PENDING}
    assert ledger.totals(second.id)[Result.PENDING] == 2
    assert undescribed(ledger, second.id) == []


def test_settle_rest_leaves_the_settled(ledger: Ledger) -> None:
    """Only the image's pending pairs are settled, with the result, the reason and the time, and no attempts."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2", "p3"]), Block("i2", ["p1"])])
    ledger.settle(run.id, [outcome("i1", "p2")])
    assert ledger.settle_rest(run.id, "i1", result=Result.SKIPPED, reason="no such image", now=LATER) == 2
    rest = [Outcome("i1", p, Result.SKIPPED, reason="no such image", settled_at=LATER) for p in ("p1", "p3")]
    assert by_pair(ledger.outcomes(run.id)) == by_pair(
        [*rest, outcome("i1", "p2"), Outcome("i2", "p1", Result.PENDING)]
    )
    assert ledger.settle_rest(run.id, "i1", result=Result.FAILED, reason="again", now=LATER) == 0
    assert ledger.settle_rest(run.id, "no such image", result=Result.FAILED, reason="", now=LATER) == 0
    assert ledger.totals(run.id)[Result.FAILED] == 0


def test_undescribed_pairs_are_those_already_there_without_a_status(ledger: Ledger) -> None:
    """Pairs with another result, or whose fields are known, need no description."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block(i, ["p1", "p2", "p3"]) for i in ("i1", "i2")])
    ledger.settle(run.id, [Outcome("i1", p, Result.ALREADY, 409) for p in ("p1", "p3")])
    ledger.settle(run.id, [outcome("i1", "p2", Result.ALREADY), Outcome("i2", "p1", Result.SHARED, 200)])
    assert undescribed(ledger, run.id) == [("i1", ["p1", "p3"])]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_undescribed_pairs_come_in_pages_of_images(ledger: Ledger, limit: int) -> None:
    """With any page size, each is returned once, all of an image together, in the order of the work list."""
    run = begin(ledger)
    images = ["i2", "i9", "i1", "i5", "i3"]
    ledger.enqueue(run.id, [Block(i, ["p2", "p1"]) for i in images])
    ledger.settle(run.id, [Outcome(i, p, Result.ALREADY, 409) for i in images if i != "i5" for p in ("p1", "p2")])
    expected = [(i, ["p2", "p1"]) for i in images if i != "i5"]
    assert undescribed(ledger, run.id, limit) == expected
    ledger.describe(run.id, [Member("i9", p, "accepted") for p in ("p1", "p2")])  # where the reading went on from
    assert ledger.undescribed(run.id, after="i9", limit=10) == expected[2:]


def test_describe_fills_in_the_clouds_fields(ledger: Ledger) -> None:
    """Status, times and schema are set, other fields kept; a pending pair stays pending and without them."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    settled = Outcome("i1", "p1", Result.ALREADY, 409, attempts=2, reason="it was there", settled_at=NOW)
    ledger.settle(run.id, [settled])
    told: dict[str, Any] = {"status": "accepted", "created_at": NOW, "updated_at": LATER, "schema": "/v2/x"}
    ledger.describe(run.id, [Member("i1", member_id, **told) for member_id in ("p1", "p2", "p9")])
    found = by_pair(ledger.outcomes(run.id))
    assert found["i1", "p1"] == settled._replace(**told)
    assert found["i1", "p2"] == Outcome("i1", "p2", Result.PENDING)
    assert len(found) == 2
    assert undescribed(ledger, run.id) == []


def test_totals_name_every_result(ledger: Ledger) -> None:
    """Every result is a key, even for an empty run."""
    run = begin(ledger)
    assert ledger.totals(run.id) == dict.fromkeys(Result, 0)
    ledger.enqueue(run.id, [Block("i1", ["again", "left", *SETTLED])])
    ledger.settle(run.id, [outcome("i1", result, result) for result in SETTLED])
    ledger.settle(run.id, [outcome("i1", "again", Result.FAILED)])
    expected = dict.fromkeys(Result, 1) | {Result.FAILED: 2}
    assert ledger.totals(run.id) == expected


@pytest.mark.parametrize("results", [{result} for result in Result] + [set(), set(SETTLED), set(Result)])
def test_outcomes_of_some_results(ledger: Ledger, results: set[Result]) -> None:
    """Only rows with one of the results are returned; none without a result."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block(i, [f"p{n}" for n in range(8)]) for i in ("i1", "i2")])
    ledger.settle(run.id, [outcome(i, f"p{n}", r) for i in ("i1", "i2") for n, r in enumerate(SETTLED)])
    everything = list(ledger.outcomes(run.id))
    assert list(ledger.outcomes(run.id, results=frozenset(results))) == [r for r in everything if r.result in results]


def test_outcomes_come_in_the_order_of_the_work_list(ledger: Ledger) -> None:
    """Rows keep their order when they are settled, also beyond one fetch."""
    run = begin(ledger)
    members = [f"p{number}" for number in range(6_001)]
    ledger.enqueue(run.id, [Block("i2", members), Block("i1", members)])
    expected = [(i, p) for i, _ in images_of(ledger, run.id, 10) for p in members_of(ledger, run.id, i, 1000)]
    ledger.settle(run.id, [outcome("i1", p, reason=f"reason {p}") for p in reversed(members)])
    rows = list(ledger.outcomes(run.id))
    assert [(row.image_id, row.member_id) for row in rows] == expected
    assert [row.reason for row in rows if row.image_id == "i1"] == [f"reason {p}" for p in members]


def test_outcomes_read_a_snapshot(ledger: Ledger) -> None:
    """A write during the streaming neither waits nor is visible; the next read has it."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", [f"p{number}" for number in range(6_001)])])
    rows = ledger.outcomes(run.id)
    first = next(rows)
    assert ledger.settle_rest(run.id, "i1", result=Result.SKIPPED, reason="why", now=NOW) == 6_001
    assert {row.result for row in (first, *rows)} == {Result.PENDING}
    assert {row.result for row in ledger.outcomes(run.id)} == {Result.SKIPPED}


def test_outcomes_may_be_left_half_read(ledger: Ledger) -> None:
    """A reader that stops early leaves no lock behind."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", [f"p{number}" for number in range(12_001)])])
    for _ in range(20):  # more often than a pool has connections
        assert len(list(islice(ledger.outcomes(run.id), 3))) == 3
    ledger.settle(run.id, [outcome("i1", "p0")])
    assert next(ledger.outcomes(run.id)) == outcome("i1", "p0")


def test_a_reopened_ledger_has_all_outcomes(open_ledger: Callable[[], SqlLedger]) -> None:
    """Everything written is there after closing and reopening, in the same order."""
    ledger = open_ledger()
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i2", ["p2", "p1"]), Block("i1", ["p1", "p3"])])
    ledger.settle(run.id, [outcome("i1", "p1"), outcome("i2", "p1", Result.FAILED, reason="no")])
    before = list(ledger.outcomes(run.id)), images_of(ledger, run.id, 1), ledger.totals(run.id)
    ended = finish(ledger, run.id)
    ledger.close()
    again = open_ledger()
    assert (list(again.outcomes(run.id)), images_of(again, run.id, 1), again.totals(run.id)) == before
    assert again.runs() == [ended]
