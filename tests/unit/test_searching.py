"""Asking the image service which images there are."""

from __future__ import annotations

import json

import pytest

from bulkshare.errors import DirectoryError
from bulkshare.model import Fault, FaultKind, Reply, Request, Response, RetryPolicy
from bulkshare.operations.session import find_images

POLICY = RetryPolicy(attempts=3, base_seconds=0.0, cap_seconds=0.0)


class Pages:
    """A transport that answers paths with pages, each of one image that leads to the next one."""

    def __init__(self, *, after_last: str | None = None, trouble: int = 0) -> None:
        self.sent: list[str] = []
        self._after_last = after_last
        self._trouble = trouble

    async def send(self, request: Request) -> Reply:
        """Answer a request."""
        self.sent.append(request.path)
        if self._trouble:
            self._trouble -= 1
            return Fault(FaultKind.LOST, "connection reset")
        number = int(request.path.partition("marker=")[2] or 0)
        following = f"/v2/images?marker={number + 1}" if number < 2 else self._after_last
        page = {"images": [{"id": f"i{number}", "status": "active"}], **({"next": following} if following else {})}
        return Response(200, {}, json.dumps(page).encode())


async def test_all_pages_are_read() -> None:
    """Each leads to the next; where one has trouble it is asked for again."""
    pages = Pages(trouble=2)
    assert [image.id for image in await find_images(pages, (), POLICY)] == ["i0", "i1", "i2"]
    assert len(pages.sent) == 5


async def test_trouble_has_an_end() -> None:
    """An image service that does not answer is told, not taken for one without images."""
    with pytest.raises(DirectoryError, match="connection reset"):
        await find_images(Pages(trouble=3), (), POLICY)


async def test_a_list_that_leads_back_to_itself_is_not_whole() -> None:
    """Members might be removed for what it lacks."""
    with pytest.raises(DirectoryError, match="leads back to itself"):
        await find_images(Pages(after_last="/v2/images?marker=1"), (), POLICY)
