"""`import`: a plan of what a cloud has, as a user makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from tests.e2e.conftest import Operator
    from tests.shell import Shell

SAMPLE = Cloud.sample(3, 3)
IMAGES = list(SAMPLE.images)
GONE = "f" * 32
ON_SANDBOX = ("--os-cloud", "sandbox")


def test_a_diff_of_the_plan_is_empty(shell: Shell) -> None:
    """Also with --prune; equal sets stand once, names stand beside IDs, and nothing is replaced unasked."""
    shell.start_sandbox("--images", "3", "--projects", "3")
    assert "none of them shows any member" in shell.run("import", *ON_SANDBOX, exit_code=2).stderr
    shell.run("share", "image-*", "--to", "project-00[12]", "-q", *ON_SANDBOX)
    shell.run("share", "image-001", "--to", "project-003", "--accept", "-q", *ON_SANDBOX)
    shell.run("import", "-o", "golden.yaml", "-q", *ON_SANDBOX)
    text = (shell.directory / "golden.yaml").read_text("utf-8")
    assert text.count("# project-001\n") == 1
    assert text.count("# image-003\n") == 1
    assert "name: golden\ncloud: sandbox\n" in text
    assert "No changes" in shell.run("diff", "golden.yaml", "--prune").stdout
    assert "name: imported\n" in shell.run("import", "-o", "-", *ON_SANDBOX).stdout
    assert "golden.yaml exists" in shell.run("import", "-o", "golden.yaml", *ON_SANDBOX, exit_code=2).stderr
    one = shell.run("import", "--image", "image-001", "--name", "one", *ON_SANDBOX).stdout
    assert IMAGES[0] in one
    assert IMAGES[1] not in one


def test_what_can_not_be_in_a_plan(operator: Operator) -> None:
    """Members that are no projects are left out and said; images that aren't active are not; private ones have none."""
    cloud, shell, _, (one, two) = operator
    active, queued = operator.create_image("active"), operator.create_image("queued", active=False)
    operator.create_image("private", visibility="private")
    for image_id, member_id in ((active, one), (active, GONE), (queued, one), (queued, two)):
        cloud.add_member(image_id, member_id)
    done = shell.run("import", "-o", "now.yaml")
    assert "left out: 1 member that the cloud has no project for" in done.stderr
    text = (shell.directory / "now.yaml").read_text("utf-8")
    assert f"# Left out, because the cloud has no such project: {GONE}\n" in text
    assert "# Left out, because they have no members: 1 image.\n" in text
    plan = yaml.safe_load(text)
    assert sorted((entry["images"], sorted(entry["projects"])) for entry in plan["share"]) == sorted(
        [([active], [one]), ([queued], sorted([one, two]))]
    )
    assert "No changes" in shell.run("diff", "now.yaml").stdout


def test_several_clouds_in_one_plan(shell: Shell) -> None:
    """Each entry names its cloud; a diff on both is empty, also where a project has rejected an image."""
    clouds: dict[str, object] = {}
    for name in ("eu-de", "eu-nl"):
        shell.start_sandbox("--images", "2", "--projects", "2")
        written = yaml.safe_load((shell.directory / "clouds.yaml").read_text("utf-8"))["clouds"]
        clouds |= {name: written["sandbox"], "tenant": written["tenant"]}
    shell.write("clouds.yaml", yaml.safe_dump({"clouds": clouds}))
    shell.run("share", "image-001", "--to", "project-001", "-q", "--os-cloud", "eu-de")
    shell.run("share", "image-*", "--to", "project-*", "-q", "--os-cloud", "eu-nl")
    shell.run("accept", "--image", "image-002", "--status", "rejected", "-q", "--os-cloud", "tenant")
    shell.run("import", "--os-cloud", "eu-de", "--os-cloud", "eu-nl", "-o", "both.yaml", "-q")
    plan = yaml.safe_load((shell.directory / "both.yaml").read_text("utf-8"))
    assert plan["clouds"] == ["eu-de", "eu-nl"]
    assert [(entry["cloud"], len(entry["images"]), len(entry["projects"])) for entry in plan["share"]] == [
        ("eu-de", 1, 1),
        ("eu-nl", 2, 2),
    ]
    shown = shell.run("diff", "both.yaml", "--prune").stdout
    assert "to add" not in shown
    assert "to remove" not in shown
