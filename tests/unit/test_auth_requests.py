from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from bulkshare.cloud import Identified
from bulkshare.cloud.auth import STRAY_REFUSALS
from bulkshare.cloud.keystone import UnansweredError
from bulkshare.errors import CredentialsRefusedError, NoRoleError
from bulkshare.image_api.glance import interpret
from bulkshare.model import Account, Fault, FaultKind, Reply, Request, Response, Step
from tests.fake_keystone import GLANCE, message_of

ADD = Request("POST", "/v2/images/i/members", b"{}")
ACCEPT = Request("PUT", "/v2/images/i/members/q", b"{}", project="q")


class FakeIdentity:
    """Issues the tokens t0, t1, ..., for a project q0, q1, ..., and counts them. `trouble` is raised for a project."""

    account = Account("x", "r", GLANCE, "u", "p", "p")

    def __init__(self, trouble: CredentialsRefusedError | None = None) -> None:
        self.renewals = 0
        self._trouble = trouble

    async def token(self, project: str | None = None) -> str:
        """Return the current one."""
        if project is not None and self._trouble is not None:
            raise self._trouble
        return f"{project or 't'}{self.renewals}"

    async def renew(self, refused: str, project: str | None = None) -> str:
        """Move on to the next one."""
        if refused == f"{project or 't'}{self.renewals}":
            self.renewals += 1
        return f"{project or 't'}{self.renewals}"


class FakeTransport:
    """Returns `replies` in turn, or refuses all tokens but `good`."""

    def __init__(self, replies: list[Reply] | None = None, good: str = "") -> None:
        self._replies, self._good = replies, good
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        """Record the request, and reply."""
        self.sent.append(request)
        await asyncio.sleep(0)
        if self._replies is not None:
            return self._replies.pop(0)
        return Response(200 if request.token == self._good else 401, {}, b"")


async def test_requests_carry_the_token() -> None:
    """Nothing else is changed; faults and other refusals are passed on."""
    replies: list[Reply] = [Response(403, {}, b""), Fault(FaultKind.LOST, "x")]
    transport = FakeTransport(list(replies))
    identified = Identified(transport, FakeIdentity())
    assert [await identified.send(ADD), await identified.send(ADD)] == replies
    assert transport.sent == [ADD._replace(token="t0")] * 2
    assert "t0" not in repr(transport.sent)


async def test_a_storm_of_401_costs_one_renewal() -> None:
    """Each of the requests is sent once more."""
    transport, identity = FakeTransport(good="t1"), FakeIdentity()
    identified = Identified(transport, identity)
    replies = await asyncio.gather(*[identified.send(ADD) for _ in range(50)])
    assert {reply.status for reply in replies if isinstance(reply, Response)} == {200}
    assert identity.renewals == 1
    assert len(transport.sent) == 100


async def test_a_fresh_token_that_is_refused_ends_the_run() -> None:
    """The message is the cloud's, cleaned and without the token."""
    refusal = Response(401, {}, b'{"message": "no t1\\u001b<br/> here", "code": "401 Unauthorized"}')
    identified = Identified(FakeTransport([Response(401, {}, b""), refusal]), FakeIdentity())
    with pytest.raises(CredentialsRefusedError, match=r"just issued: 401: no \*\*\* here") as error:
        await identified.send(ADD)
    assert message_of(error)


async def test_a_stray_401_is_the_reply_of_its_request() -> None:
    """One server of several may refuse tokens that the others accept: the request may be tried again."""
    ok, refused = Response(200, {}, b""), Response(401, {}, b"")
    transport = FakeTransport([ok, *[refused] * 2 * (STRAY_REFUSALS - 1), ok, *[refused] * 2])
    identified = Identified(transport, FakeIdentity())
    replies = [await identified.send(ADD) for _ in range(STRAY_REFUSALS + 2)]
    assert replies == [ok, *[refused] * (STRAY_REFUSALS - 1), ok, refused]


async def test_a_run_ends_when_no_request_gets_through_any_more() -> None:
    """If tokens that were accepted before are refused a few times in a row."""
    identified = Identified(FakeTransport([Response(200, {}, b""), *[Response(401, {}, b"")] * 99]), FakeIdentity())
    for _ in range(STRAY_REFUSALS):
        await identified.send(ADD)
    with pytest.raises(CredentialsRefusedError, match="just issued"):
        await identified.send(ADD)


async def test_a_fault_after_a_renewal_is_a_fault() -> None:
    """The second try may end like any request."""
    lost = Fault(FaultKind.LOST, "x")
    identified = Identified(FakeTransport([Response(401, {}, b""), lost]), FakeIdentity())
    assert await identified.send(ADD) == lost


async def test_a_request_for_a_project_carries_its_token() -> None:
    """Also the one that is sent again after a 401."""
    transport = FakeTransport(good="q1")
    reply = await Identified(transport, FakeIdentity()).send(ACCEPT)
    assert isinstance(reply, Response)
    assert reply.status == 200
    assert [request.token for request in transport.sent] == ["q0", "q1"]


async def test_no_role_in_a_project_is_an_answer() -> None:
    """It is handled like a refusal of the image service, and nothing is sent."""
    transport = FakeTransport()
    identified = Identified(transport, FakeIdentity(NoRoleError('user u has no role in project "q"')))
    reply = await identified.send(ACCEPT)
    assert isinstance(reply, Response)
    assert reply.status == 403
    verdict = interpret(Step.GET_MEMBER, "i", "q", reply, datetime.now(UTC))
    assert verdict.reason == '403: user u has no role in project "q"'
    assert not transport.sent


async def test_a_fresh_token_of_a_project_that_is_refused_is_an_answer() -> None:
    """It does not end the run."""
    reply = await Identified(FakeTransport(good="none"), FakeIdentity()).send(ACCEPT)
    assert isinstance(reply, Response)
    assert reply.status == 403
    assert b"just issued for project q: 401" in reply.body


async def test_no_answer_about_a_project_is_a_fault() -> None:
    """Nothing reached the image service, so the request may be sent again later."""
    identified = Identified(FakeTransport(), FakeIdentity(UnansweredError("no token for project q")))
    assert await identified.send(ACCEPT) == Fault(FaultKind.UNSENT, "no token for project q")


async def test_credentials_that_are_refused_end_the_run_for_a_project_too() -> None:
    """If the log-in is refused altogether, no project can be used."""
    identified = Identified(FakeTransport(), FakeIdentity(CredentialsRefusedError("expired")))
    with pytest.raises(CredentialsRefusedError, match="expired"):
        await identified.send(ACCEPT)
