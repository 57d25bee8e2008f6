"""One client's connection to the faulty image service: the HTTP that is needed, and the ways to break it."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.server import FaultyCloud

DRIPS = 8
REASONS = {
    200: "OK",
    204: "No Content",
    401: "Unauthorized",
    404: "Not Found",
    409: "Conflict",
    429: "Slow",
    500: "No",
    502: "Bad Gateway",
}


class Connection(asyncio.Protocol):
    """One client's connection: a subset of HTTP/1.1 with keep-alive, one request at a time."""

    def __init__(self, cloud: FaultyCloud) -> None:
        self._cloud = cloud
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._cloud.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; its requests continue."""
        del exc
        self._transport = None
        self._cloud.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Pass a request on once it is complete."""
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._received = rest[length:]
        method, path, _ = first.split(" ")
        self._cloud.serve(self, method, path, headers.get("x-auth-token", ""), rest[:length])

    def answer(self, status: int, body: bytes, extra: dict[str, str] | None = None) -> None:
        """Send a whole answer."""
        self._write(self._head(status, len(body), extra) + body)

    def truncate(self, status: int, body: bytes) -> None:
        """Send half a body, and close."""
        self._write(self._head(status, len(body)) + body[: len(body) // 2])
        if self._transport is not None:
            self._transport.close()

    def drip(self, status: int, body: bytes, seconds: float) -> None:
        """Send the body in small pieces, that long apart."""
        self._write(self._head(status, len(body)))
        step = -(-len(body) // DRIPS)
        loop = asyncio.get_running_loop()
        for number in range(DRIPS):
            loop.call_later(number * seconds, self._write, body[number * step : (number + 1) * step])

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        if self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    @staticmethod
    def _head(status: int, length: int, extra: dict[str, str] | None = None) -> bytes:
        headers = {"Content-Type": "application/json", "Content-Length": str(length), **(extra or {})}
        lines = [
            f"HTTP/1.1 {status} {REASONS.get(status, 'x')}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()
