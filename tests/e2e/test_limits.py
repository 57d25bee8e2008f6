"""Safeguards as a user meets them: a run does only what the plan asks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from bulkshare.model import Result
from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from tests.shell import Shell

IMAGES = list(Cloud.sample(2, 0).images)
ON_SANDBOX = ("--os-cloud", "sandbox")
CHANGES = 10
CANT_BE_DONE = 11
MEMBERS = [f"member-{number:02}" for number in range(20)]


@pytest.fixture
def two_clouds(shell: Shell) -> Shell:
    """Start two clouds, `north` and `south`; `twin` is north again."""
    clouds = {}
    for name in ("north", "south"):
        shell.start_sandbox()
        clouds[name] = yaml.safe_load((shell.directory / "clouds.yaml").read_text())["clouds"]["sandbox"]
    shell.write("clouds.yaml", yaml.safe_dump({"clouds": {**clouds, "twin": clouds["north"]}}))
    return shell


def write_plan(shell: Shell, clouds: list[str]) -> str:
    """Write a plan for several clouds."""
    entry = f"  - {{images: {IMAGES}, projects: [a, b]}}\n"
    shell.write("plan.yaml", f"version: 1\nname: plan\nclouds: {clouds}\ncheck_projects: never\nshare:\n{entry}")
    return "plan.yaml"


def interrupted(shell: Shell, *args: str, result: str) -> str:
    """Start a slow run, interrupt it once a pair has a result, and return its stderr."""
    process = shell.start("run", *args, "--rate", "4")
    shell.wait_for_rows(1, {Result(result)})
    code, _, err = shell.interrupt(process)
    assert code == 130, err
    return err


def test_a_saved_plan_starts_on_all_its_clouds_or_on_none(two_clouds: Shell) -> None:
    """If one cloud has changed, nothing is written to the others either."""
    shell = two_clouds
    plan = write_plan(shell, ["north", "south"])
    shell.run("diff", plan, "--out", "saved.plan", exit_code=CHANGES)
    shell.run("run", shell.plan(IMAGES, ["a"], name="other"), "--os-cloud", "south")
    assert "has changed" in shell.run("run", "saved.plan", exit_code=12).stderr
    assert "4 to add" in shell.run("diff", plan, "--os-cloud", "north", exit_code=CHANGES).stdout


def test_two_names_of_one_cloud_are_refused(two_clouds: Shell) -> None:
    """Each pair would be sent twice, and each run would remove what the other adds."""
    err = two_clouds.run("run", write_plan(two_clouds, ["north", "twin"]), exit_code=2).stderr
    assert "are the same place" in err
    assert "4 to add" in two_clouds.run("diff", "plan.yaml", "--os-cloud", "north", exit_code=CHANGES).stdout


def test_a_saved_plan_removes_the_members_it_has_shown(shell: Shell) -> None:
    """It keeps the prune limit it was saved with, and refuses options that would change it."""
    shell.start_sandbox()
    shell.run("run", shell.plan(IMAGES, MEMBERS), *ON_SANDBOX)
    plan = shell.plan(IMAGES, MEMBERS[:10])
    shell.run("diff", plan, *ON_SANDBOX, "--prune", "--prune-limit", "50%", "--out", "saved.plan", exit_code=CHANGES)
    shell.run("run", "saved.plan", *ON_SANDBOX, "--prune", exit_code=2)
    assert shell.run_json("run", "saved.plan", *ON_SANDBOX)["removed"] == 20


def test_a_saved_plan_that_was_interrupted_is_resumed(shell: Shell) -> None:
    """The same command would find a changed cloud; the suggested `resume` finishes the run."""
    shell.start_sandbox()
    shell.run("diff", shell.plan(IMAGES, MEMBERS), *ON_SANDBOX, "--out", "saved.plan", exit_code=CHANGES)
    err = interrupted(shell, "saved.plan", *ON_SANDBOX, result="shared")
    assert "the same command" not in err
    assert shell.run_json("resume")["shared"] == 40


@pytest.mark.parametrize("name", ["sandbox", None])
def test_a_saved_plan_is_refused_on_another_cloud(shell: Shell, name: str | None) -> None:
    """Even if it was saved without the name of a cloud."""
    shell.start_sandbox()
    shell.run("diff", shell.plan(IMAGES, MEMBERS), *ON_SANDBOX, "--out", "saved.plan", exit_code=CHANGES)
    document = json.loads((shell.directory / "saved.plan").read_text())
    document["clouds"][0]["cloud"] = name
    document["clouds"][0]["endpoint"] = "https://elsewhere.example"
    shell.write("saved.plan", json.dumps(document))
    err = shell.run("run", "saved.plan", *ON_SANDBOX, exit_code=2).stderr
    assert "the saved plan is for" in err


def test_resume_keeps_the_prune_limit_of_the_run(shell: Shell) -> None:
    """The pending removals of the interrupted run are done."""
    shell.start_sandbox()
    shell.run("run", shell.plan(IMAGES[:1], MEMBERS), *ON_SANDBOX)
    plan = shell.plan(IMAGES[:1], MEMBERS[:10])
    interrupted(shell, plan, *ON_SANDBOX, "--prune", "--prune-limit", "60%", result="removed")
    done = shell.run_json("resume")
    assert (done["skipped"], done["already"]) == (0, 10)
    assert "No changes" in shell.run("diff", plan, *ON_SANDBOX, "--prune").stdout


def test_a_superseded_run_is_not_resumed(shell: Shell) -> None:
    """It would remove members that a later version of the plan has added."""
    shell.start_sandbox()
    full_plan = shell.plan(IMAGES[:1], MEMBERS)
    shell.run("run", full_plan, *ON_SANDBOX)
    interrupted(
        shell, shell.plan(IMAGES[:1], MEMBERS[:10]), *ON_SANDBOX, "--prune", "--prune-limit", "60%", result="removed"
    )
    old = shell.run_json("show")["run"]
    shell.run("run", shell.plan(IMAGES[:1], MEMBERS), *ON_SANDBOX)
    assert "has taken the place" in shell.run("resume", old, exit_code=2).stderr
    shell.run("verify", full_plan, *ON_SANDBOX)


def test_a_sandbox_run_does_not_hide_the_run_to_resume(shell: Shell) -> None:
    """An interrupted run on an embedded sandbox can't be resumed, so `resume` ignores it."""
    shell.start_sandbox()
    plan = shell.plan(IMAGES, MEMBERS)
    interrupted(shell, plan, "--sandbox", result="shared")
    shell.run("run", plan, *ON_SANDBOX, "--deadline", "0s", exit_code=5)
    assert shell.run_json("resume")["shared"] == 40


def test_a_shared_pair_stays_shared_in_the_ledger(shell: Shell) -> None:
    """Even if the identity service reports the project as unknown when the run continues."""
    shell.start_sandbox("--fault", f"GET projects 403 100% times={len(MEMBERS)}")  # in the first run only
    shell.write(
        "plan.yaml",
        f"version: 1\nname: plan\ncloud: sandbox\nshare:\n  - {{images: {IMAGES[:1]}, projects: {MEMBERS}}}\n",
    )
    interrupted(shell, "plan.yaml", result="shared")
    before = {row["member_id"] for row in shell.rows() if row["result"] == "shared"}
    shell.run("run", "plan.yaml", exit_code=1)
    assert {row["member_id"] for row in shell.rows() if row["result"] == "shared"} == before
    assert before


def test_an_image_is_full_when_the_cloud_says_so(shell: Shell) -> None:
    """Without a limit in the plan, the reason names the cloud's; with one it names the plan's, and the key."""
    shell.start_sandbox("--quota", "6")
    summary = shell.run_json("run", shell.plan(IMAGES, MEMBERS[:8]), *ON_SANDBOX, exit_code=1)
    assert (summary["shared"], summary["rejected"] + summary["skipped"]) == (12, 4)
    assert {row["reason"] for row in shell.rows()} == {
        "",
        "413: image member limit exceeded; the cloud's limit is 6 members per image",
    }
    plan = shell.plan(IMAGES, MEMBERS[:8], more="limits: {members_per_image: 7}\n")
    shown = shell.run("run", plan, *ON_SANDBOX, exit_code=1).stdout
    assert "4 skipped: needs 8, has 6 of 7 members; the limit is the plan's (`limits.members_per_image`)" in shown
    assert f"raise `limits.members_per_image` in {plan}" in shown


def test_the_prune_limit_of_a_plan(shell: Shell) -> None:
    """An image over it loses no member, nor does another; the image, what to change and the file are named."""
    shell.start_sandbox()
    shell.run("run", shell.plan(IMAGES, MEMBERS), *ON_SANDBOX)

    def write(top: str = "", entry: str = "") -> None:
        shell.write(
            "plan.yaml",
            f"version: 1\nname: plan\ncheck_projects: never\n{top}share:\n"
            f"  - {{images: [{IMAGES[0]}], projects: {MEMBERS[:19]}, prune: true}}\n"
            f"  - {{images: [{IMAGES[1]}], projects: {MEMBERS[:15]}, prune: true{entry}}}\n",
        )

    write()
    refused = shell.run("run", "plan.yaml", *ON_SANDBOX, exit_code=1)
    assert "5 of 20 members would be removed; the prune limit (10%) allows 2" in refused.stdout
    assert f"no member is removed from any image because of image {IMAGES[1]}: 5 of 20" in refused.stdout
    assert "set `prune_limit` in plan.yaml, in the image's entry or at the top" in refused.stdout
    assert "to be removed" not in refused.stderr
    write(top="prune_limit: 0\n")
    shell.run("diff", "plan.yaml", *ON_SANDBOX, exit_code=CANT_BE_DONE)
    shown = shell.run("diff", "plan.yaml", *ON_SANDBOX, "--prune-limit", "5", exit_code=CHANGES).stdout
    assert [line for line in shown.splitlines() if line.startswith("  - ")] == [
        f"  - {member}" for member in (MEMBERS[19], *MEMBERS[15:])
    ]
    write(entry=", prune_limit: '10%, at least 5'")
    done = shell.run("run", "plan.yaml", *ON_SANDBOX)
    assert done.stderr.count("to be removed") == 2
    assert "6  removed by this run" in done.stdout


def test_retry_failed_removes_no_member(shell: Shell) -> None:
    """A run of the remaining pairs only does not know the plan's other members."""
    shell.start_sandbox("--quota", "20")
    shell.write(
        "plan.yaml",
        "version: 1\nname: plan\ncheck_projects: never\nshare:\n"
        f"  - {{images: [{IMAGES[0]}], projects: {[*MEMBERS, 'one-too-many']}}}\n"
        f"  - {{images: [{IMAGES[1]}], projects: {MEMBERS[:19]}, prune: true}}\n"
        "limits: {members_per_image: 20}\n",
    )
    shell.run("run", "plan.yaml", *ON_SANDBOX, exit_code=1)
    shell.run("run", shell.plan(IMAGES[1:], ["stranger"], name="other"), *ON_SANDBOX)
    assert shell.run_json("run", "plan.yaml", *ON_SANDBOX, "--retry-failed", exit_code=1)["removed"] == 0


def test_an_unwritable_metrics_file_is_reported_first(shell: Shell) -> None:
    """The run is refused before anything is sent."""
    shell.start_sandbox()
    plan = shell.plan(IMAGES[:1], ["a"])
    err = shell.run("run", plan, *ON_SANDBOX, "--metrics-file", "missing/a.prom", exit_code=2).stderr
    assert "there is no directory" in err
    assert "1 to add" in shell.run("diff", plan, *ON_SANDBOX, exit_code=CHANGES).stdout


def test_retry_failed_starts_on_all_clouds_or_on_none(two_clouds: Shell) -> None:
    """A cloud without an earlier run of the plan has nothing to retry, and is reported before anything is sent."""
    shell = two_clouds
    shell.run("run", write_plan(shell, ["north"]))
    plan = write_plan(shell, ["north", "south"])
    assert "has no run of plan plan at" in shell.run("run", plan, "--retry-failed", exit_code=2).stderr
    assert len(shell.run("runs", "--json").stdout.splitlines()) == 1


def test_only_run_takes_a_saved_plan(shell: Shell) -> None:
    """`check`, `diff` and `verify` refuse it, and name `run`."""
    shell.start_sandbox()
    shell.run("diff", shell.plan(IMAGES, ["a"]), *ON_SANDBOX, "--out", "saved.plan", exit_code=CHANGES)
    for command in ("check", "diff", "verify"):
        assert "saved.plan:1:1: this is a saved plan" in shell.run(command, "saved.plan", exit_code=2).stderr


@pytest.mark.parametrize("command", ["run", "diff", "verify"])
def test_json_is_empty_if_nothing_started(shell: Shell, command: str) -> None:
    """With --json, stdout has one object or nothing; the reason for nothing is on stderr."""
    shell.start_sandbox()
    clouds = yaml.safe_load((shell.directory / "clouds.yaml").read_text())
    clouds["clouds"]["sandbox"]["auth"]["password"] = "not the password"
    shell.write("clouds.yaml", yaml.safe_dump(clouds))
    done = shell.run(command, shell.plan(IMAGES, ["a"]), *ON_SANDBOX, "--json", exit_code=3)
    assert done.stdout == ""
    assert done.stderr
