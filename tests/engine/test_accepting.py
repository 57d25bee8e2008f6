"""Acceptance of new and existing members, in virtual time."""

from __future__ import annotations

import anyio
import pytest

from bulkshare.engine import Engine, PreflightMode
from bulkshare.model import Fault, FaultKind, Limits, Reply, Request, Result, Want
from tests.engine.bench import Bench, on_post
from tests.engine.fakes import response

ACCEPT = Want.ACCEPTED
FORCE = Want.ACCEPTED | Want.FORCED
PAIR = ("i00", "p000")


def accepting(want: Want = ACCEPT, **statuses: str) -> Bench:
    """Return a bench with one image and ten projects, some of which are members."""
    bench = Bench()
    bench.plan(1, 10, want)
    bench.cloud.statuses = {("i00", member_id): status for member_id, status in statuses.items()}
    return bench


def test_what_is_added_is_accepted() -> None:
    """A POST and a PUT for each pair, and the rows say so."""
    bench = accepting()
    bench.run()
    assert bench.totals() == {Result.SHARED: 10}
    assert (bench.cloud.count("POST"), bench.cloud.count("PUT")) == (10, 10)
    assert set(bench.cloud.statuses.values()) == {"accepted"}
    row = bench.ledger.rows[PAIR]
    assert (row.status, row.attempts, row.reason, row.want) == ("accepted", 1, "", ACCEPT)


def test_only_the_rest_is_done() -> None:
    """Pending members are accepted, accepted ones settled by the listing, rejected ones left and reported."""
    bench = accepting(p000="pending", p001="accepted", p002="rejected")
    bench.run()
    assert bench.totals() == {Result.ALREADY: 3, Result.SHARED: 7}
    assert (bench.cloud.count("POST"), bench.cloud.count("PUT")) == (7, 8)
    assert bench.cloud.statuses["i00", "p002"] == "rejected"
    rows = [bench.ledger.rows["i00", f"p00{number}"] for number in range(3)]
    assert [row.status for row in rows] == ["accepted", "accepted", "rejected"]
    assert bench.reasons() == {"the project has rejected it; left so": {"p002"}}


def test_the_steady_state_is_one_listing() -> None:
    """If all are accepted, a run sends one GET for the image and nothing else."""
    bench = accepting()
    bench.run()
    bench.again()
    bench.run()
    assert bench.totals() == {Result.ALREADY: 10}
    assert len(bench.cloud.sent) == 1
    assert bench.observer.phases == [("listing", 1)]


def test_a_rejected_membership_is_accepted_by_force() -> None:
    """`accept: force` also accepts what the project has rejected."""
    bench = accepting(FORCE, p000="rejected")
    bench.run()
    assert set(bench.cloud.statuses.values()) == {"accepted"}
    assert bench.totals() == {Result.ALREADY: 1, Result.SHARED: 9}


@pytest.mark.parametrize(("want", "questions"), [(ACCEPT, 10), (FORCE, 0)])
def test_the_status_of_a_duplicate_is_fetched_first(want: Want, questions: int) -> None:
    """A 409 does not say whether the project has rejected it; if forced, that does not matter."""
    bench = accepting(want, **{f"p{number:03}": "pending" for number in range(9)}, p009="rejected")
    bench.run(PreflightMode.NEVER)
    assert bench.cloud.count("GET") == questions
    assert bench.totals() == {Result.ALREADY: 10}
    assert bench.cloud.statuses["i00", "p009"] == ("accepted" if want is FORCE else "rejected")


def test_refused_acceptance_is_reported() -> None:
    """The pair is rejected, and says that it is shared; the image's other pairs continue."""
    bench = accepting(p001="pending")
    bench.cloud.script = lambda request, _count: (
        response(403, {"message": "You are not authorized"}) if request.method == "PUT" else None
    )
    bench.run()
    assert bench.totals() == {Result.REJECTED: 10}
    assert bench.cloud.count("PUT") == 10
    assert set(bench.reasons()) == {"shared, but not accepted: 403: You are not authorized"}
    assert bench.ledger.rows[PAIR].status == "pending"


def test_a_full_image_keeps_no_member_from_being_accepted() -> None:
    """Members of an image that a 413 shows to be full are accepted all the same."""
    bench = Bench(limits=Limits(concurrency=4, per_image=2, members_per_image=0))
    bench.plan(1, 700, ACCEPT)
    members = [f"p{number:03}" for number in (*range(5, 25), *range(650, 700))]
    bench.cloud.statuses = {("i00", member_id): "pending" for member_id in members}
    bench.cloud.script = on_post(lambda _image, _body: response(413, {"message": "limit exceeded"}))
    bench.run()
    totals = bench.totals()
    assert totals[Result.ALREADY] == bench.cloud.count("PUT") == len(members)
    assert set(bench.cloud.statuses.values()) == {"accepted"}
    assert (totals[Result.REJECTED] + totals[Result.SKIPPED], Result.PENDING in totals) == (630, False)
    assert totals[Result.REJECTED] <= 2  # those in flight together


def test_a_member_that_leaves_before_it_is_accepted_is_added_again() -> None:
    """Its PUT is answered with 404, and the pair starts over."""
    bench = accepting(p000="pending", p001="pending")

    def leave(request: Request, _count: int) -> None:
        if request.method == "PUT" and ("i00", "p000") in bench.cloud.statuses and not left:
            left.append(bench.cloud.statuses.pop(("i00", "p000")))

    left: list[str] = []
    bench.cloud.script = leave
    bench.run()
    assert set(bench.cloud.statuses.values()) == {"accepted"}
    assert bench.totals() == {Result.ALREADY: 1, Result.SHARED: 9}
    assert bench.ledger.rows["i00", "p000"].result is Result.SHARED


def test_acceptance_as_the_project_itself() -> None:
    """With AS_PROJECT the PUT, and only that, is sent in the member project."""
    bench = accepting(ACCEPT | Want.AS_PROJECT, p001="pending")
    bench.run()
    projects = {(request.method, request.project) for _, request in bench.cloud.sent}
    assert projects == {("GET", None), ("POST", None), *(("PUT", f"p{number:03}") for number in range(10))}


def test_a_put_whose_answer_is_lost_is_repeated() -> None:
    """Accepting twice is harmless, so no GET is needed."""
    bench = accepting()
    lost: list[str] = []

    def lose(request: Request, _count: int) -> Reply | None:
        if request.method != "PUT" or request.path in lost:
            return None
        lost.append(request.path)
        bench.cloud.answer(request)
        return Fault(FaultKind.LOST, "connection reset")

    bench.cloud.script = lose
    bench.run()
    assert bench.totals() == {Result.SHARED: 10}
    assert (bench.cloud.count("PUT"), bench.engine.retries) == (20, 10)
    assert {row.attempts for row in bench.ledger.rows.values()} == {1}


def test_never_two_in_flight_for_a_pair() -> None:
    """Neither the steps of a pair overlap, nor its retries."""
    bench = accepting(p001="pending", p002="pending")
    bench.cloud.script = lambda _request, count: response(503) if count % 3 == 0 else None
    bench.run()
    assert set(bench.cloud.statuses.values()) == {"accepted"}
    assert max(count for key, count in bench.cloud.most_in_flight.items() if key.startswith("pair")) == 1


def test_acceptance_continues_after_a_stop() -> None:
    """Pairs that were added but not accepted are pending; the next run only accepts them."""
    bench = accepting()
    bench.cloud.latency_seconds = 1.0

    async def stop(engine: Engine) -> None:
        while not bench.cloud.count("POST"):
            await anyio.sleep(0.1)
        engine.stop()

    bench.run(beside=stop)
    assert bench.engine.interrupted
    assert bench.cloud.statuses, "none was stopped between its two steps"
    assert bench.totals() == {Result.PENDING: 10}
    bench.run()
    assert set(bench.cloud.statuses.values()) == {"accepted"}
    assert (bench.cloud.count("POST"), Result.PENDING in bench.totals()) == (10, False)


def test_an_accepted_member_proves_its_image() -> None:
    """An unlisted image gets a single request until the first POST is answered."""
    bench = accepting()
    bench.cloud.script = on_post(lambda _image, _body: None)
    bench.cloud.latency_seconds = 1.0
    bench.run(PreflightMode.NEVER)
    times = [at for at, request in bench.cloud.sent if request.method == "POST"]
    assert times[1] - times[0] < 1.5
