"""`who`, `what` and `audit` asked of a cloud, as an operator asks them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.conftest import Operator


def rows(operator: Operator, *args: str, exit_code: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of an answer by image and project."""
    found = operator.shell.run_json(*args, "--cloud", exit_code=exit_code)
    return {(row["image_id"], row["project_id"]): row for row in found["access"]}


def test_the_cloud_says_who_and_the_ledger_since_when(operator: Operator) -> None:
    """What others did is seen, and who was added again is not the run's; images of all kinds are told apart."""
    cloud, shell, user, (one, two) = operator
    image, other = operator.create_image("golden"), operator.create_image("golden-old")
    public = operator.create_image("everyone", visibility="public")
    cloud.add_member(other, one)
    assert rows(operator, "who", other)[other, one]["by_run"] is None  # without a ledger
    shell.run("share", image, "--to", one, "--to", two, "-q")
    shell.run("unshare", image, "--from", two, "-q")
    cloud.add_member(image, two)
    found = rows(operator, "who", "golden")
    assert {key: (row["state"], row["status"]) for key, row in found.items()} == {
        (image, one): ("member", "pending"),
        (image, two): ("member", "pending"),
    }
    assert (found[image, one]["by_user"], found[image, one]["by_run"][:6]) == (user.name, "adhoc-")
    assert (found[image, two]["by_run"], found[image, two]["at_least"]) == (None, True)
    assert rows(operator, "what", one).keys() == {(image, one), (other, one)}
    assert "1 public or community image" in shell.run("what", one, "--cloud").stderr
    for everyone in ("everyone", public):
        assert "every project can use it" in shell.run("who", everyone, "--cloud").stderr
    shell.run("unshare", image, "--from", one, "-q")
    assert rows(operator, "who", image)[image, one]["state"] == "gone"
    assert rows(operator, "who", "6f1c0000-0000-4000-8000-000000000000", exit_code=11) == {}
    assert "add --cloud" in shell.run("what", one, "--owner", "any", exit_code=2).stderr


def test_an_audit_finds_what_differs_from_plans(operator: Operator) -> None:
    """Over all images of the project, also those that no plan names; without findings it exits with 0."""
    cloud, shell, user, (one, two) = operator
    image, other = operator.create_image("golden"), operator.create_image("forgotten")
    more = "limits: {members_per_image: 2}\n"
    plan = shell.plan([image], [one, two], more=f"cloud: {user.name}\n{more}")
    text = (shell.directory / plan).read_text("utf-8").replace("check_projects: never\n", "")
    shell.write(plan, text)
    cloud.add_member(image, one)
    cloud.add_member(image, "f" * 32)
    cloud.add_member(other, two)
    cloud.disable_project(two)
    found = json.loads(shell.run("audit", plan, "--format", "json", "--pending-for", "0s", exit_code=10).stdout)
    assert {(row["finding"], row["image_id"], row["project_id"]) for row in found["findings"]} == {
        ("unplanned", image, "f" * 32),
        ("unplanned", other, two),
        ("missing", image, two),
        ("unknown", image, "f" * 32),
        ("disabled", other, two),
        ("quota", image, None),
        *(("pending", image_id, member) for image_id, member in ((image, one), (image, "f" * 32), (other, two))),
    }
    clean = shell.plan([image], [one, "f" * 32], name="clean", more=f"cloud: {user.name}\n")
    rest = shell.plan([other], [two], name="rest", more=f"cloud: {user.name}\nlimits: {{members_per_image: 0}}\n")
    assert "0 findings" in shell.run("audit", clean, rest).stdout
    gone = shell.plan(["6f1c0000-0000-4000-8000-000000000000"], [one], name="gone", more=f"cloud: {user.name}\n")
    done = shell.run("audit", clean, rest, gone, exit_code=11)
    assert "not checked: the members of image 6f1c0000-0000-4000-8000-000000000000: 404" in done.stdout
