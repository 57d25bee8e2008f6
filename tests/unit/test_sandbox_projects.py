"""The sandbox's projects, users and domains, and their permissions, as seen on a real Keystone 30."""

from __future__ import annotations

import json

import pytest

from tests.sandbox_keystone import AUTH_URL, SandboxKeystone, message


@pytest.fixture
def sandbox() -> SandboxKeystone:
    """Return a new sandbox."""
    return SandboxKeystone()


async def test_read_permissions(sandbox: SandboxKeystone) -> None:
    """Users may read themselves and their project; for others the answer does not show what exists."""
    alice, admin = await sandbox.token("alice", sandbox.ours.id), await sandbox.admin()
    for path, to_alice, to_admin in (
        ("/v3/projects", 403, 200),
        (f"/v3/projects/{sandbox.ours.id}", 200, 200),
        (f"/v3/projects/{sandbox.theirs.id}", 403, 200),
        ("/v3/projects/nonsense", 403, 404),
        ("/v3/users", 403, 200),
        (f"/v3/users/{sandbox.alice.id}", 200, 200),
        (f"/v3/users/{sandbox.alice.id}/projects", 200, 200),
        (f"/v3/users/{sandbox.cloud.admin.id}/projects", 403, 200),
        ("/v3/users/nonsense/projects", 403, 404),
        ("/v3/domains", 403, 200),
        ("/v3/domains/default", 200, 200),
        ("/v3/domains/nonsense", 403, 404),
        ("/v3/auth/projects", 200, 200),
        ("/v3/auth/domains", 200, 200),
        ("/v3/auth/catalog", 200, 200),
    ):
        statuses = [(await sandbox.ask("GET", path, token=token)).status for token in (alice, admin, None)]
        assert statuses == [to_alice, to_admin, 401], path


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {"admin", "ours", "theirs", "closed"}),
        ("name=ours", {"ours"}),
        ("domain_id=default&name=ours", {"ours"}),
        ("domain_id=x", set()),
        ("enabled=false", {"closed"}),
        ("enabled=True", {"admin", "ours", "theirs"}),
        ("tags=tenant", {"ours", "theirs"}),
        ("tags=tenant,eu", {"ours"}),
        ("parent_id=" + "0" * 32, set()),
        ("nonsense=1", {"admin", "ours", "theirs", "closed"}),
    ],
)
async def test_projects_are_filtered(sandbox: SandboxKeystone, query: str, wanted: set[str]) -> None:
    """An unknown filter has no effect."""
    sandbox.cloud.add_project("closed").enabled = False
    answer = await sandbox.ask("GET", f"/v3/projects?{query}", token=await sandbox.admin())
    assert {project["name"] for project in json.loads(answer.body)["projects"]} == wanted


async def test_a_project_shows_all_its_fields(sandbox: SandboxKeystone) -> None:
    """They are the fields that clients expect."""
    answer = await sandbox.ask("GET", f"/v3/projects/{sandbox.ours.id}", token=await sandbox.admin())
    assert json.loads(answer.body)["project"] == {
        "id": sandbox.ours.id,
        "name": "ours",
        "domain_id": "default",
        "description": "",
        "enabled": True,
        "parent_id": "default",
        "is_domain": False,
        "tags": ["tenant", "eu"],
        "options": {},
        "links": {"self": f"{AUTH_URL}/projects/{sandbox.ours.id}"},
    }


@pytest.mark.parametrize("name", ["name__contains", "name__iendswith", "tags-any", "not-tags", "not-tags-any"])
async def test_unsupported_filters_are_refused(sandbox: SandboxKeystone, name: str) -> None:
    """Ignored, they would return projects that a real Keystone leaves out."""
    response = await sandbox.ask("GET", f"/v3/projects?{name}=a", token=await sandbox.admin())
    assert response.status == 501


async def test_a_parent_is_a_uuid(sandbox: SandboxKeystone) -> None:
    """The domain's ID is not a UUID."""
    answer = await sandbox.ask("GET", "/v3/projects?parent_id=default", token=await sandbox.admin())
    problem = "Value: default. 'default' is not a 'uuid'"
    assert message(answer) == f"Invalid input for field/attribute parent_id. {problem}"


async def test_project_pages_are_linked(sandbox: SandboxKeystone) -> None:
    """With a limit, `next` is an absolute URL up to the last page."""
    admin, address, found = await sandbox.admin(), f"{AUTH_URL}/projects?limit=2", list[str]()
    while address:
        body = json.loads((await sandbox.ask("GET", address.removeprefix("http://identity"), token=admin)).body)
        assert body["links"]["self"] == address
        assert ("truncated" in body) == (body["links"]["next"] is not None)
        found += [project["id"] for project in body["projects"]]
        address = body["links"]["next"]
    assert found == sorted(sandbox.cloud.projects)


async def test_users_and_domains_are_found_by_name(sandbox: SandboxKeystone) -> None:
    """Clients look up IDs this way."""
    admin = await sandbox.admin()
    for path, key, wanted in (
        ("/v3/users?name=alice", "users", ["alice"]),
        ("/v3/users?name=nobody", "users", []),
        ("/v3/domains?name=Default", "domains", ["Default"]),
        ("/v3/domains?name=x", "domains", []),
    ):
        body = json.loads((await sandbox.ask("GET", path, token=admin)).body)
        assert [item["name"] for item in body[key]] == wanted
