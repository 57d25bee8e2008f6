"""Acceptance of new and existing members, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.model import Fault, FaultKind, Limits, Reply, Request, Result, Want
from tests.engine.fakes import response
from tests.engine.harness import EngineHarness, on_post

if TYPE_CHECKING:
    from bulkshare.engine import Engine

ACCEPT = Want.ACCEPTED
FORCE = Want.ACCEPTED | Want.FORCED
PAIR = ("i00", "p000")


def accepting(want: Want = ACCEPT, **statuses: str) -> EngineHarness:
    """Return a harness with one image and ten projects, some of which are members."""
    harness = EngineHarness()
    harness.plan(1, 10, want)
    harness.cloud.statuses = {("i00", member_id): status for member_id, status in statuses.items()}
    return harness


def test_what_is_added_is_accepted() -> None:
    """A POST and a PUT for each pair, and the rows say so."""
    harness = accepting()
    harness.run()
    assert harness.totals() == {Result.SHARED: 10}
    assert (harness.cloud.count("POST"), harness.cloud.count("PUT")) == (10, 10)
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    row = harness.ledger.rows[PAIR]
    assert (row.status, row.attempts, row.reason, row.want) == ("accepted", 1, "", ACCEPT)


def test_only_the_rest_is_done() -> None:
    """Pending members are accepted, accepted ones settled by the listing, rejected ones left and reported."""
    harness = accepting(p000="pending", p001="accepted", p002="rejected")
    harness.run()
    assert harness.totals() == {Result.ACCEPTED: 1, Result.ALREADY: 2, Result.SHARED: 7}
    assert (harness.cloud.count("POST"), harness.cloud.count("PUT")) == (7, 8)
    assert harness.cloud.statuses["i00", "p002"] == "rejected"
    rows = [harness.ledger.rows["i00", f"p00{number}"] for number in range(3)]
    assert [row.status for row in rows] == ["accepted", "accepted", "rejected"]
    assert harness.reasons() == {"the project has rejected it; left so": {"p002"}}


def test_the_steady_state_is_one_listing() -> None:
    """If all are accepted, a run sends one GET for the image and nothing else."""
    harness = accepting()
    harness.run()
    harness.again()
    harness.run()
    assert harness.totals() == {Result.ALREADY: 10}
    assert len(harness.cloud.sent) == 1
    assert harness.observer.phases == [("listing", 1)]


def test_a_rejected_membership_is_accepted_by_force() -> None:
    """`accept: force` also accepts what the project has rejected."""
    harness = accepting(FORCE, p000="rejected")
    harness.run()
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    assert harness.totals() == {Result.ACCEPTED: 1, Result.SHARED: 9}


@pytest.mark.parametrize(("want", "accepted"), [(ACCEPT, 8), (FORCE, 9)])
def test_the_status_of_a_duplicate_is_fetched_first(want: Want, accepted: int) -> None:
    """A 409 does not say whether the project has rejected it, nor whether it was accepted: what undo must not reset."""
    statuses = {f"p{number:03}": "pending" for number in range(8)}
    harness = accepting(want, **statuses, p008="accepted", p009="rejected")
    harness.preflight = False
    harness.run()
    assert harness.cloud.count("GET") == 10
    assert harness.cloud.count("PUT") == accepted
    assert harness.totals() == {Result.ACCEPTED: accepted, Result.ALREADY: 10 - accepted}
    assert harness.cloud.statuses["i00", "p009"] == ("accepted" if want is FORCE else "rejected")


def test_refused_acceptance_is_reported() -> None:
    """The pair is rejected, and says that it is shared; the image's other pairs continue."""
    harness = accepting(p001="pending")
    harness.cloud.script = lambda request, _count: (
        response(403, {"message": "You are not authorized"}) if request.method == "PUT" else None
    )
    harness.run()
    assert harness.totals() == {Result.REJECTED: 10}
    assert harness.cloud.count("PUT") == 10
    assert set(harness.reasons()) == {"shared, but not accepted: 403: You are not authorized"}
    assert harness.ledger.rows[PAIR].status == "pending"


def test_a_full_image_keeps_no_member_from_being_accepted() -> None:
    """Members of an image that a 413 shows to be full are accepted all the same."""
    harness = EngineHarness(limits=Limits(concurrency=4, per_image=2, members_per_image=0))
    harness.plan(1, 700, ACCEPT)
    members = [f"p{number:03}" for number in (*range(5, 25), *range(650, 700))]
    harness.cloud.statuses = {("i00", member_id): "pending" for member_id in members}
    harness.cloud.script = on_post(lambda _image, _body: response(413, {"message": "limit exceeded"}))
    harness.run()
    totals = harness.totals()
    assert totals[Result.ACCEPTED] == harness.cloud.count("PUT") == len(members)
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    assert (totals[Result.REJECTED] + totals[Result.SKIPPED], Result.PENDING in totals) == (630, False)
    assert totals[Result.REJECTED] <= 2  # those in flight together


def test_a_member_that_leaves_before_it_is_accepted_is_added_again() -> None:
    """Its PUT is answered with 404, and the pair starts over."""
    harness = accepting(p000="pending", p001="pending")

    def leave(request: Request, _count: int) -> None:
        if request.method == "PUT" and ("i00", "p000") in harness.cloud.statuses and not left:
            left.append(harness.cloud.statuses.pop(("i00", "p000")))

    left: list[str] = []
    harness.cloud.script = leave
    harness.run()
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    assert harness.totals() == {Result.ACCEPTED: 1, Result.SHARED: 9}
    assert harness.ledger.rows["i00", "p000"].result is Result.SHARED


def test_acceptance_as_the_project_itself() -> None:
    """With AS_PROJECT the PUT, and only that, is sent in the member project."""
    harness = accepting(ACCEPT | Want.AS_PROJECT, p001="pending")
    harness.run()
    projects = {(request.method, request.project) for _, request in harness.cloud.sent}
    assert projects == {("GET", None), ("POST", None), *(("PUT", f"p{number:03}") for number in range(10))}


def test_a_put_whose_answer_is_lost_is_repeated() -> None:
    """Accepting twice is harmless, so no GET is needed."""
    harness = accepting()
    lost: list[str] = []

    def lose(request: Request, _count: int) -> Reply | None:
        if request.method != "PUT" or request.path in lost:
            return None
        lost.append(request.path)
        harness.cloud.answer(request)
        return Fault(FaultKind.LOST, "connection reset")

    harness.cloud.script = lose
    harness.run()
    assert harness.totals() == {Result.SHARED: 10}
    assert (harness.cloud.count("PUT"), harness.engine.retries) == (20, 10)
    assert {row.attempts for row in harness.ledger.rows.values()} == {1}


def test_never_two_in_flight_for_a_pair() -> None:
    """Neither the steps of a pair overlap, nor its retries."""
    harness = accepting(p001="pending", p002="pending")
    harness.cloud.script = lambda _request, count: response(503) if count % 3 == 0 else None
    harness.run()
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    assert max(count for key, count in harness.cloud.most_in_flight.items() if key.startswith("pair")) == 1


def test_acceptance_continues_after_a_stop() -> None:
    """Pairs that were added but not accepted are pending; the next run only accepts them."""
    harness = accepting()
    harness.cloud.latency_seconds = 1.0

    async def stop(engine: Engine) -> None:
        while not harness.cloud.count("POST"):
            await anyio.sleep(0.1)
        engine.stop()

    harness.run(beside=stop)
    assert harness.engine.interrupted
    assert harness.cloud.statuses, "none was stopped between its two steps"
    assert harness.totals() == {Result.PENDING: 10}
    harness.run()
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    assert (harness.cloud.count("POST"), Result.PENDING in harness.totals()) == (10, False)


def test_an_accepted_member_proves_its_image() -> None:
    """An unlisted image gets a single request until the first POST is answered."""
    harness = accepting()
    harness.cloud.script = on_post(lambda _image, _body: None)
    harness.cloud.latency_seconds = 1.0
    harness.preflight = False
    harness.run()
    times = [at for at, request in harness.cloud.sent if request.method == "POST"]
    assert times[1] - times[0] < 1.5
