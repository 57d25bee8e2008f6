"""A golden image pipeline checked against the cloud at every step, and its special cases on real services."""

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
    CANT_BE_DONE,
    CHANGES,
    FIND,
    GET_MEMBER,
    LIST,
    REMOVE,
    SET_SHARED,
    Pipeline,
    competing_client,
    exported,
    run_command,
    run_pipeline,
    set_status,
    statuses,
    visibility,
    visible,
)
from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.golden_images import CommandResult
    from tests.realcloud.cloud import RealCloud
    from tests.shell import Shell


def test_pipeline_on_the_sandbox(shell: Shell) -> None:
    """With `--prune`, and a tenant whose project is deleted."""
    with SandboxCloud() as cloud:
        run_pipeline(Pipeline(cloud, shell), cloud._cloud.projects.__delitem__)


@pytest.mark.real
def test_pipeline_on_a_real_cloud(real_cloud: RealCloud, shell: Shell) -> None:
    """The same steps give the same results."""

    def delete(project_id: str) -> None:
        real_cloud._ask("DELETE", f"{real_cloud.auth_url}/projects/{project_id}")

    run_pipeline(Pipeline(real_cloud, shell), delete)


class PreparedCloud:
    """A real cloud with its tenants, and a shell whose clouds.yaml has its users."""

    def __init__(self, cloud: RealCloud, shell: Shell) -> None:
        self.cloud = cloud
        self.shell = shell
        self.tenants = [tenant.id for tenant in cloud.tenants.open()]
        self.write_config()

    def write_config(self, *, endpoint: str | None = None) -> None:
        """Write the clouds.yaml; `endpoint` overrides the image endpoint."""
        config = self.cloud.write_clouds_yaml(self.shell.directory / "clouds.yaml")
        if endpoint is not None:
            override = f"    image_endpoint_override: {endpoint}\n    region_name:"
            config.write_text(config.read_text("utf-8").replace("    region_name:", override), "utf-8")
        self.shell.env["OS_CLIENT_CONFIG_FILE"] = str(config)

    def image(self, *members: str, visibility: str = "shared") -> str:
        """Create an image of the owner's with these members and return its ID."""
        image_id = self.cloud.create_image("golden", owner=OWNER.name, visibility=visibility)
        with ThreadPoolExecutor(8) as threads:
            for _ in threads.map(lambda member: self.cloud.add_member(image_id, member), members):
                pass  # the loop raises what a thread raised
        return image_id

    def make_private(self, image_id: str) -> None:
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

    def plan(
        self, images: Sequence[str], projects: Sequence[str], entry: str = "", more: str = "", limits: str = ""
    ) -> None:
        """Write a plan; `entry` extends its only entry, `more` its head, `limits` its limits."""
        self.shell.write(
            "plan.yaml",
            f"version: 1\nname: plan\nlimits: {{rate: 1000, {limits}}}\n{more}share:\n"
            f"  - images: [{', '.join(images)}]\n    projects: [{', '.join(projects)}]\n{entry}",
        )

    def run(self, *args: str, user: str = OWNER.name, exit_code: int = 0, command: str = "run") -> CommandResult:
        """Run the plan as a user."""
        return run_command(self.cloud, self.shell, command, "plan.yaml", "--os-cloud", user, *args, exit_code=exit_code)

    def reasons(self) -> dict[str, str]:
        """Return the reasons of the last run's rows, by member."""
        return {row["member_id"]: row["reason"] for row in self.shell.rows()}


@pytest.fixture
def prepared(real_cloud: RealCloud, shell: Shell) -> PreparedCloud:
    """Return a real cloud, ready for a plan."""
    return PreparedCloud(real_cloud, shell)


@pytest.mark.real
def test_accept_as_the_projects_themselves(prepared: PreparedCloud) -> None:
    """Each PUT has a token for its project: the role member can accept, reader may not, and without a role none can."""
    cloud = prepared.cloud
    able, reader, stranger = (cloud.tenants.open(role)[0].id for role in ("member", "reader", None))
    image_id = prepared.image()
    prepared.plan([image_id], [able, reader, stranger], "    accept: true\n")
    assert not visible(cloud, ACCEPTOR.name, able, cloud.tenants.images_project_id) & {image_id}
    result = prepared.run(user=ACCEPTOR.name, exit_code=1)
    assert result.requests == {LIST: 1, FIND: 1, ADD: 3, ACCEPT: 2}
    refused = [request for request in cloud.logged("identity") if request.method == "POST" and request.status != 201]
    assert [request.status for request in refused] == [401], "a refused log-in is not repeated"
    assert statuses(cloud, image_id) == {able: "accepted", reader: "pending", stranger: "pending"}
    assert visible(cloud, ACCEPTOR.name, able, cloud.tenants.images_project_id) >= {image_id}
    assert exported(prepared.shell)[image_id] == {
        ("share", "shared", "accepted"): 1,
        ("share", "rejected", "pending"): 2,
    }
    reasons = prepared.reasons()
    assert all(reasons[member].startswith("shared, but not accepted: ") for member in (reader, stranger))
    assert result.out.count("shared, but not accepted: ") == 2

    result = prepared.run(user=ADMIN.name)
    assert result.requests == {LIST: 1, FIND: 1, ACCEPT: 2}, "an admin does the rest"
    assert set(statuses(cloud, image_id).values()) == {"accepted"}


@pytest.mark.real
def test_a_rejection_is_left_unless_forced(prepared: PreparedCloud) -> None:
    """It is reported, costs only the listing, and is overridden by `accept: force`."""
    first, second = prepared.tenants[:2]
    image_id = prepared.image(first)
    set_status(prepared.cloud, image_id, first, "rejected")
    prepared.plan([image_id], [first, second], "    accept: true\n")
    prepared.run(user=ADMIN.name)
    result = prepared.run(user=ADMIN.name)
    assert result.requests == {LIST: 1}
    assert exported(prepared.shell)[image_id] == {
        ("share", "already", "rejected"): 1,
        ("share", "already", "accepted"): 1,
    }
    assert prepared.reasons() == {first: "the project has rejected it; left so", second: ""}
    assert statuses(prepared.cloud, image_id) == {first: "rejected", second: "accepted"}

    prepared.plan([image_id], [first, second], "    accept: force\n")
    assert "1 to accept" in prepared.run(user=ADMIN.name, command="diff", exit_code=CHANGES).out
    assert prepared.run(user=ADMIN.name).requests == {LIST: 1, FIND: 1, ACCEPT: 1}
    assert set(statuses(prepared.cloud, image_id).values()) == {"accepted"}


@pytest.mark.real
def test_prune_limit(prepared: PreparedCloud) -> None:
    """Over the limit no member is removed, and the rest is done; a higher limit allows the removals."""
    first, second = prepared.tenants[:2]
    image_id = prepared.image(first, "gone-1", "gone-2")
    prepared.plan([image_id], [first, second], "    prune: true\n")
    result = prepared.run(exit_code=1)
    assert result.requests == {LIST: 1, FIND: 1, ADD: 1}
    already, shared, skipped = (
        ("share", "already", "pending"),
        ("share", "shared", "pending"),
        ("remove", "skipped", ""),
    )
    assert exported(prepared.shell) == {image_id: {already: 1, shared: 1, skipped: 2}}
    assert prepared.reasons()["gone-1"] == "2 of 3 members would be removed; the prune limit (10%) allows 0"
    assert len(statuses(prepared.cloud, image_id)) == 4
    assert prepared.run("--prune-limit", "50%").requests == {LIST: 1, FIND: 1, REMOVE: 2}
    assert statuses(prepared.cloud, image_id) == {first: "pending", second: "pending"}


@pytest.mark.real
def test_prune_limit_of_one_image_holds_for_all(prepared: PreparedCloud) -> None:
    """If one image is over the limit, no member is removed from any image."""
    within, beyond = prepared.image(*prepared.tenants[:20], "gone"), prepared.image(prepared.tenants[0], "gone")
    prepared.plan([within, beyond], prepared.tenants[:20], "    prune: true\n")
    result = prepared.run(exit_code=1)
    assert result.requests == {LIST: 2, FIND: 1, ADD: 19}
    assert "gone" in statuses(prepared.cloud, within)


@pytest.mark.real
def test_a_member_removed_by_another_client_is_absent(prepared: PreparedCloud) -> None:
    """A 404 to a DELETE is clarified by a GET, and counts as planned."""
    first = prepared.tenants[0]
    image_id = prepared.image(first, "gone")
    prepared.plan([image_id], [first], "    prune: true\n")
    with competing_client(prepared.cloud) as endpoint:
        prepared.write_config(endpoint=endpoint)
        result = prepared.run("--prune-limit", "50%")
    assert result.requests == {LIST: 1, FIND: 1, REMOVE: 2, GET_MEMBER: 1}
    assert [request.status for request in prepared.cloud.logged() if request.method == "DELETE"] == [204, 404]
    assert exported(prepared.shell)[image_id] == {("share", "already", "pending"): 1, ("remove", "absent", ""): 1}
    assert statuses(prepared.cloud, image_id) == {first: "pending"}


@pytest.mark.real
def test_an_image_that_was_shared_before(prepared: PreparedCloud) -> None:
    """Made shared again it has its old members; the next run removes those no longer in the plan."""
    first, second, third = prepared.tenants[:3]
    image_id = prepared.image(first, second)
    prepared.make_private(image_id)
    assert visibility(prepared.cloud, image_id) == "private"
    prepared.plan([image_id], [second, third], "    prune: true\n    make_shared: true\n")
    result = prepared.run("--prune-limit", "50%")
    assert result.requests == {LIST: 2, FIND: 1, SET_SHARED: 1, ADD: 2}, "a duplicate is looked up afterwards"
    assert visibility(prepared.cloud, image_id) == "shared"
    assert set(statuses(prepared.cloud, image_id)) == {first, second, third}
    result = prepared.run("--prune-limit", "50%")
    assert result.requests == {LIST: 1, FIND: 1, REMOVE: 1}
    assert set(statuses(prepared.cloud, image_id)) == {second, third}


@pytest.mark.real
def test_quota(prepared: PreparedCloud) -> None:
    """140 members do not fit into 128: none is added, or with `fill` as many as fit; the cloud itself takes 128."""
    there = [f"old-{number:03}" for number in range(126)]
    image_id, new = prepared.image(*there), prepared.tenants[:14]
    prepared.plan([image_id], new, "    on_quota: fail\n", limits="members_per_image: 128")
    assert "Can't be done: 14 pairs." in prepared.run(command="diff", exit_code=CANT_BE_DONE).out
    result = prepared.run(exit_code=1)
    assert result.requests == {LIST: 1, FIND: 1}
    assert set(prepared.reasons().values()) == {
        "needs 140, has 126 of 128 members; the limit is the plan's (`limits.members_per_image`)"
    }

    prepared.plan([image_id], new, "    on_quota: fill\n", limits="members_per_image: 128")
    assert "2 to add. Can't be done: 12 pairs." in prepared.run(command="diff", exit_code=CANT_BE_DONE).out
    result = prepared.run(exit_code=1)
    assert result.requests == {LIST: 1, FIND: 1, ADD: 2}
    assert exported(prepared.shell)[image_id] == {("share", "shared", "pending"): 2, ("share", "skipped", ""): 12}
    assert len(statuses(prepared.cloud, image_id)) == 128

    prepared.plan([image_id], new, "    on_quota: fill\n")
    assert "12 to add" in prepared.run(command="diff", exit_code=CHANGES).out
    prepared.run("--concurrency", "1", exit_code=1)
    assert set(prepared.reasons().values()) == {
        "",
        "413: image member limit exceeded; the cloud's limit is 128 members per image",
    }


@pytest.mark.real
def test_the_owner_needs_no_share(prepared: PreparedCloud) -> None:
    """Its pair is skipped and reported; the others are shared."""
    image_id, ours, first = prepared.image(), prepared.cloud.tenants.images_project_id, prepared.tenants[0]
    prepared.plan([image_id], [ours, first])
    result = prepared.run(exit_code=1)
    assert result.requests == {LIST: 1, FIND: 1, ADD: 1}
    assert prepared.reasons() == {ours: "the project is the image's owner", first: ""}
    assert "the project is the image's owner" in result.out
    assert statuses(prepared.cloud, image_id) == {first: "pending"}


@pytest.mark.real
@pytest.mark.parametrize(
    ("projects", "message"),
    [
        ("{name: NAME}", "plan.yaml:6:16: 2 projects have the name 'NAME'"),
        ("{name: no-NAME}", "plan.yaml:6:16: no project matches {name: no-NAME, enabled: true}"),
    ],
)
def test_an_ambiguous_or_empty_selector_stops_the_run(prepared: PreparedCloud, projects: str, message: str) -> None:
    """Exits with 2 and the position, after a listing of projects or two; no image request, no run in the ledger."""
    name = f"twice-{uuid4().hex[:8]}"
    prepared.cloud.create_project(name)
    prepared.cloud.create_project(name, domain_id=prepared.cloud.create_domain(name))
    image_id = prepared.image()
    prepared.plan([image_id], [projects.replace("NAME", name)])
    done = prepared.run(user=ADMIN.name, exit_code=2)
    assert message.replace("NAME", name) in done.err
    assert "1 problem; nothing was sent" in done.err
    listings = 2 if "no-" in projects else 1  # the second one for names that are near
    assert (done.requests, done.lookups) == ({}, {"GET /v3/projects": listings})
    assert prepared.shell.run("runs", "--json").stdout == ""


@pytest.mark.real
@pytest.mark.parametrize(
    ("check", "exit_code", "rows"),
    [
        ("always", 2, {}),
        ("auto", 1, {("share", "shared", "pending"): 2, ("share", "skipped", ""): 1}),
        ("never", 0, {("share", "shared", "pending"): 3}),
    ],
)
def test_an_id_without_a_project(
    prepared: PreparedCloud, check: str, exit_code: int, rows: dict[tuple[str, str, str], int]
) -> None:
    """`check_projects` decides: it stops the run, is skipped and reported, or is sent."""
    unknown, image_id = uuid4().hex, prepared.image()
    prepared.plan([image_id], [*prepared.tenants[:2], unknown], more=f"check_projects: {check}\n")
    done = prepared.run(user=ADMIN.name, exit_code=exit_code)
    shared = sum(count for (_, result, _), count in rows.items() if result == "shared")
    assert done.requests == ({LIST: 1, FIND: 1, ADD: shared} if shared else {})
    assert done.lookups == ({} if check == "never" else {"GET /v3/projects/{project}": 3})
    if rows:
        assert exported(prepared.shell)[image_id] == rows
        assert ("knows no such project" in prepared.reasons()[unknown]) == (check == "auto")
    else:
        assert f"plan plan: {unknown} is not a project" in done.err
