from __future__ import annotations

import asyncio
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web

from bulkshare.cloud import CloudIdentity, read_entry
from bulkshare.cloud.keystone import OutageError
from bulkshare.cloud.threads import map_in_daemons
from bulkshare.errors import CredentialsRefusedError, EndpointRefusedError
from bulkshare.model import Account
from tests.fake_keystone import GLANCE, Clock, FakeKeystone, auth, identity_of, message_of, served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_configuration")


async def test_no_proxy_on_the_way_to_this_machine(keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox works behind a company's proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    identity = identity_of(keystone)
    await identity.token()
    assert identity.connection.proxy is None


async def test_account_and_connection_are_known_after_the_first_log_in(keystone: FakeKeystone) -> None:
    """Before it, both raise RuntimeError."""
    identity = identity_of(keystone)
    for ask in (lambda: identity.account, lambda: identity.connection):
        with pytest.raises(RuntimeError):
            ask()
    await identity.token()
    assert identity.connection.endpoint == identity.account.endpoint == GLANCE


def test_an_identity_may_be_made_before_the_loop_runs(write: Any) -> None:
    """The command reads the configuration first."""
    write({"x": {"auth_type": "admin_token", "auth": {"token": "t", "endpoint": GLANCE}, "image_endpoint": GLANCE}})
    identity = CloudIdentity(read_entry("x", None))
    assert asyncio.run(identity.token()) == "t"


async def test_one_log_in_serves_all(keystone: FakeKeystone) -> None:
    """For the first token, and again when it is refused; a late caller with an old token gets the new one."""
    identity = identity_of(keystone)
    assert set(await asyncio.gather(*[identity.token() for _ in range(20)])) == {"token-1"}
    assert set(await asyncio.gather(*[identity.renew("token-1") for _ in range(20)])) == {"token-2"}
    assert await identity.renew("token-1") == await identity.token() == "token-2"
    assert len(keystone.bodies) == 2


async def test_a_refused_token_is_not_used_while_it_is_renewed(keystone: FakeKeystone) -> None:
    """Callers that ask for a token meanwhile wait for the next one."""
    identity = identity_of(keystone)
    await identity.token()
    keystone.hold = asyncio.Event()
    keystone.arrived.clear()
    renewing = asyncio.create_task(identity.renew("token-1"))
    await keystone.arrived.wait()
    asking = asyncio.create_task(identity.token())
    keystone.hold.set()
    assert await renewing == await asking == "token-2"


@pytest.mark.parametrize(("lifetime", "good", "due"), [(3600.0, 3479.0, 3481.0), (10.0, 7.9, 8.1)])
async def test_a_token_is_renewed_ahead_of_its_end(
    keystone: FakeKeystone, lifetime: float, good: float, due: float
) -> None:
    """Two minutes ahead, or a fifth of a short life; by our clock, but not trusting it to be that of the cloud."""
    keystone.lifetime_seconds = lifetime
    clock = Clock()
    identity = identity_of(keystone, clock=clock)
    await identity.token()
    clock.now += good
    assert await identity.token() == "token-1"
    clock.now += due - good
    assert await identity.token() == "token-2"
    assert len(keystone.bodies) == 2


async def test_the_others_go_on_while_a_good_token_is_renewed(keystone: FakeKeystone) -> None:
    """A slow identity service does not hold up the work."""
    clock = Clock()
    identity = identity_of(keystone, clock=clock)
    await identity.token()
    clock.now += 3500
    keystone.hold = asyncio.Event()
    keystone.arrived.clear()
    renewing = asyncio.create_task(identity.token())
    await keystone.arrived.wait()
    assert await identity.token() == "token-1"
    keystone.hold.set()
    assert await renewing == "token-2"


async def test_a_renewal_without_answer_is_put_off_until_the_token_ends(keystone: FakeKeystone) -> None:
    """The identity service may be down for a while as long as the token is good."""
    clock = Clock()
    identity = identity_of(keystone, clock=clock)
    await identity.token()
    keystone.answers = [web.Response(status=503) for _ in range(3)]
    clock.now += 3500
    assert await identity.token() == await identity.token() == "token-1"
    assert len(keystone.bodies) == 2
    clock.now += 20
    assert await identity.token() == "token-1"
    clock.now += 100
    with pytest.raises(OutageError):
        await identity.token()
    assert await identity.token() == "token-5"


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500),
        web.Response(status=503, headers={"Retry-After": "0"}),
        web.Response(status=429),
        web.Response(text="<html>welcome to the hotel"),
        web.json_response({"token": {}}),
        web.json_response([]),
    ],
    ids=["500", "503", "429", "page", "no token", "list"],
)
async def test_a_passing_trouble_is_tried_again(keystone: FakeKeystone, answer: web.Response) -> None:
    """A log-in has no effect, so it may be repeated."""
    keystone.answers = [answer]
    assert await identity_of(keystone).token() == "token-2"


async def test_patience_ends(keystone: FakeKeystone) -> None:
    """Then the message says what was tried, and a later Retry-After is not waited for."""
    keystone.answers = [web.Response(status=500), web.Response(status=503, headers={"Retry-After": "3600"})]
    with pytest.raises(OutageError, match=r"tried 2 times in 0 s\): .*503") as error:
        await identity_of(keystone).token()
    assert keystone.url in message_of(error)


async def test_a_refused_connection_may_be_retried(keystone: FakeKeystone) -> None:
    """It is a transient error, reported in the system's own words."""
    identity = identity_of(replace(keystone, url="http://127.0.0.1:1/v3"), clock=Clock())
    with pytest.raises(OutageError, match=r"127\.0\.0\.1:1/v3 \(tried 1 time in 0 s\): Connection refused"):
        await identity.token()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
async def test_a_refused_log_in_is_final(keystone: FakeKeystone, status: int) -> None:
    """No caller repeats it: that could lock the user out. The message is the cloud's, without the password."""
    error_body = {"error": {"code": status, "message": "\x1b[31m'hush-hush' is not you"}}
    keystone.answers = [web.json_response(error_body, status=status)]
    identity = identity_of(keystone)
    with pytest.raises(CredentialsRefusedError, match=rf"'\*\*\*' is not you .*{status}") as error:
        await identity.token()
    assert message_of(error)
    with pytest.raises(CredentialsRefusedError, match="is not you"):
        await identity.renew("token-0")
    assert len(keystone.bodies) == 1


async def test_a_token_that_is_no_header_is_refused(keystone: FakeKeystone) -> None:
    """It could not be sent."""
    answer = keystone.token()
    answer.headers["X-Subject-Token"] = "two words"
    keystone.answers = [answer]
    with pytest.raises(CredentialsRefusedError, match="characters"):
        await identity_of(keystone).token()


async def test_a_wrong_auth_url(write: Any) -> None:
    """The version can't be discovered; the message states why."""

    async def handle(_: web.BaseRequest) -> web.Response:
        return web.Response(status=404)

    async with served(handle) as url:
        write({"x": {"auth": auth(url)}})
        with pytest.raises(CredentialsRefusedError, match=r"Not Found .*404"):
            await CloudIdentity(read_entry("x", None)).token()


async def test_a_token_as_credential_can_not_outlive_itself(keystone: FakeKeystone, write: Any) -> None:
    """auth_type token: it is exchanged for another; once it has ended, the message says what to do."""
    token = {"auth_url": keystone.url, "token": "hush-token", "project_name": "demo", "project_domain_name": "D"}
    write({"x": {"auth_type": "token", "auth": token}})
    identity = CloudIdentity(read_entry("x", None))
    assert await identity.token() == "token-1"
    keystone.answers = [web.json_response({"error": {"message": "no such hush-token"}}, status=401)]
    with pytest.raises(CredentialsRefusedError, match="application credential") as error:
        await identity.renew("token-1")
    assert message_of(error)


async def test_a_fixed_token_and_endpoint(write: Any) -> None:
    """auth_type admin_token has no identity service; a refused token is the end."""
    credentials = {"endpoint": GLANCE, "token": "hush-token"}
    write({"x": {"auth_type": "admin_token", "auth": credentials, "image_endpoint_override": GLANCE}})
    identity = CloudIdentity(read_entry("x", None))
    assert await identity.token() == "hush-token"
    assert identity.account == Account("x", "", GLANCE, "unknown", "", "")
    with pytest.raises(CredentialsRefusedError, match="admin_token can't get another one") as error:
        await identity.renew("hush-token")
    assert message_of(error)


async def test_tls_of_the_identity_service(tmp_path: Path) -> None:
    """It is verified with `cacert`; a stranger's certificate and a way back to http are refused."""
    authority = trustme.CA()
    cacert = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(cacert)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    keystone = FakeKeystone(endpoints=[("r", "https://image.example.org")])
    async with served(keystone.handle, tls) as url:
        keystone.url = url + "/v3"
        identity = identity_of(keystone, cacert=cacert)
        await identity.token()
        assert identity.account.endpoint == "https://image.example.org"
        assert identity.connection.cacert == cacert
        with pytest.raises(EndpointRefusedError, match="certificate does not verify"):
            await identity_of(keystone).token()
        keystone.endpoints = [("r", GLANCE)]
        with pytest.raises(EndpointRefusedError, match="unencrypted"):
            await identity_of(keystone, cacert=cacert).token()
        assert await identity_of(keystone, verify=False, endpoint_override=GLANCE).token()
        identity = identity_of(keystone, cacert=cacert, endpoint_override=GLANCE)
        await identity.token()
        assert identity.account.endpoint == GLANCE  # the user's own word


async def test_a_log_in_that_hangs_is_abandoned(keystone: FakeKeystone) -> None:
    """Its thread is none that the process would wait for at its end."""
    identity = identity_of(keystone)
    keystone.hold = asyncio.Event()
    others = set(threading.enumerate())
    asking = asyncio.create_task(identity.token())
    await keystone.arrived.wait()
    started = [thread for thread in threading.enumerate() if thread not in others]
    assert started
    assert all(thread.daemon for thread in started)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    keystone.hold.set()
    assert await identity.token() == "token-2"


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_threads_keep_the_order_and_raise_the_first_error(at_once: int) -> None:
    """Whatever is raised, even what the threads use themselves."""
    assert map_in_daemons(str, range(20), at_once=at_once) == [str(number) for number in range(20)]
    with pytest.raises(IndexError, match="pop from empty"):
        map_in_daemons(lambda items: items.pop(), [[1], [], [2]], at_once=at_once)
