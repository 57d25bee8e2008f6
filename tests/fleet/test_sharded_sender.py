"""The sharded sender in virtual time: a run with a fleet gives the results of one without."""

from __future__ import annotations

from bulkshare.model import Limits, Result, Want
from tests.engine.fakes import response
from tests.engine.harness import EngineHarness, on_post
from tests.fleet.in_process import with_workers

ACCEPT = Want.MEMBER | Want.ACCEPTED


def test_every_pair_is_sent_once() -> None:
    """The workers together send one POST per pair."""
    harness = EngineHarness(limits=Limits(concurrency=8, per_image=4, rate=200, members_per_image=0))
    cluster = with_workers(harness, 3)
    harness.plan(20, 50)
    harness.run()
    assert harness.totals() == {Result.SHARED: 1000}
    assert harness.cloud.count("POST") == 1000
    assert not cluster.notes


def test_a_full_image_keeps_no_member_from_being_accepted() -> None:
    """As without a fleet, also in shards dealt out after the one that met the quota."""
    harness = EngineHarness(limits=Limits(concurrency=4, per_image=2, rate=200, members_per_image=0))
    with_workers(harness, 2)
    harness.plan(1, 700, ACCEPT)
    members = [f"p{number:03}" for number in (*range(5, 25), *range(150, 160), *range(650, 700))]
    harness.cloud.statuses = {("i00", member_id): "pending" for member_id in members}
    harness.cloud.script = on_post(lambda _image, _body: response(413, {"message": "limit exceeded"}))
    harness.run()
    totals = harness.totals()
    assert totals[Result.ACCEPTED] == harness.cloud.count("PUT") == len(members)
    assert set(harness.cloud.statuses.values()) == {"accepted"}
    assert (totals[Result.REJECTED] + totals[Result.SKIPPED], Result.PENDING in totals) == (620, False)
    assert totals[Result.REJECTED] <= 2  # those in flight together
