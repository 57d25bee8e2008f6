"""The layers of the transport, composed as in a run, on a mocked HTTP client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from aioresponses import CallbackResult, aioresponses

from bulkshare.cloud import Identified
from bulkshare.cloud.http import HttpTransport
from bulkshare.errors import CredentialsRefusedError
from bulkshare.model import Account, Connection, Limits, Reply, Request, Response
from bulkshare.pacing import Breaker, Paced
from tests.engine.fakes import NOW

if TYPE_CHECKING:
    from yarl import URL

ENDPOINT = "http://image.example"
MEMBERS = "/v2/images/i/members"


class MockedResponse(aiohttp.ClientResponse):
    """A response of aioresponses, which doesn't yet know that aiohttp 3.14 wants a stream writer."""

    def __init__(self, method: str, url: URL, **parts: Any) -> None:
        parts.setdefault("stream_writer", Mock())
        super().__init__(method, url, **parts)


class Tokens:
    """An Identity whose tokens are numbered."""

    account = Account("cloud", "region", ENDPOINT, "user", "project", "project-id")

    def __init__(self) -> None:
        self.number = 1
        self.log_ins = 0

    async def token(self, _project: str | None = None) -> str:
        """Return the current token."""
        return f"token-{self.number}"

    async def renew(self, refused: str, _project: str | None = None) -> str:
        """Return the next token, once for all callers with the same refused one."""
        await anyio.lowlevel.checkpoint()
        if refused == f"token-{self.number}":
            self.number += 1
            self.log_ins += 1
        return f"token-{self.number}"


async def post_all(identity: Tokens, count: int) -> tuple[list[Reply], int]:
    """Send concurrent POSTs through all layers; return the replies and how many requests left."""
    replies: list[Reply] = []
    limits = Limits(concurrency=8, rate=10_000)
    async with HttpTransport(Connection(ENDPOINT), connections=8) as http:
        paced = Paced(
            http, limits, breaker=Breaker(), stopping=anyio.Event(), clock=anyio.current_time, wall=lambda: NOW
        )
        transport = Identified(paced, identity)

        async def post() -> None:
            replies.append(await transport.send(Request("POST", MEMBERS, b"{}")))

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(post)
    return replies, paced.sent


async def test_a_refused_token_is_renewed_once_for_all() -> None:
    """All requests in flight get 401; one log-in serves them, and every request passes the pace again."""
    identity = Tokens()

    def answer(_url: object, **request: dict[str, str]) -> CallbackResult:
        refused = request["headers"]["X-Auth-Token"] == "token-1"
        return CallbackResult(status=401 if refused else 409, response_class=MockedResponse)

    with aioresponses() as mocked:
        mocked.post(ENDPOINT + MEMBERS, callback=answer, repeat=True)
        replies, sent = await post_all(identity, 8)
    assert [reply.status for reply in replies if isinstance(reply, Response)] == [409] * 8
    assert identity.log_ins == 1
    assert 8 < sent <= 16


async def test_a_new_token_that_is_refused_too_ends_the_run() -> None:
    """Two 401s in a row are final, and the error contains no token."""
    with aioresponses() as mocked:
        mocked.post(
            ENDPOINT + MEMBERS, status=401, body="token-2 is no good", repeat=True, response_class=MockedResponse
        )
        with pytest.raises(ExceptionGroup) as caught:
            await post_all(Tokens(), 1)
    (error,) = caught.value.exceptions
    assert isinstance(error, CredentialsRefusedError)
    assert "token-2" not in str(error)
