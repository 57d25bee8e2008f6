"""`accept`, and plans with `receive`: the other side of sharing, as a user of a tenant's project does it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bulkshare.report.schemas import DiffDocument, VerifyDocument, document_schema
from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from tests.shell import Shell

SAMPLE = Cloud.sample(4, 2)
IMAGES = list(SAMPLE.images)
TENANT = next(known for known, project in SAMPLE.projects.items() if project.name == "project-001")
AS_OWNER, AS_TENANT = ("--os-cloud", "sandbox"), ("--os-cloud", "tenant")
CHANGES, UNUSABLE = 10, 2


def statuses(shell: Shell) -> list[str]:
    """Return the tenant's status for each image, as the owner sees it."""
    shell.run("run", shell.plan(IMAGES, [TENANT], name="look"), *AS_OWNER)
    found = {row["image_id"]: row["status"] for row in shell.rows("look")}
    return [found[image_id] for image_id in IMAGES]


def test_what_is_pending_is_accepted_and_hidden_again(shell: Shell) -> None:
    """Shown first, saved and run exactly; then there is nothing to do; each step is in the ledger with its action."""
    shell.start_sandbox("--images", "4", "--projects", "2")
    shell.run("share", "image-*", "--to", "project-*", *AS_OWNER)
    shown = shell.run("accept", "--image", "image-00[12]", *AS_TENANT, "-o", "saved.plan", exit_code=CHANGES).stdout
    assert "Plan: 2 to accept." in shown
    assert shell.run_json("run", "saved.plan", *AS_TENANT)["accepted"] == 2
    assert {row["action"] for row in shell.rows("accept")} == {"accept"}
    assert shell.run_json("accept", "--image", IMAGES[3], "--status", "rejected", *AS_TENANT)["declined"] == 1
    summary = shell.run_json("accept", *AS_TENANT)
    assert (summary["planned"], summary["accepted"]) == (1, 1)
    nothing = shell.run("accept", *AS_TENANT)
    assert "nothing to answer: project project-001 has no such membership that is pending" in nothing.stderr
    nothing = shell.run("accept", "--hide", "--image", "image-004", *AS_TENANT)
    assert "nothing to answer: project project-001 has no such membership that is accepted" in nothing.stderr
    shell.run("accept", "--hide", "--image", "image-001", *AS_TENANT)
    assert statuses(shell) == ["rejected", "accepted", "accepted", "rejected"]
    shell.run("accept", "--image", IMAGES[0], *AS_TENANT)  # an ID is taken whatever its status
    assert statuses(shell) == ["accepted", "accepted", "accepted", "rejected"]
    shell.run("accept", "--hide", "--image", "image-00[12]", *AS_TENANT)
    assert shell.run_json("undo", "accept")["accepted"] == 2  # what was accepted before is so again
    assert statuses(shell) == ["accepted", "accepted", "accepted", "rejected"]
    told = shell.run_json("who", "image-001", "--history")["history"]
    actions = [row["action"] for row in told if row["project_id"] == TENANT and row["result"] != "already"]
    assert actions == ["share", "accept", "decline", "accept", "decline", "accept"]
    err = shell.run("accept", "--image", "id=no-such-image", *AS_TENANT, exit_code=UNUSABLE).stderr
    assert "image no-such-image: is not shared with project" in err
    shell.run("accept", "--hide", "--status", "accepted", *AS_TENANT, exit_code=UNUSABLE)


def test_a_plan_receives_every_night(shell: Shell) -> None:
    """By the owner; with `--prune` no one is removed; an admin gets only what is shared with their own project."""
    shell.start_sandbox("--images", "4", "--projects", "2")
    shell.run("share", "image-*", "--to", "project-*", *AS_OWNER)
    owner = SAMPLE.admin_project.id
    shell.write(
        "plan.yaml",
        "version: 1\nname: plan\nreceive:\n  - {images: [{name: image-004}], status: rejected}\n"
        f"  - {{from: [{owner}]}}\n",
    )
    assert "1 selector" not in shell.run("check", "plan.yaml").stdout
    document = json.loads(shell.run("diff", "plan.yaml", *AS_TENANT, "--format", "json", exit_code=CHANGES).stdout)
    DiffDocument.model_validate(document, strict=True)
    assert json.loads(shell.run("schema", "diff").stdout) == document_schema("diff")
    verified = json.loads(shell.run("verify", "plan.yaml", *AS_TENANT, "--json", exit_code=1).stdout)
    VerifyDocument.model_validate(verified, strict=True)
    assert (len(verified["missing"]), verified["extra"]) == (4, {})
    shell.run("run", "plan.yaml", *AS_TENANT, "--prune", "--deadline", "0s", exit_code=5)
    summary = shell.run_json("resume", "plan")
    assert (summary["accepted"], summary["declined"], summary["removed"]) == (3, 1, 0)
    shell.run("verify", "plan.yaml", *AS_TENANT)
    assert statuses(shell) == ["accepted", "accepted", "accepted", "rejected"]
    assert shell.run_json("run", "plan.yaml", *AS_TENANT)["planned"] == 0
    admin = shell.run("accept", *AS_OWNER)
    assert "nothing to answer" in admin.stderr
    err = shell.run("accept", "--from", "project-002", *AS_TENANT, exit_code=UNUSABLE).stderr
    assert "no project that this account may look up matches {name: project-002" in err


def test_the_service_of_huawei_cloud_accepts_in_a_batch(shell: Shell) -> None:
    """With the tenant's own access key: a batch for the accepted ones, a request for each that is declined."""
    shell.start_sandbox("--dialect", "huawei", "--images", "6", "--projects", "1")
    shell.run("share", "image-*", "--to", TENANT, *AS_OWNER)
    summary = shell.run_json("accept", *AS_TENANT)
    assert (summary["accepted"], summary["requests"] < 2 * 6 + 6) == (6, True)
    assert shell.run_json("accept", "--hide", "--image", "image-001", *AS_TENANT)["declined"] == 1
