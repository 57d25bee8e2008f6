"""A fleet's crew in virtual time: a run with it is as one without."""

from __future__ import annotations

from bulkshare.model import Limits, Result, Want
from tests.engine.bench import Bench, on_post
from tests.engine.fakes import response
from tests.fleet.inplace import crew_of

ACCEPT = Want.MEMBER | Want.ACCEPTED


def test_all_is_shared() -> None:
    """Each pair once, by all workers."""
    bench = Bench(limits=Limits(concurrency=8, per_image=4, rate=200, members_per_image=0))
    cluster = crew_of(bench, 3)
    bench.plan(20, 50)
    bench.run()
    assert bench.totals() == {Result.SHARED: 1000}
    assert bench.cloud.count("POST") == 1000
    assert not cluster.notes


def test_a_full_image_keeps_no_member_from_being_accepted() -> None:
    """As without a fleet: in all shards that come after the one that met the quota, too."""
    bench = Bench(limits=Limits(concurrency=4, per_image=2, rate=200, members_per_image=0))
    crew_of(bench, 2)
    bench.plan(1, 700, ACCEPT)
    members = [f"p{number:03}" for number in (*range(5, 25), *range(150, 160), *range(650, 700))]
    bench.cloud.statuses = {("i00", member_id): "pending" for member_id in members}
    bench.cloud.script = on_post(lambda _image, _body: response(413, {"message": "limit exceeded"}))
    bench.run()
    totals = bench.totals()
    assert totals[Result.ALREADY] == bench.cloud.count("PUT") == len(members)
    assert set(bench.cloud.statuses.values()) == {"accepted"}
    assert (totals[Result.REJECTED] + totals[Result.SKIPPED], Result.PENDING in totals) == (620, False)
    assert totals[Result.REJECTED] <= 2  # those in flight together
