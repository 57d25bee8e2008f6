"""Listing the images that a selector may choose."""

from __future__ import annotations

import json

import pytest

from bulkshare.errors import DirectoryError
from bulkshare.model import Fault, FaultKind, Reply, Request, Response, RetryPolicy
from bulkshare.operations.session import find_images

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
