"""Nights of a pipeline, one after the other, on the sandbox and on a real cloud: each step's requests are counted."""

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
class Night:
    """A cloud with a domain of customers, and images that are built again and again under one tag."""

    cloud: CloudUnderTest
    shell: Shell
    mark: str = field(default_factory=lambda: f"night-{uuid4().hex[:8]}")
    tenants: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Make the customers, and a plan that says what is meant."""
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
        """Build a new image under the old name, in a second of its own, and return its ID."""
        time.sleep(1.05 - time.time() % 1)  # the times of images are in seconds, and the newest are meant
        return self.cloud.create_image(f"golden-{os_version}", tags=(self.mark,), os_version=os_version)

    def run(self, *args: str, exit_code: int = 0) -> tuple[dict[str, Any], dict[str, int]]:
        """Run the plan; return its summary and the image service's requests."""
        self.cloud.mark()
        summary = self.shell.run_json("run", "night.yaml", *AS_ADMIN, *args, exit_code=exit_code)
        return summary, dict(self.cloud.counted())

    def diff(self, exit_code: int) -> str:
        """Return what a run would do."""
        return self.shell.run("diff", "night.yaml", *AS_ADMIN, exit_code=exit_code).stdout

    def accepted(self, image_id: str) -> set[str]:
        """Return the image's members, all of which have to be there once and accepted."""
        members = self.cloud.members(image_id)
        assert {member["status"] for member in members} <= {"accepted"}
        found = [member["member_id"] for member in members]
        assert len(found) == len(set(found))
        return set(found)


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def night(request: pytest.FixtureRequest, shell: Shell) -> Night:
    """Return a night on each cloud in turn."""
    night = Night(request.getfixturevalue(f"{request.param}_cloud"), shell)
    night.begin()
    return night


def test_nights(night: Night) -> None:
    """Build, run, run again, rotate, lose a tenant, keep a partner, and stop before too many go."""
    jammy, noble = night.build("22.04"), night.build("24.04")
    everybody = set(night.tenants)

    assert f"{2 * TENANTS} to add, {2 * TENANTS} to accept" in night.diff(CHANGES)
    summary, requests = night.run()
    assert (summary["planned"], summary["shared"]) == (2 * TENANTS, 2 * TENANTS)
    assert requests == {FIND: 1, LIST: 2, ADD: 2 * TENANTS, ACCEPT: 2 * TENANTS}
    assert night.accepted(jammy) == night.accepted(noble) == everybody
    assert {row["status"] for row in night.shell.rows()} == {"accepted"}

    # A night in which nothing changed: the selectors, a list of each image, one line in the log.
    assert "No changes" in night.diff(0)
    night.cloud.mark()
    done = night.shell.run("run", "night.yaml", *AS_ADMIN)
    assert dict(night.cloud.counted()) == {FIND: 1, LIST: 2}
    assert len(done.stderr.splitlines()) == 1
    quiet = night.shell.run("run", "night.yaml", *AS_ADMIN, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")

    # New builds: of three the oldest is not meant any more, and stays as it is.
    second = night.build("24.04")
    third = night.build("24.04")
    summary, requests = night.run()
    assert (summary["shared"], summary["already"]) == (2 * TENANTS, TENANTS)
    assert requests == {FIND: 1, LIST: 3, ADD: 2 * TENANTS, ACCEPT: 2 * TENANTS}
    assert night.accepted(second) == night.accepted(third) == night.accepted(noble) == everybody

    # A customer leaves; a partner that somebody has added by hand is kept.
    night.cloud.close_project(night.tenants[0])
    night.cloud.add_member(third, night.cloud.project_id("bob"))
    shown = night.diff(CHANGES)
    assert "3 to remove" in shown
    assert f"- {night.tenants[0]}" in shown
    summary, requests = night.run()
    assert (summary["removed"], summary["already"]) == (3, 3 * (TENANTS - 1))
    assert requests == {FIND: 1, LIST: 3, REMOVE: 3}
    left = everybody - {night.tenants[0]}
    assert night.accepted(jammy) == night.accepted(second) == left
    assert set(night.cloud.member_ids(third)) == left | {night.cloud.project_id("bob")}
    assert night.accepted(noble) == everybody
    removed = [row for row in night.shell.rows() if row["action"] == "remove"]
    assert {(row["member_id"], row["result"]) for row in removed} == {(night.tenants[0], "removed")}

    # A selector that suddenly finds few customers: nobody is removed from any image, unless that is said to be meant.
    for tenant in night.tenants[1:11]:
        night.cloud.close_project(tenant)
    summary, requests = night.run(exit_code=1)
    assert (summary["removed"], summary["skipped"]) == (0, 30)
    assert requests == {FIND: 1, LIST: 3}
    summary, requests = night.run("--prune-limit", "40%")
    assert (summary["removed"], requests[REMOVE]) == (30, 30)
    assert night.accepted(jammy) == set(night.tenants[11:])
    assert "No changes" in night.diff(0)
