"""`accept`, and a plan as a merge request shows it, against a real Keystone and Glance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bulkshare.report.schemas import DiffDocument
from tests.shell import UNKNOWN_IMAGE

if TYPE_CHECKING:
    from tests.realcloud.cloud import RealCloud
    from tests.shell import Shell

pytestmark = pytest.mark.real


def test_a_tenant_accepts_declines_and_hides(shell: Shell, real_cloud: RealCloud) -> None:
    """A member of another project does, with no right on the images: as it is shown, and nothing else changes."""
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(real_cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    bob = real_cloud.project_id("bob")
    images = [real_cloud.create_image(f"received-{number}") for number in range(3)]
    hidden = real_cloud.create_image("hidden-0")
    for image in (*images, hidden):
        real_cloud.add_member(image, bob)
    as_bob = ("--image", "received-*", "--os-cloud", "bob")
    assert "3 to accept" in shell.run("accept", *as_bob, "--dry-run", exit_code=10).stdout
    rejected = shell.run_json("accept", "--image", images[2], "--status", "rejected", "--os-cloud", "bob")
    assert rejected["declined"] == 1
    assert shell.run_json("accept", *as_bob)["accepted"] == 2
    assert shell.run_json("accept", *as_bob)["planned"] == 0
    assert shell.run_json("accept", *as_bob, "--hide", "--from", real_cloud.project_id("alice"))["declined"] == 2
    assert shell.run_json("accept", "--image", images[0], "--os-cloud", "bob")["accepted"] == 1
    listed = {row["image_id"]: row["status"] for row in _rows(shell, [*images, hidden], bob)}
    assert [listed[image] for image in (*images, hidden)] == ["accepted", "rejected", "rejected", "pending"]


def _rows(shell: Shell, images: list[str], project: str) -> list[dict[str, str]]:
    shell.run("run", shell.plan(images, [project], name="look"), "--os-cloud", "alice")
    return shell.rows("look")


def test_a_merge_request_shows_what_would_change(shell: Shell, real_cloud: RealCloud) -> None:
    """With the cloud's names; what can't be done comes first. What was saved is what is run."""
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(real_cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    image = real_cloud.create_image("pipe | and `tick`")
    plan = shell.plan([image], real_cloud.create_projects(2, "review"))
    as_alice = ("--os-cloud", "alice")
    text = shell.run("diff", plan, *as_alice, "--format", "markdown", "--out", "saved.plan", exit_code=10).stdout
    assert "**Plan: 2 to add.**" in text
    assert f"<b>Image</b> <code>{image}</code> <code>pipe &#124; and &#96;tick&#96;</code>" in text
    document = json.loads(shell.run("diff", plan, *as_alice, "--format", "json", exit_code=10).stdout)
    DiffDocument.model_validate(document, strict=True)
    assert document["names"][image] == "pipe | and `tick`"
    assert shell.run_json("run", "saved.plan", *as_alice)["shared"] == 2
    unknown = shell.plan([UNKNOWN_IMAGE], ["p"])
    text = shell.run("diff", unknown, *as_alice, "--format", "markdown", exit_code=11).stdout
    assert text.index("Unknown</b>") < text.index("Counts</b>")
