"""The preflight: what it finds before anything is written, and what follows; in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bulkshare.engine.preflight import PLANS_LIMIT
from bulkshare.model import Image, Limits, Orders, Reply, Request, Result, Want
from tests.engine.fakes import NOW, response
from tests.engine.harness import ACCOUNT, EngineHarness

if TYPE_CHECKING:
    from datetime import datetime

    from bulkshare.engine import Engine

MAKE_SHARED = {image_id: Orders(make_shared=True) for image_id in ("i00", "i01")}
PRIVATE = "the image is private, and takes no members"


class KilledError(Exception):
    """The process ended here."""


def about(want: Want = Want.MEMBER, **image: Any) -> EngineHarness:
    """Return a harness with two images and ten projects; `image` describes the first."""
    harness = EngineHarness()
    harness.plan(2, 10, want)
    harness.cloud.images["i00"] = image
    return harness


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"visibility": "private"}, PRIVATE),
        ({"status": "deactivated"}, "the image is deactivated, not active"),
        ({"owner": "theirs"}, "the image belongs to project theirs, not to us"),
        ({"status": "deactivated", "os_hidden": True}, "the image is deactivated, not active"),
    ],
)
def test_pairs_that_can_not_succeed_are_not_tried(image: dict[str, Any], reason: str) -> None:
    """All pairs of the image are skipped with the reason, without a write; the other image is not affected."""
    harness = about(**image)
    harness.run()
    assert harness.totals() == {Result.SKIPPED: 10, Result.SHARED: 10}
    assert harness.cloud.count("POST", among="/i00/") == 0
    assert harness.reasons() == {reason: {f"p{number:03}" for number in range(10)}}


@pytest.mark.parametrize("visibility", ["public", "community"])
@pytest.mark.parametrize("owner", ["ours", "theirs"])
def test_images_that_every_project_can_use_are_as_planned(visibility: str, owner: str) -> None:
    """Without a write, in a night after which all is well; nothing is asked about members that are not there."""
    harness = about(Want.ACCEPTED, visibility=visibility, owner=owner)
    harness.orders = {"i00": Orders(make_shared=True, fill=True)}
    harness.run()
    assert harness.totals() == {Result.ALREADY: 10, Result.SHARED: 10}
    assert set(harness.reasons()) == {f"every project can use the image: it is {visibility}"}
    assert [request.method for _, request in harness.cloud.sent if "/i00/" in request.path] == ["GET"]


@pytest.mark.parametrize("visibility", ["public", "community"])
def test_they_have_no_members_to_remove(visibility: str) -> None:
    """Pruning one is no error, with pairs or without any: its members can't be listed, and need not be."""
    harness = about(visibility=visibility)
    harness.cloud.images["i09"] = {"visibility": visibility}
    harness.orders = {image_id: Orders(prune=True) for image_id in ("i00", "i09")}
    harness.run()
    assert harness.totals() == {Result.ALREADY: 10, Result.SHARED: 10}


@pytest.mark.parametrize("visibility", ["public", "community"])
def test_in_a_strict_plan_they_are_not(visibility: str) -> None:
    """Its pairs are skipped with the reason."""
    harness = about(visibility=visibility)
    harness.orders = {"i00": Orders(strict=True)}
    harness.run()
    assert harness.totals() == {Result.SKIPPED: 10, Result.SHARED: 10}
    assert set(harness.reasons()) == {f"the image is {visibility}: every project can use it, and it takes no members"}


@pytest.mark.parametrize("status", ["queued", "saving", "importing", "uploading"])
def test_images_on_their_way_are_shared(status: str) -> None:
    """The cloud takes members before an image has data."""
    harness = about(status=status)
    harness.run()
    assert harness.totals() == {Result.SHARED: 20}


def test_a_dry_run_finds_the_same() -> None:
    """Nothing of an image that takes no members stays pending."""
    harness = about(status="deactivated")
    harness.run(share=False)
    assert harness.totals() == {Result.SKIPPED: 10, Result.PENDING: 10}


def test_images_are_looked_up_in_batches() -> None:
    """120 images take three requests; nothing is assumed about one that the cloud does not describe."""
    harness = EngineHarness()
    harness.plan(99, 2)
    harness.ledger.enqueue_all([(f"j{number:02}", "p000") for number in range(21)])
    harness.cloud.unlisted = {"j00"}
    harness.run()
    assert harness.totals() == {Result.SHARED: 219}
    assert harness.cloud.count("GET", among="/v2/images?") == 3 + 2, (
        "and two for the hidden and the community images among those not found"
    )
    assert (len(harness.observer.images), harness.observer.done) == (119, 120)


def test_a_service_with_small_pages_is_followed() -> None:
    """The pages of a service with ten images per page are all read."""
    harness = EngineHarness()
    harness.plan(25, 2)
    harness.cloud.page = 10
    harness.run()
    assert len(harness.observer.images) == 25


def test_images_that_can_not_be_looked_up_are_tried() -> None:
    """A refused look-up is no reason not to try."""
    harness = EngineHarness()
    harness.plan(3, 5)
    harness.cloud.script = lambda request, _count: response(403) if "?id=" in request.path else None
    harness.run()
    assert harness.totals() == {Result.SHARED: 15}


def test_selected_images_are_not_looked_up_again() -> None:
    """Images that the plan selected are shared whatever their status, and no known image is looked up again."""
    harness = EngineHarness()
    harness.plan(2, 5)
    harness.images = {
        "i00": Image("i00", status="deactivated", visibility="shared", owner="ours"),
        "i01": Image("i01", status="active", visibility="shared", owner="theirs"),
    }
    harness.orders = dict.fromkeys(harness.images, Orders(selected=True))
    harness.run()
    assert harness.totals() == {Result.SHARED: 5, Result.SKIPPED: 5}
    assert harness.cloud.count("GET", among="/v2/images?") == 0
    assert [image.id for image in harness.observer.images] == ["i00", "i01"]


def test_without_preflight_nothing_is_looked_up() -> None:
    """Neither members nor images."""
    harness = about(status="deactivated")
    harness.preflight = False
    harness.run()
    assert (harness.cloud.count("GET"), harness.cloud.count("POST")) == (0, 20)


def test_an_admin_may_share_images_of_others() -> None:
    """The owner does not matter with the role admin."""
    harness = about(owner="theirs")
    harness.account = replace(ACCOUNT, admin=True)
    harness.run()
    assert harness.totals() == {Result.SHARED: 20}


def test_the_owner_is_skipped() -> None:
    """Sharing an image with its own project does nothing, although Glance accepts it."""
    harness = about(owner="ours")
    harness.ledger.enqueue_all([("i00", "ours"), ("i01", "ours")])
    harness.run()
    assert harness.totals() == {Result.SHARED: 21, Result.SKIPPED: 1}
    assert harness.reasons() == {"the project is the image's owner": {"ours"}}


@pytest.mark.parametrize("want", [Want.MEMBER, Want.ACCEPTED])
def test_an_image_over_quota_is_not_started(want: Want) -> None:
    """If not all fit, none is added, but existing members are accepted."""
    harness = EngineHarness(limits=Limits(members_per_image=9))
    harness.plan(1, 10, want)
    harness.cloud.members = {("i00", "p000"), ("i00", "p001"), ("i00", "other")}
    harness.run()
    present = Result.ACCEPTED if want else Result.ALREADY
    assert harness.totals() == {present: 2, Result.SKIPPED: 8}
    assert set(harness.reasons()) == {f"needs 11, has 3 of 9 members; {PLANS_LIMIT}"}
    assert {request.method for _, request in harness.cloud.sent} == ({"GET", "PUT"} if want else {"GET"})


@pytest.mark.parametrize("want", [Want.MEMBER, Want.ACCEPTED])
def test_an_image_is_filled_up_to_its_quota(want: Want) -> None:
    """With `fill`, as many as fit are added in order and the rest is skipped; the owner needs no room."""
    harness = EngineHarness(limits=Limits(members_per_image=9))
    harness.plan(1, 10, want)
    harness.ledger.enqueue_all([("i00", "ours")], want)
    harness.orders = {"i00": Orders(fill=True)}
    harness.cloud.images["i00"] = {"owner": "ours"}
    harness.cloud.members = {("i00", "p008"), ("i00", "other")}
    harness.run()
    present = Result.ACCEPTED if want else Result.ALREADY
    assert harness.totals() == {present: 1, Result.SHARED: 7, Result.SKIPPED: 3}
    assert harness.reasons() == {
        f"needs 11, has 2 of 9 members; {PLANS_LIMIT}": {"p007", "p009"},
        "the project is the image's owner": {"ours"},
    }
    assert len(harness.cloud.members) == 9


def test_the_cloud_decides_the_quota_of_an_unlisted_image() -> None:
    """An unknown number of members is not over the quota."""
    harness = EngineHarness(limits=Limits(members_per_image=9))
    harness.plan(1, 10)
    harness.preflight = False
    harness.run()
    assert harness.totals() == {Result.SHARED: 10}


def test_a_private_image_is_set_shared_first() -> None:
    """One PATCH, and then it takes members, which are accepted if that is wanted."""
    harness = about(Want.ACCEPTED, visibility="private")
    harness.orders = MAKE_SHARED
    harness.run()
    assert harness.totals() == {Result.SHARED: 20}
    assert harness.cloud.count("PATCH") == 1
    assert [name for name, _ in harness.observer.phases] == ["listing", "inspecting", "opening", "sharing"]
    assert list(harness.observer.set_shared) == ["i00"]
    assert harness.ledger.opened == {"i00": NOW}
    assert set(harness.cloud.statuses.values()) == {"accepted"}


def test_without_preflight_a_private_image_is_set_shared_all_the_same() -> None:
    """Only images that may have to be set shared are looked up."""
    harness = about(visibility="private")
    harness.orders = MAKE_SHARED
    harness.preflight = False
    harness.run()
    assert harness.totals() == {Result.SHARED: 20}
    assert (harness.cloud.count("GET"), harness.cloud.count("PATCH")) == (1, 1)


def test_pairs_of_an_old_ledger_have_a_private_image_set_shared() -> None:
    """A run of 0.1.0 kept the order with its pairs, and is finished as it was begun."""
    harness = about(Want.SET_SHARED, visibility="private")
    harness.run()
    assert harness.totals() == {Result.SHARED: 20}
    assert harness.cloud.count("PATCH") == 1


@pytest.mark.parametrize("patches", [1, 2], ids=["sent", "not sent"])
def test_a_kill_loses_no_image_that_was_set_shared(patches: int) -> None:
    """The ledger has it as asked for before the request leaves; the next invocation finds out what came of it."""
    harness = about(visibility="private")
    harness.orders = MAKE_SHARED

    def kill(request: Request, _count: int) -> None:
        if request.method == "PATCH":
            asked.append(dict(harness.ledger.opened))
            if patches == 1:
                harness.cloud.answer(request)
            raise KilledError

    asked: list[dict[str, datetime | None]] = []
    harness.cloud.script = kill
    with pytest.raises(KilledError):
        harness.run()
    assert asked == [{"i00": None}]
    assert harness.ledger.opened == {"i00": None}
    harness.cloud.script = lambda _request, _count: None
    harness.run()
    assert harness.ledger.opened == {"i00": NOW}
    assert harness.cloud.count("PATCH") == patches
    assert harness.totals() == {Result.SHARED: 20}


def test_an_image_that_is_gone_was_not_set_shared() -> None:
    """What can't be found out stays open."""
    harness = about()
    harness.ledger.opened = {"gone": None}
    harness.cloud.unlisted = {"gone"}
    harness.run()
    assert harness.ledger.opened == {"gone": None}


@pytest.mark.parametrize(
    ("status", "result", "reason"),
    [
        (403, Result.SKIPPED, "the image can't be made shared: 403: no"),
        (500, Result.FAILED, "not known whether the image was made shared: 500: no"),
    ],
)
def test_an_image_that_can_not_be_set_shared_is_not_tried(status: int, result: Result, reason: str) -> None:
    """All its pairs are settled with the reason."""
    harness = about(visibility="private")
    harness.orders = MAKE_SHARED
    harness.cloud.script = lambda request, _count: (
        response(status, {"message": "no"}) if request.method == "PATCH" else None
    )
    harness.run()
    assert harness.totals() == {result: 10, Result.SHARED: 10}
    assert list(harness.reasons()) == [reason]
    assert harness.ledger.opened == {"i00": None}
    assert harness.cloud.count("PATCH") == (1 if status == 403 else harness.policy.attempts)


def test_a_service_may_share_private_images() -> None:
    """A private image whose members can be listed takes members: the cloud is an older one."""
    harness = EngineHarness()
    harness.plan(1, 10)
    harness.cloud.script = lambda request, _count: (
        response(200, {"images": [{"id": "i00", "visibility": "private", "status": "active"}]})
        if "?id=" in request.path
        else None
    )
    harness.run()
    assert harness.totals() == {Result.SHARED: 10}


@pytest.mark.parametrize("at", ["/members", "?id="])
def test_a_stop_before_the_writes_settles_nothing(at: str) -> None:
    """The rest stays pending, and the next run continues."""
    harness = about(status="deactivated")
    harness.cloud.latency_seconds = 1.0

    async def stop(engine: Engine) -> None:
        while not harness.cloud.count("GET", among=at):
            await anyio.sleep(0.1)
        engine.stop()

    harness.run(beside=stop)
    assert harness.engine.interrupted
    assert harness.cloud.count("POST") == 0
    assert harness.totals() == {Result.PENDING: 20}
    harness.run()
    assert not harness.engine.interrupted
    assert harness.totals() == {Result.SKIPPED: 10, Result.SHARED: 10}


def test_listing_waits_for_an_endpoint_that_is_down() -> None:
    """Failures in an outage use up no attempts: after it all images are listed."""
    harness = EngineHarness(through_pace=True)
    harness.plan(3, 10)
    harness.cloud.members = set(harness.ledger.rows)

    def outage(_request: Request, _count: int) -> Reply | None:
        return response(503) if anyio.current_time() < 1120.0 else None

    harness.cloud.script = outage
    harness.run()
    assert harness.totals() == {Result.ALREADY: 30}
    assert harness.cloud.count("POST") == 0


def test_a_listing_that_fails_for_ever_ends() -> None:
    """The endpoint answers its probes, so the failure is the listing's own."""
    harness = EngineHarness(through_pace=True)
    harness.plan(1, 10)
    harness.cloud.script = lambda request, _count: response(500) if request.path.endswith("/members") else None
    harness.run()
    assert harness.totals() == {Result.FAILED: 10}
