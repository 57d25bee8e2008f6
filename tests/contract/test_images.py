"""The images: how a list is filtered, sorted and cut into pages, and who sees what in it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import uuid4

import pytest

from tests.contract.client import NO_TOKEN, TIMESTAMP, refusal

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest
    from tests.contract.client import Client


@pytest.fixture
def tag() -> str:
    """Return a tag that no image has yet: the cloud is full of the other tests' images."""
    return uuid4().hex


async def names(client: Client, query: str, *, user: str = "alice") -> list[str]:
    """Return the names of the images that a list has, in its order."""
    answer = await client.ask("GET", f"/v2/images?{query}", user=user)
    assert answer.status == 200, answer
    return [image["name"] for image in answer.json()["images"]]


class TestShow:
    """GET /v2/images/{image}."""

    async def test_fields(self, cloud: CloudUnderTest, client: Client) -> None:
        """The owner sees what the image is, with its properties among its fields."""
        image_id = cloud.create_image("golden", tags=("nightly",), os_distro="debian")
        answer = await client.ask("GET", f"/v2/images/{image_id}")
        image = answer.json()
        assert answer.status == 200
        expected = {
            "id": image_id,
            "name": "golden",
            "owner": cloud.project_id("alice"),
            "visibility": "shared",
            "status": "active",
            "tags": ["nightly"],
            "os_distro": "debian",
            "protected": False,
            "os_hidden": False,
            "min_disk": 0,
            "min_ram": 0,
            "disk_format": "raw",
            "container_format": "bare",
            "self": f"/v2/images/{image_id}",
            "file": f"/v2/images/{image_id}/file",
            "schema": "/v2/schemas/image",
        }
        assert {key: image[key] for key in expected} == expected
        assert TIMESTAMP.fullmatch(image["created_at"])
        assert TIMESTAMP.fullmatch(image["updated_at"])

    async def test_stranger(self, cloud: CloudUnderTest, client: Client) -> None:
        """An image that the user can't see doesn't exist."""
        image_id = cloud.create_image()
        answer = await client.ask("GET", f"/v2/images/{image_id}", user="bob")
        assert refusal(answer) == (404, f"No image found with ID {image_id}")

    async def test_pending_member(self, cloud: CloudUnderTest, client: Client) -> None:
        """A member sees the image by its ID, also before accepting it."""
        image_id = cloud.create_image()
        cloud.add_member(image_id, cloud.project_id("bob"))
        assert (await client.ask("GET", f"/v2/images/{image_id}", user="bob")).status == 200


class TestFilter:
    """GET /v2/images?..."""

    async def test_name(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By one name, or by any of several."""
        for name in ("a", "b", "c"):
            cloud.create_image(name, tags=(tag,), active=False)
        assert await names(client, f"tag={tag}&name=a") == ["a"]
        assert await names(client, f"tag={tag}&sort=name:asc&name=in:a,c") == ["a", "c"]
        assert await names(client, f"tag={tag}&name=d") == []

    async def test_name_with_comma(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """A name with a comma in it stands in quotes."""
        for name in ("a,b", "a", "b"):
            cloud.create_image(name, tags=(tag,), active=False)
        assert await names(client, f"tag={tag}&name=" + quote('in:"a,b"')) == ["a,b"]

    async def test_name_with_colon(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """What stands before a colon is taken for an operator, unless there is one already."""
        cloud.create_image("debian:12", tags=(tag,), active=False)
        answer = await client.ask("GET", f"/v2/images?tag={tag}&name=debian:12")
        assert refusal(answer) == (400, "Unable to filter by unknown operator 'debian'.")
        assert await names(client, f"tag={tag}&name=eq:debian:12") == ["debian:12"]

    async def test_id(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By any of several IDs."""
        found = [cloud.create_image(name, tags=(tag,), active=False) for name in ("a", "b", "c")]
        assert await names(client, f"sort=name:asc&id=in:{found[0]},{found[2]}") == ["a", "c"]

    async def test_tags(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By all of several tags."""
        cloud.create_image("both", tags=(tag, f"{tag}-2"), active=False)
        cloud.create_image("one", tags=(tag,), active=False)
        assert await names(client, f"tag={tag}&tag={tag}-2") == ["both"]
        assert sorted(await names(client, f"tag={tag}")) == ["both", "one"]

    async def test_status(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By any of several statuses."""
        cloud.create_image("active", tags=(tag,))
        cloud.create_image("queued", tags=(tag,), active=False)
        assert await names(client, f"tag={tag}&status=active") == ["active"]
        assert await names(client, f"tag={tag}&status=in:active,queued&sort=name:asc") == ["active", "queued"]

    async def test_owner(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By the owner's project."""
        cloud.create_image("hers", tags=(tag,), active=False)
        cloud.create_image("his", owner="bob", tags=(tag,), active=False)
        project_id = cloud.project_id("bob")
        assert await names(client, f"tag={tag}&owner={project_id}", user="admin") == ["his"]
        assert await names(client, f"tag={tag}&owner={project_id}") == []

    async def test_visibility(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By one visibility; without it, or with `all`, by any."""
        visibilities = ("community", "private", "public", "shared")
        for visibility in visibilities:
            cloud.create_image(visibility, visibility=visibility, tags=(tag,), active=False)
        for visibility in visibilities:
            assert await names(client, f"tag={tag}&visibility={visibility}") == [visibility]
        assert sorted(await names(client, f"tag={tag}")) == [*visibilities]
        assert sorted(await names(client, f"tag={tag}&visibility=all")) == [*visibilities]

    async def test_of_others(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """Another project's community images are listed only to those who ask for them; an admin sees all else."""
        for visibility in ("community", "private", "public", "shared"):
            cloud.create_image(visibility, visibility=visibility, tags=(tag,), active=False)
        assert await names(client, f"tag={tag}", user="bob") == ["public"]
        assert await names(client, f"tag={tag}&visibility=community", user="bob") == ["community"]
        assert sorted(await names(client, f"tag={tag}&visibility=all", user="bob")) == ["community", "public"]
        assert sorted(await names(client, f"tag={tag}", user="admin")) == ["private", "public", "shared"]

    async def test_shared_with_me(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """A member's list has the images it accepted; pending and rejected ones only where it asks for them."""
        member_id = cloud.project_id("bob")
        for status in ("pending", "accepted", "rejected"):
            image_id = cloud.create_image(status, tags=(tag,), active=False)
            cloud.add_member(image_id, member_id)
            await client.set_status(image_id, member_id, status, user="bob")
        shared = f"tag={tag}&visibility=shared&sort=name:asc"
        assert await names(client, f"tag={tag}", user="bob") == ["accepted"]
        assert await names(client, shared, user="bob") == ["accepted"]
        for status in ("pending", "accepted", "rejected"):
            assert await names(client, f"{shared}&member_status={status}", user="bob") == [status]
        listed = await names(client, f"{shared}&member_status=all", user="bob")
        assert listed == ["accepted", "pending", "rejected"]

    async def test_time(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By the time of creation, compared."""
        image_id = cloud.create_image("a", tags=(tag,), active=False)
        created_at = (await client.ask("GET", f"/v2/images/{image_id}")).json()["created_at"]
        assert await names(client, f"tag={tag}&created_at=gt:2001-01-01T00:00:00Z") == ["a"]
        assert await names(client, f"tag={tag}&created_at=lt:2001-01-01T00:00:00Z") == []
        # Nothing is said of gt and eq: some databases keep fractions of the second, which the answer leaves out.
        assert await names(client, f"tag={tag}&created_at=gte:{created_at}") == ["a"]

    async def test_property(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By any property; one that no image has is no error."""
        cloud.create_image("a", tags=(tag,), active=False, os_distro="debian")
        cloud.create_image("b", tags=(tag,), active=False)
        assert await names(client, f"tag={tag}&os_distro=debian") == ["a"]
        assert await names(client, f"tag={tag}&no_such_property=1") == []

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("limit=-1", "limit param must be positive"),
            ("limit=x", "limit param must be an integer"),
            ("marker=bogus", "No image found with ID bogus"),
            ("visibility=bogus", "Invalid visibility value: bogus"),
            ("member_status=bogus", "Invalid status: bogus"),
            ("created_at=gt:bogus", 'Bad "created_at" query filter format. Use ISO 8601 DateTime notation.'),
            ("sort=name:sideways", "Invalid sort direction: sideways"),
            (
                "sort=bogus",
                "Invalid sort key: bogus. It must be one of the following: "
                "name, status, container_format, disk_format, size, id, created_at, updated_at.",
            ),
        ],
    )
    async def test_bad_query(self, client: Client, query: str, message: str) -> None:
        """What can't be understood is refused."""
        assert refusal(await client.ask("GET", f"/v2/images?{query}")) == (400, message)

    async def test_without_token(self, client: Client) -> None:
        """A list needs a token."""
        assert (await client.ask("GET", "/v2/images", token=NO_TOKEN)).status == 401


class TestPages:
    """GET /v2/images?limit=...&marker=..."""

    async def pages(self, client: Client, path: str) -> list[list[str]]:
        """Follow `next` from `path` on, as it is, and return the names on each page."""
        found = []
        following: str | None = path
        while following is not None:
            body = (await client.ask("GET", following)).json()
            found.append([image["name"] for image in body["images"]])
            following = body.get("next")
        return found

    async def test_short_last_page(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """The page that isn't full is the last."""
        for name in ("a", "b", "c"):
            cloud.create_image(name, tags=(tag,), active=False)
        found = await self.pages(client, f"/v2/images?tag={tag}&sort=name:asc&limit=2")
        assert found == [["a", "b"], ["c"]]

    async def test_empty_last_page(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """A full page has a next one, even when that is empty."""
        for name in ("a", "b"):
            cloud.create_image(name, tags=(tag,), active=False)
        found = await self.pages(client, f"/v2/images?tag={tag}&sort=name:desc&limit=2")
        assert found == [["b", "a"], []]

    async def test_default_page(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """Without a limit a page has 25 images."""
        for number in range(26):
            cloud.create_image(f"{number:02}", tags=(tag,), active=False)
        found = await self.pages(client, f"/v2/images?tag={tag}&sort=name:asc")
        assert found == [[f"{number:02}" for number in range(25)], ["25"]]

    async def test_limit_of_zero(self, client: Client) -> None:
        """A limit of zero gives an empty page without a next one."""
        body = (await client.ask("GET", "/v2/images?limit=0")).json()
        assert body == {"images": [], "first": "/v2/images?limit=0", "schema": "/v2/schemas/images"}

    async def test_links(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """`first` and `next` are paths with the query; of a tag given twice they keep only the last."""
        image_id = cloud.create_image("z", tags=(tag, f"{tag}-2"), active=False)
        cloud.create_image("a", tags=(f"{tag}-2",), active=False)
        first = f"/v2/images?tag={tag}&tag={tag}-2&name=in:a,z&sort=name:desc&limit=1"
        body = (await client.ask("GET", first)).json()
        kept = {"tag": f"{tag}-2", "name": "in:a,z", "sort": "name:desc", "limit": "1"}
        for link, query in (("first", kept), ("next", {**kept, "marker": image_id})):
            assert urlsplit(body[link]).path == "/v2/images"
            assert dict(parse_qsl(urlsplit(body[link]).query)) == query
        assert await self.pages(client, first) == [["z"], ["a"], []]

    async def test_newest_first(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """Without a sorting the newest image comes first, and equal times are told apart by descending IDs."""
        for name in ("a", "b", "c"):
            cloud.create_image(name, tags=(tag,), active=False)
        images = (await client.ask("GET", f"/v2/images?tag={tag}")).json()["images"]
        order = [(image["created_at"], image["id"]) for image in images]
        assert len(order) == 3
        assert [moment for moment, _ in order] == sorted((moment for moment, _ in order), reverse=True)

    async def test_two_sort_keys(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """Several keys sort one after the other, each in its direction."""
        for name, active in (("a", False), ("b", False), ("c", True)):
            cloud.create_image(name, tags=(tag,), active=active)
        assert await names(client, f"tag={tag}&sort=status:asc,name:desc") == ["c", "b", "a"]
        query = f"tag={tag}&sort_key=status&sort_key=name&sort_dir=desc&sort_dir=asc"
        assert await names(client, query) == ["a", "b", "c"]
