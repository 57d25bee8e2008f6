"""The installed command on the sandbox: what users type, what they read, and the exit codes that scripts rely on."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from bulkshare.report import COLUMNS
from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shell import Shell

pytestmark = pytest.mark.installed

IMAGES = [f"image-{number}" for number in range(4)]
PROJECTS = [f"project-{number:03}" for number in range(30)]


@pytest.fixture
def plan(shell: Shell) -> str:
    """Return a plan of 120 pairs."""
    return shell.plan(IMAGES, PROJECTS, name="nightly", more="limits: {rate: 1000}\n")


def sandbox_images(images: int = 3) -> list[str]:
    """Return the IDs of the images that `bulkshare sandbox --images N` has; they are the same on every start."""
    return list(Cloud.sample(images, 0).images)


def test_run_on_the_sandbox(shell: Shell, plan: str) -> None:
    """The results go to stdout, the account and the progress to stderr, every pair into the ledger."""
    done = shell.run("run", plan, "--sandbox")
    assert "120" in done.stdout
    assert "shared" in done.stdout
    assert "user=admin" in done.stderr
    assert {row["result"] for row in shell.rows()} == {"shared"}


def test_json_is_one_object_with_the_documented_keys(shell: Shell, plan: str) -> None:
    """Nothing but the object is on stdout."""
    summary = shell.run_json("run", plan, "--sandbox")
    assert list(summary) == [
        "run",
        "plan",
        "cloud",
        "planned",
        "shared",
        "accepted",
        "already",
        "rejected",
        "failed",
        "skipped",
        "pending",
        "removed",
        "absent",
        "declined",
        "reset",
        "opened",
        "awaiting_acceptance",
        "requests",
        "batches",
        "batched_pairs",
        "retries",
        "seconds",
        "causes",
    ]
    assert (summary["plan"], summary["planned"], summary["shared"], summary["requests"]) == ("nightly", 120, 120, 125)


def test_quiet_prints_nothing_if_all_is_as_planned(shell: Shell, plan: str) -> None:
    """Cron sends no mail."""
    done = shell.run("run", plan, "--sandbox", "-q")
    assert (done.stdout, done.stderr) == ("", "")


def test_quiet_prints_what_went_wrong(shell: Shell) -> None:
    """Cron sends a mail that names the cause."""
    shell.start_sandbox()
    plan = shell.plan(["no-such-image"], ["p1", "p2"])
    done = shell.run("run", plan, "--os-cloud", "sandbox", "-q", exit_code=1)
    assert "404" in done.stderr
    assert done.stdout == ""


def test_dry_run_writes_nothing(shell: Shell, plan: str) -> None:
    """It prints what it would send and creates no ledger."""
    done = shell.run("run", plan, "--sandbox", "--dry-run", exit_code=10)
    assert done.stdout.splitlines()[:2] == ["image image-0  image-001", "  + project-000"]
    assert done.stdout.endswith("  + ... and 20 more\nPlan: 120 to add.\n")
    assert not (shell.directory / "ledger.db").exists()


def test_json_log_has_the_run_on_every_line(shell: Shell, plan: str) -> None:
    """With --log-format json, stderr is JSON lines that name run, plan and cloud."""
    done = shell.run("run", plan, "--sandbox", "--log-format", "json", "-v")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["plan"] for line in lines} == {"nightly"}
    assert {line["cloud"] for line in lines} == {"sandbox"}
    assert len({line["run"] for line in lines}) == 1
    assert sum(line["event"] == "answer" for line in lines) == 125


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_and_continued(shell: Shell, number: signal.Signals) -> None:
    """A signal ends the run cleanly with exit 130; the same command does the rest, and nothing twice."""
    shell.start_sandbox("--images", "4", "--latency", "100ms", "--quota", "-1")
    plan = shell.plan(sandbox_images(4), PROJECTS, more="limits: {concurrency: 2, rate: 1000}\n")
    process = shell.start("run", plan, "--os-cloud", "sandbox", "--json")
    shell.wait_for_rows(10)
    code, out, err = shell.interrupt(process, number)
    assert code == 130, err
    first = json.loads(out)
    assert first["pending"] > 0
    assert "interrupted" in err

    second = shell.run_json("run", plan, "--os-cloud", "sandbox", "--concurrency", "50")
    assert second["run"] == first["run"]
    assert (second["shared"], second["pending"]) == (120, 0)
    # 120 POSTs in total, and each time at most one list of members per image
    assert first["requests"] + second["requests"] <= 120 + 2 * (4 + 1)
    assert all(row["attempts"] == 1 for row in shell.rows())


def test_a_killed_run_is_continued(shell: Shell) -> None:
    """After kill -9 the same command finishes the same run; listing finds what the ledger missed."""
    shell.start_sandbox("--images", "4", "--latency", "100ms", "--quota", "-1")
    plan = shell.plan(sandbox_images(4), PROJECTS, more="limits: {concurrency: 2, rate: 1000}\n")
    process = shell.start("run", plan, "--os-cloud", "sandbox")
    shell.wait_for_rows(10)
    process.kill()
    process.communicate()
    summary = shell.run_json("run", plan, "--os-cloud", "sandbox", "--concurrency", "50")
    assert (summary["planned"], summary["pending"], summary["shared"] + summary["already"]) == (120, 0, 120)


def test_two_runs_of_a_plan_at_once(shell: Shell) -> None:
    """The second one exits with 75 and names the holder of the lock; another plan may use the same ledger."""
    shell.start_sandbox("--latency", "200ms")
    images = sandbox_images()
    plan = shell.plan(images, PROJECTS, more="limits: {concurrency: 1, rate: 1000}\n")
    other = shell.plan(images, ["one", "two"], name="other")
    first = shell.start("run", plan, "--os-cloud", "sandbox")
    shell.wait_for_rows(1)
    second = shell.run("run", plan, "--os-cloud", "sandbox", exit_code=75)
    assert str(first.pid) in second.stderr
    shell.run("run", other, "--os-cloud", "sandbox")
    assert shell.interrupt(first)[0] == 130


def test_faults_are_retried(shell: Shell) -> None:
    """Injected 503s, cut connections and lost answers are retried until every pair is shared."""
    shell.start_sandbox(
        "--fault",
        "POST members 503 20%",
        "--fault",
        "POST members reset-after 10%",
        "--fault",
        "POST members 500-after 10%",
    )
    plan = shell.plan(
        sandbox_images(), PROJECTS, more="limits: {rate: 1000}\nretry: {attempts: 12, base: 10ms, cap: 50ms}\n"
    )
    summary = shell.run_json("run", plan, "--os-cloud", "sandbox")
    assert summary["shared"] + summary["already"] == 90
    assert summary["retries"] > 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "missing.yaml"], "missing.yaml"),
        (["run", "plan.yaml", "--dry-run", "--no-preflight", "--sandbox"], "--no-preflight"),
        (["run", "plan.yaml", "--os-cloud", "nowhere"], "nowhere"),
        (["run", "plan.yaml", "--rate", "0"], "--rate"),
        (["check", "missing.yaml"], "missing.yaml"),
        (["sandbox", "--fault", "nonsense"], "--fault"),
        (["sandbox", "--latency", "soon"], "--latency"),
        (["run", "plan.yaml", "--sandbox", "--fault", "POST memb 503 1%"], "'memb'"),
        (["run", "plan.yaml", "--fault", "POST members 503 1%"], "--sandbox"),
        (["diff", "plan.yaml", "--latency", "1s"], "--sandbox"),
        (["verify", "plan.yaml", "--latency", "1s"], "--sandbox"),
        (["show", "no-such-run"], "no-such-run"),
        (["unknown-command"], "unknown-command"),
    ],
)
def test_bad_usage_is_exit_2(shell: Shell, args: list[str], message: str) -> None:
    """The message names what is wrong."""
    shell.plan(["i"], ["p"])
    shell.run("run", "plan.yaml", "--sandbox", "-q")
    done = shell.run(*args, exit_code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("args", "pairs"), [([], 30), (["--projects", "11"], 33), (["--example"], None)])
def test_the_plan_that_a_sandbox_prints_runs_there(shell: Shell, args: list[str], pairs: int | None) -> None:
    """It is on stderr, so that stdout can be saved as clouds.yaml; the command below it is the one that runs it."""
    sandbox = shell.start_sandbox(*args)
    code, _, text = shell.interrupt(sandbox)
    assert code == 0
    printed = re.search(r"\n\n(version: 1\n.*?)\n\n.*: bulkshare (run golden.yaml)\n", text, re.DOTALL)
    assert printed is not None, text
    plan, command = printed.groups()
    shell.write("golden.yaml", plan)
    shell.start_sandbox(*args)
    summary = shell.run_json(*command.split())
    assert summary["shared"] == (pairs or summary["planned"]) > 0


def test_faults_and_latency_on_the_sandbox_of_a_run(shell: Shell, plan: str) -> None:
    """They are for trying how a run copes; `diff` and `verify` take them, too."""
    faults = ("--sandbox", "--latency", "1ms", "--fault", "POST members 503 100% times=2")
    assert shell.run_json("run", plan, *faults)["retries"] == 2
    lists = ("--sandbox", "--fault", "GET members 503 100% times=2")
    shell.run("diff", plan, *lists, exit_code=10)
    shell.run("verify", plan, *lists, exit_code=1)


def test_plan_for_another_cloud(shell: Shell) -> None:
    """A plan that names its cloud is not run on another one."""
    shell.start_sandbox()
    plan = shell.plan(["i"], ["p"], more="cloud: prod\n")
    assert "prod" in shell.run("run", plan, "--os-cloud", "sandbox", exit_code=2).stderr


def test_unusable_ledger_is_exit_4(shell: Shell, plan: str) -> None:
    """The message names a file that is not a ledger."""
    bad = shell.write("bad.db", "not a database, but long enough to be examined as one" * 100)
    done = shell.run("run", plan, "--sandbox", "--ledger", str(bad), exit_code=4)
    assert "bad.db" in done.stderr
    assert "Traceback" not in done.stderr


def test_runs_show_and_export(shell: Shell, plan: str, tmp_path: Path) -> None:
    """Of the last run, and of a run by a prefix of its name."""
    key = shell.run_json("run", plan, "--sandbox")["run"]
    assert key in shell.run("runs").stdout
    shown = shell.run("show", key[:-2], "-n", "3").stdout
    assert "117 more" in shown
    assert "image-0" in shown
    assert "image-0" not in shell.run("show", "--failed").stdout

    rows = shell.rows(key)
    assert tuple(rows[0]) == COLUMNS
    assert {(row["image_id"], row["member_id"]) for row in rows} == {(i, p) for i in IMAGES for p in PROJECTS}
    assert rows[0]["request_id"].startswith("req-")

    shell.run("export", "--format", "csv", "-o", str(tmp_path / "out.csv"))
    table = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8"))))
    assert [row["member_id"] for row in table] == [row["member_id"] for row in rows]


def test_history_without_a_ledger(shell: Shell) -> None:
    """Listing runs creates no ledger."""
    done = shell.run("runs", exit_code=None)
    assert done.returncode in {0, 4}
    assert not (shell.directory / "ledger.db").exists()


def test_ledger_is_private(shell: Shell, plan: str) -> None:
    """No other user of the machine may read the ledger."""
    shell.run("run", plan, "--sandbox", "-q")
    assert (shell.directory / "ledger.db").stat().st_mode & 0o777 == 0o600


def test_help_documents_the_exit_codes(shell: Shell) -> None:
    """The codes that scripts rely on are in --help."""
    text = shell.run("--help").stdout
    for code in ("0", "1", "2", "3", "4", "75", "130"):
        assert f"\n  {code} " in text or f"\n    {code} " in text


def test_password_is_not_in_the_process_list_or_output(shell: Shell, plan: str) -> None:
    """Even the most detailed log contains neither password nor token."""
    done = shell.run("run", plan, "--sandbox", "-v")
    assert "X-Auth-Token" not in done.stderr
    assert "password" not in done.stderr


def test_lists_as_others_write_them(shell: Shell) -> None:
    """Any format of `openstack project list` and a spreadsheet's table is read; a line that is no ID is reported."""
    ids = [f"{number:032x}" for number in range(1, 4)]
    shell.write("osc.csv", f'"Name","ID"\r\n"team-1","{ids[0]}"\r\n')
    shell.write("osc.json", json.dumps([{"ID": ids[1], "Name": "team-2"}]))
    shell.write("value.txt", f"{ids[0]} team-1\n{ids[2].upper()} team-3\n")
    plan = shell.write(
        "plan.yaml",
        "version: 1\nname: lists\nshare:\n- images: [D164B5DF1BC34C3F893E3E471FD16E64]\n"
        "  projects: [{file: osc.csv}, {file: osc.json}, {file: value.txt}]\n",
    )
    assert "3 pairs of 1 image and 3 projects" in shell.run("check", str(plan)).stdout
    shell.run("run", str(plan), "--sandbox")
    assert {(row["image_id"], row["member_id"]) for row in shell.rows()} == {
        ("d164b5df-1bc3-4c3f-893e-3e471fd16e64", project_id) for project_id in ids
    }
    shell.write("value.txt", f"ID\n{ids[0]}\n{ids[1][:30]}\n{ids[2]}\n")
    said = shell.run("check", str(plan), exit_code=2).stderr
    assert "value.txt:1:1: 'ID' does not look like the other IDs" in said
    assert "value.txt:3:1: " in said
    assert "it has 30 characters: is it cut off?" in said


def test_a_plan_from_a_pipe(shell: Shell) -> None:
    """Every command that takes a plan takes one that can be read only once."""
    shell.start_sandbox()
    plan = shell.plan(sandbox_images(1), list(Cloud.sample(1, 2).projects)[1:3])
    text = (shell.directory / plan).read_text("utf-8")
    assert "2 pairs" in shell.run("check", "-", piped=text).stdout
    shell.run("diff", "-", "--os-cloud", "sandbox", piped=text, exit_code=10)
    shell.run("run", "/dev/stdin", "--os-cloud", "sandbox", piped=text)
    shell.run("verify", "-", "--os-cloud", "sandbox", piped=text)


@pytest.mark.parametrize("written", ["capitals", "dashes"])
def test_exclusions_are_projects_however_they_are_written(shell: Shell, written: str) -> None:
    """An excluded project in capitals or with dashes is excluded; an exclusion that matches nothing is reported."""
    shell.start_sandbox()
    first, second = list(Cloud.sample(1, 2).projects)[1:3]
    other = first.upper() if written == "capitals" else str(UUID(first))
    plan = "plan.yaml"
    entry = f"- {{images: {sandbox_images(1)}, projects: [{first}, {second}], except: [{other}]}}"
    path = shell.write(plan, f"version: 1\nname: plan\nshare:\n{entry}\n")
    done = shell.run("run", plan, "--os-cloud", "sandbox")
    assert [row["member_id"] for row in shell.rows()] == [second]
    assert "matches nothing" not in done.stderr
    path.write_text(path.read_text("utf-8").replace(other, "f" * 32), "utf-8")
    done = shell.run("diff", plan, "--os-cloud", "sandbox", exit_code=10)
    assert f"`except` matches nothing with {'f' * 32}" in done.stderr


def test_ids_that_could_not_be_checked_are_reported(shell: Shell) -> None:
    """Once, with their number and the reason, and the others are checked nevertheless."""
    shell.start_sandbox("--fault", "GET projects 403 100% times=1")
    first, second = sorted(list(Cloud.sample(1, 2).projects)[1:3])
    entry = f"- {{images: {sandbox_images(1)}, projects: [{first}, {second}, {'f' * 32}]}}"
    plan = shell.write("plan.yaml", f"version: 1\nname: plan\nshare:\n{entry}\n")
    done = shell.run("run", str(plan), "--os-cloud", "sandbox", exit_code=1)
    assert done.stderr.count("1 of 3 project IDs not checked (") == 1
    assert "may not look up projects: " in done.stderr
