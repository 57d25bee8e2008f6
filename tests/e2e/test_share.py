"""`share` and `unshare`: changes without a plan file, as a user makes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.sandbox import Cloud
from tests.terminal import terminal

if TYPE_CHECKING:
    from tests.shell import Shell

SAMPLE = Cloud.sample(2, 3)
IMAGES = list(SAMPLE.images)
PROJECTS = [known for known, project in SAMPLE.projects.items() if project.name.startswith("project-")]
ON_SANDBOX = ("--os-cloud", "sandbox")


def test_share_and_unshare(shell: Shell) -> None:
    """By name, ID, pattern and list; what is asked for twice is done once, and each run is in the ledger."""
    shell.start_sandbox("--images", "2", "--projects", "3")
    shown = shell.run("share", "image-001", IMAGES[1], "--to", "project-00[12]", *ON_SANDBOX, "--dry-run", exit_code=10)
    assert "Plan: 4 to add." in shown.stdout
    early = shell.run("share", "image-*", "--to", PROJECTS[2], *ON_SANDBOX, "--deadline", "0s", exit_code=5)
    assert "continue with the same command" in early.stderr
    line, about_members = shell.run("share", "image-*", "--to", PROJECTS[2], *ON_SANDBOX).stdout.splitlines()
    assert " on sandbox: 2 shared; " in line
    assert "`--accept` accepts for them" in about_members
    listed = json.dumps([{"ID": PROJECTS[0], "Name": "one"}, {"ID": PROJECTS[1], "Name": "two"}])
    done = shell.run("share", "image-001", IMAGES[1], "--to", "-", *ON_SANDBOX, "--accept", "--json", piped=listed)
    assert json.loads(done.stdout)["shared"] == 4
    rows = shell.rows("adhoc")
    assert {(row["image_id"], row["member_id"], row["status"]) for row in rows} == {
        (image_id, project_id, "accepted") for image_id in IMAGES for project_id in PROJECTS[:2]
    }
    again = shell.run_json("share", "image-*", "--to", PROJECTS[0], *ON_SANDBOX)
    assert (again["already"], again["shared"]) == (2, 0)
    shell.run("unshare", "image-*", "--from", "project-001", *ON_SANDBOX, "-o", "saved.json", exit_code=10)
    assert shell.run_json("run", "saved.json")["removed"] == 2
    shell.run("unshare", "image-*", "--from", PROJECTS[2], *ON_SANDBOX)
    shell.write(
        "list.yaml",
        f"version: 1\nname: list\ncloud: sandbox\nshare:\n  - {{images: [{{file: '-'}}], projects: [{PROJECTS[2]}]}}\n",
    )
    assert "Plan: 1 to add." in shell.run("diff", "list.yaml", piped=f"{IMAGES[0]}\n", exit_code=10).stdout
    gone = shell.run_json("unshare", IMAGES[0], "--from", PROJECTS[0], "--from", PROJECTS[1], *ON_SANDBOX)
    assert (gone["absent"], gone["removed"]) == (1, 1)
    assert len(shell.run("runs").stdout.splitlines()) == 7, "the interrupted run went on"


def test_what_matches_nothing(shell: Shell) -> None:
    """All of it is reported, with the argument; nothing is sent."""
    shell.start_sandbox("--images", "1", "--projects", "1")
    err = shell.run("share", "imge-*", "--to", "projct-01", *ON_SANDBOX, exit_code=2).stderr
    assert err == (
        "image 'imge-*': no image matches {name: imge-*, owner: self, status: active}; like it: 'image-001'; "
        "correct it\n"
        "project 'projct-01': no project matches {name: projct-01, enabled: true}; like it: 'project-001'; correct it\n"
        "2 problems; nothing was sent\n"
    )
    assert "unknown key 'nam'" in shell.run("unshare", "nam=x", "--from", "p", *ON_SANDBOX, exit_code=2).stderr
    assert "can stand for images or for" in shell.run("share", "-", "--to", "-", exit_code=2).stderr
    assert "standard input: contains no IDs" in shell.run("share", "x", "--to", "-", exit_code=2, piped="\n").stderr


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("y", 0)])
def test_unshare_asks_on_a_terminal(shell: Shell, answer: str, left: int) -> None:
    """What would be removed is shown first, and only a yes removes it."""
    shell.start_sandbox("--images", "1", "--projects", "1")
    shell.run("share", "image-001", "--to", "project-001", *ON_SANDBOX)
    with terminal(shell, "unshare", "image-001", "--from", "project-001", *ON_SANDBOX) as screen:
        screen.wait_for("Remove these members? [y/N]")
        screen.type(f"{answer}\n")
        code, seen = screen.end()
    assert code == (0 if answer == "y" else 10), seen
    assert "project-001" in seen
    assert "Plan: 1 to remove." in seen
    assert shell.run_json("share", "image-001", "--to", "project-001", *ON_SANDBOX)["already"] == left


def test_json_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one object on stdout, and no one would see what a question is about."""
    monkeypatch.setattr("bulkshare.cli.run.is_terminal", lambda _: True)
    done = CliRunner().invoke(main, ["unshare", "image-001", "--from", "project-001", "--json", *ON_SANDBOX])
    assert done.exit_code == 2
    assert "--json prints one object and asks nothing: add --yes" in done.stderr
