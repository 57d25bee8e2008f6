"""An image service that fails on purpose: by seed, per request, in every way that networks and gateways know.

It keeps members as a real Glance does: it looks whether the member is there, and inserts later. Two POSTs of a pair
that overlap therefore leave two rows, and a POST that the client has given up goes on to its end. It is no sandbox: it
knows no users, no images and no policy, and shares no code with what it tests.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

HOST = "127.0.0.1"
DECK = 100  # requests among which the share of faults is exact
PAGE = b"<html><head><title>Gateway</title></head><body><h1>Please wait</h1></body></html>\n"
HUGE = b'{"message": "' + b"A" * (3 << 19) + b'"}'  # half again as much as a client should read
DRIPS = 8
CREATED = "2026-01-02T03:04:05Z"
REASONS = {
    200: "OK",
    401: "Unauthorized",
    404: "Not Found",
    409: "Conflict",
    429: "Slow",
    500: "No",
    502: "Bad Gateway",
}

Pair = tuple[str, str]


class Fault(NamedTuple):
    """What goes wrong with one request.

    `how` is the face it has for the client. `commits` is when a POST takes effect: "never", "before" the client sees
    the fault, or "late", up to `late_seconds` after that.
    """

    how: str
    commits: str = "never"
    status: int = 0
    retry_after: str | None = None


FAULTS: tuple[Fault, ...] = (
    Fault("status", "never", 500),
    Fault("status", "before", 500),
    Fault("status", "never", 503),
    Fault("status", "never", 503, "0"),
    Fault("status", "never", 503, "2"),
    Fault("status", "never", 429),
    Fault("status", "never", 429, "1"),
    Fault("status", "never", 502),
    Fault("status", "before", 502),
    Fault("status", "before", 504),
    Fault("status", "late", 504),
    Fault("reset", "never"),
    Fault("reset", "before"),
    Fault("reset", "late"),
    Fault("hang", "never"),
    Fault("hang", "before"),
    Fault("hang", "late"),
    Fault("drip", "before"),
    Fault("drip for ever", "before"),
    Fault("truncate", "before"),
    Fault("proxy page", "never"),
    Fault("proxy page", "before"),
    Fault("other member", "never"),
    Fault("other member", "before"),
    Fault("other image", "never"),
    Fault("cut JSON", "before"),
    Fault("gzip rubbish", "before"),
    Fault("huge", "before"),
)


class Seen(NamedTuple):
    """A request that arrived. `answer` is the status that an answer without any fault had, else 0."""

    at: float  # on the event loop's clock
    method: str
    path: str
    pair: Pair | None  # of a POST and of a GET of one member
    answer: int


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad it gets: the share of requests with a fault, when an outage begins and of which kind, token lifetime.

    `late_seconds` is how long a POST may be at work after the client was told, or gave up. `client_seconds` is when a
    client gives up. With `token_uses` a token is good for that many requests.
    """

    faults: float = 0.1
    outage: str | None = None  # "refused", "silent" or "503"
    outage_at: float = 0.2
    outage_seconds: float = 5.0
    token_uses: int | None = None
    latency_seconds: float = 0.02
    late_seconds: float = 2.0
    client_seconds: float = 10.0
    host: str = HOST  # the name under which the client looks for it


@dataclass(slots=True)
class Rows:
    """The table of members: per pair its status, once for each row."""

    rows: dict[Pair, list[str]] = field(default_factory=dict)

    def insert(self, pair: Pair) -> None:
        """Insert without looking, as the second half of a POST does."""
        self.rows.setdefault(pair, []).append("pending")

    def document(self, pair: Pair) -> dict[str, str]:
        """Return a member as the API shows it."""
        return {
            "image_id": pair[0],
            "member_id": pair[1],
            "status": self.rows.get(pair, ["pending"])[0],
            "created_at": CREATED,
            "updated_at": CREATED,
            "schema": "/v2/schemas/member",
        }


class FaultyCloud:
    """The image service, on a free port of the loopback, as an async context manager.

    `seen` has every request. `token` is the one that is accepted; `issue` replaces it.
    """

    def __init__(self, weather: Weather, seed: int, present: Iterable[Pair] = ()) -> None:
        self.weather = weather
        self.table = Rows({pair: ["accepted"] for pair in present})
        self.seen: list[Seen] = []
        self.injected: Counter[str] = Counter()
        self.tokens = 0
        self._token_uses = 0
        self._random = Random(seed)
        self._deck: list[bool] = []
        self._server: asyncio.Server | None = None
        self._port = 0
        self.connections: set[Connection] = set()
        self._outage = False

    @property
    def endpoint(self) -> str:
        """The image endpoint."""
        return f"http://{HOST}:{self._port}"

    @property
    def token(self) -> str:
        """The token that is accepted."""
        return f"token-{self.tokens}"

    def issue(self) -> str:
        """Issue another token; the ones before are refused from now on."""
        self.tokens += 1
        self._token_uses = 0
        return self.token

    async def __aenter__(self) -> Self:
        await self._listen()
        if self.weather.outage is not None:
            asyncio.get_running_loop().call_later(self.weather.outage_at, self._begin_outage)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def finish(self) -> None:
        """Wait until everything that is late has happened."""
        await asyncio.sleep(self.weather.client_seconds + self.weather.late_seconds + 1)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), HOST, self._port, reuse_address=True)
        self._port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.reset()

    def _begin_outage(self) -> None:
        self._outage = True
        if self.weather.outage == "refused":
            self._close()
        asyncio.get_running_loop().call_later(self.weather.outage_seconds, self._end_outage)

    def _end_outage(self) -> None:
        self._outage = False
        if self.weather.outage == "refused":
            self._reopening = asyncio.ensure_future(self._listen())

    def _draw(self) -> Fault | None:
        """Draw the next request's fault: of every `DECK` requests exactly the weather's share has one."""
        if not self._deck:
            faulty = round(DECK * self.weather.faults)
            self._deck = [True] * faulty + [False] * (DECK - faulty)
            self._random.shuffle(self._deck)
        return self._random.choice(FAULTS) if self._deck.pop() else None

    def serve(self, connection: Connection, method: str, path: str, token: str, body: bytes) -> None:
        """Begin to answer one request."""
        parts = path.partition("?")[0].split("/")  # "", v2, images, IMAGE, members, MEMBER
        image_id = parts[3] if len(parts) > 3 else ""
        member_id = json.loads(body)["member"] if method == "POST" else "".join(parts[5:6])
        pair = (image_id, member_id) if member_id else None
        now = asyncio.get_running_loop().time()
        if self._outage:
            self.seen.append(Seen(now, method, path, pair, 0))
            if self.weather.outage == "503":
                connection.answer(503, PAGE)
            return
        self._token_uses += 1
        if token != self.token or self._token_uses > (self.weather.token_uses or self._token_uses):
            self.seen.append(Seen(now, method, path, pair, 401))
            connection.answer(401, b"")
            return
        fault = self._draw()
        work = Work(self, connection, self._random.uniform(0.5, 1.5) * self.weather.latency_seconds)
        status = work.begin(method, image_id, pair, fault, self._random)
        self.seen.append(Seen(now, method, path, pair, 0 if fault else status))


class Work:
    """One request at work. What it does to the members happens whether or not anybody waits for the answer."""

    def __init__(self, cloud: FaultyCloud, connection: Connection, seconds: float) -> None:
        self._cloud = cloud
        self._connection = connection
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()

    def begin(self, method: str, image_id: str, pair: Pair | None, fault: Fault | None, random: Random) -> int:
        """Look at what is there, plan the rest, and return the status of the true answer."""
        rows = self._cloud.table.rows
        status, inserts = 200, False
        if method == "POST":
            assert pair is not None
            status, inserts = (409, False) if pair in rows else (200, True)
        elif pair is not None:
            status = 200 if pair in rows else 404
        if inserts and pair is not None and (fault is None or fault.commits == "before"):
            self._loop.call_later(self._seconds, self._cloud.table.insert, pair)
        if inserts and pair is not None and fault is not None and fault.commits == "late":
            told = self._cloud.weather.client_seconds if fault.how == "hang" else self._seconds
            self._loop.call_later(
                told + random.uniform(0, self._cloud.weather.late_seconds), self._cloud.table.insert, pair
            )
        if fault is not None:
            self._cloud.injected[f"{fault.how} {fault.status or ''}".strip()] += 1
        self._loop.call_later(self._seconds, self._tell, status, image_id, pair, fault, random)
        return status

    def _tell(self, status: int, image_id: str, pair: Pair | None, fault: Fault | None, random: Random) -> None:
        body = self._body(status, image_id, pair)
        if fault is None:
            self._connection.answer(status, body)
            return
        match fault.how:
            case "status":
                extra = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                self._connection.answer(fault.status, PAGE, extra)
            case "reset":
                self._connection.reset()
            case "drip":
                self._connection.drip(status, body, 0.05)
            case "drip for ever":
                self._connection.drip(status, body, self._cloud.weather.client_seconds)
            case "truncate":
                self._connection.truncate(status, body)
            case "hang":
                pass
            case _:
                self._lie(fault.how, image_id, pair, random)

    def _lie(self, how: str, image_id: str, pair: Pair | None, random: Random) -> None:
        other = self._cloud.table.document(
            ("another-image", (pair or ("", "m"))[1]) if how == "other image" else (image_id, "another-member")
        )
        true = json.dumps(self._cloud.table.document(pair or (image_id, ""))).encode()
        rubbish = gzip.compress(bytes(random.randbytes(200)), mtime=0)
        body = {
            "proxy page": PAGE,
            "other member": json.dumps(other).encode(),
            "other image": json.dumps(other).encode(),
            "cut JSON": true[: len(true) // 2],
            "gzip rubbish": rubbish[: random.randrange(20, len(rubbish))],
            "huge": HUGE,
        }[how]
        self._connection.answer(200, body, {"Content-Encoding": "gzip"} if how == "gzip rubbish" else {})

    def _body(self, status: int, image_id: str, pair: Pair | None) -> bytes:
        table = self._cloud.table
        document: dict[str, Any]
        if status == 200 and pair is not None:
            document = table.document(pair)
        elif status == 200 and image_id:
            there = [known for known in table.rows if known[0] == image_id]
            document = {"members": [table.document(known) for known in there for _ in table.rows[known]]}
        elif status == 200:
            document = {"images": []}
        else:
            document = {"message": "Not so.<br />", "code": f"{status} x", "title": "x"}
        return json.dumps(document).encode()


class Connection(asyncio.Protocol):
    """One client's connection: HTTP/1.1 with keep-alive, one request at a time, as much of it as is needed."""

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
        """Forget the connection; its requests go on."""
        del exc
        self._transport = None
        self._cloud.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Hand a request over once it is complete."""
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
        """Send half a body, and end."""
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
