"""An image service that fails on purpose: by seed, per request, in all the ways of networks and gateways.

It keeps members as a real Glance does: it looks whether the member is there, and inserts later. Two POSTs of a pair
that overlap therefore leave two rows, and a POST that the client has given up goes on to its end. So does the job of a
batch, which leaves out some pairs. It is no sandbox: it knows no users, no images and no policy, and shares no code
with what it tests.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qsl

from tests.chaos.connection import Connection
from tests.chaos.faults import FAULTS, HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from tests.chaos.faults import Fault, FaultProfile

DECK = 100  # requests among which the share of faults is exact
PAGE = b"<html><head><title>Gateway</title></head><body><h1>Please wait</h1></body></html>\n"
HUGE = b'{"message": "' + b"A" * (3 << 19) + b'"}'  # 1.5 times what a client should read
SHARED = {"visibility": "shared", "status": "active"}
CREATED = "2026-01-02T03:04:05Z"

Pair = tuple[str, str]


class Seen(NamedTuple):
    """A request that arrived. `answer` is the status of a faultless answer, else 0."""

    at: float  # on the event loop's clock
    method: str
    path: str
    pair: Pair | None  # of what is not about a whole image, or about none
    answer: int


@dataclass(slots=True)
class Rows:
    """The table of members: the statuses of each pair, one per row."""

    rows: dict[Pair, list[str]] = field(default_factory=dict)

    def change(self, method: str, pair: Pair) -> None:
        """Do what a request asks for without looking, as its second half does. A DELETE deletes one row."""
        if method == "POST":
            self.rows.setdefault(pair, []).append("pending")
        elif method == "PUT" and pair in self.rows:
            self.rows[pair] = ["accepted" for _ in self.rows[pair]]
        elif method == "DELETE" and pair in self.rows:
            self.rows[pair].pop()
            if not self.rows[pair]:
                del self.rows[pair]

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

    seen: every request.
    token: the one that is accepted; `issue` replaces it.
    jobs: whether each job of a batch has ended.
    at_work: how many writes of each pair are being worked on, in requests and in jobs.
    overlaps: pairs that a batch met at work, or that were at work in a batch when another request came.
    """

    def __init__(self, profile: FaultProfile, seed: int, present: Mapping[Pair, str]) -> None:
        self.profile = profile
        self.table = Rows({pair: [status] for pair, status in present.items()})
        self.seen: list[Seen] = []
        self.injected: Counter[str] = Counter()
        self.tokens = 0
        self.jobs: dict[str, bool] = {}
        self.at_work: Counter[Pair] = Counter()
        self.in_batches: Counter[Pair] = Counter()
        self.overlaps: list[Pair] = []
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
        """Issue another token; earlier ones are refused from now on."""
        self.tokens += 1
        self._token_uses = 0
        return self.token

    async def __aenter__(self) -> Self:
        await self._listen()
        if self.profile.outage is not None:
            asyncio.get_running_loop().call_later(self.profile.outage_at, self._begin_outage)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def finish(self) -> None:
        """Wait until all late commits have happened."""
        await asyncio.sleep(self.profile.client_seconds + self.profile.late_seconds + 1)

    async def quiet(self) -> None:
        """Wait until no write of a single pair is being worked on. Jobs may go on."""
        while self.at_work - self.in_batches:
            await asyncio.sleep(0.01)

    def take_up(self, pairs: Sequence[Pair], *, batch: bool) -> Callable[[], None]:
        """Note that a write of these pairs begins, and return what is to be called at its end."""
        self.overlaps += [pair for pair in pairs if (self.at_work if batch else self.in_batches)[pair]]
        counters = (self.at_work, self.in_batches) if batch else (self.at_work,)
        for counter in counters:
            counter.update(pairs)

        def end() -> None:
            for counter in counters:
                counter.subtract(pairs)

        return end

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
        if self.profile.outage == "refused":
            self._close()
        asyncio.get_running_loop().call_later(self.profile.outage_seconds, self._end_outage)

    def _end_outage(self) -> None:
        self._outage = False
        if self.profile.outage == "refused":
            self._reopening = asyncio.ensure_future(self._listen())

    def _draw(self) -> Fault | None:
        """Draw the next request's fault: of every `DECK` requests exactly the profile's share has one."""
        if not self._deck:
            faulty = round(DECK * self.profile.faults)
            self._deck = [True] * faulty + [False] * (DECK - faulty)
            self._random.shuffle(self._deck)
        return self._random.choice(FAULTS) if self._deck.pop() else None

    def serve(self, connection: Connection, method: str, path: str, token: str, body: bytes) -> None:
        """Begin to answer one request."""
        parts = path.partition("?")[0].split("/")  # "", v2, images, IMAGE, members, MEMBER
        own = parts[1] == "v1"  # "", v1, cloudimages, members or job, JOB
        image_id = parts[3] if len(parts) > 3 and not own else ""
        member_id = json.loads(body)["member"] if method == "POST" and not own else "".join(parts[5:6])
        pair = (image_id, member_id) if member_id else None
        now = asyncio.get_running_loop().time()
        if self._outage:
            self.seen.append(Seen(now, method, path, pair, 0))
            if self.profile.outage == "503":
                connection.answer(503, PAGE)
            return
        self._token_uses += 1
        if token != self.token or self._token_uses > (self.profile.token_uses or self._token_uses):
            self.seen.append(Seen(now, method, path, pair, 401))
            connection.answer(401, b"")
            return
        fault = self._draw()
        seconds = self._random.uniform(0.5, 1.5) * self.profile.latency_seconds
        work: Work
        if own:
            work = BatchWork(self, connection, seconds, body, "".join(parts[4:5]))
        else:
            work = Work(self, connection, seconds, path.partition("?")[2])
        status = work.begin(method, image_id, pair, fault, self._random)
        self.seen.append(Seen(now, method, path, pair, 0 if fault else status))


class Work:
    """A request being processed. Its effect on the members doesn't depend on the client still waiting."""

    def __init__(self, cloud: FaultyCloud, connection: Connection, seconds: float, query: str) -> None:
        self._cloud = cloud
        self._images_asked_for = dict(parse_qsl(query)).get("id", "").removeprefix("in:").split(",")
        self._connection = connection
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._ended: Callable[[], None] = lambda: None  # to be called when the write is no longer being worked on

    def begin(self, method: str, image_id: str, pair: Pair | None, fault: Fault | None, random: Random) -> int:
        """Look at the members, schedule the commit, and return the status of the true answer."""
        status = self._status(method, pair)
        change = self._change(method, pair, random) if status in {200, 204} and method != "GET" else None
        if change is not None and fault is not None and fault.commits == "late":
            delay_seconds = self._cloud.profile.client_seconds if fault.how == "hang" else self._seconds
            self._loop.call_later(delay_seconds + random.uniform(0, self._cloud.profile.late_seconds), change)
        elif change is not None and fault is not None and fault.commits == "never":
            self._loop.call_later(self._seconds, self._ended)
        if fault is not None:
            self._cloud.injected[f"{fault.how} {fault.status or ''}".strip()] += 1

        def end() -> None:
            if change is not None and (fault is None or fault.commits == "before"):
                change()
            self._tell(status, image_id, pair, fault, random)

        self._loop.call_later(self._seconds, end)
        return status

    def _status(self, method: str, pair: Pair | None) -> int:
        there = pair is None or pair in self._cloud.table.rows
        if method == "POST":
            return 409 if there else 200
        if not there:
            return 404
        return 204 if method == "DELETE" else 200

    def _change(self, method: str, pair: Pair | None, _random: Random) -> Callable[[], None]:
        assert pair is not None
        self._ended = self._cloud.take_up([pair], batch=False)

        def change() -> None:
            self._cloud.table.change(method, pair)
            self._ended()

        return change

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
                self._connection.drip(status, body, self._cloud.profile.client_seconds)
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
            document = {"images": [{"id": known, **SHARED} for known in self._images_asked_for if known]}
        elif status == 204:
            return b""
        else:
            document = {"message": "Not so.<br />", "code": f"{status} x", "title": "x"}
        return json.dumps(document).encode()


class BatchWork(Work):
    """A batch, whose job looks at the members when it begins and changes them when it ends; or a question for a job."""

    def __init__(self, cloud: FaultyCloud, connection: Connection, seconds: float, body: bytes, job_id: str) -> None:
        super().__init__(cloud, connection, seconds, "")
        self._document = json.loads(body or b"{}")
        self._job_id = job_id

    def _status(self, method: str, _pair: Pair | None) -> int:
        return 200 if method != "GET" or self._job_id in self._cloud.jobs else 404

    def _change(self, method: str, _pair: Pair | None, random: Random) -> Callable[[], None]:
        cloud, self._job_id = self._cloud, f"job-{random.randrange(1 << 40)}"
        projects = self._document.get("projects") or [self._document["project_id"]]
        pairs = list(product(self._document["images"], projects))
        self._ended = cloud.take_up(pairs, batch=True)
        seconds = random.uniform(0, cloud.profile.job_seconds)
        done = [pair for pair in pairs if random.random() >= cloud.profile.left_out]

        def begin() -> None:
            cloud.jobs[self._job_id] = False
            found = [pair for pair in done if method != "POST" or pair not in cloud.table.rows]
            self._loop.call_later(seconds, end, found)

        def end(found: list[Pair]) -> None:
            for each in found:
                cloud.table.change(method, each)
            cloud.jobs[self._job_id] = True
            self._ended()

        return begin

    def _body(self, status: int, _image_id: str, _pair: Pair | None) -> bytes:
        if status == 404:
            return b'{"error": {"code": "IMG.0023", "message": "no such job"}}'
        if self._document:
            return json.dumps({"job_id": self._job_id}).encode()
        return json.dumps({"status": "SUCCESS" if self._cloud.jobs[self._job_id] else "RUNNING"}).encode()
