"""Pruning: extra members are reported, then removed, before any is added; in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.engine.preflight import PLANS_LIMIT
from bulkshare.errors import UnlistedError
from bulkshare.model import Fault, FaultKind, Limits, Orders, PruneLimit, Reply, Request, Result, Step, Want
from tests.engine.fakes import response
from tests.engine.harness import ACCOUNT, EngineHarness

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.engine import Engine

EXTRA = {("i00", f"x{number}") for number in range(5)}


def pruning(projects: int = 10, extra: int = 5) -> EngineHarness:
    """Return a harness with one image: half the projects are members already, and there are extra members."""
    harness = EngineHarness()
    harness.plan(1, projects)
    planned = [member_id for _, member_id in harness.ledger.rows]
    harness.orders = {"i00": Orders(prune=True, kept=frozenset({*planned, "friend"}))}
    harness.cloud.members = {("i00", name) for name in [*planned[: projects // 2], *(f"x{n}" for n in range(extra))]}
    return harness


def test_extra_members_are_removed() -> None:
    """They are reported before any write and removed before others are added; those to keep stay."""
    harness = pruning()
    harness.cloud.statuses["i00", "friend"] = "pending"
    harness.run()
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REMOVED: 5}
    assert {member for _, member in harness.cloud.members} == {*(f"p{n:03}" for n in range(10)), "friend"}
    assert harness.observer.extras == harness.observer.ahead == [("i00", [f"x{n}" for n in range(5)])]
    assert harness.observer.phases == [("listing", 1), ("inspecting", 1), ("removing", 5), ("sharing", 5)]
    methods = [request.method for _, request in harness.cloud.sent]
    assert methods == ["GET", "GET", *["DELETE"] * 5, *["POST"] * 5]
    row = harness.ledger.rows["i00", "x0"]
    assert (row.want, row.http_status, row.attempts) == (Want.REMOVE, 204, 1)


def test_the_owner_as_an_extra_member_is_removed() -> None:
    """That a project owns the image is a reason not to add it, and none to keep it as a member."""
    harness = pruning(extra=5)
    harness.cloud.images["i00"] = {"owner": "x2"}
    harness.account = replace(ACCOUNT, admin=True)
    harness.run()
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REMOVED: 5}
    assert harness.ledger.rows["i00", "x2"].result is Result.REMOVED


@pytest.mark.parametrize("stopped", [False, True])
def test_names_are_looked_up_before_removals_are_announced(stopped: bool) -> None:  # noqa: FBT001  a table
    """What is awaited before the first write may take its time; after a stop nothing is announced or sent."""
    harness = pruning()
    known: list[tuple[int, int]] = []

    async def look_up() -> None:
        await anyio.sleep(3.0)
        known.append((len(harness.observer.extras), len(harness.observer.ahead)))
        if stopped:
            harness.engine.stop()

    harness.before_writing = look_up
    harness.run()
    assert known == [(1, 0)]
    assert harness.cloud.count("DELETE") == (0 if stopped else 5)
    assert len(harness.observer.ahead) == (0 if stopped else 1)


def test_members_in_pages_are_found_and_removed() -> None:
    """A service that lists members in pages hides neither present nor extra members."""
    harness = pruning()
    harness.cloud.members_page = 3
    harness.run()
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REMOVED: 5}
    assert {member for _, member in harness.cloud.members} == {f"p{n:03}" for n in range(10)}
    assert [request.path.partition("?")[2] for _, request in harness.cloud.sent[:4]] == [
        "",
        *(f"marker={n}" for n in (3, 6, 9)),
    ]


def test_a_page_that_is_refused_leaves_the_image_unlisted() -> None:
    """No member is removed on the grounds of half a list."""
    harness = pruning()
    harness.cloud.members_page = 3
    harness.cloud.script = lambda request, _count: response(403) if "marker=6" in request.path else None
    harness.run()
    assert {("i00", f"x{n}") for n in range(5)} <= harness.cloud.members
    assert harness.cloud.count("DELETE") == 0


UNLISTED = {
    "500": (lambda: response(500), Result.FAILED),
    "time-out": (lambda: Fault(FaultKind.TIMEOUT, "timed out"), Result.FAILED),
    "page": (lambda: response(200, {}), Result.FAILED),
    "403": (lambda: response(403), Result.SKIPPED),
    "404": (lambda: response(404), Result.SKIPPED),
}
every_unlisted = pytest.mark.parametrize(("answer", "result"), UNLISTED.values(), ids=UNLISTED)


def unlistable(answer: Callable[[], Reply], projects: int) -> EngineHarness:
    """Return a harness with an image to be pruned whose members can't be listed; some other service works."""
    harness = pruning(projects)
    harness.cloud.script = lambda request, _count: (
        answer() if request.method == "GET" and request.path.partition("?")[0].endswith("/members") else None
    )
    return harness


@every_unlisted
@pytest.mark.parametrize("share", [True, False])
def test_an_image_that_can_not_be_listed_is_no_success(
    answer: Callable[[], Reply], result: Result, *, share: bool
) -> None:
    """Its pairs say why, for a run as for a dry run: a fault may pass, a refusal won't."""
    harness = unlistable(answer, 10)
    harness.run(share=share)
    assert harness.totals() == {result: 10}
    reasons = {row.reason for row in harness.ledger.rows.values()}
    assert all("could not be listed, so none of them was removed: " in reason for reason in reasons)
    assert not harness.cloud.count("DELETE")
    assert not harness.cloud.count("POST")


@every_unlisted
def test_nor_is_one_without_pairs(answer: Callable[[], Reply], result: Result) -> None:
    """There is no pair to say why, so the run ends with an error, once everything else is done."""
    del result
    harness = unlistable(answer, 0)
    with pytest.raises(UnlistedError, match=r"^image i00: .* could not be listed, so none of them was removed: "):
        harness.run()


@pytest.mark.parametrize("visibility", ["private", "public", "community"])
def test_an_image_without_members_needs_no_pruning(visibility: str) -> None:
    """No project can use it through a membership, so a plan without projects for it is fulfilled."""
    harness = EngineHarness(orders={"i00": Orders(prune=True)})
    harness.cloud.images["i00"] = {"visibility": visibility}
    harness.run()
    assert harness.totals() == {}
    assert {request.method for _, request in harness.cloud.sent} == {"GET"}


def test_a_list_without_end_is_not_believed() -> None:
    """A marker that leads back would be followed forever."""
    harness = pruning()
    page = {"members": [], "page_info": {"next_marker": "1"}}
    harness.cloud.script = lambda request, _count: (
        response(200, page) if request.path.partition("?")[0].endswith("/members") and request.method == "GET" else None
    )
    harness.run()
    assert harness.cloud.count("DELETE") == 0


def test_the_steady_state_is_one_listing() -> None:
    """Without extra members a run that prunes sends one GET for the image."""
    harness = pruning()
    harness.run()
    harness.again()
    harness.run()
    assert len(harness.cloud.sent) == 1
    assert harness.observer.extras == []


@pytest.mark.parametrize("preflight", [True, False])
def test_an_image_whose_pairs_are_done_is_pruned_as_well(*, preflight: bool) -> None:
    """An image with one pair, or none left to do, is listed all the same, to find its extra members."""
    harness = pruning(projects=1)
    harness.preflight = preflight
    harness.run()
    assert {member for _, member in harness.cloud.members} == {"p000"}
    harness.cloud.statuses["i00", "late"] = "pending"
    harness.preflight = preflight
    harness.run()
    assert {member for _, member in harness.cloud.members} == {"p000"}


def test_a_dry_run_reports_and_removes_nothing() -> None:
    """What would be removed or added stays pending."""
    harness = pruning()
    harness.run(share=False)
    assert {request.method for _, request in harness.cloud.sent} == {"GET"}
    assert harness.totals() == {Result.ALREADY: 5, Result.PENDING: 10}
    assert harness.observer.extras
    assert not harness.observer.ahead
    assert harness.engine.looked


@pytest.mark.parametrize(("extra", "removed"), [(2, True), (3, False)])
def test_more_than_the_limit_stops_before_the_first(extra: int, removed: bool) -> None:  # noqa: FBT001  a table
    """With a limit of 10 %, 2 of 20 members may be removed; 3 of 21 may not, so none is."""
    harness = pruning(36, extra)
    harness.orders["i00"] = harness.orders["i00"]._replace(prune_limits=(PruneLimit(),))
    harness.run()
    assert harness.cloud.count("DELETE") == (extra if removed else 0)
    assert bool(harness.observer.ahead) == removed, "what is not removed is not announced"
    assert harness.totals().get(Result.REMOVED, 0) == (extra if removed else 0)
    expected = (
        {} if removed else {"3 of 21 members would be removed; the prune limit (10%) allows 2": {"x0", "x1", "x2"}}
    )
    assert harness.reasons() == expected
    assert harness.totals()[Result.SHARED] == 18, "the others are not concerned"


def test_removals_that_another_image_forbids_make_no_room() -> None:
    """If one image is over the prune limit, no image loses a member, so the quota decides without removals."""
    harness = EngineHarness()
    harness.limits = replace(harness.limits, members_per_image=4)
    harness.ledger.enqueue_all([("i00", name) for name in ("a", "b", "c", "d")] + [("i01", "a")])
    orders = Orders(prune=True, kept=frozenset("abcd"), prune_limits=(PruneLimit(0.4),))
    harness.orders = dict.fromkeys(("i00", "i01"), orders)
    harness.cloud.members = {("i00", name) for name in ("a", "b", "x")} | {
        ("i01", name) for name in ("a", "x", "y", "z")
    }
    harness.run()
    assert harness.totals() == {Result.ALREADY: 3, Result.SKIPPED: 6}
    assert {request.method for _, request in harness.cloud.sent} == {"GET"}
    assert f"needs 5, has 3 of 4 members; {PLANS_LIMIT}" in harness.reasons()


def test_a_member_that_has_left_is_absent() -> None:
    """A GET clarifies the 404; there is nothing to remove."""
    harness = pruning()

    def leave(request: Request, _count: int) -> Reply | None:
        if request.method == "DELETE":
            harness.cloud.statuses.pop(("i00", "x3"), None)
        return None

    harness.cloud.script = leave
    harness.run()
    assert harness.ledger.rows["i00", "x3"].result is Result.ABSENT
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REMOVED: 4, Result.ABSENT: 1}
    assert harness.cloud.count("GET", among="/members/x3") == 1


def test_one_image_over_the_limit_stops_all_removals() -> None:
    """A plan that is wrong about one image may be wrong about others; additions go ahead."""
    harness = EngineHarness()
    harness.plan(2, 20)
    harness.cloud.members = {(image, f"p{number:03}") for image in ("i00", "i01") for number in range(19)}
    harness.cloud.members |= {("i00", "x0"), ("i01", "x1"), ("i01", "x2"), ("i01", "x3")}
    kept = frozenset(f"p{number:03}" for number in range(20))
    orders = Orders(prune=True, kept=kept, prune_limits=(PruneLimit(),))
    harness.orders = dict.fromkeys(("i00", "i01"), orders)
    harness.run()
    assert harness.cloud.count("DELETE") == 0
    assert harness.totals() == {Result.ALREADY: 38, Result.SHARED: 2, Result.SKIPPED: 4}
    beyond = "3 of 22 members would be removed; the prune limit (10%) allows 2"
    assert harness.reasons() == {
        beyond: {"x1", "x2", "x3"},
        f"no member is removed from any image because of image i01: {beyond}": {"x0"},
    }


def test_a_removal_whose_answer_is_lost_is_checked() -> None:
    """One DELETE, one GET: the member is gone, and this run removed it."""
    harness = pruning()

    def remove_and_cut(request: Request, _count: int) -> Reply | None:
        if request.method != "DELETE":
            return None
        harness.cloud.answer(request)
        return Fault(FaultKind.LOST, "connection reset")

    harness.cloud.script = remove_and_cut
    harness.run()
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REMOVED: 5}
    assert harness.cloud.count("DELETE") == 5
    assert "a GET shows that the member is gone" in harness.ledger.rows["i00", "x0"].reason


def test_a_refused_removal_costs_one_request_per_image() -> None:
    """A 403 about the image skips its other removals, not its additions."""
    harness = pruning()
    harness.cloud.script = lambda request, _count: (
        response(403, {"message": "You are not authorized to complete delete_member action."})
        if request.method == "DELETE"
        else None
    )
    harness.run()
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REJECTED: 1, Result.SKIPPED: 4}
    assert harness.cloud.count("DELETE") == 1


def test_what_is_removed_makes_room() -> None:
    """At the quota, removing five makes room for five others."""
    harness = pruning()
    harness.limits = Limits(members_per_image=10)
    harness.run()
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REMOVED: 5}


def test_removal_continues_after_a_stop() -> None:
    """Each removal is reported and done once, although the second run lists the image again."""
    harness = pruning()
    harness.limits = Limits(concurrency=1, members_per_image=0)
    harness.cloud.latency_seconds = 1.0

    async def stop(engine: Engine) -> None:
        while harness.cloud.count("DELETE") < 2:
            await anyio.sleep(0.1)
        engine.stop()

    harness.run(beside=stop)
    assert harness.totals() == {Result.ALREADY: 5, Result.REMOVED: 2, Result.PENDING: 8}
    harness.cloud.statuses.pop(("i00", "x4"))
    harness.run()
    assert harness.totals() == {Result.ALREADY: 5, Result.SHARED: 5, Result.REMOVED: 4, Result.ABSENT: 1}
    assert len(harness.observer.extras) == 1
    assert [members for _, members in harness.observer.ahead] == [[f"x{n}" for n in range(5)], ["x2", "x3"]]


def test_a_run_resumed_without_its_plan_finishes_its_removals() -> None:
    """Without orders, the pending removals are done, and no others."""
    harness = pruning()
    harness.run(share=False)
    harness.cloud.statuses["i00", "late"] = "pending"
    harness.orders = {}
    harness.run()
    assert {member for _, member in harness.cloud.members} == {*(f"p{n:03}" for n in range(10)), "late"}


def test_an_image_that_can_not_be_listed_is_not_pruned() -> None:
    """Not even of extra members that an earlier listing found: it is not known how many would be left."""
    harness = pruning()

    async def stop(engine: Engine) -> None:
        while not harness.observer.extras:
            await anyio.sleep(0.001)
        engine.stop()

    harness.run(beside=stop)
    assert harness.engine.interrupted
    harness.cloud.script = lambda request, _count: (
        response(403) if request.method == "GET" and request.path.endswith("/members") else None
    )
    harness.run()
    assert harness.cloud.count("DELETE") == 0
    assert harness.totals() == {Result.SKIPPED: 15}  # nothing is known of those that were members, either
    assert Step.REMOVE not in {step for step, _ in harness.observer.answers}
