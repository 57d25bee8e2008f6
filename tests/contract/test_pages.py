"""The list of images: sorting, pagination, and the parts of a query that the next page keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from tests.contract.client import names, replace

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest
    from tests.contract.client import Client


class TestPages:
    """GET /v2/images?limit=...&marker=..."""

    async def pages(self, client: Client, path: str) -> list[list[str]]:
        """Follow `next`, unchanged, from `path`, and return the names on each page."""
        found = []
        following: str | None = path
        while following is not None:
            body = (await client.ask("GET", following)).json()
            found.append([image["name"] for image in body["images"]])
            following = body.get("next")
        return found

    async def test_short_last_page(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """A page that is not full is the last."""
        for name in ("a", "b", "c"):
            cloud.create_image(name, tags=(tag,), active=False)
        found = await self.pages(client, f"/v2/images?tag={tag}&sort=name:asc&limit=2")
        assert found == [["a", "b"], ["c"]]

    async def test_empty_last_page(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """A full page has a next one, even if that is empty."""
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

    async def test_kept_filters(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """`next` keeps every filter given once; of repeated sort keys it keeps only the last, too."""
        for name in ("a", "b", "c"):
            cloud.create_image(name, tags=(tag,), active=False, os_distro="debian")
        owner = cloud.project_id("alice")
        once = f"tag={tag}&status=in:active,queued&owner={owner}&os_distro=debian&os_hidden=false&visibility=shared"
        query = f"{once}&member_status=all&created_at=gt:2001-01-01T00:00:00Z&limit=2&sort=name:asc"
        assert await self.pages(client, f"/v2/images?{query}") == [["a", "b"], ["c"]]
        following = (await client.ask("GET", f"/v2/images?{query}")).json()["next"]
        assert {**dict(parse_qsl(urlsplit(following).query)), "marker": ""} == {**dict(parse_qsl(query)), "marker": ""}
        twice = "sort_key=name&sort_key=status&sort_dir=desc&sort_dir=asc"
        following = (await client.ask("GET", f"/v2/images?tag={tag}&limit=3&{twice}")).json()["next"]
        kept = dict(parse_qsl(urlsplit(following).query))
        assert (kept["sort_key"], kept["sort_dir"]) == ("status", "asc")

    async def test_marker_beside_the_list(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """A marker need not be in the list: pages continue after an image that was hidden meanwhile."""
        ids = {name: cloud.create_image(name, tags=(tag,), active=False) for name in ("a", "b", "c")}
        await client.patch(ids["b"], replace("os_hidden", value=True))
        assert await names(client, f"tag={tag}&sort=name:asc&marker={ids['b']}") == ["c"]

    async def test_newest_first(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """By default the newest image comes first, and images of the same time are in descending order of IDs."""
        for name in ("a", "b", "c"):
            cloud.create_image(name, tags=(tag,), active=False)
        images = (await client.ask("GET", f"/v2/images?tag={tag}")).json()["images"]
        order = [(image["created_at"], image["id"]) for image in images]
        assert len(order) == 3
        assert [moment for moment, _ in order] == sorted((moment for moment, _ in order), reverse=True)

    async def test_two_sort_keys(self, cloud: CloudUnderTest, client: Client, tag: str) -> None:
        """Several sort keys apply in turn, each with its direction."""
        for name, active in (("a", False), ("b", False), ("c", True)):
            cloud.create_image(name, tags=(tag,), active=active)
        assert await names(client, f"tag={tag}&sort=status:asc,name:desc") == ["c", "b", "a"]
        query = f"tag={tag}&sort_key=status&sort_key=name&sort_dir=desc&sort_dir=asc"
        assert await names(client, query) == ["a", "b", "c"]
