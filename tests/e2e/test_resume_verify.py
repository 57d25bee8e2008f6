"""Resuming a run, retrying what failed, comparing with the cloud, and stopping at once: as a user does it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from bulkshare.sandbox import Cloud
from tests.shell import UNKNOWN_IMAGE

if TYPE_CHECKING:
    from tests.shell import Shell

IMAGES = list(Cloud.sample(3, 0).images)
PROJECTS = [f"project-{number:03}" for number in range(40)]
QUICK = "limits: {concurrency: 4, rate: 1000}\nretry: {attempts: 3, base: 10ms, cap: 50ms}\n"
STOP_SECONDS = 5  # well below the 10 s that requests in flight get, and the 600 s of a cool-down
ON_SANDBOX = ("--os-cloud", "sandbox")


def port_of(shell: Shell) -> str:
    """Return the port of the shell's sandbox."""
    found = re.search(r"127\.0\.0\.1:(\d+)", (shell.directory / "clouds.yaml").read_text("utf-8"))
    assert found is not None
    return found[1]


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process."""
    process.kill()
    process.communicate()


def stopped_run(shell: Shell, *, name: str = "plan", more: str = QUICK) -> str:
    """Stop a run of 120 pairs while most are pending, and return the run's name."""
    plan = shell.plan(IMAGES, PROJECTS, name=name, more=more)
    done = shell.run("run", plan, *ON_SANDBOX, "--deadline", "0s", "--json", exit_code=5)
    summary = json.loads(done.stdout)
    assert summary["pending"] > 0
    assert f"bulkshare resume {summary['run']}" in done.stderr
    return str(summary["run"])


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Read the process's log until a line has the text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    pytest.fail(f"the log has no {text!r}")


def test_resume_without_the_plan(shell: Shell) -> None:
    """The ledger has everything it needs: pairs, cloud, limits and retries."""
    shell.start_sandbox()
    key = stopped_run(shell, more=f"cloud: sandbox\n{QUICK}")
    (shell.directory / "plan.yaml").unlink()
    summary = shell.run_json("resume")
    assert (summary["run"], summary["plan"], summary["shared"], summary["pending"]) == (key, "plan", 120, 0)
    assert all(row["attempts"] == 1 for row in shell.rows(key))


def test_resume_as_often_as_needed(shell: Shell) -> None:
    """A killed run that is resumed and stopped is still one run. A unique prefix of its name is enough."""
    shell.start_sandbox("--latency", "20ms")
    plan = shell.plan(IMAGES, PROJECTS, more="limits: {concurrency: 2, rate: 1000}\n")
    process = shell.start("run", plan, *ON_SANDBOX, "-v", "--log-format", "json")
    wait_for_line(process, '"step": "add"')
    end(process)
    stopped = shell.run("resume", "plan-", "--deadline", "200ms", "--json", exit_code=5)
    first = json.loads(stopped.stdout)
    second = shell.run_json("resume", first["run"], "--concurrency", "16")
    assert (second["run"], second["planned"], second["pending"]) == (first["run"], 120, 0)
    assert second["shared"] + second["already"] == 120


def test_resume_of_a_finished_run(shell: Shell) -> None:
    """It says so, sends nothing, and exits with the run's status."""
    shell.start_sandbox()
    shell.run("run", shell.plan(IMAGES, ["p"]), *ON_SANDBOX)
    done = shell.run("resume", "--json")
    assert "is finished" in done.stderr
    assert json.loads(done.stdout)["requests"] == 0
    shell.run("run", shell.plan(["unknown"], ["p"], name="bad"), *ON_SANDBOX, exit_code=1)
    assert "is finished" in shell.run("resume", exit_code=1).stderr


def test_resume_elsewhere_is_refused(shell: Shell) -> None:
    """Another endpoint, an unknown clouds.yaml entry, an embedded sandbox: exit 2, with the reason."""
    first = shell.start_sandbox()
    stopped_run(shell)
    end(first)
    shell.start_sandbox()
    assert "a run is finished at its own endpoint" in shell.run("resume", exit_code=2).stderr
    assert "nowhere" in shell.run("resume", "--os-cloud", "nowhere", exit_code=2).stderr
    plan = shell.plan(IMAGES, PROJECTS, name="embedded", more=QUICK)
    shell.run("run", plan, "--sandbox", "--deadline", "0s", exit_code=5)
    assert "sandbox" in shell.run("resume", exit_code=2).stderr
    assert "no-such-run" in shell.run("resume", "no-such-run", exit_code=2).stderr


def test_retry_failed(shell: Shell) -> None:
    """Only pairs that the last run left and the plan still has are tried, in a new run, until none is left."""
    shell.start_sandbox("--fault", "POST members 400 100% times=5")
    plan = shell.plan(IMAGES, PROJECTS, more=QUICK)
    first = shell.run_json("run", plan, *ON_SANDBOX, exit_code=1)
    assert first["rejected"] + first["skipped"] == 5
    left = [row["member_id"] for row in shell.rows() if row["result"] in {"rejected", "skipped"}]
    kept = [project for project in PROJECTS if project != left[0]]
    shell.plan(IMAGES, kept, more=QUICK)
    gone = sum(project == left[0] for project in left)

    looked = shell.run_json("run", plan, *ON_SANDBOX, "--retry-failed", "--dry-run", exit_code=10)
    assert (looked["add"], looked["as_planned"]) == (5 - gone, 0)
    second = shell.run_json("run", plan, *ON_SANDBOX, "--retry-failed")
    assert second["run"] != first["run"]
    assert (second["planned"], second["shared"]) == (5 - gone, 5 - gone)
    third = shell.run("run", plan, *ON_SANDBOX, "--retry-failed", "--json")
    assert "nothing to retry" in third.stderr
    assert (json.loads(third.stdout)["run"], json.loads(third.stdout)["planned"]) == (None, 0)


def test_retry_failed_takes_the_pending_too(shell: Shell) -> None:
    """They include the pending pairs of a stopped run. Without an earlier run it is refused."""
    shell.start_sandbox()
    key = stopped_run(shell)
    summary = shell.run_json("run", "plan.yaml", *ON_SANDBOX, "--retry-failed")
    assert summary["run"] != key
    assert (summary["shared"], summary["pending"]) == (summary["planned"], 0)
    other = shell.plan(IMAGES, ["p"], name="other")
    assert "no run of plan other" in shell.run("run", other, *ON_SANDBOX, "--retry-failed", exit_code=2).stderr


@pytest.mark.parametrize("args", [("--dry-run", "--verify"), ("--sandbox", "--retry-failed")])
def test_options_that_exclude_each_other(shell: Shell, args: tuple[str, ...]) -> None:
    """The error names both."""
    done = shell.run("run", shell.plan(["i"], ["p"]), *args, exit_code=2)
    assert all(option in done.stderr for option in args)


def test_wait_for_the_lock(shell: Shell) -> None:
    """With --wait-lock it names the holder once, and starts when that run has ended; without, it exits with 75."""
    shell.start_sandbox("--latency", "200ms")
    plan = shell.plan(IMAGES, PROJECTS, more="limits: {concurrency: 1, rate: 1000}\n")
    first = shell.start("run", plan, *ON_SANDBOX, "-v", "--log-format", "json")
    wait_for_line(first, '"step": "add"')
    assert str(first.pid) in shell.run("resume", exit_code=75).stderr
    shell.run("run", plan, *ON_SANDBOX, "--wait-lock", "1ms", exit_code=75)
    for command in (["run", plan, *ON_SANDBOX], ["resume"]):
        patient = shell.start(*command, "--wait-lock", "10m")
        wait_for_line(patient, str(first.pid))
        code, _, err = shell.interrupt(patient)
        assert (code, err.count("interrupted; nothing was sent")) == (130, 1), err
    waiting = shell.start("run", plan, *ON_SANDBOX, "--wait-lock", "10m", "--concurrency", "16", "--json")
    wait_for_line(waiting, str(first.pid))
    assert shell.interrupt(first)[0] == 130
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    assert json.loads(out)["pending"] == 0
    assert "is in progress" not in err


def test_verify(shell: Shell) -> None:
    """It prints what is missing, extra and unlisted, as text or as one JSON object, and writes nothing."""
    shell.start_sandbox()
    shell.run("run", shell.plan(IMAGES[:2], ["p1", "p2", "p3"]), *ON_SANDBOX, "-q")
    assert "missing" in shell.run("verify", "plan.yaml", *ON_SANDBOX).stdout
    quiet = shell.run("verify", "plan.yaml", *ON_SANDBOX, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")

    plan = shell.plan([*IMAGES[:2], UNKNOWN_IMAGE], ["p1", "p2", "p4"], name="other")
    for _ in range(2):  # verifying changes nothing
        document = shell.run_json("verify", plan, *ON_SANDBOX, exit_code=1)
        assert list(document)[:6] == ["version", "plan", "cloud", "planned", "present", "missing"]
        assert list(document)[6:] == ["extra", "by_status", "unlisted", "names"]
        assert (document["plan"], document["cloud"], document["planned"]) == ("other", "sandbox", 9)
        assert document["present"] == 4
        assert document["missing"] == {IMAGES[0]: ["p4"], IMAGES[1]: ["p4"], UNKNOWN_IMAGE: ["p1", "p2", "p4"]}
        assert document["extra"] == {IMAGES[0]: ["p3"], IMAGES[1]: ["p3"]}
        assert document["by_status"] == {"pending": 4}
        assert document["names"] == {IMAGES[0]: "image-001", IMAGES[1]: "image-002"}
        assert "404" in document["unlisted"][UNKNOWN_IMAGE]
    text = shell.run("verify", plan, *ON_SANDBOX, "-q", exit_code=1).stderr
    assert f"image {IMAGES[0]}  image-001\n    p4\n" in text
    assert "404" in text
    assert len(shell.run("runs").stdout.splitlines()) == len(shell.run("runs", "-n", "1").stdout.splitlines())


def test_extra_members_are_listed(shell: Shell) -> None:
    """By their IDs; with --strict they are an error that -q reports, unless the plan keeps them."""
    shell.start_sandbox()
    shell.run("run", shell.plan(IMAGES, PROJECTS[:3]), *ON_SANDBOX)
    plan = shell.plan(IMAGES, PROJECTS[:2])
    shown = shell.run("verify", plan, *ON_SANDBOX).stdout
    assert "Extra:" in shown
    assert shown.count(PROJECTS[2]) == len(IMAGES)
    quiet = shell.run("verify", plan, *ON_SANDBOX, "-q")
    assert quiet.stdout == quiet.stderr == ""
    assert PROJECTS[2] in shell.run("verify", plan, *ON_SANDBOX, "-q", "--strict", exit_code=1).stderr
    kept = shell.directory / "plan.yaml"
    kept.write_text(kept.read_text().rstrip("\n") + f"\n    keep: [{PROJECTS[2]}]\n")
    assert shell.run("verify", plan, *ON_SANDBOX, "-q", "--strict").stderr == ""
    # An image that is to have no members is compared, too, if the plan prunes it.
    no_one = "version: 1\nname: no-one\nshare:\n  - {images: [%s], projects: [{name: x-*, allow_empty: true}]%s}\n"
    kept.write_text(no_one % (IMAGES[0], ""))
    assert shell.run("verify", plan, *ON_SANDBOX, "-q", "--strict").stderr == ""
    kept.write_text(no_one % (IMAGES[0], ", prune: true"))
    assert json.loads(shell.run("verify", plan, *ON_SANDBOX, "--json", "--strict", exit_code=1).stdout)["extra"] == {
        IMAGES[0]: PROJECTS[:3]
    }


def test_verify_at_the_end_of_a_run(shell: Shell) -> None:
    """With --json it is part of the object; it exits with 1 if something is missing."""
    shell.start_sandbox()
    plan = shell.plan(IMAGES, ["p1", "p2"], more=QUICK)
    document = shell.run_json("run", plan, *ON_SANDBOX, "--verify")
    assert (document["shared"], document["verify"]["present"], document["verify"]["missing"]) == (6, 6, {})
    assert "6 pending" in shell.run("run", plan, *ON_SANDBOX, "--verify").stdout
    bad = shell.plan([IMAGES[0], UNKNOWN_IMAGE], ["p1"], name="bad")
    assert "Can't be listed" in shell.run("run", bad, *ON_SANDBOX, "--verify", exit_code=1).stdout
    shell.run("run", plan, "--sandbox", "--verify")


def test_prune(shell: Shell) -> None:
    """Old finished runs are deleted with their pairs, resumable ones stay; --dry-run deletes nothing."""
    shell.start_sandbox()
    finished = shell.run_json("run", shell.plan(IMAGES, ["p1", "p2"], name="finished"), *ON_SANDBOX)["run"]
    stopped = stopped_run(shell)
    would = shell.run("ledger", "prune", "--keep", "0s", "--dry-run").stdout
    kept, deleted = would.split("Would delete:")
    assert finished in deleted
    assert f"{stopped}  unfinished" in kept
    assert "Would delete 1 run with 6 pairs" in would
    assert "nothing is deleted" in shell.run("ledger", "prune", "--keep", "90d").stdout
    assert len(shell.rows(finished)) == 6
    assert "Deleted 1 run with 6 pairs" in shell.run("ledger", "prune", "--keep", "0s").stdout
    assert finished not in shell.run("runs").stdout
    shell.run("show", finished, exit_code=2)
    assert shell.run_json("resume", stopped)["pending"] == 0
    assert {row["member_id"] for row in shell.rows(stopped)} == set(PROJECTS)


def test_prune_during_a_run(shell: Shell) -> None:
    """It keeps its rows and their texts."""
    shell.start_sandbox("--latency", "200ms")
    old = shell.run_json("run", shell.plan(IMAGES, PROJECTS[:3], name="old"), *ON_SANDBOX)["run"]
    plan = shell.plan(IMAGES, PROJECTS, more="limits: {concurrency: 4, rate: 1000}\n")
    process = shell.start("run", plan, *ON_SANDBOX, "-v", "--log-format", "json")
    wait_for_line(process, '"step": "add"')
    assert "a run is in progress" in shell.run("ledger", "prune", "--keep", "0s").stdout
    process.communicate()
    assert process.returncode == 0
    assert old not in shell.run("runs").stdout
    assert len(shell.rows()) == 120


def test_a_second_interrupt_stops_at_once(shell: Shell) -> None:
    """The first one waits for requests in flight, the second does not; the rest stays pending."""
    faults = ("POST members hang 100% times=1", "POST members 400 100%")
    shell.start_sandbox("--latency", "200ms", *(word for fault in faults for word in ("--fault", fault)))
    plan = shell.plan(IMAGES, PROJECTS, more=QUICK)
    process = shell.start("run", plan, *ON_SANDBOX, "-v", "--log-format", "json")
    wait_for_line(process, '"http_status": 400')  # the first request has arrived before this one, and hangs
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 130
    results = {row["result"] for row in shell.rows()}
    assert {"pending", "rejected"} <= results <= {"pending", "rejected", "skipped"}


def test_a_signal_during_a_cool_down(shell: Shell) -> None:
    """It ends the ten minutes' wait that the endpoint asked for."""
    shell.start_sandbox("--fault", "POST members 429 100% retry-after=600")
    plan = shell.plan(IMAGES, PROJECTS, more=QUICK)
    process = shell.start("run", plan, *ON_SANDBOX, "-v", "--log-format", "json")
    wait_for_line(process, '"http_status": 429')
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 130
    assert {row["result"] for row in shell.rows()} == {"pending"}
