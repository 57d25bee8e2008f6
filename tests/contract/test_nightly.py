"""The life of a golden image: created, uploaded, replaced by a new build, hidden or deleted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.contract.client import detailed_refusal, members_path, refusal, replace
from tests.contract.refusals import UNKNOWN, not_authorized, not_found

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest
    from tests.contract.client import Client

FORMATS = {"disk_format": "raw", "container_format": "bare"}


async def create(client: Client, name: str = "golden", **fields: Any) -> str:
    """Create an image of alice's, without data, and return its ID."""
    answer = await client.ask("POST", "/v2/images", body={"name": name, **FORMATS, **fields})
    assert answer.status == 201, answer
    return str(answer.json()["id"])


async def listed(client: Client, query: str, *, user: str = "alice") -> list[str]:
    """Return the IDs of the listed images, in order."""
    images = (await client.ask("GET", f"/v2/images?{query}", user=user)).json()["images"]
    return [image["id"] for image in images]


class TestCreate:
    """POST /v2/images."""

    async def test_fields(self, cloud: CloudUnderTest, client: Client) -> None:
        """A new image has the fields of the body, and is queued."""
        body = {"name": "new", **FORMATS, "visibility": "private", "tags": ["a"], "os_distro": "debian", "min_disk": 3}
        answer = await client.ask("POST", "/v2/images", body=body)
        image = answer.json()
        assert answer.status == 201
        assert answer.headers["location"] == f"{cloud.endpoint}/v2/images/{image['id']}"
        wanted = {**body, "status": "queued", "owner": cloud.project_id("alice"), "size": None, "checksum": None}
        assert {key: image[key] for key in wanted} == wanted
        assert "stores" not in image

    async def test_defaults(self, client: Client) -> None:
        """An empty body makes a shared image without name and formats."""
        image = (await client.ask("POST", "/v2/images", body={})).json()
        found = {key: image[key] for key in ("name", "visibility", "disk_format", "os_hidden", "protected", "tags")}
        expected = {"name": None, "visibility": "shared", "disk_format": None}
        assert found == {**expected, "os_hidden": False, "protected": False, "tags": []}

    async def test_same_name(self, client: Client) -> None:
        """Names are not unique."""
        tag = uuid4().hex
        made = {await create(client, tags=[tag]) for _ in range(2)}
        assert set(await listed(client, f"name=golden&tag={tag}")) == made

    @pytest.mark.parametrize(
        ("user", "body", "action"),
        [("rita", {}, "add_image"), ("alice", {"visibility": "public"}, "publicize_image")],
    )
    async def test_not_allowed(self, client: Client, user: str, body: dict[str, str], action: str) -> None:
        """A reader can't create images, and only an admin can create public ones."""
        answer = await client.ask("POST", "/v2/images", user=user, body=body)
        assert refusal(answer) == not_authorized(action)

    async def test_used_id(self, client: Client) -> None:
        """An ID can be used once, even if its image has been deleted."""
        image_id = await create(client)
        message = f"Image ID {image_id} already exists!"
        for _ in range(2):
            answer = await client.ask("POST", "/v2/images", body={"id": image_id})
            assert refusal(answer) == (409, message)
            await client.ask("DELETE", f"/v2/images/{image_id}")


class TestUpload:
    """PUT /v2/images/{image}/file."""

    @pytest.mark.parametrize("data", [b"hello", b""])
    async def test_becomes_active(self, client: Client, data: bytes) -> None:
        """With its data the image becomes active, and has its size and checksums."""
        image_id = await create(client)
        answer = await client.upload(image_id, data)
        assert (answer.status, answer.body) == (204, b"")
        image = (await client.ask("GET", f"/v2/images/{image_id}")).json()
        wanted = {
            "status": "active",
            "size": len(data),
            "virtual_size": len(data) or None,
            "checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(data).hexdigest(),
            "stores": "local",
        }
        assert {key: image[key] for key in wanted} == wanted

    async def test_once(self, client: Client) -> None:
        """The data of an image can be uploaded once."""
        image_id = await create(client)
        await client.upload(image_id, b"data")
        message = "Image status transition from active to saving is not allowed"
        assert refusal(await client.upload(image_id, b"data")) == (409, message)

    async def test_without_formats(self, client: Client) -> None:
        """The formats have to be set before the upload."""
        image_id = await create(client, disk_format=None, container_format=None)
        message = "Properties disk_format, container_format must be set prior to saving data."
        assert refusal(await client.upload(image_id, b"data")) == (400, message)

    async def test_upload_needs_the_owner(self, cloud: CloudUnderTest, client: Client) -> None:
        """A reader and a member are refused; for a stranger the image doesn't exist."""
        image_id = await create(client)
        assert refusal(await client.upload(image_id, b"data", user="rita")) == not_authorized("upload_image")
        for unseen in (image_id, UNKNOWN):
            answer = await client.upload(unseen, b"data", user="bob")
            assert refusal(answer) == (404, f"No image found with ID {unseen}")
        cloud.add_member(image_id, cloud.project_id("bob"))
        assert refusal(await client.upload(image_id, b"data", user="bob")) == not_authorized("upload_image")

    async def test_media_type(self, client: Client) -> None:
        """Data has to be sent as an octet stream."""
        answer = await client.ask("PUT", f"/v2/images/{UNKNOWN}/file", body=b"data")
        message = "The request media type application/json is not supported by this server."
        assert detailed_refusal(answer) == (415, message, "Invalid content type application/json")


class TestDelete:
    """DELETE /v2/images/{image}."""

    async def test_gone(self, cloud: CloudUnderTest, client: Client) -> None:
        """A deleted image is gone with its members, and can't be a page's marker."""
        image_id = await create(client)
        await client.add(image_id, cloud.project_id("bob"))
        answer = await client.ask("DELETE", f"/v2/images/{image_id}")
        assert (answer.status, answer.body) == (204, b"")
        assert refusal(await client.ask("GET", members_path(image_id))) == not_found(image_id)
        assert refusal(await client.add(image_id, "p")) == not_found(image_id)
        marker = await client.ask("GET", f"/v2/images?marker={image_id}")
        assert refusal(marker) == (400, f"No image found with ID {image_id}")
        again = await client.ask("DELETE", f"/v2/images/{image_id}")
        assert refusal(again) == (404, f"Failed to find image {image_id} to delete")

    async def test_protected(self, client: Client) -> None:
        """A protected image can't be deleted until the protection is removed."""
        image_id = await create(client, protected=True)
        message = f"Image {image_id} is protected and cannot be deleted."
        assert refusal(await client.ask("DELETE", f"/v2/images/{image_id}")) == (403, message)
        await client.patch(image_id, replace("protected", value=False))
        assert (await client.ask("DELETE", f"/v2/images/{image_id}")).status == 204


@pytest.mark.parametrize("withdraw", ["hide", "delete"])
async def test_a_new_build_replaces_the_old_one(cloud: CloudUnderTest, client: Client, withdraw: str) -> None:
    """The old build is withdrawn, the new one takes its place, and each has its own members."""
    tag, member_id = uuid4().hex, cloud.project_id("bob")
    old = await create(client, tags=[tag])
    await client.upload(old, b"old")
    await client.add(old, member_id)
    await client.set_status(old, member_id, "accepted", user="bob")
    new = await create(client, tags=[tag])
    assert await listed(client, f"tag={tag}&status=active") == [old]
    await client.upload(new, b"new")
    if withdraw == "hide":
        await client.patch(old, replace("os_hidden", value=True))
    else:
        await client.ask("DELETE", f"/v2/images/{old}")
    assert await listed(client, f"tag={tag}&name=golden&status=active") == [new]
    assert await listed(client, f"tag={tag}&os_hidden=true") == ([old] if withdraw == "hide" else [])
    assert await listed(client, f"tag={tag}&os_hidden=true", user="bob") == ([old] if withdraw == "hide" else [])
    assert cloud.member_ids(new) == []
