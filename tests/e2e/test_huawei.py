"""The commands on Huawei Cloud, as the sandbox plays it: an access key, batches and jobs."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from tests.shell import Shell

PLANS = Path(__file__).parents[2] / "plans"
SAMPLE = Cloud.sample(3, 12)
IMAGES = list(SAMPLE.images)
PROJECTS = [project_id for project_id in SAMPLE.projects if project_id != SAMPLE.admin_project.id]
HUAWEI = ("--dialect", "huawei", "--images", "3", "--projects", "12")
ON_SANDBOX = ("--os-cloud", "sandbox")
CHANGES, STOPPED_EARLY, INTERRUPTED = 10, 5, 130


def requests_of(shell: Shell) -> int:
    """Return how many requests the last run took, as the ledger has it."""
    found: int = shell.run_json("show")["requests"]
    return found


def test_the_plan_for_huawei_cloud_runs_on_the_sandbox(shell: Shell) -> None:
    """As its first lines say."""
    summary = shell.run_json("run", str(PLANS / "huawei.yaml"), "--sandbox", "--dialect", "huawei")
    assert summary["shared"] == summary["planned"] > 0
    assert summary["requests"] < summary["planned"]


def test_a_plan_from_the_first_look_to_the_last(shell: Shell) -> None:
    """Shown, shared in batches, found as it should be, and changed by another plan that removes."""
    shell.start_sandbox(*HUAWEI)
    plan = shell.plan(IMAGES, PROJECTS)
    assert "36 to add" in shell.run("diff", plan, *ON_SANDBOX, "--out", "saved.plan", exit_code=CHANGES).stdout
    summary = shell.run_json("run", "saved.plan", *ON_SANDBOX)
    assert (summary["shared"], summary["planned"]) == (36, 36)
    assert summary["requests"] < 36
    assert requests_of(shell) == summary["requests"]
    assert (summary["batches"], summary["batched_pairs"]) == (1, 36)
    shell.run("report", "-o", "report.html")
    assert "1 request with 36 pairs" in (shell.directory / "report.html").read_text("utf-8")
    assert {row["result"] for row in shell.rows()} == {"shared"}
    again = shell.run_json("run", plan, *ON_SANDBOX, "--verify")
    assert (again["already"], again["verify"]["missing"]) == (36, {})
    fewer = shell.plan(IMAGES, PROJECTS[:7])
    shown = shell.run("diff", fewer, *ON_SANDBOX, "--prune", "--prune-limit", "50%", exit_code=CHANGES).stdout
    assert "15 to remove" in shown
    pruned = shell.run_json("run", fewer, *ON_SANDBOX, "--prune", "--prune-limit", "50%")
    assert (pruned["already"], pruned["removed"]) == (21, 15)
    assert "No changes" in shell.run("diff", fewer, *ON_SANDBOX, "--prune").stdout


def test_a_quota_is_kept_and_drift_is_mended(shell: Shell) -> None:
    """What a quota left out is shared once others were pruned; a member that was taken away comes back."""
    shell.start_sandbox(*HUAWEI, "--quota", "8")
    plan = shell.plan(IMAGES, PROJECTS[:10])
    refused = shell.run_json("run", plan, *ON_SANDBOX, exit_code=1)
    assert (refused["skipped"], refused["batches"]) == (30, 0)
    filled = shell.run_json("run", shell.plan(IMAGES, PROJECTS[:8]), *ON_SANDBOX)
    assert (filled["shared"], filled["batched_pairs"]) == (24, 24)
    shell.plan(IMAGES, PROJECTS[2:10])
    full = shell.run_json("run", plan, *ON_SANDBOX, exit_code=1)
    assert (full["already"], full["skipped"]) == (18, 6)
    shell.run_json("unshare", IMAGES[0], "--from", PROJECTS[2], "--yes", *ON_SANDBOX)
    assert "missing   7" in shell.run("verify", plan, *ON_SANDBOX, exit_code=1).stdout
    pruned = shell.run_json("run", plan, *ON_SANDBOX, "--prune", "--prune-limit", "100%")
    assert (pruned["removed"], pruned["shared"]) == (6, 7)


@pytest.mark.parametrize("going_on", [("run", "plan.yaml", *ON_SANDBOX), ("resume",)], ids=lambda words: words[0])
def test_a_run_that_is_cut_off_in_a_job_finds_what_it_did(shell: Shell, going_on: tuple[str, ...]) -> None:
    """Its pairs are `shared`, not `already`: the job was this run's."""
    shell.start_sandbox(*HUAWEI, "--answer", "job_seconds=1")
    shell.plan(IMAGES, PROJECTS)
    process = shell.start("run", "plan.yaml", *ON_SANDBOX)
    _wait_for_jobs(shell)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    summary = shell.run_json(*going_on)
    assert (summary["shared"], summary["planned"]) == (36, 36)


def test_a_deadline_in_a_job(shell: Shell) -> None:
    """The command ends early, and the same command finishes the run."""
    shell.start_sandbox(*HUAWEI, "--answer", "job_seconds=2")
    plan = shell.plan(IMAGES, PROJECTS)
    shell.run("run", plan, *ON_SANDBOX, "--deadline", "1s", exit_code=STOPPED_EARLY)
    summary = shell.run_json("run", plan, *ON_SANDBOX)
    assert (summary["shared"], summary["planned"]) == (36, 36)


def test_a_project_that_does_not_exist_has_the_services_reason(shell: Shell) -> None:
    """The others of its batch are shared."""
    shell.start_sandbox(*HUAWEI, "--answer", "partial=fail", "--answer", "unknown=job")
    plan = shell.plan(IMAGES[:1], [*PROJECTS, "f" * 32])
    summary = shell.run_json("run", plan, *ON_SANDBOX, exit_code=1)
    assert (summary["shared"], summary["rejected"]) == (12, 1)
    (reason,) = {row["reason"] for row in shell.rows() if row["result"] == "rejected"}
    assert "IMG.0108" in reason
    retried = shell.run_json("run", plan, *ON_SANDBOX, "--retry-failed", exit_code=1)
    assert (retried["planned"], retried["rejected"]) == (1, 1)


def test_a_wrong_secret_key_ends_the_run_at_once(shell: Shell) -> None:
    """One refusal, exit code 3, the causes, and no key in what is printed."""
    shell.start_sandbox(*HUAWEI)
    clouds = (shell.directory / "clouds.yaml").read_text("utf-8")
    shell.write("clouds.yaml", clouds.replace("secret_key: sandbox", "secret_key: hush-hush"))
    done = shell.run("run", shell.plan(IMAGES, PROJECTS), *ON_SANDBOX, exit_code=3)
    assert "refuses the signature" in done.stderr
    assert "hush" not in done.stdout + done.stderr
    assert "SANDBOXACCESSKEY" not in done.stdout + done.stderr


def test_make_shared_is_refused_with_its_reason(shell: Shell) -> None:
    """Private images are shared as they are there."""
    shell.start_sandbox(*HUAWEI)
    shell.write(
        "plan.yaml",
        "version: 1\nname: plan\nshare:\n"
        f"  - {{images: {json.dumps(IMAGES)}, projects: {json.dumps(PROJECTS)}, make_shared: true}}\n",
    )
    assert "remove `make_shared`" in shell.run("run", "plan.yaml", *ON_SANDBOX, exit_code=2).stderr


def test_a_fleet_sends_what_the_batches_leave(shell: Shell) -> None:
    """The batches are sent by the command itself."""
    shell.start_sandbox(*HUAWEI, "--answer", "partial=fail", "--answer", "unknown=job")
    plan = shell.plan(IMAGES, [*PROJECTS, "f" * 32])
    summary = shell.run_json("run", plan, *ON_SANDBOX, "--fleet", "local:2", exit_code=1)
    assert (summary["shared"], summary["rejected"]) == (36, 3)


def _wait_for_jobs(shell: Shell) -> None:
    """Wait until the ledger has a batch whose job was started."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with sqlite3.connect(shell.env["BULKSHARE_LEDGER"]) as ledger:
                found: Any = ledger.execute("select count(*) from batches where job_id is not null").fetchone()
            if found[0]:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.02)
    raise TimeoutError("no job was started")
