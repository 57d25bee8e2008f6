"""Sends requests over HTTP with aiohttp. Knows no token but a request's own, no pace and no images.

What can go wrong, and the result:

=========================================================  ======================
no connection: refused, not resolved, no route, time-out,  Fault UNSENT
TLS handshake failed, refused by the proxy
no answer within the time for the whole request            Fault TIMEOUT
the connection ended before the answer was complete,       Fault LOST
or the answer is not HTTP
the server's certificate does not verify                   EndpointRefusedError
the server or the proxy refuses our certificate or log-in  CredentialsRefusedError
=========================================================  ======================

An answer that ends within its body is LOST, whatever its status: half a list is useless, and after a POST the same GET
finds out as after any lost answer. `Response.cut` means one thing only, "longer than the bound".
"""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import aiohttp
from yarl import URL

from bulkshare._version import __version__
from bulkshare.cloud.time_limit import TimeLimit
from bulkshare.errors import CredentialsRefusedError, EndpointRefusedError, UsageError
from bulkshare.model import Fault, FaultKind, Response
from bulkshare.text import clean

if TYPE_CHECKING:
    from types import TracebackType

    from bulkshare.model import Connection, Reply, Request


# Apache closes an idle connection after 5 s. A POST sent at that moment is lost and costs a GET, so a connection that
# has been idle for nearly as long is not used again.
IDLE_SECONDS = 4.0
# A line of the answer's head. aiohttp's own 8 KB is less than some policies and cookies take; http.client, which the
# openstack command uses, allows the same.
HEADER_BYTES = 65536
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib detects which of the two it is


class HttpTransport:
    """A pool of connections to one image endpoint, as an async context manager; a `ports.Transport`.

    Raises `UsageError` if the TLS files or the proxy of `connection` are unusable.

    connection: endpoint, TLS settings and proxy.
    connections: size of the pool; at least the number of requests in flight, as `connect_seconds` includes the wait for
        a free connection.
    total_seconds: time for a whole request with its answer.
    connect_seconds: time to get a connection.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        connections: int = 16,
        total_seconds: float = 60.0,
        connect_seconds: float = 10.0,
    ) -> None:
        self._endpoint = str(URL(connection.endpoint)).rstrip("/")
        self._where = URL(connection.endpoint).authority
        self._proxy = _checked_proxy(connection.proxy)
        ends = (URL(connection.endpoint), self._proxy)
        # Never aiohttp's own contexts: the command line imports it without the authorities that these would trust.
        self._tls = _tls_context(connection) if any(url and url.scheme == "https" for url in ends) else True
        self._connections = connections
        self._total_seconds = total_seconds
        self._connect_seconds = connect_seconds
        # Nothing compressed: a small body of zeros could become a large answer.
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"bulkshare/{__version__}",
        }
        self._session: aiohttp.ClientSession | None = None
        self._limit = TimeLimit(total_seconds)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._tls, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_seconds),  # `_limit` is the total
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            auto_decompress=False,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            proxy=self._proxy,
        )
        # aiohttp silently repeats a GET on a connection that closes, bypassing the pace. There is no public switch; a
        # test fails when this attribute disappears.
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> Reply:
        """Send `request` once and return its answer, whatever its status, or the fault. Follows no redirect.

        Raises `EndpointRefusedError` and `CredentialsRefusedError` as listed above, and RuntimeError outside the
        context.
        """
        if self._session is None:
            raise RuntimeError("the transport is not open")
        method, path, body, bound, content_type, _, token, headers = request
        headers = {} if headers is None else dict(headers)
        if token is not None:
            headers["X-Auth-Token"] = token
        if body is not None:
            headers["Content-Type"] = content_type
        url = _url(self._endpoint + path)
        task = self._limit.start()
        try:
            answer = await self._session.request(method, url, data=body, headers=headers, allow_redirects=False)
            try:
                read, cut = await _read(answer, bound)
            except BaseException:
                answer.close()
                raise
        except (aiohttp.ClientError, OSError) as error:  # the TimeoutError of connecting is an OSError
            fault = self._interpret(error)
            detail = fault.detail.replace(token, "***") if token else fault.detail
            return Fault(fault.kind, clean(detail))
        except asyncio.CancelledError:
            if not self._limit.has_passed(task):
                raise
            return Fault(FaultKind.TIMEOUT, f"no answer from {self._where} within {self._total_seconds:g} s")
        finally:
            self._limit.end(task)
        return Response(answer.status, answer.headers, read, cut)

    def _interpret(self, error: aiohttp.ClientError | OSError) -> Fault:
        """Return the fault that `error` means, or raise if it ends the run. Later classes contain earlier ones."""
        where = self._where
        _raise_if_final(error, where)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return Fault(FaultKind.UNSENT, f"the proxy does not connect to {where}: {error.status} {error.message}")
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Fault(FaultKind.UNSENT, f"no connection to {where} within {self._connect_seconds:g} s")
        if isinstance(error, aiohttp.ClientConnectorError):
            return Fault(FaultKind.UNSENT, f"no connection to {error.host}:{error.port}: {_reason(error)}")
        if isinstance(error, aiohttp.ClientPayloadError):
            return Fault(FaultKind.LOST, f"the answer of {where} was cut short")
        if isinstance(error, aiohttp.ClientResponseError):
            return Fault(FaultKind.LOST, f"the answer of {where} is not HTTP: {error.message}")
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return Fault(FaultKind.LOST, f"{where} closed the connection without an answer")
        return Fault(FaultKind.LOST, f"the connection to {where} was lost: {_reason(error)}")


@lru_cache(1024)  # all pairs of an image are posted to one URL
def _url(text: str) -> URL:
    return URL(text, encoded=True)


def _raise_if_final(error: BaseException, where: str) -> None:
    """Raise if trying again, for this pair or another, can't help."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        raise EndpointRefusedError(clean(f"the certificate of {error.host}:{error.port} does not verify: {why}"))
    if _refuses_our_certificate(error):
        raise CredentialsRefusedError(clean(f"{where} requires another client certificate: {_reason(error)}"))
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
        raise CredentialsRefusedError(f"the proxy for {where} requires credentials (407)")


async def _read(answer: aiohttp.ClientResponse, bound: int) -> tuple[bytes, bool]:
    """Return at most `bound` bytes of the body, decompressed, and whether there is more, which is not read."""
    declared, content = answer.content_length, answer.content
    if content.is_eof() and declared is not None and declared <= bound:  # it came with the head, as short ones do
        body, cut = content.read_nowait(), False
    elif declared is not None and declared <= bound:
        body, cut = await answer.read(), False
    else:
        parts, size = [], 0
        while size <= bound and (part := await content.readany()):
            parts.append(part)
            size += len(part)
        body, cut = b"".join(parts)[:bound], size > bound
        if cut:
            answer.close()
    # A proxy may compress without being asked.
    if answer.headers.get("Content-Encoding", "").lower() in {"gzip", "x-gzip", "deflate"}:
        return _inflate(body, bound)
    return body, cut


def _inflate(packed: bytes, bound: int) -> tuple[bytes, bool]:
    inflater = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        body = inflater.decompress(packed, bound + 1)
    except zlib.error:
        return packed, True
    return body[:bound], not inflater.eof or len(body) > bound


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error inside `error`, if any."""
    inner: BaseException | None = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    while inner is not None and not isinstance(inner, ssl.SSLError):
        inner = inner.__cause__
    return inner


def _refuses_our_certificate(error: BaseException) -> bool:
    """Return whether the server closed the connection because of the client certificate, or for lack of one.

    These are the alerts of RFC 8446, 6.2, as OpenSSL names them. With TLS 1.3 they arrive after the handshake.
    """
    tls_error = _tls_error(error)
    alert = (tls_error.reason or "") if tls_error is not None else ""
    return "ALERT" in alert and ("CERTIFICATE" in alert or "UNKNOWN_CA" in alert)


def _reason(error: BaseException) -> str:
    """Return why a connection failed, in the words of the system or OpenSSL."""
    tls_error = _tls_error(error)
    if tls_error is not None:
        return (tls_error.reason or str(tls_error)).replace("_", " ").lower()
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if not isinstance(inner, OSError):
        return str(inner) or type(inner).__name__
    if inner.errno is not None and inner.errno > 0:
        return os.strerror(inner.errno)
    return inner.strerror or str(inner) or type(inner).__name__


def _tls_context(connection: Connection) -> ssl.SSLContext:
    authorities = connection.cacert
    try:
        is_folder = authorities is not None and Path(authorities).is_dir()
        context = ssl.create_default_context(
            cafile=None if is_folder else authorities, capath=authorities if is_folder else None
        )
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"the cacert file {authorities} can't be used: {_reason(error)}") from error
    if not connection.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.cert is not None:
        files = connection.cert if connection.key is None else f"{connection.cert} with the key {connection.key}"
        try:
            # An empty password keeps OpenSSL from prompting on the terminal.
            context.load_cert_chain(connection.cert, connection.key, password="")
        except OSError as error:
            raise UsageError(f"the client certificate {files} can't be used: {_reason(error)}") from error
    return context


def _checked_proxy(proxy: str | None) -> URL | None:
    if proxy is None:
        return None
    url = URL(proxy)
    if url.scheme not in {"http", "https"} or not url.host:
        raise UsageError(
            f"the proxy {url.with_user(None) if url.host else ''} can't be used: only http and https are supported"
        )
    return url
