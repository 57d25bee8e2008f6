"""`watch` and `ctl` on a real Keystone and Glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.realcloud.cloud import RealCloud
    from tests.shell import Shell

pytestmark = pytest.mark.real


def test_a_run_is_paused_stopped_and_finished(shell: Shell, real_cloud: RealCloud) -> None:
    """A pause sends the cloud nothing; a stop leaves the rest pending, and `resume` does it at the plan's own pace."""
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(real_cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    images = [real_cloud.create_image(f"steered-{number}") for number in range(2)]
    projects = real_cloud.create_projects(30, "steered")
    plan = shell.plan(images, projects, name="steered", more="limits: {rate: 200}\n")
    run = shell.start("run", plan, "--os-cloud", "alice", "--rate", "4")
    shell.wait_for_rows(1)

    shell.run("ctl", "steered", "pause")
    real_cloud.mark()
    assert shell.run_json("show", "steered")["heartbeat"]["paused"]
    shell.run("ctl", "steered", "rate=5")
    assert real_cloud.requests("POST", "/v2/images") == 0

    watched = shell.start("watch", "steered")
    shell.run("ctl", "steered", "stop")
    assert run.wait(timeout=60) == 130
    _, err = watched.communicate(timeout=60)
    assert (watched.returncode, "bulkshare: interrupted" in err) == (130, True)
    added = sum(len(real_cloud.member_ids(image)) for image in images)
    assert 0 < added < 60

    done = shell.run_json("resume", "steered")
    assert (done["shared"], done["pending"]) == (60, 0)
    assert [sorted(real_cloud.member_ids(image)) for image in images] == [sorted(projects)] * 2
