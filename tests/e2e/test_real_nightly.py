"""A night whose every step is held against the cloud; and what may befall one on a real Keystone and Glance."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from tests.cloud import ACCEPTOR, ADMIN, OWNER
from tests.e2e.golden_images import (
    ACCEPT,
    ADD,
    ASK,
    CHANGES,
    FIND,
    LIST,
    OPEN,
    REMOVE,
    Night,
    a_rival,
    exported,
    pass_a_night,
    set_status,
    statuses,
    tell,
    visibility,
    visible,
)
from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.golden_images import Told
    from tests.realcloud.cloud import RealCloud
    from tests.shell import Shell


def test_a_night_on_the_sandbox(shell: Shell) -> None:
    """With `--prune`, and a tenant whose project is deleted."""
    with SandboxCloud() as cloud:
        pass_a_night(Night(cloud, shell), cloud._cloud.projects.__delitem__)


@pytest.mark.real
def test_a_night_on_a_real_cloud(real_cloud: RealCloud, shell: Shell) -> None:
    """The very same."""

    def delete(project_id: str) -> None:
        real_cloud._ask("DELETE", f"{real_cloud.auth_url}/projects/{project_id}")

    pass_a_night(Night(real_cloud, shell), delete)


class Stage:
    """A real cloud with its customers, and a shell that knows its users."""

    def __init__(self, cloud: RealCloud, shell: Shell) -> None:
        self.cloud = cloud
        self.shell = shell
        self.tenants = [tenant.id for tenant in cloud.tenants.open()]
        self.write_config()

    def write_config(self, *, endpoint: str | None = None) -> None:
        """Write the clouds.yaml; with `endpoint` all images are asked for there."""
        config = self.cloud.write_clouds_yaml(self.shell.directory / "clouds.yaml")
        if endpoint is not None:
            override = f"    image_endpoint_override: {endpoint}\n    region_name:"
            config.write_text(config.read_text("utf-8").replace("    region_name:", override), "utf-8")
        self.shell.env["OS_CLIENT_CONFIG_FILE"] = str(config)

    def image(self, *members: str, visibility: str = "shared") -> str:
        """Make an image of the owner's with these members and return its ID."""
        image_id = self.cloud.create_image("golden", owner=OWNER.name, visibility=visibility)
        with ThreadPoolExecutor(8) as threads:
            for _ in threads.map(lambda member: self.cloud.add_member(image_id, member), members):
                pass  # the loop raises what a thread raised
        return image_id

    def close(self, image_id: str) -> None:
        """Make an image private, which hides its members."""
        headers = {
            "X-Auth-Token": self.cloud.token(OWNER.name),
            "Content-Type": "application/openstack-images-v2.1-json-patch",
        }
        change = json.dumps([{"op": "replace", "path": "/visibility", "value": "private"}]).encode()
        url = f"{self.cloud.endpoint}/v2/images/{image_id}"
        request = Request(url, change, headers, method="PATCH")  # noqa: S310  http, on loopback
        with urlopen(request) as answer:  # noqa: S310
            assert answer.status == 200

    def plan(self, images: Sequence[str], projects: Sequence[str], entry: str = "", more: str = "") -> None:
        """Write a plan: `entry` are more lines of its only entry, `more` lines above."""
        self.shell.write(
            "plan.yaml",
            f"version: 1\nname: plan\nlimits: {{rate: 1000}}\n{more}share:\n"
            f"  - images: [{', '.join(images)}]\n    projects: [{', '.join(projects)}]\n{entry}",
        )

    def run(self, *args: str, user: str = OWNER.name, exit_code: int = 0, command: str = "run") -> Told:
        """Run the plan as a user."""
        return tell(self.cloud, self.shell, command, "plan.yaml", "--os-cloud", user, *args, exit_code=exit_code)

    def reasons(self) -> dict[str, str]:
        """Return the reasons of the last run's rows, by member."""
        return {row["member_id"]: row["reason"] for row in self.shell.rows()}


@pytest.fixture
def stage(real_cloud: RealCloud, shell: Shell) -> Stage:
    """Return a real cloud, ready for a plan."""
    return Stage(real_cloud, shell)


@pytest.mark.real
def test_accept_as_the_projects_themselves(stage: Stage) -> None:
    """Each is asked with a token of its own: who is a member there accepts, a reader may not, who is neither can't."""
    cloud = stage.cloud
    able, reader, stranger = (cloud.tenants.open(role)[0].id for role in ("member", "reader", None))
    image_id = stage.image()
    stage.plan([image_id], [able, reader, stranger], "    accept: true\n")
    assert not visible(cloud, ACCEPTOR.name, able, cloud.tenants.images_project_id) & {image_id}
    told = stage.run(user=ACCEPTOR.name, exit_code=1)
    assert told.requests == {LIST: 1, FIND: 1, ADD: 3, ACCEPT: 2}
    refused = [one for one in cloud.logged("identity") if one.method == "POST" and one.status != 201]
    assert [one.status for one in refused] == [401], "a log-in that is refused once is not tried again"
    assert statuses(cloud, image_id) == {able: "accepted", reader: "pending", stranger: "pending"}
    assert visible(cloud, ACCEPTOR.name, able, cloud.tenants.images_project_id) >= {image_id}
    assert exported(stage.shell)[image_id] == {
        ("share", "shared", "accepted"): 1,
        ("share", "rejected", "pending"): 2,
    }
    reasons = stage.reasons()
    assert all(reasons[member].startswith("shared, but not accepted: ") for member in (reader, stranger))
    assert told.out.count("shared, but not accepted: ") == 2

    told = stage.run(user=ADMIN.name)
    assert told.requests == {LIST: 1, FIND: 1, ACCEPT: 2}, "an admin does what is left"
    assert set(statuses(cloud, image_id).values()) == {"accepted"}


@pytest.mark.real
def test_a_rejection_is_left_unless_by_force(stage: Stage) -> None:
    """It is told, costs nothing but the listing, and goes by `accept: force`."""
    first, second = stage.tenants[:2]
    image_id = stage.image(first)
    set_status(stage.cloud, image_id, first, "rejected")
    stage.plan([image_id], [first, second], "    accept: true\n")
    stage.run(user=ADMIN.name)
    told = stage.run(user=ADMIN.name)
    assert told.requests == {LIST: 1}
    assert exported(stage.shell)[image_id] == {("share", "already", "rejected"): 1, ("share", "already", "accepted"): 1}
    assert stage.reasons() == {first: "the project has rejected it; left so", second: ""}
    assert statuses(stage.cloud, image_id) == {first: "rejected", second: "accepted"}

    stage.plan([image_id], [first, second], "    accept: force\n")
    assert "1 to accept" in stage.run(user=ADMIN.name, command="diff", exit_code=CHANGES).out
    assert stage.run(user=ADMIN.name).requests == {LIST: 1, FIND: 1, ACCEPT: 1}
    assert set(statuses(stage.cloud, image_id).values()) == {"accepted"}


@pytest.mark.real
def test_too_many_to_remove(stage: Stage) -> None:
    """More than the limit of an image's members: nobody is removed, and the rest is done; unless more is allowed."""
    first, second = stage.tenants[:2]
    image_id = stage.image(first, "gone-1", "gone-2")
    stage.plan([image_id], [first, second], "    prune: true\n")
    told = stage.run(exit_code=1)
    assert told.requests == {LIST: 1, FIND: 1, ADD: 1}
    already, shared, skipped = (
        ("share", "already", "pending"),
        ("share", "shared", "pending"),
        ("remove", "skipped", ""),
    )
    assert exported(stage.shell) == {image_id: {already: 1, shared: 1, skipped: 2}}
    assert stage.reasons()["gone-1"] == "2 of 3 members would be removed, more than the prune limit of 10 %"
    assert len(statuses(stage.cloud, image_id)) == 4
    assert stage.run("--prune-limit", "50%").requests == {LIST: 1, FIND: 1, REMOVE: 2}
    assert statuses(stage.cloud, image_id) == {first: "pending", second: "pending"}


@pytest.mark.real
def test_too_many_to_remove_from_one_image(stage: Stage) -> None:
    """Then nobody is removed from any other image either."""
    within, beyond = stage.image(*stage.tenants[:20], "gone"), stage.image(stage.tenants[0], "gone")
    stage.plan([within, beyond], stage.tenants[:20], "    prune: true\n")
    told = stage.run(exit_code=1)
    assert told.requests == {LIST: 2, FIND: 1, ADD: 19}
    assert "gone" in statuses(stage.cloud, within)


@pytest.mark.real
def test_who_is_gone_meanwhile_is_absent(stage: Stage) -> None:
    """A 404 to a DELETE is asked about, and is as planned."""
    first = stage.tenants[0]
    image_id = stage.image(first, "gone")
    stage.plan([image_id], [first], "    prune: true\n")
    with a_rival(stage.cloud) as endpoint:
        stage.write_config(endpoint=endpoint)
        told = stage.run("--prune-limit", "50%")
    assert told.requests == {LIST: 1, FIND: 1, REMOVE: 2, ASK: 1}
    assert [one.status for one in stage.cloud.logged() if one.method == "DELETE"] == [204, 404]
    assert exported(stage.shell)[image_id] == {("share", "already", "pending"): 1, ("remove", "absent", ""): 1}
    assert statuses(stage.cloud, image_id) == {first: "pending"}


@pytest.mark.real
def test_an_image_that_was_shared_before(stage: Stage) -> None:
    """Opened again it has its old members; those that nobody means any more go with the next run."""
    first, second, third = stage.tenants[:3]
    image_id = stage.image(first, second)
    stage.close(image_id)
    assert visibility(stage.cloud, image_id) == "private"
    stage.plan([image_id], [second, third], "    prune: true\n    make_shared: true\n")
    told = stage.run("--prune-limit", "50%")
    assert told.requests == {LIST: 2, FIND: 1, OPEN: 1, ADD: 2}, "a duplicate is looked up afterwards"
    assert visibility(stage.cloud, image_id) == "shared"
    assert set(statuses(stage.cloud, image_id)) == {first, second, third}
    told = stage.run("--prune-limit", "50%")
    assert told.requests == {LIST: 1, FIND: 1, REMOVE: 1}
    assert set(statuses(stage.cloud, image_id)) == {second, third}


@pytest.mark.real
def test_quota(stage: Stage) -> None:
    """140 don't fit into 128: none is sent, or as many as there is room for."""
    there = [f"old-{number:03}" for number in range(126)]
    image_id, new = stage.image(*there), stage.tenants[:14]
    stage.plan([image_id], new, "    on_quota: fail\n")
    assert "14 pairs can't be done" in stage.run(command="diff").out
    told = stage.run(exit_code=1)
    assert told.requests == {LIST: 1, FIND: 1}
    assert set(stage.reasons().values()) == {"needs 140, has 126 of 128 members"}

    stage.plan([image_id], new, "    on_quota: fill\n")
    assert "2 to add, 12 pairs can't be done" in stage.run(command="diff", exit_code=CHANGES).out
    told = stage.run(exit_code=1)
    assert told.requests == {LIST: 1, FIND: 1, ADD: 2}
    assert exported(stage.shell)[image_id] == {("share", "shared", "pending"): 2, ("share", "skipped", ""): 12}
    assert len(statuses(stage.cloud, image_id)) == 128


@pytest.mark.real
def test_the_owner_needs_no_share(stage: Stage) -> None:
    """It is told, the others are shared."""
    image_id, ours, first = stage.image(), stage.cloud.tenants.images_project_id, stage.tenants[0]
    stage.plan([image_id], [ours, first])
    told = stage.run(exit_code=1)
    assert told.requests == {LIST: 1, FIND: 1, ADD: 1}
    assert stage.reasons() == {ours: "is the image's owner", first: ""}
    assert "is the image's owner" in told.out
    assert statuses(stage.cloud, image_id) == {first: "pending"}


@pytest.mark.real
@pytest.mark.parametrize(
    ("projects", "told"),
    [
        ("{name: NAME}", "plan.yaml:6:16: 2 projects have the name 'NAME'"),
        ("{name: no-NAME}", "plan.yaml:6:16: no project matches {name: no-NAME, enabled: true}"),
    ],
)
def test_what_does_not_fit_stops_all(stage: Stage, projects: str, told: str) -> None:
    """Exit 2 with the place, one listing at the identity service, none at the image service, no run."""
    name = f"twice-{uuid4().hex[:8]}"
    stage.cloud.create_project(name)
    stage.cloud.create_project(name, domain_id=stage.cloud.create_domain(name))
    image_id = stage.image()
    stage.plan([image_id], [projects.replace("NAME", name)])
    done = stage.run(user=ADMIN.name, exit_code=2)
    assert told.replace("NAME", name) in done.err
    assert "1 problem; nothing was sent" in done.err
    assert (done.requests, done.lookups) == ({}, {"GET /v3/projects": 1})
    assert stage.shell.run("runs", "--json").stdout == ""


@pytest.mark.real
@pytest.mark.parametrize(
    ("check", "exit_code", "rows"),
    [
        ("always", 2, {}),
        ("auto", 1, {("share", "shared", "pending"): 2, ("share", "skipped", ""): 1}),
        ("never", 0, {("share", "shared", "pending"): 3}),
    ],
)
def test_an_id_that_is_no_project(
    stage: Stage, check: str, exit_code: int, rows: dict[tuple[str, str, str], int]
) -> None:
    """It stops all, is skipped and told, or is sent, as the plan says."""
    unknown, image_id = uuid4().hex, stage.image()
    stage.plan([image_id], [*stage.tenants[:2], unknown], more=f"check_projects: {check}\n")
    done = stage.run(user=ADMIN.name, exit_code=exit_code)
    shared = sum(times for (_, result, _), times in rows.items() if result == "shared")
    assert done.requests == ({LIST: 1, FIND: 1, ADD: shared} if shared else {})
    assert done.lookups == ({} if check == "never" else {"GET /v3/projects/{project}": 3})
    if rows:
        assert exported(stage.shell)[image_id] == rows
        assert ("knows no such project" in stage.reasons()[unknown]) == (check == "auto")
    else:
        assert f"plan plan: {unknown} is not a project" in done.err
