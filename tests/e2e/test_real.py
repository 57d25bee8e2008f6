"""The installed command on a real Keystone and Glance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import openstack
import pytest

from tests.shell import UNKNOWN_IMAGE

if TYPE_CHECKING:
    from tests.realcloud.cloud import RealCloud
    from tests.shell import Shell

pytestmark = [
    pytest.mark.real,
    # openstacksdk warns about its own internals
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture
def as_alice(shell: Shell, real_cloud: RealCloud) -> Shell:
    """Return a shell whose clouds.yaml has the real cloud's users."""
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(real_cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    return shell


def listed_by_sdk(config: str, image_ids: list[str]) -> set[tuple[str, str]]:
    """Return the (image, member) pairs that openstacksdk lists."""
    with openstack.connection.Connection(
        config=openstack.config.OpenStackConfig(config_files=[config], load_envvars=False).get_one("alice")
    ) as connection:
        image: Any = connection.image  # to the type checker it may be either version
        return {(image_id, member.member_id) for image_id in image_ids for member in image.members(image_id)}


def test_two_hundred_pairs_and_a_second_run(as_alice: Shell, real_cloud: RealCloud) -> None:
    """All pairs of 5 images and 40 projects are shared; the second run finds them and sends no POST."""
    images = [real_cloud.create_image(f"golden-{number}") for number in range(5)]
    projects = real_cloud.create_projects(40, "e2e")
    plan = as_alice.plan(images, projects, name="golden", more="limits: {rate: 500}\n")

    first = as_alice.run_json("run", plan, "--os-cloud", "alice")
    assert {key: first[key] for key in ("planned", "shared", "pending", "retries")} == {
        "planned": 200,
        "shared": 200,
        "pending": 0,
        "retries": 0,
    }
    pairs = {(image, project) for image in images for project in projects}
    assert listed_by_sdk(as_alice.env["OS_CLIENT_CONFIG_FILE"], images) == pairs
    assert sum(len(real_cloud.member_ids(image)) for image in images) == 200, "a member is there twice"

    real_cloud.mark()
    second = as_alice.run_json("run", plan, "--os-cloud", "alice")
    assert (second["already"], second["shared"], second["requests"]) == (200, 0, 5)
    assert real_cloud.requests("POST", "/v2/images") == 0
    assert real_cloud.requests("GET", "/members") == 5

    rows = as_alice.rows()
    assert {(row["image_id"], row["member_id"]) for row in rows} == pairs
    assert {(row["result"], row["status"], row["schema"]) for row in rows} == {
        ("already", "pending", "/v2/schemas/member")
    }
    assert all(row["created_at"].endswith("Z") for row in rows)


def test_each_pair_has_its_true_result(as_alice: Shell, real_cloud: RealCloud) -> None:
    """A private image, an unknown one, a foreign one and one at its quota leave the rest to be shared."""
    good = real_cloud.create_image("good")
    private = real_cloud.create_image("private", visibility="private")
    foreign = real_cloud.create_image("foreign", owner="bob")
    full = real_cloud.create_image("full")
    members = [f"{number:032x}" for number in range(real_cloud.image_member_quota - 2)]
    for member in members:
        real_cloud.add_member(full, member)
    there = members[:3]
    new = real_cloud.create_projects(5, "results")
    plan = as_alice.plan([good, private, UNKNOWN_IMAGE, foreign, full], [*there, *new], name="trouble")

    summary = as_alice.run_json("run", plan, "--os-cloud", "alice", "--concurrency", "1", exit_code=1)

    results: dict[str, Counter[str]] = {}
    reasons: dict[str, set[str]] = {}
    for row in as_alice.rows():
        results.setdefault(row["image_id"], Counter())[row["result"]] += 1
        reasons.setdefault(row["image_id"], set()).add(row["reason"])
    assert results == {
        good: {"shared": 8},
        private: {"skipped": 8},
        UNKNOWN_IMAGE: {"rejected": 1, "skipped": 7},
        foreign: {"rejected": 1, "skipped": 7},
        full: {"already": 3, "shared": 2, "rejected": 1, "skipped": 2},
    }
    assert any("is private" in reason for reason in reasons[private])
    assert any("not found" in reason for reason in reasons[UNKNOWN_IMAGE])
    quota = f"the cloud's limit is {real_cloud.image_member_quota} members per image"
    assert any(quota in reason for reason in reasons[full])
    assert (summary["planned"], summary["shared"], summary["already"]) == (40, 10, 3)
    assert (summary["rejected"], summary["skipped"], summary["failed"]) == (3, 24, 0)
    assert len(real_cloud.member_ids(full)) == real_cloud.image_member_quota

    shown = as_alice.run("show", "--failed").stdout
    assert "is private" in shown


def test_without_preflight_duplicates_have_their_fields(as_alice: Shell, real_cloud: RealCloud) -> None:
    """Pairs that answer 409 are successes, described from one list of the image's members."""
    image = real_cloud.create_image("duplicates")
    for member in ("m1", "m2"):
        real_cloud.add_member(image, member)
    plan = as_alice.plan([image], ["m1", "m2", "m3"])
    summary = as_alice.run_json("run", plan, "--os-cloud", "alice", "--no-preflight")
    assert (summary["shared"], summary["already"], summary["requests"]) == (1, 2, 4)
    assert {(row["member_id"], row["status"], row["schema"]) for row in as_alice.rows()} == {
        (member, "pending", "/v2/schemas/member") for member in ("m1", "m2", "m3")
    }


def test_dry_run_writes_nothing(as_alice: Shell, real_cloud: RealCloud) -> None:
    """A dry run reports what it would send, and Glance receives no write."""
    image = real_cloud.create_image("dry")
    real_cloud.add_member(image, "there")
    plan = as_alice.plan([image], ["there", "new-1", "new-2"])
    real_cloud.mark()
    done = as_alice.run("run", plan, "--os-cloud", "alice", "--dry-run", exit_code=10)
    assert "Plan: 2 to add." in done.stdout
    assert real_cloud.requests("POST", "/v2/images") == 0
    assert real_cloud.member_ids(image) == ["there"]
    assert not (as_alice.directory / "ledger.db").exists()


def test_wrong_password_is_refused(as_alice: Shell, real_cloud: RealCloud) -> None:
    """Exits with 3 and the identity service's message, without the password."""
    config = real_cloud.write_clouds_yaml(as_alice.directory / "clouds.yaml")
    config.write_text(config.read_text("utf-8").replace("alicepw", "sesame-1234"), "utf-8")
    done = as_alice.run("run", as_alice.plan(["i"], ["p"]), "--os-cloud", "alice", exit_code=3)
    assert "refuses the login" in done.stderr
    assert "sesame-1234" not in done.stderr + done.stdout


def test_stray_variables_do_not_change_the_user(as_alice: Shell, real_cloud: RealCloud) -> None:
    """If a cloud is named, another user's OS_USERNAME and OS_PASSWORD have no effect."""
    as_alice.env |= {"OS_USERNAME": "bob", "OS_PASSWORD": "bobpw", "OS_PROJECT_NAME": "tenant-02"}
    image = real_cloud.create_image("whose")
    done = as_alice.run("run", as_alice.plan([image], ["p1", "p2"]), "--os-cloud", "alice")
    assert "alice" in done.stderr
    assert real_cloud.member_ids(image) == ["p1", "p2"]
