"""`diff`, saved plans, several clouds at once, and metrics: as a user does it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from tests.shell import Shell

IMAGES = list(Cloud.sample(2, 0).images)
ON_SANDBOX = ("--os-cloud", "sandbox")
CHANGES, CANT_BE_DONE = 10, 11


def test_diff_shows_what_run_then_does(shell: Shell) -> None:
    """After the run there is nothing left to do; a diff itself changes nothing."""
    shell.start_sandbox()
    plan = shell.plan(IMAGES, ["project-001", "project-002"])
    shown = shell.run("diff", plan, *ON_SANDBOX, exit_code=CHANGES).stdout
    assert "4 to add" in shown
    assert shell.run("diff", plan, *ON_SANDBOX, exit_code=CHANGES).stdout == shown
    assert shell.run("run", plan, *ON_SANDBOX, "--dry-run", exit_code=CHANGES).stdout == shown
    assert shell.run_json("run", plan, *ON_SANDBOX)["shared"] == 4
    assert "No changes" in shell.run("diff", plan, *ON_SANDBOX).stdout


def test_an_image_without_pairs_that_can_not_be_listed_is_unknown(shell: Shell) -> None:
    """It is to be pruned, so it may have members to remove. That is 11 for `diff` and 1 for a run."""
    shell.start_sandbox("--fault", "GET members 403 100%")
    shell.write(
        "plan.yaml",
        "version: 1\nname: plan\nshare:\n"
        f"  - {{images: [{IMAGES[0]}], projects: [{{name: 'no-*', allow_empty: true}}], prune: true}}\n",
    )
    shown = shell.run("diff", "plan.yaml", *ON_SANDBOX, exit_code=CANT_BE_DONE).stdout
    assert "Unknown: who is to be removed, because 1 image can't be listed." in " ".join(shown.split())
    document = json.loads(shell.run("diff", "plan.yaml", *ON_SANDBOX, "--json", exit_code=CANT_BE_DONE).stdout)
    (image,) = document["images"]
    assert (image["image_id"], document["unknown"], document["changes"]) == (IMAGES[0], 0, False)
    assert "could not be listed, so none of them was removed" in image["unlisted"]
    shell.run("run", "plan.yaml", *ON_SANDBOX, exit_code=1)


def test_a_saved_plan_is_carried_out_exactly(shell: Shell) -> None:
    """Even if the plan it was made from has changed meanwhile."""
    shell.start_sandbox()
    plan = shell.plan(IMAGES, ["project-001", "project-002"])
    shell.run("diff", plan, *ON_SANDBOX, "--out", "saved.plan", exit_code=CHANGES)
    shell.plan(IMAGES, ["project-003"])
    summary = shell.run_json("run", "saved.plan", *ON_SANDBOX)
    assert (summary["plan"], summary["planned"], summary["shared"]) == ("plan", 4, 4)
    assert {row["member_id"] for row in shell.rows()} == {"project-001", "project-002"}


def test_a_saved_plan_is_refused_on_a_cloud_that_has_changed(shell: Shell) -> None:
    """One pair that was shared meanwhile is enough; nothing is sent, and no run is recorded."""
    shell.start_sandbox()
    plan = shell.plan(IMAGES, ["project-001", "project-002"])
    shell.run("diff", plan, *ON_SANDBOX, "--out", "saved.plan", exit_code=CHANGES)
    shell.run("run", shell.plan(IMAGES[:1], ["project-002"], name="other"), *ON_SANDBOX)
    err = shell.run("run", "saved.plan", *ON_SANDBOX, exit_code=12).stderr
    assert f"the cloud has changed since the plan was saved: image {IMAGES[0]} project project-002;" in err
    assert "3 to add" in shell.run("diff", plan, *ON_SANDBOX, exit_code=CHANGES).stdout
    assert "plan" not in {json.loads(line)["plan"] for line in shell.run("runs", "--json").stdout.splitlines()}


@pytest.fixture
def two_clouds(shell: Shell) -> Shell:
    """Start two clouds, `north` and `south`."""
    clouds = {}
    for name in ("north", "south"):
        shell.start_sandbox()
        clouds[name] = yaml.safe_load((shell.directory / "clouds.yaml").read_text())["clouds"]["sandbox"]
    shell.write("clouds.yaml", yaml.safe_dump({"clouds": clouds}))
    return shell


def write_plan(shell: Shell, clouds: list[str], entries: str) -> str:
    """Write a plan for several clouds."""
    shell.write("plan.yaml", f"version: 1\nname: plan\nclouds: {clouds}\ncheck_projects: never\nshare:\n{entries}")
    return "plan.yaml"


def test_several_clouds_side_by_side(two_clouds: Shell) -> None:
    """Each cloud gets its entries and a run of its own; the JSON object has sums and parts; notes name the cloud."""
    shell = two_clouds
    plan = write_plan(
        shell,
        ["north", "south"],
        f"  - {{images: {IMAGES}, projects: [project-001, project-002]}}\n"
        f"  - {{images: [{IMAGES[0]}], projects: [project-003], cloud: south}}\n",
    )
    summary = shell.run_json("run", plan)
    assert (summary["planned"], summary["shared"]) == (9, 9)
    assert [(part["cloud"], part["shared"]) for part in summary["clouds"]] == [("north", 4), ("south", 5)]
    assert [part["run"].rsplit("-", 1)[1] for part in summary["clouds"]] == ["north", "south"]
    assert len(shell.rows(summary["clouds"][1]["run"])) == 5
    again = shell.run_json("run", plan)
    assert (again["already"], again["requests"]) == (9, 4)
    plan = write_plan(shell, ["north", "south"], f"  - {{images: {IMAGES}, projects: [project-001], except: [gone]}}\n")
    told = re.findall(r"cloud (\w+): `except` matches nothing with gone", shell.run("diff", plan).stderr)
    assert sorted(told) == ["north", "south"]


def test_runs_on_several_clouds_are_one(two_clouds: Shell) -> None:
    """`run` prints the total; `runs`, `show`, `export` and `resume` take the runs of one command together."""
    shell = two_clouds
    plan = write_plan(shell, ["north", "south"], f"  - {{images: {IMAGES}, projects: [a, b, c]}}\n")
    stopped = shell.run("run", plan, "--deadline", "0s", exit_code=5).stdout
    assert re.findall(r"(?m)^  (pending|planned) +(\d+)", stopped) == [
        *[("pending", "6"), ("planned", "6")] * 2,
        *[("pending", "12"), ("planned", "12")],
    ]
    assert "plan  on 2 clouds" in stopped
    done = shell.run_json("resume", "plan")
    assert [part["pending"] for part in (done, *done["clouds"])] == [0, 0, 0]

    listed = [json.loads(line) for line in shell.run("runs", "-n", "1", "--json").stdout.splitlines()]
    assert [run["cloud"] for run in listed] == ["north", "south"]
    assert listed[0]["invocation"] == listed[1]["invocation"]
    name = listed[0]["run"].removesuffix("-north")
    lines = [line.split() for line in shell.run("runs").stdout.splitlines()]
    assert [line[0] for line in lines] == ["run", name, f"{name}-north", f"{name}-south"]
    assert [line[4] for line in lines[1:]] == ["12", "6", "6"]

    for names in ((), ("plan",), (name,)):
        shown = shell.run_json("show", *names)
        assert (shown["run"], shown["planned"], [part["cloud"] for part in shown["clouds"]]) == (
            *(name, 12),
            ["north", "south"],
        )
        assert [row["run"] for row in shell.rows(*names)] == [f"{name}-north"] * 6 + [f"{name}-south"] * 6
    assert shell.run_json("show", f"{name}-south")["planned"] == 6
    text = shell.run("show", "-n", "8").stdout
    assert text.count(" shared  200 ") == 8
    assert f"... and 4 more: --limit 0 prints all, `bulkshare export {name}`" in text
    assert [line for line in text.splitlines() if line.startswith("cloud ")] == [
        "cloud north RegionOne",
        "cloud south RegionOne",
    ]
    table = shell.run("export", "plan", "--format", "csv").stdout.splitlines()
    assert (len(table), sum(line.startswith("run,") for line in table)) == (13, 1)


def test_a_cloud_that_is_down_does_not_hold_up_others(two_clouds: Shell) -> None:
    """The error names the cloud; the other one's pairs are shared."""
    shell = two_clouds
    clouds = yaml.safe_load((shell.directory / "clouds.yaml").read_text())
    clouds["clouds"]["north"]["auth"]["password"] = "wrong"
    shell.write("clouds.yaml", yaml.safe_dump(clouds))
    plan = write_plan(shell, ["north", "south"], f"  - {{images: {IMAGES}, projects: [project-001]}}\n")
    done = shell.run("run", plan, "--json", exit_code=3)
    assert "cloud north: " in done.stderr
    assert json.loads(done.stdout)["shared"] == 2


def test_several_clouds_start_together_or_not_at_all(two_clouds: Shell) -> None:
    """A cloud that is not in clouds.yaml stops the others before anything is sent."""
    shell = two_clouds
    plan = write_plan(shell, ["north", "west"], f"  - {{images: {IMAGES}, projects: [project-001]}}\n")
    assert "there is no cloud 'west'" in shell.run("run", plan, exit_code=2).stderr
    assert shell.run_json("run", plan, "--os-cloud", "north")["shared"] == 2


def test_a_saved_plan_starts_on_all_of_its_clouds_or_on_none(two_clouds: Shell) -> None:
    """Half of it could not be run again. Once the other cloud is back, the same command does all of it."""
    shell = two_clouds
    plan = write_plan(shell, ["north", "south"], f"  - {{images: {IMAGES}, projects: [project-001]}}\n")
    shell.run("diff", plan, "--out", "saved.plan", exit_code=CHANGES)
    clouds = (shell.directory / "clouds.yaml").read_text()
    broken = yaml.safe_load(clouds)
    broken["clouds"]["south"]["auth"]["password"] = "wrong"
    shell.write("clouds.yaml", yaml.safe_dump(broken))
    refused = shell.run("run", "saved.plan", exit_code=3).stderr
    assert "cloud south: " in refused
    assert "nothing was sent to any cloud" in refused
    assert "--os-cloud" in refused
    assert not shell.run("runs", "--json").stdout
    shell.write("clouds.yaml", clouds)
    assert shell.run_json("run", "saved.plan")["shared"] == 4


def test_a_saved_plan_that_was_interrupted_says_how_to_go_on(two_clouds: Shell) -> None:
    """The clouds have changed since it was saved, so only `resume` can finish it."""
    shell = two_clouds
    plan = write_plan(shell, ["north", "south"], f"  - {{images: {IMAGES}, projects: [a, b]}}\n")
    shell.run("diff", plan, "--out", "saved.plan", exit_code=CHANGES)
    limits = ("--rate", "1", "--concurrency", "1", "--deadline", "4s")
    stopped = json.loads(shell.run("run", "saved.plan", *limits, "--json", exit_code=5).stdout)
    assert 0 < stopped["pending"] < 8
    again = shell.run("run", "saved.plan", exit_code=12).stderr
    assert "the cloud has changed since the plan was saved" in again
    assert "or finish run plan-" in again
    assert "`bulkshare resume plan-" in again
    assert shell.run_json("resume")["pending"] == 0


def test_resume_finishes_all_clouds(two_clouds: Shell) -> None:
    """Without a name, the command finishes what the last run left on all clouds."""
    shell = two_clouds
    plan = write_plan(shell, ["north", "south"], f"  - {{images: {IMAGES}, projects: [a, b, c]}}\n")
    stopped = json.loads(shell.run("run", plan, "--deadline", "0s", "--json", exit_code=5).stdout)
    assert stopped["pending"] == 12
    done = shell.run_json("resume")
    assert (done["planned"], done["pending"]) == (12, 0)
    assert {part["run"] for part in done["clouds"]} == {part["run"] for part in stopped["clouds"]}


def test_metrics(shell: Shell) -> None:
    """They are written at the end of a run, and of one that could not start."""
    shell.start_sandbox()
    plan = shell.plan(IMAGES, ["project-001"])

    def metrics() -> dict[tuple[str, ...], float]:
        return {
            (sample.name.removeprefix("bulkshare_last_run_"), *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families((shell.directory / "plan.prom").read_text())
            for sample in family.samples
        }

    shell.run("run", plan, *ON_SANDBOX, "--metrics-file", "plan.prom")
    found = metrics()
    assert found["exit_code", "plan"] == 0
    assert found["pairs", "plan", "sandbox", "shared"] == 2
    assert found["requests", "200", "plan", "sandbox"] == 5, "two listings, a look-up of the images, and two POSTs"
    shell.write("plan.yaml", "version: 1\n")
    shell.run("run", plan, *ON_SANDBOX, "--metrics-file", "plan.prom", exit_code=2)
    assert metrics()["exit_code", "plan"] == 2
