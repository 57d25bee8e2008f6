"""Acceptance for thirty tenants by a user with a role in some of them, and the reports of what is not possible."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.cloud import call
from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cloud import CloudUnderTest
    from tests.shell import Shell


@pytest.fixture(scope="module")
def sandbox_cloud() -> Iterator[SandboxCloud]:
    """Run a sandbox for these tests."""
    with SandboxCloud() as cloud:
        yield cloud


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def cloud(request: pytest.FixtureRequest, shell: Shell) -> CloudUnderTest:
    """Return each cloud in turn, with its tenants, and let the shell use it."""
    cloud: CloudUnderTest = request.getfixturevalue(f"{request.param}_cloud")
    assert len(cloud.tenants.open()) == 30
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    return cloud


def write_plan(shell: Shell, image_id: str, projects: str, more: str) -> None:
    """Write a plan for one image."""
    shell.write(
        "plan.yaml",
        f"version: 1\nname: plan\nlimits: {{rate: 1000}}\nretry: {{attempts: 9, base: 50ms, cap: 1s}}\n"
        f"share:\n  - images: [{image_id}]\n    projects: {projects}\n{more}",
    )


def test_accept_as_projects(cloud: CloudUnderTest, shell: Shell) -> None:
    """With the role member the image is accepted and in the project's list; without, shared only, with a reason."""
    image_id = cloud.create_image("golden", owner="acceptor")
    tenants = {tenant.id: tenant.role for tenant in cloud.tenants.open()}
    write_plan(shell, image_id, str([*tenants, cloud.project_id("acceptor")]), "    accept: true\n")
    summary = shell.run_json("run", "plan.yaml", "--os-cloud", "acceptor", exit_code=1)
    assert (summary["shared"], summary["rejected"], summary["skipped"]) == (20, 10, 1)

    statuses = {member["member_id"]: member["status"] for member in cloud.members(image_id)}
    assert statuses == {tenant: "accepted" if role == "member" else "pending" for tenant, role in tenants.items()}
    rows = {row["member_id"]: row for row in shell.rows()}
    assert all(rows[tenant]["status"] == status for tenant, status in statuses.items())
    assert all(
        rows[tenant]["reason"].startswith("shared, but not accepted: ")
        for tenant, role in tenants.items()
        if role != "member"
    )
    assert "the project is the image's owner" in rows[cloud.project_id("acceptor")]["reason"]
    accepting = next(tenant for tenant, role in tenants.items() if role == "member")
    seen = call("GET", f"{cloud.endpoint}/v2/images", token=cloud.token("acceptor", accepting)).json()["images"]
    assert image_id in [image["id"] for image in seen]

    cloud.mark()
    again = shell.run_json("run", "plan.yaml", "--os-cloud", "acceptor", exit_code=1)
    assert (again["already"], again["rejected"]) == (20, 10)
    assert cloud.requests("POST") == 0


def test_what_can_not_be_accepted_is_known_before_any_write(cloud: CloudUnderTest, shell: Shell) -> None:
    """`diff` names the projects in which the user has no role; without the role admin, `accept_as: self` is refused."""
    image_id, tenants = cloud.create_image("golden", owner="acceptor"), cloud.tenants.open()
    without = {tenant.id for tenant in tenants if tenant.role is None}
    write_plan(shell, image_id, str([tenant.id for tenant in tenants]), "    accept: true\n")
    cloud.mark()
    shown = shell.run_json("diff", "plan.yaml", "--os-cloud", "acceptor", exit_code=11)
    assert cloud.requests("POST", "/v2/images") == cloud.requests("PUT") == 0
    assert (shown["add"], shown["accept"], shown["refused"]) == (30, 25, 5)
    (refused,) = (image["refused"] for image in shown["images"])
    assert {member_id for members in refused.values() for member_id in members} == without
    assert all("has no role in project" in reason for reason in refused)
    write_plan(shell, image_id, f"[{tenants[0].id}]", "    accept: true\n    accept_as: self\n")
    text = shell.run("diff", "plan.yaml", "--os-cloud", "acceptor", exit_code=11).stdout
    assert "shared, but not accepted: user acceptor does not have the role admin" in text


@pytest.mark.parametrize(
    ("accept", "result", "status"), [("true", "already", "rejected"), ("force", "accepted", "accepted")]
)
def test_a_rejection_is_left_unless_forced(
    cloud: CloudUnderTest, shell: Shell, accept: str, result: str, status: str
) -> None:
    """A rejected membership is left and reported; `accept: force` accepts it."""
    image_id, tenant = cloud.create_image(), cloud.tenants.open("member")[0].id
    cloud.add_member(image_id, tenant)
    url = f"{cloud.endpoint}/v2/images/{image_id}/members/{tenant}"
    assert call("PUT", url, token=cloud.token("acceptor", tenant), body={"status": "rejected"}).status == 200
    write_plan(shell, image_id, f"[{tenant}]", f"    accept: {accept}\n")
    shell.run("run", "plan.yaml", "--os-cloud", "admin")
    (row,) = shell.rows()
    assert (row["result"], row["status"]) == (result, status)
    assert ("rejected" in row["reason"]) == (accept == "true")
    assert [member["status"] for member in cloud.members(image_id)] == [status]


def test_a_private_image_needs_make_shared(cloud: CloudUnderTest, shell: Shell) -> None:
    """Without `make_shared` its pairs are skipped before any write; with it the image is set shared."""
    image_id, tenants = cloud.create_image(visibility="private"), [tenant.id for tenant in cloud.tenants.open()[:2]]
    write_plan(shell, image_id, str(tenants), "")
    cloud.mark()
    shell.run("run", "plan.yaml", "--os-cloud", "alice", exit_code=1)
    assert cloud.requests("POST") == 0
    assert {(row["result"], "is private" in row["reason"]) for row in shell.rows()} == {("skipped", True)}
    write_plan(shell, image_id, str(tenants), "    make_shared: true\n")
    assert "1 image to be made shared" in shell.run("diff", "plan.yaml", "--os-cloud", "alice", exit_code=10).stdout
    shell.run("run", "plan.yaml", "--os-cloud", "alice")
    assert cloud.member_ids(image_id) == sorted(tenants)


@pytest.mark.parametrize("visibility", ["public", "community"])
def test_every_project_can_use_open_images(cloud: CloudUnderTest, shell: Shell, visibility: str) -> None:
    """Night after night all is well, for every command, without a write; a strict plan objects."""
    image_id, tenants = cloud.create_image(visibility=visibility), [tenant.id for tenant in cloud.tenants.open()[:2]]
    write_plan(shell, image_id, str(tenants), "    accept: true\n    make_shared: true\n")
    admin = ("plan.yaml", "--os-cloud", "admin")
    assert "No changes" in shell.run("diff", *admin).stdout
    cloud.mark()
    assert shell.run_json("run", *admin, "--verify")["already"] == 2
    assert {row["reason"] for row in shell.rows()} == {f"every project can use the image: it is {visibility}"}
    assert cloud.requests("POST") == cloud.requests("PATCH") == 0
    assert shell.run_json("verify", *admin)["by_status"] == {visibility: 2}

    plan = shell.directory / "plan.yaml"
    plan.write_text("strict: true\n" + plan.read_text())
    shell.run("diff", *admin, exit_code=11)
    assert shell.run_json("run", *admin, exit_code=1)["skipped"] == 2
    shell.run("verify", *admin, exit_code=1)


@pytest.mark.parametrize(("on_quota", "shared"), [("fail", 0), ("fill", 2)])
def test_quota(cloud: CloudUnderTest, shell: Shell, on_quota: str, shared: int) -> None:
    """The members needed and present are reported before any write; as many as fit are added with `fill` only."""
    image_id = cloud.create_image()
    for number in range(6):
        cloud.add_member(image_id, f"m{number}")
    tenants = [tenant.id for tenant in cloud.tenants.open()[:4]]
    write_plan(shell, image_id, str(tenants), f"    on_quota: {on_quota}\n")
    plan = shell.directory / "plan.yaml"
    plan.write_text(plan.read_text().replace("{rate: 1000}", "{rate: 1000, members_per_image: 8}"))
    summary = shell.run_json("run", "plan.yaml", "--os-cloud", "alice", exit_code=1)
    assert (summary["shared"], summary["skipped"]) == (shared, 4 - shared)
    assert any("needs 10, has 6 of 8" in row["reason"] for row in shell.rows())
    assert len(cloud.member_ids(image_id)) == 6 + shared


def test_all_problems_of_a_plan_are_reported_at_once(cloud: CloudUnderTest, shell: Shell) -> None:
    """An empty selector, an ambiguous name and an unknown ID, with their positions; nothing is sent."""
    name = f"twice-{cloud.create_image()[:8]}"
    cloud.create_project(name)
    cloud.create_project(name, domain_id=cloud.tenants.customers_id)
    shell.write(
        "plan.yaml",
        "version: 1\nname: plan\ncheck_projects: always\nshare:\n  - images: [{name: no-such-image}]\n"
        f"    projects: [{{name: {name}}}, 0123456789abcdef0123456789abcdef]\n",
    )
    cloud.mark()
    errors = shell.run("run", "plan.yaml", "--os-cloud", "admin", exit_code=2).stderr
    assert "plan.yaml:5:14: no image matches {name: no-such-image" in errors
    assert f"plan.yaml:6:16: 2 projects have the name '{name}'" in errors
    assert "0123456789abcdef0123456789abcdef is not a project" in errors
    assert "3 problems; nothing was sent" in errors
    assert Counter(request.method for request in cloud.logged()) == {"GET": 2}  # the second one for names that are near
