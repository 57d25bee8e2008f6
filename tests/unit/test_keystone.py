from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web
from keystoneauth1.identity import generic, v3

from bulkshare.cloud.keystone import UnansweredError
from bulkshare.errors import CredentialsRefusedError
from tests.fake_keystone import REFUSED, FakeKeystone, identity_of, message_of, served

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("own_configuration")

VERSIONS = {"versions": [{"id": "v2.15", "status": "CURRENT", "links": [{"rel": "self", "href": "http://x/v2/"}]}]}
WEBOB = {"message": "This server could not verify ...", "code": "401 Unauthorized", "title": "Unauthorized"}


async def login_error(url: str, plugin: Callable[..., Any], **entry: Any) -> str:
    """Log in at the URL and return the error message, which must be final and name the URL."""
    password_plugin = plugin(url, username="ann", password="hush-hush", user_domain_id="d", project_id="p1")
    identity = identity_of(FakeKeystone(url=url), plugin=password_plugin, **entry)
    with pytest.raises(CredentialsRefusedError, match="no identity service") as error:
        await identity.token()
    assert not isinstance(error.value, UnansweredError)
    assert url in message_of(error)
    return message_of(error)


@pytest.mark.parametrize(
    ("plugin", "status", "body", "words"),
    [
        (generic.Password, 300, VERSIONS, "versions other than v3, as an image service"),
        (v3.Password, 300, VERSIONS, "a list of versions, as an image service"),
        (generic.Password, 401, WEBOB, "not state its version without a token"),
        (v3.Password, 401, WEBOB, "HTTP 401"),
        (generic.Password, 401, REFUSED, "not state its version without a token"),  # a path below Keystone's
        (generic.Password, 404, "<html>", "Not Found"),
        (v3.Password, 404, "<html>", "Not Found"),
    ],
)
async def test_another_service_is_reported_at_once(
    plugin: Callable[..., Any], status: int, body: object, words: str
) -> None:
    """The message has the reason and an example of an auth_url."""

    async def handle(_: web.BaseRequest) -> web.Response:
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html")
        return web.json_response(body, status=status)

    async with served(handle) as url:
        message = await login_error(url, plugin)
    assert words in message
    assert "/identity/v3" in message


@pytest.mark.parametrize("plugin", [generic.Password, v3.Password])
@pytest.mark.parametrize(
    "page",
    [
        "<html>The plain HTTP request was sent to HTTPS port",
        "You're speaking plain HTTP to an SSL-enabled server port.",
        "Client sent an HTTP request to an HTTPS server.",
    ],
    ids=["nginx", "Apache", "Go"],
)
async def test_a_page_that_asks_for_https_is_understood(plugin: Callable[..., Any], page: str) -> None:
    """Servers word it differently."""

    async def handle(_: web.BaseRequest) -> web.Response:
        return web.Response(status=400, text=page)

    async with served(handle) as url:
        assert "the server requires https" in await login_error(url, plugin)


@pytest.mark.parametrize("plugin", [generic.Password, v3.Password])
async def test_https_to_an_http_server_is_reported_at_once(keystone: FakeKeystone, plugin: Callable[..., Any]) -> None:
    """Whatever OpenSSL's message is."""
    message = await login_error(keystone.url.replace("http://", "https://"), plugin)
    assert "does not speak TLS" in message
    assert not keystone.bodies


@pytest.mark.parametrize("plugin", [generic.Password, v3.Password])
async def test_http_to_an_https_server_is_reported_at_once(plugin: Callable[..., Any]) -> None:
    """Even if it closes the connection without an answer."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with served(FakeKeystone().handle, tls) as url:
        assert "the server requires https" in await login_error(url.replace("https://", "http://"), plugin)


@pytest.mark.parametrize("answer", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x15\x03\x03\x00\x02\x02\x0a\r\n"])
async def test_a_tls_alert_is_understood(answer: bytes) -> None:
    """Some servers answer plain HTTP with a TLS alert."""

    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(alert, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "the server requires https" in await login_error(f"http://127.0.0.1:{port}/v3", v3.Password)


async def test_a_server_that_hangs_up_is_retried(keystone: FakeKeystone) -> None:
    """On plain HTTP, unlike with a TLS mismatch, the server may recover."""
    calls = 0

    async def hang_up(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls > 1:
            return await keystone.handle(request)
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with served(hang_up) as url:
        keystone.url = url + "/v3"
        assert await identity_of(keystone).token() == "token-1"


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (TypeError("unexpected keyword 'hush-hush'"), "auth_type password failed: TypeError: unexpected keyword '***'"),
        (AttributeError("no token_url"), "auth_type password failed: AttributeError: no token_url"),
        (ImportError("no oauthlib"), "auth_type password failed: a package is missing: no oauthlib"),
    ],
)
async def test_a_plugin_that_fails_is_not_blamed_on_the_service(
    keystone: FakeKeystone, raised: Exception, words: str
) -> None:
    """Its exception is reported as it is, at once and without secrets."""

    class Broken(v3.Password):
        def get_access(self, *_: object, **__: object) -> Any:
            raise raised

    with pytest.raises(CredentialsRefusedError) as error:
        await identity_of(keystone, plugin=Broken(keystone.url, username="ann", password="hush-hush")).token()
    assert words in message_of(error)
