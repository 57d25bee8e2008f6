"""`undo` through the command, on the sandbox and on a real Keystone and Glance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.ledger import SqlLedger
from bulkshare.model import Block
from bulkshare.operations.defaults import utc_now
from tests.cloud import ADMIN
from tests.e2e.conftest import Operator
from tests.e2e.golden_images import set_status
from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from click.testing import Result

    from tests.shell import Shell


def run(operator: Operator, *args: str, exit_code: int = 0) -> Result:
    """Run a command in the process, as the operator."""
    done = CliRunner().invoke(main, args, env=operator.shell.env)
    assert done.exit_code == exit_code, done.output
    return done


def statuses(operator: Operator, *images: str) -> dict[tuple[int, str], str]:
    """Return the statuses of the images' members, by the image's place and the project."""
    return {
        (number, member["member_id"]): member["status"]
        for number, image_id in enumerate(images)
        for member in operator.cloud.members(image_id)
    }


def test_undo_of_runs(operator: Operator) -> None:
    """What a plan added goes, what it removed comes back as it was; what a tenant has changed since is left and named.

    The undo can be saved, is a run, and is undone like one.
    """
    cloud, shell, _, (one, two) = operator
    first, second = operator.create_image("first"), operator.create_image("second")
    for image_id, member_id in ((first, one), (first, two)):
        cloud.add_member(image_id, member_id)
    set_status(cloud, first, one, "accepted")
    before = statuses(operator, first, second)
    plan = shell.plan([second], [one, two], more="prune_limit: 100%\n")
    with (shell.directory / plan).open("a") as file:
        file.write(f"  - {{images: [{first}], projects: [{'0' * 32}], prune: true}}\n")
    plan = str(shell.directory / plan)
    run(operator, "run", plan, "-q")
    after = statuses(operator, first, second)
    assert after.keys() == {(0, "0" * 32), (1, one), (1, two)}

    shown = run(operator, "undo", "plan", "--dry-run", exit_code=10)
    assert "Plan: 2 to add, 1 to accept, 3 to remove." in shown.stdout
    assert "the next run of plan plan will make the same changes again" in shown.stderr
    saved = str(shell.directory / "undo.plan")
    run(operator, "undo", "plan", "-o", saved, exit_code=10)
    assert statuses(operator, first, second) == after
    assert json.loads(run(operator, "run", saved, "--json").stdout)["plan"] == "undo"
    assert statuses(operator, first, second) == before
    done = run(operator, "undo", "plan", "--on-finish", "cat")
    assert done.stderr.count('"exit_code": 0') == 1
    assert "5 changes of plan-" in done.stderr
    assert "there is nothing to undo" in done.stderr

    done = run(operator, "undo", "undo", "--json", "--on-finish", "cat")
    assert json.loads(done.stdout)["removed"] == 2
    assert done.stderr.count("cat: ") == 1
    assert statuses(operator, first, second) == after
    set_status(cloud, second, one, "accepted")
    done = run(operator, "undo", "undo", exit_code=1)
    assert "Left as they are:" in done.stderr
    assert "the run left it pending, and it is accepted now" in done.stderr
    assert statuses(operator, first, second) == {**before, (1, one): "accepted"}
    run(operator, "undo", "undo", "--dry-run", exit_code=10)  # what that one has left out is none of its changes


@pytest.mark.parametrize("operator", ["sandbox"], indirect=True)
def test_what_a_later_run_did_is_left(operator: Operator) -> None:
    """Even if the cloud shows nothing of it. What can't be listed is left as well, even with --force."""
    first, second = operator.create_image("first"), operator.create_image("second")
    _, _, _, (one, two) = operator
    key = json.loads(run(operator, "share", first, second, "--to", one, "--to", two, "--json").stdout)["run"]
    run(operator, "unshare", first, "--from", one, "-q")
    run(operator, "share", first, "--to", one, "-q")
    operator.cloud._ask("DELETE", f"{operator.cloud.endpoint}/v2/images/{second}")
    shown = run(operator, "undo", key, "--dry-run", exit_code=11)
    assert "Plan: 1 to remove." in shown.stdout
    assert shown.stderr.count("changed since by run adhoc-") == 1
    assert shown.stderr.count("the image's members can't be listed: ") == 2
    assert "first" in shown.stderr
    assert "--force undoes" in shown.stderr
    forced = run(operator, "undo", key, "--force", "--json", exit_code=1)
    assert json.loads(forced.stdout)["removed"] == 2
    assert "--force undoes" not in forced.stderr  # what is left is not for want of it


def test_what_was_accepted_is_pending_again(operator: Operator) -> None:
    """For a project that was a member before; and accepted once more by the undo of the undo."""
    image, (one, two) = operator.create_image("first"), operator.tenants
    operator.cloud.add_member(image, one)
    accepted = json.loads(run(operator, "share", image, "--to", one, "--to", two, "--accept", "--json").stdout)
    assert (accepted["accepted"], accepted["shared"]) == (1, 1)
    shown = run(operator, "undo", "adhoc", "--dry-run", exit_code=10).stdout
    assert "pending again" in shown
    assert "Plan: 1 to reset, 1 to remove." in shown
    assert json.loads(run(operator, "undo", "adhoc", "--json").stdout)["reset"] == 1
    assert statuses(operator, image) == {(0, one): "pending"}
    assert json.loads(run(operator, "undo", "undo", "--json").stdout)["accepted"] == 1
    assert statuses(operator, image) == {(0, one): "accepted", (0, two): "accepted"}


@pytest.mark.parametrize("operator", ["sandbox"], indirect=True)
def test_a_member_that_was_added_and_not_accepted_is_removed(operator: Operator) -> None:
    """The run calls that pair rejected, but it did add the member; one that was there before stays."""
    operator.shell.env["OS_CLOUD"] = "alice"  # who has no role in the tenants' projects
    image, (one, two) = operator.cloud.create_image("first"), operator.tenants
    operator.cloud.add_member(image, one)
    shared = run(operator, "share", image, "--to", one, "--to", two, "--accept", "--json", exit_code=1)
    assert json.loads(shared.stdout)["rejected"] == 2
    assert operator.cloud.member_ids(image) == sorted([one, two])
    assert json.loads(run(operator, "undo", "adhoc", "--json").stdout)["removed"] == 1
    assert operator.cloud.member_ids(image) == [one]


def test_an_interrupted_run_is_undone_as_far_as_it_got(shell: Shell) -> None:
    """Only if that is asked for."""
    with SandboxCloud() as cloud:
        shell.env["OS_CLIENT_CONFIG_FILE"] = str(cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
        operator = Operator(cloud, shell, ADMIN, (cloud.create_project("one"), cloud.create_project("two")))
        image = operator.create_image("first")
        on = ("--os-cloud", ADMIN.name)
        shared = json.loads(run(operator, "share", image, "--to", operator.tenants[0], "--json", *on).stdout)
        ledger = SqlLedger.open(shell.env["BULKSHARE_LEDGER"])
        interrupted = ledger.find_run(shared["run"])
        assert interrupted is not None
        ledger.enqueue(interrupted.id, [Block(image, [operator.tenants[1]])])
        ledger.finish(interrupted.id, now=utc_now(), requests=0, retries=0, seconds=0.0)
        ledger.close()
        refused = run(operator, "undo", "adhoc", exit_code=2).stderr
        assert f"run {shared['run']} is unfinished, with 1 pair pending: finish it with `bulkshare resume" in refused
        assert json.loads(run(operator, "undo", "adhoc", "--unfinished", "--json").stdout)["removed"] == 1
        assert not cloud.members(image)
        other = ("--os-cloud", "alice")
        assert "a run is undone for the same project" in run(operator, "undo", "undo", *other, exit_code=2).stderr


def test_a_run_on_several_clouds_is_undone_on_all_of_them(shell: Shell) -> None:
    """Or on one of them; the runs of one command are named together."""
    with SandboxCloud() as first, SandboxCloud() as second:
        entries = {}
        for name, cloud in (("a", first), ("b", second)):
            config = yaml.safe_load(cloud.write_clouds_yaml(shell.directory / "clouds.yaml").read_text("utf-8"))
            entries[name] = config["clouds"][ADMIN.name]
        shell.env["OS_CLIENT_CONFIG_FILE"] = str(shell.write("clouds.yaml", yaml.safe_dump({"clouds": entries})))
        images = [cloud.create_image("golden", owner=ADMIN.name) for cloud in (first, second)]
        project = "1" * 32
        shared = [
            f"  - {{cloud: {name}, images: [{image}], projects: ['{project}']}}\n"
            for name, image in zip("ab", images, strict=True)
        ]
        head = "version: 1\nname: both\nclouds: [a, b]\ncheck_projects: never\nshare:\n"
        plan = str(shell.write("both.yaml", head + "".join(shared)))
        operator = Operator(first, shell, ADMIN, (project, project))
        run(operator, "run", plan, "-q")
        assert [cloud.member_ids(image) for cloud, image in zip((first, second), images, strict=True)] == [
            [project]
        ] * 2
        assert json.loads(run(operator, "undo", "both", "--os-cloud", "b", "--json").stdout)["removed"] == 1
        assert (first.member_ids(images[0]), second.member_ids(images[1])) == ([project], [])
        run(operator, "undo", "undo", "-q")
        undone = json.loads(run(operator, "undo", "both", "--force", "--json").stdout)
        assert (undone["removed"], len(undone["clouds"])) == (2, 2)
        assert (first.member_ids(images[0]), second.member_ids(images[1])) == ([], [])
        back = json.loads(run(operator, "undo", "undo", "--json").stdout)
        assert (back["shared"], len(back["clouds"])) == (2, 2)
        refused = run(operator, "undo", "both", "--os-cloud", "c", exit_code=2).stderr
        assert "both had no run on cloud c" in refused
