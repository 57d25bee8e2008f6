"""The engine and all layers below it, on a sandbox and a real Glance: accepting, removing, setting shared, filling."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest

from bulkshare.cloud import CloudIdentity, Identified, read_entry
from bulkshare.cloud.http import HttpTransport
from bulkshare.engine import Engine
from bulkshare.engine.preflight import PLANS_LIMIT
from bulkshare.ledger import SqlLedger
from bulkshare.model import Block, Limits, Orders, Outcome, PruneLimit, Result, RetryPolicy, Want
from bulkshare.pacing import Breaker, Paced
from tests.cloud import call
from tests.engine.fakes import RecordingObserver

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cloud import CloudUnderTest

MEMBER = "/v2/images/{image}/members/{member}"
MEMBERS = "/v2/images/{image}/members"


class RunResult(NamedTuple):
    """The result of one run."""

    rows: dict[tuple[str, str], Outcome]
    observer: RecordingObserver
    requests: Counter[str]

    def results(self, image_id: str) -> Counter[Result]:
        """Count the image's pairs by result."""
        return Counter(row.result for (image, _), row in self.rows.items() if image == image_id)


class Runner:
    """Runs blocks as one user, each time with its own ledger."""

    def __init__(self, cloud: CloudUnderTest, folder: Path, user: str, limits: Limits) -> None:
        self._cloud = cloud
        self._folder = folder
        self._user = user
        self._limits = limits

    def run(
        self,
        blocks: list[Block],
        orders: Mapping[str, Orders] | None = None,
        *,
        share: bool = True,
    ) -> RunResult:
        """Run once, listing all images."""
        identity = CloudIdentity(read_entry(self._user, None))
        ledger = SqlLedger.open(str(self._folder / f"{random.random()}.db"))
        observer = RecordingObserver()
        self._cloud.mark()

        async def main() -> list[Outcome]:
            await identity.token()
            run = ledger.begin(plan="nightly", fingerprint="f" * 64, account=identity.account, now=datetime.now(UTC))
            ledger.enqueue(run.id, blocks)
            stopping = anyio.Event()
            async with HttpTransport(identity.connection) as http:
                paced = Paced(
                    http,
                    self._limits,
                    breaker=Breaker(),
                    stopping=stopping,
                    clock=anyio.current_time,
                    wall=lambda: datetime.now(UTC),
                )
                engine = Engine(
                    run_id=run.id,
                    transport=Identified(paced, identity),
                    ledger=ledger,
                    observer=observer,
                    limits=self._limits,
                    policy=RetryPolicy(),
                    clock=anyio.current_time,
                    wall=lambda: datetime.now(UTC),
                    jitter=random.random,
                    stopping=stopping,
                    answered_at=lambda: paced.answered_at,
                    useful=paced.useful,
                    orders=orders,
                    account=identity.account,
                )
                await engine.run(share=share)
            return list(ledger.outcomes(run.id))

        rows = {(row.image_id, row.member_id): row for row in anyio.run(main)}
        ledger.close()
        return RunResult(rows, observer, self._cloud.counted())


@pytest.fixture
def runner(cloud: CloudUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return a runner as the acceptor, who owns the images and has a role in most tenants, but not admin."""
    assert cloud.tenants
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.write_clouds_yaml(tmp_path / "clouds.yaml")))
    return Runner(cloud, tmp_path, "acceptor", Limits(rate=500.0, members_per_image=40))


def statuses(cloud: CloudUnderTest, image_id: str) -> dict[str, str]:
    """Return the status of each member."""
    return {member["member_id"]: member["status"] for member in cloud.members(image_id)}


def set_status(cloud: CloudUnderTest, image_id: str, member_id: str, status: str) -> None:
    """Let a member accept or reject the image."""
    url = f"{cloud.endpoint}/v2/images/{image_id}/members/{member_id}"
    assert call("PUT", url, token=cloud.token("admin"), body={"status": status}).status == 200


def test_two_nightly_runs(cloud: CloudUnderTest, runner: Runner) -> None:
    """A new image is set shared, one is pruned, tenants with a role accept; the next run only lists."""
    able = [tenant.id for tenant in cloud.tenants.open("member")]
    unable = [tenant.id for tenant in cloud.tenants.open(None)]
    new = cloud.create_image("new", owner="acceptor", visibility="private")
    old = cloud.create_image("old", owner="acceptor")
    for member_id in (*able[:3], "left-1", "left-2", "friend"):
        cloud.add_member(old, member_id)
    want = Want.ACCEPTED | Want.AS_PROJECT
    blocks = [Block(image_id, [*able, *unable], want) for image_id in (new, old)]
    orders = {new: Orders(make_shared=True), old: Orders(prune=True, kept=frozenset({*able, *unable, "friend"}))}

    diff = runner.run(blocks, orders, share=False)
    assert {row.result for row in diff.rows.values()} == {Result.PENDING}
    assert diff.requests == {f"GET {MEMBERS}": 2, "GET /v2/images": 1}

    first = runner.run(blocks, orders)
    assert first.results(new) == {Result.SHARED: len(able), Result.REJECTED: len(unable)}
    assert first.results(old) == {
        Result.ACCEPTED: 3,
        Result.SHARED: len(able) - 3,
        Result.REJECTED: len(unable),
        Result.REMOVED: 2,
    }
    members = {**dict.fromkeys(able, "accepted"), **dict.fromkeys(unable, "pending")}
    assert statuses(cloud, new) == members
    assert statuses(cloud, old) == {**members, "friend": "pending"}
    assert {first.rows[new, member_id].status for member_id in able} == {"accepted"}
    assert all(first.rows[new, member_id].reason.startswith("shared, but not accepted: 403: ") for member_id in unable)
    assert first.requests == {
        f"GET {MEMBERS}": 2,
        "GET /v2/images": 1,
        "PATCH /v2/images/{image}": 1,
        f"DELETE {MEMBER}": 2,
        f"POST {MEMBERS}": 2 * len([*able, *unable]) - 3,
        f"PUT {MEMBER}": 2 * len(able),
    }

    blocks = [Block(image_id, able, want) for image_id in (new, old)]
    second = runner.run(blocks, orders)
    assert {row.result for row in second.rows.values()} == {Result.ALREADY}
    assert second.requests == {f"GET {MEMBERS}": 2}


def test_pairs_that_can_not_succeed(cloud: CloudUnderTest, runner: Runner) -> None:
    """They are found, with reasons, before any write; the quota leaves what fits. A queued image takes members."""
    tenants = [tenant.id for tenant in cloud.tenants.open()]
    ours = cloud.tenants.images_project_id
    private = cloud.create_image("private", owner="acceptor", visibility="private")
    queued = cloud.create_image("queued", owner="acceptor", active=False)
    theirs = cloud.create_image("theirs", owner="alice")
    public = cloud.create_image("public", owner="acceptor", visibility="public")
    fine = cloud.create_image("fine", owner="acceptor")
    full = cloud.create_image("full", owner="acceptor")
    crowded = cloud.create_image("crowded", owner="acceptor")
    for image_id in (full, crowded):
        for number in range(20):
            cloud.add_member(image_id, f"old-{number}")
    cloud.add_member(theirs, ours)
    set_status(cloud, theirs, ours, "accepted")  # so that a list of images shows it to us
    images = (private, queued, theirs, public, fine, full, crowded)
    blocks = [Block(image_id, [*tenants, ours] if image_id == fine else tenants) for image_id in images]
    result = runner.run(blocks, {full: Orders(fill=True), crowded: Orders(prune=True, prune_limits=(PruneLimit(0.5),))})
    reasons = {
        image_id: {row.reason for (image, _), row in result.rows.items() if image == image_id} for image_id in images
    }
    (why_private,) = reasons[private]
    assert why_private.startswith("the image is private, ")
    assert reasons[public] == {"every project can use the image: it is public"}
    assert reasons[theirs] == {f"the image belongs to project {cloud.project_id('alice')}, not to us"}
    for image_id in (private, theirs):
        assert result.results(image_id) == {Result.SKIPPED: len(tenants)}
    assert result.results(public) == {Result.ALREADY: len(tenants)}
    assert result.results(queued) == {Result.SHARED: len(tenants)}
    assert result.results(fine) == {Result.SHARED: len(tenants), Result.SKIPPED: 1}
    assert result.rows[fine, ours].reason == "the project is the image's owner"
    assert result.results(full) == {Result.SHARED: 20, Result.SKIPPED: len(tenants) - 20}
    assert reasons[full] == {"", f"needs 50, has 20 of 40 members; {PLANS_LIMIT}"}
    assert result.results(crowded) == {Result.SKIPPED: 20 + len(tenants)}
    assert reasons[crowded] == {
        "20 of 20 members would be removed; the prune limit (50%) allows 10",
        f"needs 50, has 20 of 40 members; {PLANS_LIMIT}",
    }
    assert result.requests == {
        f"GET {MEMBERS}": len(images),
        "GET /v2/images": 1,
        f"POST {MEMBERS}": 2 * len(tenants) + 20,
    }


def test_an_admin_accepts_for_all(cloud: CloudUnderTest, runner: Runner, tmp_path: Path) -> None:
    """The role admin needs no other token; a rejected membership is left unless forced."""
    del runner
    tenants = [tenant.id for tenant in cloud.tenants.open()]
    image_id = cloud.create_image("golden", owner="acceptor")
    rejecting = cloud.create_project("rejecting")
    cloud.add_member(image_id, rejecting)
    set_status(cloud, image_id, rejecting, "rejected")
    admin = Runner(cloud, tmp_path, "admin", Limits(rate=500.0))
    blocks = [Block(image_id, [*tenants, rejecting], Want.ACCEPTED)]
    result = admin.run(blocks)
    assert result.results(image_id) == {Result.SHARED: len(tenants), Result.ALREADY: 1}
    left = result.rows[image_id, rejecting]
    assert (left.status, left.reason) == ("rejected", "the project has rejected it; left so")
    assert set(statuses(cloud, image_id).values()) == {"accepted", "rejected"}
    forced = admin.run([Block(image_id, [*tenants, rejecting], Want.ACCEPTED | Want.FORCED)])
    assert forced.results(image_id) == {Result.ALREADY: len(tenants), Result.ACCEPTED: 1}
    assert forced.requests == {f"GET {MEMBERS}": 1, "GET /v2/images": 1, f"PUT {MEMBER}": 1}
    assert set(statuses(cloud, image_id).values()) == {"accepted"}
