from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from bulkshare.cloud.http import HttpTransport
from bulkshare.errors import CredentialsRefusedError, EndpointRefusedError, UsageError
from bulkshare.model import Connection, Fault, FaultKind, Reply, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

POST = Request("POST", "/v2/images/i/members", b'{"member": "m"}', token="gAAAA-secret")
GET = Request("GET", "/v2/images/i/members", token="gAAAA-secret")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def http_server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve every path with `handler` on a loopback port."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(talk: Talk) -> AsyncIterator[int]:
    """Let `talk` do what it likes with each connection to a loopback port; then the connection is closed."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await done.wait()  # no handler is left behind


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request, with its body, and return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    await reader.readexactly(int(length.partition(b":")[2]))
    return head


def answering(*pieces: bytes) -> Talk:
    """Answer one request with these bytes, whatever they are, and hang up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.writelines(pieces)
        await writer.drain()

    return talk


async def send_to(port: int, request: Request = POST, *, total_seconds: float = 20.0) -> Reply:
    """Send one request over a transport of its own."""
    connection = Connection(f"http://127.0.0.1:{port}")
    async with HttpTransport(connection, connections=1, total_seconds=total_seconds) as transport:
        return await transport.send(request)


def fault(reply: Reply) -> Fault:
    """Insist on a fault that is one clean line without the token."""
    assert isinstance(reply, Fault)
    assert reply.detail.isprintable()
    assert "secret" not in reply.detail
    return reply


def response(reply: Reply) -> Response:
    """Insist on a response."""
    assert isinstance(reply, Response), reply
    return reply


# What goes out and what comes in


async def test_sends_what_the_request_says() -> None:
    """Method, path, body, token and the constant headers arrive; nothing invites compression or cookies."""
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        return web.json_response({"ok": True}, headers={"X-Openstack-Request-ID": "req-1", "Set-Cookie": "a=b"})

    async with (
        http_server(handler) as port,
        HttpTransport(Connection(f"http://127.0.0.1:{port}/image/")) as transport,
    ):
        reply = response(await transport.send(POST))
        await transport.send(Request("GET", "/v2/images/%2E%2E%2F/members?a=%20"))
        await transport.send(Request("PATCH", "/v2/images/i", b"[]", content_type="application/a-patch"))

    assert (reply.status, reply.body, reply.cut) == (200, b'{"ok": true}', False)
    assert reply.headers["x-openstack-request-id"] == "req-1"
    method, path, headers, body = seen[0]
    assert (method, path, body) == ("POST", "/image/v2/images/i/members", POST.body)
    assert headers["X-Auth-Token"] == "gAAAA-secret"
    assert headers["Accept"] == headers["Content-Type"] == "application/json"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("bulkshare/")
    method, path, headers, body = seen[1]
    assert (method, path, body) == ("GET", "/image/v2/images/%2E%2E%2F/members?a=%20", b"")
    assert not {"X-Auth-Token", "Content-Type", "Cookie"} & headers.keys()
    method, _, headers, body = seen[2]
    assert (method, headers["Content-Type"], body) == ("PATCH", "application/a-patch", b"[]")


@pytest.mark.parametrize("status", [204, 301, 401, 403, 404, 409, 413, 429, 500, 503, 599])
async def test_any_status_is_a_response(status: int) -> None:
    """An answer is a value whatever it says, and a redirect is not followed."""
    paths = []

    async def handler(request: web.BaseRequest) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere", "Retry-After": "3"})

    async with http_server(handler) as port:
        reply = response(await send_to(port))
    assert reply.status == status
    assert reply.headers["retry-after"] == "3"
    assert paths == [POST.path]


async def test_needs_its_context() -> None:
    """Without `async with` there is no pool, which is a bug of the caller."""
    with pytest.raises(RuntimeError):
        await HttpTransport(Connection("http://127.0.0.1")).send(POST)


# The bound on bodies


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "cut"), [(0, False), (999, False), (1000, False), (1001, True), (300_000, True)])
async def test_reads_a_body_up_to_the_bound(size: int, cut: bool, chunked: bool) -> None:  # noqa: FBT001  # a table
    """The bound holds with and without a declared length, and exactly the bound is not cut."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if not chunked:
            return web.Response(body=b"x" * size)
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(b"x" * size)
        return stream

    async with http_server(handler) as port:
        reply = response(await send_to(port, Request("GET", "/v2/images", body_bound=1000)))
    assert reply.body == b"x" * min(size, 1000)
    assert reply.cut is cut


@pytest.mark.parametrize("size", [8_000, 9_000, 60_000])
async def test_reads_long_headers(size: int) -> None:
    """A policy, a cookie or a token that is given back may be far longer than aiohttp's usual 8 KB."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Security-Policy: " + b"p" * size + b"\r\nSet-Cookie: "
    async with raw_server(answering(head, b"c" * size, b"\r\n\r\n{}")) as port:
        reply = response(await send_to(port))
    assert (reply.status, reply.body) == (200, b"{}")
    assert reply.headers["content-security-policy"] == "p" * size


async def test_an_endless_header_is_dropped() -> None:
    """It is no answer, and can't fill the memory."""
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x" * 200_000, b"\r\n\r\n")) as port:
        assert fault(await send_to(port)).kind is FaultKind.LOST


async def test_an_endless_body_is_dropped() -> None:
    """What is over the bound is not read: the server finds the connection closed."""
    dropped = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            dropped.set()

    async with raw_server(talk) as port:
        assert response(await send_to(port)).cut
        await dropped.wait()


async def test_unasked_compression_is_undone_within_the_bound() -> None:
    """A compressed answer is readable; a bomb, half of one and a broken one end at the bound, as cut."""
    bodies = {
        "/small": gzip.compress(b"{}"),
        "/exact": gzip.compress(b"x" * 1000),
        "/bomb": gzip.compress(bytes(50_000_000)),
        "/half": gzip.compress(b"hello")[:-9],
        "/no-gzip": b"hello",
    }

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(body=bodies[request.path], headers={"Content-Encoding": "gzip"})

    async with http_server(handler) as port:
        replies = {path: response(await send_to(port, Request("GET", path, body_bound=1000))) for path in bodies}
    assert (replies["/small"].body, replies["/small"].cut) == (b"{}", False)
    assert (len(replies["/exact"].body), replies["/exact"].cut) == (1000, False)
    assert len(replies["/bomb"].body) <= 1000
    assert all(replies[path].cut for path in ("/bomb", "/half", "/no-gzip"))


# Nothing was sent


async def test_connection_refused_is_unsent() -> None:
    """A port without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        got = fault(await send_to(port))
    assert got == Fault(FaultKind.UNSENT, f"no connection to 127.0.0.1:{port}: Connection refused")


async def test_a_name_that_does_not_resolve_is_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS knows no such host (the resolver is a stub: tests ask no real one)."""

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with HttpTransport(Connection("http://image.invalid:9292")) as transport:
        got = fault(await transport.send(POST))
    assert got.kind is FaultKind.UNSENT
    assert "image.invalid:9292" in got.detail
    assert "not known" in got.detail


async def test_connecting_too_slowly_is_unsent() -> None:
    """A server that accepts and then does not shake hands; the handshake is part of connecting."""
    end = asyncio.Event()

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await end.wait()

    async with raw_server(talk) as port:
        async with HttpTransport(Connection(f"https://127.0.0.1:{port}"), connect_seconds=0.05) as transport:
            got = fault(await transport.send(POST))
        end.set()
    assert got == Fault(FaultKind.UNSENT, f"no connection to 127.0.0.1:{port} within 0.05 s")


async def test_a_failed_handshake_is_unsent() -> None:
    """Https to a port that speaks http: no certificate is in doubt, nothing was sent."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(talk) as port, HttpTransport(Connection(f"https://127.0.0.1:{port}")) as transport:
        got = fault(await transport.send(POST))
    assert got.kind is FaultKind.UNSENT


# Something was sent


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_no_answer_in_time_is_a_timeout(head: bytes) -> None:
    """Silence before the answer, and silence in the middle of it."""
    end = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        await end.wait()

    async with raw_server(talk) as port:
        got = fault(await send_to(port, total_seconds=0.1))
        end.set()
    assert got == Fault(FaultKind.TIMEOUT, f"no answer from 127.0.0.1:{port} within 0.1 s")


async def test_one_timer_limits_all_requests() -> None:
    """Forty requests on a connection set no timer each."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(40):
            await read_request(reader)
            writer.write(OK)
            await writer.drain()

    loop = asyncio.get_running_loop()
    async with raw_server(talk) as port, HttpTransport(Connection(f"http://127.0.0.1:{port}")) as transport:
        await transport.send(POST)
        with patch.object(loop, "call_at", wraps=loop.call_at) as call_at:
            replies = [await transport.send(POST) for _ in range(39)]
    assert [response(reply).status for reply in replies] == [200] * 39
    assert call_at.call_count == 0


async def test_a_cancelled_request_is_not_late() -> None:
    """Who cancels it gets the cancellation."""
    end = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        end.set()
        await reader.read()

    async with raw_server(talk) as port:
        task = asyncio.create_task(send_to(port))
        await end.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz gAAAA-secret\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46 X-Auth-Token: gAAAA-secret\r\n\r\n",
    ],
    ids=["nothing", "half head", "half body", "half chunks", "bad chunk", "long header", "ssh", "echo"],
)
async def test_an_answer_that_breaks_off_or_is_no_http_is_lost(answer: bytes) -> None:
    """The server may have acted on the request; which status it began with does not matter."""
    async with raw_server(answering(answer)) as port:
        assert fault(await send_to(port)).kind is FaultKind.LOST


async def test_a_connection_that_closes_at_once_is_lost() -> None:
    """It was there for a moment, so something may have been read."""

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return

    async with raw_server(talk) as port:
        assert fault(await send_to(port)).kind is FaultKind.LOST


async def test_a_reset_connection_is_lost() -> None:
    """RST instead of FIN, after the request was read."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    async with raw_server(talk) as port:
        assert fault(await send_to(port)).kind is FaultKind.LOST


@pytest.mark.parametrize("request_", [POST, GET], ids=["POST", "GET"])
async def test_a_stale_connection_is_lost_and_nothing_is_sent_twice(request_: Request) -> None:
    """A kept connection that closes under the second request: no hidden replay goes past the pace, a GET's neither."""
    heads = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(OK)
        heads.append(await read_request(reader))

    async with raw_server(talk) as port, HttpTransport(Connection(f"http://127.0.0.1:{port}")) as transport:
        assert response(await transport.send(request_)).status == 200
        assert fault(await transport.send(request_)).kind is FaultKind.LOST
    assert len(heads) == 2


async def test_cancellation_passes_through() -> None:
    """A cancelled request is no fault, and its connection is not used again."""
    arrived, end = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        assert await reader.read() == b""
        end.set()

    async with raw_server(talk) as port, HttpTransport(Connection(f"http://127.0.0.1:{port}")) as transport:
        sending = asyncio.create_task(transport.send(POST))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await end.wait()


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of this module's own."""
    return trustme.CA()


@pytest.fixture(scope="module")
def cacert(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its certificate, as a file."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_tls(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for `host`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


async def fine(_: web.BaseRequest) -> web.Response:
    """Answer 200."""
    return web.json_response({})


async def send_over_tls(tls: ssl.SSLContext, **settings: object) -> Reply:
    """Send one request to a server with that certificate."""
    async with http_server(fine, tls) as port:
        connection = Connection(f"https://127.0.0.1:{port}", **settings)  # type: ignore[arg-type]  # fields by name
        async with HttpTransport(connection) as transport:
            return await transport.send(POST)


async def test_the_given_authority_is_trusted(authority: trustme.CA, cacert: str) -> None:
    """`cacert` names the file that vouches for the server."""
    assert response(await send_over_tls(server_tls(authority), cacert=cacert)).status == 200


async def test_a_folder_of_authorities_is_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    """`cacert` may be a folder in OpenSSL's layout; an empty one trusts no server."""
    with pytest.raises(EndpointRefusedError):
        await send_over_tls(server_tls(authority), cacert=str(tmp_path))


async def test_an_unknown_authority_ends_the_run(authority: trustme.CA) -> None:
    """The server is not trusted: nothing is sent, and the message says why."""
    with pytest.raises(EndpointRefusedError, match=r"certificate of 127\.0\.0\.1:\d+ does not verify: .*certificate"):
        await send_over_tls(server_tls(authority))


async def test_another_hosts_certificate_ends_the_run(authority: trustme.CA, cacert: str) -> None:
    """A valid certificate for another host."""
    with pytest.raises(EndpointRefusedError, match="mismatch"):
        await send_over_tls(server_tls(authority, "elsewhere.example"), cacert=cacert)


async def test_verification_can_be_turned_off(authority: trustme.CA) -> None:
    """`verify: false` in the cloud's entry is the user's own decision."""
    reply = await send_over_tls(server_tls(authority, "elsewhere.example"), verify=False)
    assert response(reply).status == 200


async def refuse_over_tls(tls: ssl.SSLContext, connection: Connection) -> Reply:
    """Send one request to a server that is expected to say no in the handshake, and to say why.

    asyncio's own servers hang up without the alert that others send, so this one is a thread.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as server:
                with pytest.raises(ssl.SSLError):
                    server.do_handshake()
                while socket.socket.recv(server, 65536):  # so that the alert is not overtaken by a reset
                    pass

        serving = asyncio.create_task(asyncio.to_thread(serve))
        here = replace(connection, endpoint=f"https://127.0.0.1:{listener.getsockname()[1]}")
        try:
            async with HttpTransport(here) as transport:
                return await transport.send(POST)
        finally:
            await serving


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_client_certificates(authority: trustme.CA, cacert: str, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A server that asks for a certificate gets it; a wrong one ends the run instead of failing pair by pair."""
    tls = server_tls(authority)
    tls.minimum_version = tls.maximum_version = version
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    files = {}
    for name, issuer in (("ours", authority), ("theirs", trustme.CA())):
        leaf = issuer.issue_cert("client@example.org")
        files[name] = (str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key"))
        leaf.cert_chain_pems[0].write_to_path(files[name][0])
        leaf.private_key_pem.write_to_path(files[name][1])

    cert, key = files["ours"]
    assert response(await send_over_tls(tls, cacert=cacert, cert=cert, key=key)).status == 200
    cert, key = files["theirs"]
    with pytest.raises(CredentialsRefusedError, match=r"client certificate: .*unknown ca"):
        await refuse_over_tls(tls, Connection("", cacert=cacert, cert=cert, key=key))


async def test_a_missing_client_certificate_ends_the_run(authority: trustme.CA, cacert: str) -> None:
    """With TLS 1.3 the server says so only after the request was sent."""
    tls = server_tls(authority)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.verify_mode = ssl.CERT_REQUIRED
    with pytest.raises(CredentialsRefusedError, match=r"client certificate: .*certificate required"):
        await refuse_over_tls(tls, Connection("", cacert=cacert))


def test_bad_tls_files_are_named(authority: trustme.CA, tmp_path: Path) -> None:
    """A missing, an unreadable and an encrypted file are usage errors; there is no password prompt."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    leaf = authority.issue_cert("client@example.org")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    key.write_bytes(
        serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"locked"),
        )
    )
    cases = [
        ({"cacert": str(tmp_path / "missing.pem")}, "missing.pem"),
        ({"cacert": str(empty)}, "empty.pem"),
        ({"cert": str(tmp_path / "missing.pem")}, "missing.pem"),
        ({"cert": str(cert), "key": str(key)}, "key.pem"),
    ]
    for settings, name in cases:
        with pytest.raises(UsageError, match=name):
            HttpTransport(Connection("https://127.0.0.1", **settings))  # type: ignore[arg-type]  # fields by name


# Proxies


async def test_a_proxy_is_used() -> None:
    """The whole URL goes to the proxy, with the log-in from the proxy's URL."""
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(OK)

    async with raw_server(talk) as port:
        connection = Connection("http://image.invalid:9292", proxy=f"http://me:pw@127.0.0.1:{port}")
        async with HttpTransport(connection) as transport:
            assert response(await transport.send(POST)).status == 200
    assert heads[0].startswith(b"POST http://image.invalid:9292/v2/images/i/members HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cHc=" in heads[0]
    assert "pw" not in repr(connection)


async def test_a_proxy_over_tls_is_verified_with_our_authorities(authority: trustme.CA, cacert: str) -> None:
    """Not with aiohttp's contexts, which the command line leaves without any; also if the cloud itself has no TLS."""
    async with http_server(fine, server_tls(authority)) as port:
        connection = Connection("http://image.invalid:9292", cacert=cacert, proxy=f"https://127.0.0.1:{port}")
        async with HttpTransport(connection) as transport:
            assert response(await transport.send(POST)).status == 200


async def test_a_proxy_that_does_not_connect_is_unsent() -> None:
    """CONNECT answered with 502: the cloud saw nothing."""
    async with raw_server(answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")) as port:
        connection = Connection("https://image.invalid", proxy=f"http://127.0.0.1:{port}")
        async with HttpTransport(connection) as transport:
            got = fault(await transport.send(POST))
    assert got.kind is FaultKind.UNSENT
    assert "502" in got.detail


async def test_a_proxy_that_wants_credentials_ends_the_run() -> None:
    """CONNECT answered with 407 is the same for every pair."""
    async with raw_server(answering(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")) as port:
        connection = Connection("https://image.invalid", proxy=f"http://127.0.0.1:{port}")
        async with HttpTransport(connection) as transport:
            with pytest.raises(CredentialsRefusedError, match="407"):
                await transport.send(POST)


def test_a_proxy_of_another_kind_is_refused_without_its_password() -> None:
    """A socks proxy can't be used; to go past it silently would be worse."""
    with pytest.raises(UsageError, match="socks5://") as caught:
        HttpTransport(Connection("http://image.invalid", proxy="socks5://me:hush@127.0.0.1:1080"))
    assert "hush" not in str(caught.value)
