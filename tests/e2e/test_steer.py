"""`watch` and `ctl`: a run at work, steered and watched by other processes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from tests.shell import Shell

PROJECTS = [f"project-{number:03}" for number in range(60)]


def test_a_run_is_paused_and_made_faster(shell: Shell) -> None:
    """While it is paused nothing is sent; the watcher sees it end, with its results and its code."""
    shell.start_sandbox()
    plan = shell.plan(list(Cloud.sample(3, 0).images), PROJECTS, name="golden")
    run = shell.start("run", plan, "--os-cloud", "sandbox", "--rate", "10", "--json")
    shell.wait_for_rows(1)
    watched = shell.start("watch", "golden", "--json")
    assert shell.run("ctl", "golden", "pause").stdout.endswith(": pause, obeyed\n")
    paused = shell.run_json("show", "golden")
    assert paused["heartbeat"]["paused"]
    assert paused["shared"] < len(PROJECTS)
    assert watched.stdout is not None
    while not json.loads(watched.stdout.readline())["paused"]:
        pass
    assert shell.run("ctl", "rate=1000", "concurrency=32", "go").stdout.endswith(
        ": rate=1000 concurrency=32 go, obeyed\n"
    )
    out, err = run.communicate(timeout=60)
    assert (run.returncode, json.loads(out)["shared"]) == (0, 3 * len(PROJECTS)), err
    assert "rate=1000 concurrency=32 go, as " in err
    lines = [json.loads(line) for line in watched.communicate(timeout=60)[0].splitlines()]
    assert watched.returncode == 0
    assert {key: lines[-1][key] for key in ("run", "shared", "pending")} == {
        "run": paused["run"],
        "shared": 3 * len(PROJECTS),
        "pending": 0,
    }
    assert [control["action"] for control in shell.run_json("show", "golden")["controls"]] == ["pause", "go"]
