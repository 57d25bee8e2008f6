"""Names stand beside IDs wherever they are known, and the cloud's count for more than the plan's: as a user sees it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from tests.shell import Shell

SAMPLE = Cloud.sample(2, 3)
IMAGES = list(SAMPLE.images)
PROJECTS = [known for known, project in SAMPLE.projects.items() if project.name.startswith("project-")]
GONE = "f" * 32
ON_SANDBOX = ("--os-cloud", "sandbox")


def write_plan(shell: Shell, projects: str, more: str = "") -> str:
    """Write a plan with a comment that is wrong, one that only the plan knows, and a list with names."""
    shell.write("list.csv", f"ID;Name\n{GONE};gone corp\n")
    entry = f"- images:\n  - {IMAGES[0]}  # mistaken\n  - {IMAGES[1]}\n  projects: {projects}\n{more}"
    shell.write("plan.yaml", f"version: 1\nname: plan\nshare:\n{entry}")
    return "plan.yaml"


def test_names_in_every_output(shell: Shell) -> None:
    """A project that is unknown everywhere is one line, with the name from the list; images are the cloud's."""
    shell.start_sandbox()
    plan = write_plan(shell, f"[{PROJECTS[0]}, {PROJECTS[1].upper()}, {{file: list.csv}}]")
    shown = shell.run("diff", plan, *ON_SANDBOX, exit_code=11).stdout
    assert f"image {IMAGES[0]}  image-001\n  + {PROJECTS[0]}  project-001\n" in shown
    done = shell.run("run", plan, *ON_SANDBOX, exit_code=1).stdout
    assert f"    project {GONE}  gone corp, 2 images\n" in done
    assert done.count(GONE) == 1
    show = shell.run("show").stdout
    assert f"    project {GONE}  gone corp, 2 images\n" in show
    assert f"image {IMAGES[1]}  image-002\n" in show
    assert "mistaken" not in shown + done + show
    rows = {(row["image_id"], row["member_id"]): row for row in shell.rows()}
    assert rows[IMAGES[0], PROJECTS[0]]["image_name"] == "image-001"
    assert {rows[image_id, GONE]["member_name"] for image_id in IMAGES} == {"gone corp"}
    cause = json.loads(shell.run("show", "--json").stdout)["causes"][0]
    assert cause["at_fault"] == [{"kind": "project", "id": GONE, "name": "gone corp", "pairs": 2}]
    shell.run("report", "-o", "page.html")
    assert "image-002" in (shell.directory / "page.html").read_text("utf-8")


def test_who_is_removed_is_named(shell: Shell) -> None:
    """Also if the plan does not know the member; a saved plan keeps the names, and images that need nothing get one."""
    shell.start_sandbox()
    write_plan(shell, f"[{PROJECTS[0]}, {PROJECTS[1]}]")
    shell.run("run", "plan.yaml", *ON_SANDBOX)
    plan = write_plan(shell, f"[{UUID(PROJECTS[0])}]", "  prune: true\n")
    options = ("--prune-limit", "100%", *ON_SANDBOX)
    shown = shell.run("diff", plan, *options, "--out", "saved.plan", exit_code=10).stdout
    assert f"image {IMAGES[0]}  image-001\n  - {PROJECTS[1]}  project-002\n" in shown
    assert json.loads((shell.directory / "saved.plan").read_text())["names"] == {
        IMAGES[0]: "image-001",
        IMAGES[1]: "image-002",
        PROJECTS[1]: "project-002",
    }
    found = shell.run_json("verify", plan, *ON_SANDBOX)
    assert found["names"] == {IMAGES[0]: "image-001", IMAGES[1]: "image-002", PROJECTS[1]: "project-002"}
    by_name = write_plan(shell, "[{name: project-001}]", "  prune: true\n")  # has no ID that was looked up
    shown = shell.run("diff", by_name, *options, exit_code=10).stdout
    assert f"image {IMAGES[0]}  image-001\n  - {PROJECTS[1]}  project-002\n" in shown
    write_plan(shell, f"[{UUID(PROJECTS[0])}]", "  prune: true\n")
    shell.run("run", plan, *options, "--ledger", "other.db")
    removed = [row["member_name"] for row in shell.rows("--ledger", "other.db") if row["result"] == "removed"]
    assert removed == ["project-002", "project-002"]
    again = shell.run_json("run", write_plan(shell, f"[{PROJECTS[0]}]"), *ON_SANDBOX, "--ledger", "third.db")
    assert again["already"] == 2
    assert {row["image_name"] for row in shell.rows("--ledger", "third.db")} == {"image-001", "image-002"}
    nightly = shell.run_json("run", "plan.yaml", *ON_SANDBOX, "--ledger", "third.db")
    assert nightly["requests"] == again["requests"] - 1 == 2
