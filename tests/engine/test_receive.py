"""Our own memberships of other projects' images: answered, and nothing else, in virtual time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import AS_PLANNED, Orders, Outcome, Reply, Request, Result, Want
from bulkshare.report import changes_of
from tests.engine.fakes import response
from tests.engine.harness import ACCOUNT, EngineHarness
from tests.engine.ims_cloud import ImsCloud
from tests.engine.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from tests.engine.fakes import FakeCloud

OWN = ACCOUNT.project_id
ACCEPT, FORCE, DECLINE = (
    Want.RECEIVED | Want.ACCEPTED,
    Want.RECEIVED | Want.ACCEPTED | Want.FORCED,
    Want.RECEIVED | Want.DECLINED,
)
IMAGES = ("i", "j", "k")


def receiving(wants: dict[str, Want], cloud: FakeCloud | None = None, *, batches: bool = False) -> EngineHarness:
    """Return a harness whose run has our membership of each image, which belongs to another project."""
    harness = EngineHarness(batches=batches) if cloud is None else EngineHarness(cloud=cloud, batches=batches)
    for image_id, want in wants.items():
        harness.ledger.enqueue_all([(image_id, OWN)], want)
        harness.cloud.images.setdefault(image_id, {"owner": "theirs"})
    return harness


def after(want: Want, status: str) -> str:
    """Return the status that a run leaves."""
    if Want.DECLINED in want:
        return "rejected"
    return status if status == "rejected" and Want.FORCED not in want else "accepted"


@given(
    st.dictionaries(st.sampled_from(IMAGES), st.sampled_from([ACCEPT, FORCE, DECLINE]), min_size=1),
    st.dictionaries(st.sampled_from(IMAGES), st.sampled_from(["pending", "accepted", "rejected"])),
    st.sets(st.sampled_from(IMAGES)),
    st.booleans(),
)
def test_only_our_own_memberships_change(
    wants: dict[str, Want],
    statuses: dict[str, str],
    unlisted: set[str],
    preflight: bool,  # noqa: FBT001  drawn
) -> None:
    """Whatever is a member and whatever can be listed: each is as wanted or has a reason, and no one else's changes."""

    def script(request: Request, _: int) -> Reply | None:
        refused = request.method == "GET" and request.path in {
            f"/v2/images/{image_id}/members" for image_id in unlisted
        }
        return response(403, {"message": "no list for you"}) if refused else None

    harness = receiving(wants)
    cloud = harness.cloud
    cloud.script = script
    cloud.statuses = {(image_id, OWN): status for image_id, status in statuses.items()}
    cloud.statuses |= {(image_id, "another"): "pending" for image_id in IMAGES}
    harness.orders = {image_id: Orders(selected=True) for image_id in wants}
    harness.preflight = preflight
    before = dict(cloud.statuses)

    harness.run()

    assert {request.method for _, request in cloud.sent} <= {"GET", "PUT"}
    assert {request.path.rpartition("/")[2] for _, request in cloud.sent if request.method == "PUT"} <= {OWN}
    expected = before | {
        (image_id, OWN): after(want, statuses[image_id]) for image_id, want in wants.items() if image_id in statuses
    }
    assert cloud.statuses == expected
    for image_id, want in wants.items():
        row = harness.ledger.rows[image_id, OWN]
        if image_id not in statuses:
            assert (row.result, bool(row.reason)) in {(Result.SKIPPED, True), (Result.REJECTED, True)}
        else:
            assert row.result in {Result.ALREADY, Result.DECLINED if Want.DECLINED in want else Result.ACCEPTED}


def test_a_look_shows_what_a_run_does_and_a_second_run_does_nothing() -> None:
    """Accepted and declined are told apart; images that are as wanted are not among the changes."""
    harness = receiving({"i": ACCEPT, "j": DECLINE, "k": ACCEPT})
    harness.cloud.statuses = {("i", OWN): "pending", ("j", OWN): "accepted", ("k", OWN): "accepted"}
    harness.run(share=False)
    changes = changes_of("n", _open(harness), unlisted={})
    assert [(image.image_id, image.accept, image.decline, image.add) for image in changes.images] == [
        ("i", [OWN], [], []),
        ("j", [], [OWN], []),
    ]
    harness.again()
    harness.run()
    assert harness.totals() == {Result.ACCEPTED: 1, Result.DECLINED: 1, Result.ALREADY: 1}
    harness.again()
    harness.run()
    assert harness.totals() == {Result.ALREADY: 3}
    assert harness.cloud.count("PUT") == 0


def _open(harness: EngineHarness) -> list[Outcome]:
    return [row for row in harness.ledger.rows.values() if row.result not in AS_PLANNED]


@pytest.mark.parametrize("want", [ACCEPT, DECLINE])
def test_the_clouds_refusal_is_the_reason(want: Want) -> None:
    """Without a role that may, each gets a 403; a 404 never leads to an attempt to add."""
    for status in (403, 404):
        harness = receiving({"i": want})
        harness.cloud.statuses = {("i", OWN): "pending"}
        harness.cloud.script = lambda request, _, status=status: (  # type: ignore[misc]
            response(status, {"message": "not for you"}) if request.method == "PUT" else None
        )
        harness.run()
        row = harness.ledger.rows["i", OWN]
        assert (row.result, row.reason) == (Result.REJECTED, f"{status}: not for you")
        assert harness.cloud.count("POST") == 0


def test_the_service_of_huawei_cloud_accepts_many_at_once() -> None:
    """With our own token, in one batch; those to be declined get a request each, and nothing is added."""
    images = [f"i{number}" for number in range(8)]
    harness = receiving({**dict.fromkeys(images, ACCEPT), "j": DECLINE}, ImsCloud(), batches=True)
    cloud = harness.cloud
    assert isinstance(cloud, ImsCloud)
    cloud.statuses = dict.fromkeys([(image_id, OWN) for image_id in [*images, "j"]], "pending")
    harness.run()
    assert harness.totals() == {Result.ACCEPTED: 8, Result.DECLINED: 1}
    assert [(method, sorted(image_ids)) for method, image_ids, _ in cloud.batches] == [("PUT", images)]
    puts = [json.loads(request.body or b"") for _, request in cloud.sent if request.method == "PUT"]
    assert [body for body in puts if "project_id" not in body] == [{"status": "rejected"}]


def test_a_ledger_keeps_what_was_wanted() -> None:
    """A run that goes on declines what it was to decline, however late."""
    harness = receiving({"i": DECLINE})
    harness.cloud.statuses = {("i", OWN): "accepted"}
    harness.run()
    rows = harness.ledger.rows
    harness.ledger = MemoryLedger({pair: row._replace(result=Result.PENDING) for pair, row in rows.items()})
    harness.cloud.statuses = {("i", OWN): "accepted"}
    harness.run()
    assert harness.cloud.statuses == {("i", OWN): "rejected"}
