"""Changes without a plan file, on the sandbox and on a real Keystone and Glance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from tests.e2e.conftest import Operator


def delete_project(operator: Operator, project_id: str) -> None:
    """Delete a project; its memberships stay."""
    if isinstance(operator.cloud, SandboxCloud):
        del operator.cloud._cloud.projects[project_id]
    else:
        operator.cloud._ask("DELETE", f"{operator.cloud.auth_url}/projects/{project_id}")


def deactivate(operator: Operator, image_id: str) -> None:
    """Deactivate an image."""
    if isinstance(operator.cloud, SandboxCloud):
        operator.cloud._cloud.images[image_id].status = "deactivated"
    else:
        operator.cloud._ask("POST", f"{operator.cloud.endpoint}/v2/images/{image_id}/actions/deactivate")


def test_share_and_unshare(operator: Operator) -> None:
    """A private image is made shared if asked to; an image's owner and a pattern without images are said."""
    cloud, shell, user, (one, two) = operator
    image_id = operator.create_image("golden-1", visibility="private")
    own = cloud.project_id(user.name)
    refused = shell.run("share", "golden-1", "--to", f"{one},{own}", exit_code=1)
    assert "the image is private" in refused.stdout
    shell.run("share", "golden-*", "--to", f"{one},{two}", "--make-shared", "--accept")
    assert {(each["member_id"], each["status"]) for each in cloud.members(image_id)} == {
        (one, "accepted"),
        (two, "accepted"),
    }
    assert "owner" in shell.run("share", image_id, "--to", own, exit_code=1).stdout
    assert "no image matches" in shell.run("unshare", "silver-*", "--from", one, exit_code=2).stderr
    assert shell.run_json("unshare", "golden-*", "--from", f"{one},{two}")["removed"] == 2
    assert not cloud.members(image_id)


def test_offboard_a_deleted_project(operator: Operator) -> None:
    """It goes from all images, whatever their status; others stay; the certificate has each of them."""
    cloud, shell, user, (leaving, staying) = operator
    images = {
        "active": operator.create_image("active"),
        "hidden": operator.create_image("hidden", os_hidden=True),
        "queued": operator.create_image("queued", active=False),
        "deactivated": operator.create_image("deactivated"),
    }
    operator.create_image("private", visibility="private")
    operator.create_image("public", visibility="public")
    for image_id in images.values():
        cloud.add_member(image_id, leaving)
        cloud.add_member(image_id, staying)
    deactivate(operator, images["deactivated"])
    delete_project(operator, leaving)
    shown = shell.run("offboard", leaving, "--dry-run", exit_code=10)
    assert f"knows no project {leaving}" in shown.stderr
    assert "Plan: 4 to remove." in shown.stdout
    shell.run("offboard", leaving, "--certificate", "gone.json")
    assert {name: cloud.member_ids(image_id) for name, image_id in images.items()} == {
        name: [staying] for name in images
    }
    made = json.loads((shell.directory / "gone.json").read_text("utf-8"))
    (part,) = made["clouds"]
    assert made["complete"] is part["complete"] is True
    assert {one["image_name"]: one["project_id"] for one in part["before"]["memberships"]} == dict.fromkeys(
        images, leaving
    )
    assert part["projects"] == [{"id": leaving, "name": None, "known": False}]
    assert (part["after"]["memberships"], part["after"]["not_checked"], part["user"]) == ([], {}, user.name)
    assert (part["after"]["private_images"], part["after"]["public_and_community_images"]) == (1, 1)
    assert {row["result"] for row in shell.rows(part["run"])} == {"removed"}
