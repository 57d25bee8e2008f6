"""Rotation of builds, and a plan of what it leaves, against a real Keystone and Glance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.cloud import ADMIN, call

if TYPE_CHECKING:
    from tests.realcloud.cloud import RealCloud
    from tests.shell import Shell

pytestmark = pytest.mark.real


def test_the_rest_for_no_one(shell: Shell, real_cloud: RealCloud) -> None:
    """Older builds lose all their members, the newest keeps them; a plan made of that has nothing left to do."""
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(real_cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    shell.env["OS_CLOUD"] = "alice"
    tag, projects = f"rotated-{uuid4().hex[:8]}", real_cloud.create_projects(2, "rotate")
    images = [real_cloud.create_image(f"build-{number}", tags=(tag,)) for number in range(3)]
    for image in images:
        for project in projects:
            real_cloud.add_member(image, project)
    shell.write(
        "rotate.yaml",
        f"version: 1\nname: rotate\nshare:\n"
        f"- {{images: [{{tag: {tag}, latest: 1}}], projects: {json.dumps(projects)}, prune: true}}\n"
        f"- {{images: [{{tag: {tag}, skip_latest: 1}}], projects: [], prune: true, prune_limit: 100%}}\n",
    )
    assert "4 to remove" in shell.run("diff", "rotate.yaml", exit_code=10).stdout
    done = shell.run_json("run", "rotate.yaml")
    assert (done["already"], done["removed"]) == (2, 4)
    newest = max(images, key=lambda image: (_created_at(real_cloud, image), image))
    assert {image: len(real_cloud.members(image)) for image in images} == {
        image: 2 * (image == newest) for image in images
    }
    shell.run("import", "--image", f"tag={tag}", "-o", "now.yaml", "-q")
    text = (shell.directory / "now.yaml").read_text("utf-8")
    assert [image in text for image in images] == [image == newest for image in images]
    for plan in ("rotate.yaml", "now.yaml"):
        assert "No changes" in shell.run("diff", plan, "--prune").stdout


def _created_at(cloud: RealCloud, image_id: str) -> str:
    answer = call("GET", f"{cloud.endpoint}/v2/images/{image_id}", token=cloud.token(ADMIN.name))
    return str(answer.json()["created_at"])
