"""A cloud that answers as quickly as Python can: an identity service, images, and members that are kept in memory.

    python tests/benchmarks/millions_stub.py

It prints its address, and serves until its stdin is closed. Every image there can be is active, shared and its user's.
It checks nothing; what it answers to bulkshare's requests is what Glance would. Beside the two services, GET /stub
tells what it has seen so far, GET /stub/times when the first request came to the image service and when the POSTs came
(on the machine's monotonic clock), DELETE /stub forgets it all, and PUT /stub/hold/N makes the POSTs after the Nth
commit and never answer (0: no more).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from contextlib import suppress
from typing import Any, cast
from urllib.parse import parse_qs, unquote_to_bytes

PROJECT = "c0ffee00c0ffee00c0ffee00c0ffee00"
HEAD = (
    b"HTTP/1.1 %d \r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"x-openstack-request-id: req-%08x-7f4c-4d3a-9b1e-%012x\r\n%s\r\n"
)
MEMBER = (
    b'{"member_id": "%s", "image_id": "%s", "status": "pending", "created_at": "%s", "updated_at": "%s", '
    b'"schema": "/v2/schemas/member"}'
)


class Seen:
    """What the stub has: when each member of an image came, as bytes, and how many requests there were."""

    def __init__(self) -> None:
        self.members: dict[bytes, dict[bytes, bytes]] = {}
        self.adds = self.duplicates = self.lists = 0
        self.hold_after = 0
        self.requests = 0
        self.first_at = 0.0
        self.add_times = array("d")

    def document(self) -> dict[str, int]:
        """Return the counts."""
        there = sum(map(len, self.members.values()))
        return {
            "members": there,
            "adds": self.adds,
            "duplicates": self.duplicates,
            "lists": self.lists,
            "requests": self.requests,
        }


class Service(asyncio.Protocol):
    """One connection."""

    seen = Seen()
    address = ""
    now = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there as a whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, length = self._buffer[:end], 0
            at = head.lower().find(b"content-length:")
            if at >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            method, path, _ = head.split(b" ", 2)
            status, answer, headers = self._answer(method, path, body)
            if status:
                seen = self.seen
                seen.requests += not path.startswith(b"/stub")
                number = seen.requests
                start = HEAD % (status, len(answer), number * 2654435761 % 2**32, number, headers)
                self._transport.write(start + answer)

    def _answer(self, method: bytes, path: bytes, body: bytes) -> tuple[int, bytes, bytes]:
        """Return status (0: no answer), body and further headers."""
        parts = path.split(b"/")
        if parts[1] == b"v2":
            self.seen.first_at = self.seen.first_at or time.monotonic()
        if parts[1] == b"v2" and parts[-1] == b"members":
            return self._add(parts[3], body) if method == b"POST" else self._list(parts[3])
        if parts[1] == b"v2" and len(parts) == 6:
            return self._one(parts[3], parts[5])
        if parts[1] == b"v2":
            return self._images(path)
        if parts[1] == b"v3":
            return self._identity(method)
        return self._stub(method, parts)

    def _add(self, image: bytes, body: bytes) -> tuple[int, bytes, bytes]:
        member = json.loads(body)["member"].encode()
        seen, there = self.seen, self.seen.members.setdefault(image, {})
        seen.adds += 1
        seen.add_times.append(time.monotonic())
        if member in there:
            seen.duplicates += 1
            return 409, b"{}", b""
        there[member] = self.now
        if seen.hold_after and seen.adds > seen.hold_after:
            return 0, b"", b""
        return 200, MEMBER % (member, image, self.now, self.now), b""

    def _list(self, image: bytes) -> tuple[int, bytes, bytes]:
        self.seen.lists += 1
        rows = [MEMBER % (member, image, at, at) for member, at in self.seen.members.get(image, {}).items()]
        return 200, b'{"members": [' + b", ".join(rows) + b'], "schema": "/v2/schemas/members"}', b""

    def _one(self, image: bytes, member: bytes) -> tuple[int, bytes, bytes]:
        at = self.seen.members.get(image, {}).get(member)
        return (404, b"{}", b"") if at is None else (200, MEMBER % (member, image, at, at), b"")

    def _images(self, path: bytes) -> tuple[int, bytes, bytes]:
        query = parse_qs(path.partition(b"?")[2])
        wanted = query.get(b"id", [b""])[0].removeprefix(b"in:")
        ids = [] if b"os_hidden" in query else unquote_to_bytes(wanted).decode().split(",")
        common = {"status": "active", "visibility": "shared", "owner": PROJECT}
        images = [{"id": one, "name": f"image {one[:8]}", **common} for one in ids]
        return 200, json.dumps({"images": images, "schema": "/v2/schemas/images"}).encode(), b""

    def _identity(self, method: bytes) -> tuple[int, bytes, bytes]:
        if method == b"POST":
            return 201, json.dumps({"token": token(self.address)}).encode(), b"X-Subject-Token: stub\r\n"
        links = [{"rel": "self", "href": f"{self.address}/v3/"}]
        return 200, json.dumps({"version": {"id": "v3.14", "status": "stable", "links": links}}).encode(), b""

    def _stub(self, method: bytes, parts: list[bytes]) -> tuple[int, bytes, bytes]:
        if parts[-1] == b"times":
            return 200, json.dumps([self.seen.first_at, *self.seen.add_times]).encode(), b""
        if method == b"DELETE":
            Service.seen = Seen()
        elif method == b"PUT":
            self.seen.hold_after = int(parts[3])
        return 200, json.dumps(Service.seen.document()).encode(), b""


def token(address: str) -> dict[str, Any]:
    """Return what the identity service says of its one user."""
    domain = {"id": "default", "name": "Default"}
    endpoint = {"id": "1", "interface": "public", "region": "stub", "region_id": "stub", "url": address}
    return {
        "methods": ["password"],
        "user": {"id": "1", "name": "stub", "domain": domain},
        "project": {"id": PROJECT, "name": "stub", "domain": domain},
        "roles": [{"id": "1", "name": "member"}],
        "expires_at": "2099-01-01T00:00:00.000000Z",
        "issued_at": "2020-01-01T00:00:00.000000Z",
        "catalog": [{"id": "1", "type": "image", "name": "glance", "endpoints": [endpoint]}],
    }


async def serve() -> None:
    """Serve on a free port of the loopback interface until stdin is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0)
    Service.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(Service.address, flush=True)
    end = loop.run_in_executor(None, sys.stdin.read)
    while not end.done():
        Service.now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode()
        await asyncio.wait([end], timeout=0.5)


if __name__ == "__main__":
    with suppress(ImportError):
        import uvloop  # type: ignore[import-not-found, unused-ignore]  # only where it is installed

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve())
