"""The request log of a cloud under test, for tests that count requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.contract.client import members_path, replace

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest
    from tests.contract.client import Client


async def test_counted_by_kind(cloud: CloudUnderTest, client: Client) -> None:
    """Each request is counted by the time its answer arrives, by method and path without IDs and query."""
    image_id, member_id = cloud.create_image(), cloud.project_id("bob")
    for user in ("alice", "bob"):  # a real image service validates each new token at the identity service
        await client.ask("GET", "/v2/images?limit=1", user=user)
    cloud.token("admin")
    cloud.mark()
    assert not cloud.counted()
    for project_id in (member_id, "p"):
        await client.add(image_id, project_id)
    await client.set_status(image_id, member_id, "accepted", user="bob")
    await client.ask("GET", f"/v2/images?id=in:{image_id}")
    await client.ask("GET", f"/v2/images/{image_id}")
    await client.patch(image_id, replace("os_hidden", value=True))
    await client.ask("DELETE", members_path(image_id, "p"))
    await client.ask("GET", members_path(image_id))
    await client.upload(image_id, b"refused")
    await client.ask("GET", f"/v3/projects/{member_id}", user="admin")
    await client.ask("GET", "/v3/projects?name=x", user="admin")
    await client.ask("GET", "/v3/auth/projects")
    assert cloud.counted() == {
        "POST /v2/images/{image}/members": 2,
        "PUT /v2/images/{image}/members/{member}": 1,
        "GET /v2/images": 1,
        "GET /v2/images/{image}": 1,
        "PATCH /v2/images/{image}": 1,
        "DELETE /v2/images/{image}/members/{member}": 1,
        "GET /v2/images/{image}/members": 1,
        "PUT /v2/images/{image}/file": 1,
    }
    assert cloud.counted("identity") == {
        "GET /v3/projects/{project}": 1,
        "GET /v3/projects": 1,
        "GET /v3/auth/projects": 1,
    }
    assert cloud.logged()[0] == ("POST", members_path(image_id), 200)
    assert [request.status for request in cloud.logged()].count(409) == 1
    assert cloud.requests("GET", "id=in:") == 1
