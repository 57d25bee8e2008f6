"""A run that goes on looks again: at what was settled some time ago, and at what a listing contradicts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.engine.phases import STILL_TRUE
from bulkshare.model import Orders, Outcome, PruneLimit, Result, Want
from bulkshare.model.events import PairsReopened
from bulkshare.progress import Tracker
from tests.engine.fakes import NOW, response
from tests.engine.harness import EngineHarness

if TYPE_CHECKING:
    from bulkshare.engine import Engine
    from bulkshare.model import Reply, Request

SOME_TIME_AGO = NOW - STILL_TRUE - timedelta(seconds=1)
JUST_NOW = NOW - STILL_TRUE + timedelta(seconds=1)


def settled(result: Result, want: Want = Want.MEMBER, *, image_id: str = "i00", member_id: str = "p000") -> Outcome:
    """Return the row of a pair that an earlier invocation settled some time ago."""
    return Outcome(image_id, member_id, result, want=want, reason="earlier", settled_at=SOME_TIME_AGO)


def harness_of(*rows: Outcome) -> EngineHarness:
    """Return an engine for a run with these pairs, on a cloud without members."""
    harness = EngineHarness()
    harness.ledger.rows = {(row.image_id, row.member_id): row for row in rows}
    return harness


@pytest.mark.parametrize("result", [Result.SHARED, Result.ALREADY, Result.ACCEPTED])
def test_a_member_that_has_gone_is_added_again(result: Result) -> None:
    """Whatever made it one; the pair then says what this invocation did."""
    harness = harness_of(settled(result))
    harness.run()
    assert harness.cloud.members == {("i00", "p000")}
    assert (harness.totals(), harness.reasons()) == ({Result.SHARED: 1}, {})


@pytest.mark.parametrize("result", [Result.REMOVED, Result.ABSENT])
def test_a_member_that_is_back_is_removed_again(result: Result) -> None:
    """If it was one to be removed, within the prune limit as then."""
    harness = harness_of(settled(result, Want.REMOVE))
    harness.cloud.members = {("i00", "p000")}
    harness.run()
    assert harness.cloud.members == set()
    assert harness.totals() == {Result.REMOVED: 1}
    harness = harness_of(settled(result, Want.REMOVE))
    harness.orders = {"i00": Orders(prune=True, prune_limits=(PruneLimit(0.1),))}
    harness.cloud.members = {("i00", "p000")}
    harness.run()
    assert harness.totals() == {Result.SKIPPED: 1}


def test_an_acceptance_that_was_taken_back_is_repeated() -> None:
    """Unless the project has rejected it since, which is left so."""
    harness = harness_of(
        settled(Result.SHARED, Want.ACCEPTED, member_id="pending"),
        settled(Result.SHARED, Want.ACCEPTED, member_id="rejected"),
        settled(Result.SHARED, Want.ACCEPTED | Want.FORCED, member_id="forced"),
        settled(Result.SHARED, Want.ACCEPTED, member_id="accepted"),
    )
    harness.cloud.statuses = {
        ("i00", "pending"): "pending",
        ("i00", "rejected"): "rejected",
        ("i00", "forced"): "rejected",
        ("i00", "accepted"): "accepted",
    }
    harness.run()
    assert harness.cloud.count("PUT") == 2
    assert {row.member_id: row.result for row in harness.ledger.rows.values()} == {
        "pending": Result.ACCEPTED,
        "rejected": Result.SHARED,
        "forced": Result.ACCEPTED,
        "accepted": Result.SHARED,
    }


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [
        ("private", {Result.SKIPPED: 3, Result.REMOVED: 1}),
        ("public", {Result.ALREADY: 3, Result.REMOVED: 1}),
        (None, {Result.REJECTED: 1, Result.SKIPPED: 2, Result.REMOVED: 1}),
    ],
)
def test_an_image_that_shows_no_members_any_more_has_none(visibility: str | None, expected: dict[Result, int]) -> None:
    """If it was made private since, or deleted (None), its members of before are members no longer."""
    harness = harness_of(
        *(settled(result, member_id=str(result)) for result in (Result.SHARED, Result.ALREADY, Result.ACCEPTED)),
        settled(Result.REMOVED, Want.REMOVE),
    )
    if visibility is None:
        harness.cloud.script = lambda request, _count: response(404) if "i00" in request.path else None
    else:
        harness.cloud.images["i00"] = {"visibility": visibility}
    harness.run()
    assert harness.totals() == expected
    assert harness.reasons().keys() - {"earlier"}


def test_a_listing_that_fails_contradicts_nothing() -> None:
    """The members are assumed unchanged."""
    harness = harness_of(settled(Result.SHARED))
    harness.cloud.script = lambda request, _count: response(500) if request.method == "GET" else None
    harness.run()
    assert harness.totals() == {Result.SHARED: 1}
    assert harness.cloud.count("POST") == 0


def test_what_is_as_it_was_keeps_its_row() -> None:
    """One GET an image, no write, and the row still tells how the pair got there."""
    rows = [settled(Result.SHARED), settled(Result.REMOVED, Want.REMOVE, image_id="i01")]
    harness = harness_of(*rows)
    harness.cloud.members = {("i00", "p000")}
    harness.run()
    assert list(harness.ledger.rows.values()) == rows
    assert [request.method for _, request in harness.cloud.sent] == ["GET", "GET"]


def test_what_was_settled_just_now_is_not_listed_again() -> None:
    """Unless the image has pairs left, or members to be removed."""
    recent = [
        settled(Result.SHARED, image_id=image_id)._replace(settled_at=JUST_NOW) for image_id in ("i00", "i01", "i02")
    ]
    harness = harness_of(*recent, Outcome("i01", "p001", Result.PENDING), settled(Result.SHARED, image_id="i03"))
    harness.orders = {"i02": Orders(prune=True), "i04": Orders(prune=True)}
    harness.cloud.members = {("i02", "p000"), ("i02", "extra"), ("i04", "extra")}
    harness.run()
    paths = {request.path for _, request in harness.cloud.sent if request.method == "GET"}
    assert [f"/v2/images/i{number:02}/members" in paths for number in range(5)] == [False, True, True, True, True]
    # What has gone of an image that was listed is added again, however recently it was settled.
    assert harness.cloud.members == {("i01", "p000"), ("i01", "p001"), ("i02", "p000"), ("i03", "p000")}


def test_without_preflight_nothing_is_looked_at_again() -> None:
    """As the user asked."""
    harness = harness_of(settled(Result.SHARED))
    harness.preflight = False
    harness.run()
    assert harness.cloud.sent == []


def test_an_image_that_can_no_longer_be_listed_is_left() -> None:
    """What is not known to be otherwise stays as it was recorded."""
    harness = harness_of(settled(Result.SHARED))
    harness.cloud.unlisted = {"i00"}
    harness.run()
    assert harness.totals() == {Result.SHARED: 1}


def test_progress_counts_each_pair_once() -> None:
    """A pair that is pending again is no longer done."""
    harness = harness_of(settled(Result.SHARED), settled(Result.ALREADY, member_id="p001"))
    tracker = Tracker("plan", harness.ledger.totals(1), lambda: 0.0)
    seen: list[object] = []

    class Both:
        """Notifies the tracker, and remembers."""

        def notify(self, event: object) -> None:
            seen.append(event)
            tracker.notify(event)  # type: ignore[arg-type]  # an event, as the engine's own type says

    harness.cloud.members = {("i00", "p001")}
    harness.observer = Both()  # type: ignore[assignment]  # the harness only hands it on
    harness.run()
    assert [event for event in seen if isinstance(event, PairsReopened)] == [PairsReopened("i00", [Result.SHARED])]
    assert (tracker.planned, tracker.done) == (2, 2)
    assert +tracker.totals == {Result.SHARED: 1, Result.ALREADY: 1}


def test_a_stop_before_all_were_listed_is_an_interruption() -> None:
    """Though no pair is pending by then: what was not looked at may no longer be as planned."""
    harness = harness_of(*(settled(Result.SHARED, image_id=f"i{number:02}") for number in range(40)))
    harness.cloud.members = set(harness.ledger.rows)
    harness.cloud.latency_seconds = 1.0

    async def stop(engine: Engine) -> None:
        while not harness.cloud.sent:
            await anyio.sleep(0.1)
        engine.stop()

    harness.run(beside=stop)
    assert harness.totals() == {Result.SHARED: 40}
    assert (harness.engine.interrupted, harness.engine.looked) == (True, False)
    harness.run()
    assert (harness.engine.interrupted, harness.engine.looked) == (False, True)


def test_pages_of_one_image() -> None:
    """All pairs of an image are compared, however many it has."""
    names = [f"p{number:04}" for number in range(600)]
    harness = harness_of(*(settled(Result.SHARED, member_id=name) for name in names))
    harness.cloud.members = {("i00", name) for name in names if not name.endswith("7")}
    harness.run()
    assert harness.cloud.members == {("i00", name) for name in names}
    assert harness.cloud.count("POST") == 60


def test_members_that_the_run_has_pairs_of_are_not_pruned() -> None:
    """Whatever their result: only the plan's keep list is among the orders."""

    def rejecting(request: Request, _count: int) -> Reply | None:
        return response(400) if request.method == "POST" else None

    harness = harness_of(
        settled(Result.SHARED, member_id="shared"),
        settled(Result.SKIPPED, member_id="skipped"),
        Outcome("i00", "pending", Result.PENDING),
    )
    harness.orders = {"i00": Orders(prune=True, kept=frozenset({"kept"}))}
    harness.cloud.members = {("i00", name) for name in ("shared", "skipped", "pending", "kept", "extra")}
    harness.cloud.script = rejecting
    harness.run()
    assert harness.cloud.members == {("i00", name) for name in ("shared", "skipped", "pending", "kept")}
    assert harness.ledger.rows["i00", "extra"].want is Want.REMOVE
