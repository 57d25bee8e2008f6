"""Other clients, which work with both clouds alike."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import openstack
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud import CloudUnderTest
    from tests.realcloud.installation import Installation


# The SDK warns about deprecated parts of itself that it uses.
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_openstacksdk(cloud: CloudUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK logs in, finds the image service in the catalog, and shares an image."""
    tag, member_id = uuid4().hex, cloud.project_id("bob")
    image_id = cloud.create_image("golden", tags=(tag,))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.write_clouds_yaml(tmp_path / "clouds.yaml")))
    with openstack.connect(cloud="alice") as alice, openstack.connect(cloud="bob") as bob:
        images: Any = alice.image  # to the type checker it may be version 1 or 2
        (image,) = images.images(tag=tag)
        assert (image.id, image.name, image.is_protected) == (image_id, "golden", False)
        assert images.add_member(image, member_id=member_id).status == "pending"
        its_images: Any = bob.image
        its_images.update_member(member_id, image_id, status="accepted")
        (member,) = images.members(image)
        assert (member.member_id, member.status) == (member_id, "accepted")


@pytest.mark.real  # needs the command's virtual environment, for the sandbox as well
def test_openstackclient(cloud: CloudUnderTest, installation: Installation, tmp_path: Path) -> None:
    """The `openstack` command finds an image by its name, shares it and lists its members."""
    name, member_id = uuid4().hex, cloud.project_id("bob")
    cloud.create_image(name)
    clouds = cloud.write_clouds_yaml(tmp_path / "clouds.yaml")

    def run(*words: str) -> Any:
        command = [str(installation.python), str(installation.openstack), "--os-cloud", "alice", *words, "-f", "json"]
        environ = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(clouds), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, env=environ, capture_output=True, check=True)
        return json.loads(done.stdout)

    assert run("image", "add", "project", name, member_id)["status"] == "pending"
    (member,) = run("image", "member", "list", name)
    assert (member["Member ID"], member["Status"]) == (member_id, "pending")
