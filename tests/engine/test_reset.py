"""Memberships whose status is set back to pending: never added, never removed, by whoever may."""

from __future__ import annotations

import pytest

from bulkshare.model import AS_PLANNED, Result, Want
from bulkshare.report import changes_of
from tests.engine.fakes import response
from tests.engine.harness import EngineHarness
from tests.engine.ims_cloud import ImsCloud

STATUSES = {("i", "a"): "accepted", ("i", "b"): "rejected", ("i", "c"): "pending"}


def resetting(*members: str, want: Want = Want.RESET, batches: bool = False) -> EngineHarness:
    """Return an engine that is to reset these members of image i."""
    harness = EngineHarness(batches=batches)
    if batches:
        harness.cloud = ImsCloud()
    harness.cloud.statuses = dict(STATUSES)
    harness.ledger.enqueue_all([("i", member) for member in members], want)
    return harness


@pytest.mark.parametrize("batches", [False, True])
def test_statuses_are_reset_one_by_one(batches: bool) -> None:  # noqa: FBT001  a parameter
    """A request each, also on a cloud that has batches; one that is pending needs none, and who has left is skipped."""
    harness = resetting("a", "b", "c", "gone", batches=batches)
    harness.run()
    assert harness.cloud.statuses == dict.fromkeys(STATUSES, "pending")
    assert harness.totals() == {Result.RESET: 2, Result.ALREADY: 1, Result.SKIPPED: 1}
    assert (harness.cloud.count("PUT"), harness.cloud.count("POST"), harness.cloud.count("DELETE")) == (2, 0, 0)
    wants = {member: row.want for (_, member), row in harness.ledger.rows.items()}
    assert Want.WAS_ACCEPTED in wants["a"]
    assert Want.WAS_ACCEPTED not in wants["b"] | wants["c"]


def test_a_look_shows_what_would_be_reset() -> None:
    """And why it can't be, if the project lets no one in."""
    harness = resetting("a", "b", "c", want=Want.RESET | Want.AS_PROJECT)
    harness.run(share=False)
    rows = [row for row in harness.ledger.rows.values() if row.result not in AS_PLANNED]
    changes = changes_of("n", rows, unlisted={}, not_acceptable={(True, "b"): "no role"})
    assert [(image.reset, image.add, image.refused) for image in changes.images] == [
        (["a"], [], {"not set back to pending: no role": ["b"]})
    ]


def test_it_may_be_done_in_the_members_project() -> None:
    """With a token of that project, as for an acceptance."""
    harness = resetting("a", want=Want.RESET | Want.AS_PROJECT)
    harness.run()
    assert [request.project for _, request in harness.cloud.sent if request.method == "PUT"] == ["a"]


@pytest.mark.parametrize(("status", "result"), [(403, Result.REJECTED), (404, Result.REJECTED), (500, Result.FAILED)])
def test_a_refusal_is_the_reason(status: int, result: Result) -> None:
    """Nothing is added in its place."""
    harness = resetting("a")
    harness.cloud.script = lambda request, _: (
        response(status, {"message": "not for you"}) if request.method == "PUT" else None
    )
    harness.run()
    row = harness.ledger.rows["i", "a"]
    assert (row.result, "not for you" in row.reason) == (result, True)
    assert harness.cloud.count("POST") == 0
