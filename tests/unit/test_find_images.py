"""Listing the images that a selector may choose."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from bulkshare.errors import DirectoryError
from bulkshare.model import Fault, FaultKind, Reply, Request, Response, RetryPolicy
from bulkshare.operations.endpoint import find_images

POLICY = RetryPolicy(attempts=3, base_seconds=0.0, cap_seconds=0.0)


class Pages:
    """A transport that answers with pages of one image, each linking to the next."""

    def __init__(self, *, after_last: str | None = None, faults: int = 0) -> None:
        self.sent: list[str] = []
        self._after_last = after_last
        self._faults = faults

    async def send(self, request: Request) -> Reply:
        """Answer a request."""
        self.sent.append(request.path)
        if self._faults:
            self._faults -= 1
            return Fault(FaultKind.LOST, "connection reset")
        number = int(request.path.partition("marker=")[2] or 0)
        following = f"/v2/images?marker={number + 1}" if number < 2 else self._after_last
        page = {"images": [{"id": f"i{number}", "status": "active"}], **({"next": following} if following else {})}
        return Response(200, {}, json.dumps(page).encode())


async def test_all_pages_are_read() -> None:
    """Each links to the next; one that fails is requested again."""
    pages = Pages(faults=2)
    assert [image.id for image in await find_images(pages, (), POLICY)] == ["i0", "i1", "i2"]
    assert len(pages.sent) == 5


async def test_retries_end() -> None:
    """An image service that does not answer is an error, not an empty list."""
    with pytest.raises(DirectoryError, match="connection reset"):
        await find_images(Pages(faults=3), (), POLICY)


async def test_a_list_that_leads_back_to_itself_is_refused() -> None:
    """It can't be read whole, and members might be removed because of what is missing."""
    with pytest.raises(DirectoryError, match="leads back to itself"):
        await find_images(Pages(after_last="/v2/images?marker=1"), (), POLICY)


class OwnLists:
    """A transport with Huawei Cloud's own list of images: 5 private and 3 shared ones, in pages."""

    def __init__(self, *, names_marker: bool, stuck: bool = False) -> None:
        self.queries: list[dict[str, str]] = []
        self._names_marker = names_marker
        self._stuck = stuck

    async def send(self, request: Request) -> Reply:
        """Answer a request."""
        path, _, query = request.path.partition("?")
        assert path == "/v2/cloudimages"
        asked = dict(parse_qsl(query))
        self.queries.append(asked)
        kind = asked["__imagetype"]
        every = [f"{kind}-{number}" for number in range(5 if kind == "private" else 3)]
        start = 0 if self._stuck else every.index(asked["marker"]) + 1 if "marker" in asked else 0
        page = every[start : start + int(asked["limit"])]
        document: dict[str, object] = {
            "images": [{"id": name, "status": "active", "tags": ["os=linux"]} for name in page]
        }
        if self._names_marker and page != every[start:]:
            document["page_info"] = {"next_marker": page[-1]}
        return Response(200, {}, json.dumps(document).encode())


QUERY = [("status", "active"), ("owner", "us"), ("name", "eq:debian:12"), ("tag", "os.linux"), ("limit", "2")]


@pytest.mark.parametrize("names_marker", [True, False])
async def test_the_own_list_of_huawei_cloud_is_read_whole(*, names_marker: bool) -> None:
    """Private and shared ones, whether or not an answer names the marker of the next page."""
    lists = OwnLists(names_marker=names_marker)
    found = await find_images(lists, QUERY, POLICY, own_list=True)
    assert sorted(image.id for image in found) == [
        *(f"private-{number}" for number in range(5)),
        *(f"shared-{number}" for number in range(3)),
    ]
    assert all(image.tags == {"os=linux", "os.linux"} for image in found)
    asked = lists.queries[0]
    assert asked == {"__imagetype": "private", "status": "active", "name": "debian:12", "tag": "os=linux", "limit": "2"}


async def test_an_own_list_that_never_ends_is_refused() -> None:
    """It gives the same page for every marker."""
    with pytest.raises(DirectoryError, match="never ends"):
        await find_images(OwnLists(names_marker=False, stuck=True), QUERY, POLICY, own_list=True)
