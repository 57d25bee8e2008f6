"""Nightly runs of an image pipeline, on the sandbox and on a real cloud, with each step's requests counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cloud import CloudUnderTest
    from tests.shell import Shell

TENANTS = 30
AS_ADMIN = ("--os-cloud", "admin")
CHANGES = 10
FIND, LIST = "GET /v2/images", "GET /v2/images/{image}/members"
ADD, ACCEPT = "POST /v2/images/{image}/members", "PUT /v2/images/{image}/members/{member}"
REMOVE = "DELETE /v2/images/{image}/members/{member}"


@pytest.fixture(scope="module")
def sandbox_cloud() -> Iterator[SandboxCloud]:
    """Run a sandbox for these tests."""
    with SandboxCloud() as cloud:
        yield cloud


@dataclass
class NightlyPipeline:
    """A cloud with a domain of tenants, and images that are rebuilt under one tag."""

    cloud: CloudUnderTest
    shell: Shell
    mark: str = field(default_factory=lambda: f"night-{uuid4().hex[:8]}")
    tenants: list[str] = field(default_factory=list)

    def set_up(self) -> None:
        """Create the tenants, and write the plan."""
        domain_id = self.cloud.create_domain(self.mark)
        self.tenants = [
            self.cloud.create_project(f"{self.mark}-{number:02}", domain_id=domain_id) for number in range(TENANTS)
        ]
        config = self.cloud.write_clouds_yaml(self.shell.directory / "clouds.yaml")
        self.shell.env["OS_CLIENT_CONFIG_FILE"] = str(config)
        self.shell.write(
            "night.yaml",
            f"version: 1\nname: night\nlimits: {{rate: 1000}}\nretry: {{attempts: 9, base: 50ms, cap: 1s}}\nshare:\n"
            f"  - images: [{{tag: {self.mark}, owner: any, latest: 2, per: os_version}}]\n"
            f"    projects: [{{domain: {self.mark}}}]\n"
            f"    accept: true\n    prune: true\n    keep: [{self.cloud.project_id('bob')}]\n",
        )

    def build(self, os_version: str) -> str:
        """Build an image under the old name, in a second of its own, and return its ID."""
        time.sleep(1.05 - time.time() % 1)  # creation times are in seconds, and the plan selects the newest
        return self.cloud.create_image(f"golden-{os_version}", tags=(self.mark,), os_version=os_version)

    def run(self, *args: str, exit_code: int = 0) -> tuple[dict[str, Any], dict[str, int]]:
        """Run the plan; return its summary and the image service's requests."""
        self.cloud.mark()
        summary = self.shell.run_json("run", "night.yaml", *AS_ADMIN, *args, exit_code=exit_code)
        return summary, dict(self.cloud.counted())

    def diff(self, exit_code: int) -> str:
        """Return the output of a diff."""
        return self.shell.run("diff", "night.yaml", *AS_ADMIN, exit_code=exit_code).stdout

    def accepted(self, image_id: str) -> set[str]:
        """Return the image's members; checks that all are accepted and none is duplicated."""
        members = self.cloud.members(image_id)
        assert {member["status"] for member in members} <= {"accepted"}
        found = [member["member_id"] for member in members]
        assert len(found) == len(set(found))
        return set(found)


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def pipeline(request: pytest.FixtureRequest, shell: Shell) -> NightlyPipeline:
    """Return a pipeline on each cloud in turn."""
    pipeline = NightlyPipeline(request.getfixturevalue(f"{request.param}_cloud"), shell)
    pipeline.set_up()
    return pipeline


def test_nightly_runs(pipeline: NightlyPipeline) -> None:
    """Build, run, run again, rotate, lose a tenant, keep a partner, and stop at the prune limit."""
    jammy, noble = pipeline.build("22.04"), pipeline.build("24.04")
    everyone = set(pipeline.tenants)

    assert f"{2 * TENANTS} to add, {2 * TENANTS} to accept" in pipeline.diff(CHANGES)
    summary, requests = pipeline.run()
    assert (summary["planned"], summary["shared"]) == (2 * TENANTS, 2 * TENANTS)
    assert requests == {FIND: 1, LIST: 2, ADD: 2 * TENANTS, ACCEPT: 2 * TENANTS}
    assert pipeline.accepted(jammy) == pipeline.accepted(noble) == everyone
    assert {row["status"] for row in pipeline.shell.rows()} == {"accepted"}

    # A run without changes: the selectors, one listing per image, one line in the log.
    assert "No changes" in pipeline.diff(0)
    pipeline.cloud.mark()
    done = pipeline.shell.run("run", "night.yaml", *AS_ADMIN)
    assert dict(pipeline.cloud.counted()) == {FIND: 1, LIST: 2}
    assert len(done.stderr.splitlines()) == 1
    quiet = pipeline.shell.run("run", "night.yaml", *AS_ADMIN, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")

    # New builds: the oldest of three is no longer selected, and keeps its members.
    second = pipeline.build("24.04")
    third = pipeline.build("24.04")
    summary, requests = pipeline.run()
    assert (summary["shared"], summary["already"]) == (2 * TENANTS, TENANTS)
    assert requests == {FIND: 1, LIST: 3, ADD: 2 * TENANTS, ACCEPT: 2 * TENANTS}
    assert pipeline.accepted(second) == pipeline.accepted(third) == pipeline.accepted(noble) == everyone

    # A tenant leaves; a partner added by hand is kept.
    pipeline.cloud.disable_project(pipeline.tenants[0])
    pipeline.cloud.add_member(third, pipeline.cloud.project_id("bob"))
    shown = pipeline.diff(CHANGES)
    assert "3 to remove" in shown
    assert f"- {pipeline.tenants[0]}" in shown
    summary, requests = pipeline.run()
    assert (summary["removed"], summary["already"]) == (3, 3 * (TENANTS - 1))
    assert requests == {FIND: 1, LIST: 3, REMOVE: 3}
    left = everyone - {pipeline.tenants[0]}
    assert pipeline.accepted(jammy) == pipeline.accepted(second) == left
    assert set(pipeline.cloud.member_ids(third)) == left | {pipeline.cloud.project_id("bob")}
    assert pipeline.accepted(noble) == everyone
    removed = [row for row in pipeline.shell.rows() if row["action"] == "remove"]
    assert {(row["member_id"], row["result"]) for row in removed} == {(pipeline.tenants[0], "removed")}

    # A selector that suddenly finds few tenants: no member is removed from any image without a higher limit.
    for tenant in pipeline.tenants[1:11]:
        pipeline.cloud.disable_project(tenant)
    summary, requests = pipeline.run(exit_code=1)
    assert (summary["removed"], summary["skipped"]) == (0, 30)
    assert requests == {FIND: 1, LIST: 3}
    summary, requests = pipeline.run("--prune-limit", "40%")
    assert (summary["removed"], requests[REMOVE]) == (30, 30)
    assert pipeline.accepted(jammy) == set(pipeline.tenants[11:])
    assert "No changes" in pipeline.diff(0)
