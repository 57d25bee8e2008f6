"""What the ledger remembers of runs on a real Keystone and Glance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bulkshare.cli import main

if TYPE_CHECKING:
    from tests.realcloud.cloud import RealCloud
    from tests.shell import Shell

pytestmark = pytest.mark.real


def test_three_nights_are_remembered(shell: Shell, real_cloud: RealCloud) -> None:
    """Two members that someone removes each day flap; `compare` names them, and the report tells the next step."""
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(real_cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    image = real_cloud.create_image("flapping")
    projects = real_cloud.create_projects(5, "past")
    plan = shell.plan([image], projects, name="past")
    keys = []
    for _ in range(3):
        keys.append(shell.run_json("run", plan, "--os-cloud", "alice")["run"])
        for project in projects[:2]:
            real_cloud.remove_member(image, project)

    def look(*args: str, exit_code: int = 0) -> str:
        """Run a command that only reads the ledger, in this process, and return its output."""
        done = CliRunner().invoke(main, args, env=shell.env)
        assert done.exit_code == exit_code, done.output
        return done.stdout

    (cloud,) = json.loads(look("history", "past", "--json"))["clouds"]
    assert (cloud["strip"], cloud["flapping_pairs"]) == ("+++", 2)
    assert {pair["member_id"] for pair in cloud["flapping"]} == set(projects[:2])
    assert [run["changes"]["newly shared"] for run in cloud["runs"]] == [0, 2, 2]
    (compared,) = json.loads(look("compare", keys[0], keys[2], "--json", exit_code=10))["clouds"]
    assert (compared["different"], compared["same"]) == (3, 2)
    look("compare", keys[1], keys[2])
    html = look("report", "past", "-o", "-")
    assert "All 5 pairs are as planned." in html
    assert f"bulkshare verify {shell.directory / plan}" in html
    assert "Would delete 1 run with 5 pairs" in look("ledger", "prune", "--keep-last", "2", "--dry-run")
