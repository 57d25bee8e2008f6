"""A run of a plan against a faulty cloud: the real layers from the transport to the ledger, and the result."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from bulkshare.cloud import Identified
from bulkshare.cloud.http import HttpTransport
from bulkshare.engine import Engine
from bulkshare.errors import LedgerError
from bulkshare.ledger import SqlLedger
from bulkshare.model import Account, Block, Connection, Limits, Orders, Outcome, Reply, Request, RetryPolicy, Want
from bulkshare.pacing import Breaker, Paced
from tests.chaos.clock import run_over_sockets, wall
from tests.chaos.faults import HOST, FaultProfile
from tests.chaos.server import FaultyCloud, Pair, Seen
from tests.engine.fakes import RecordingObserver

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from bulkshare.ports import Transport, WorkList

IMAGES, MEMBERS = 10, 50
PLAN: dict[str, list[str]] = {
    f"image-{image:02}": [f"member-{member:03}" for member in range(MEMBERS)] for image in range(IMAGES)
}
PAIRS: frozenset[Pair] = frozenset((image, member) for image, members in PLAN.items() for member in members)
DEFAULT_LIMITS = Limits(rate=1000.0)
# More attempts than the default: with so many seeds one in a million happens, and a failed pair is no wrong report.
POLICY = RetryPolicy(attempts=20)
LONGEST_LIFE_SECONDS = 15.0  # of a process that is to be killed: most are by then in the middle of their jobs


@dataclass(frozen=True, slots=True)
class Task:
    """A seed's task: members that exist beforehand, and images whose members are also accepted or pruned."""

    present: Mapping[Pair, str]  # with their statuses
    accepted: frozenset[str] = frozenset()
    pruned: frozenset[str] = frozenset()

    @classmethod
    def draw(cls, random: Random, *, acts: bool) -> Task:
        """Draw the existing members; with `acts`, half of the images are to be accepted and half pruned."""
        there = random.sample(sorted(PAIRS), random.choice((0, 0, 50, 250)))
        if not acts:
            return cls(dict.fromkeys(there, "accepted"))
        pruned = random.sample(sorted(PLAN), IMAGES // 2)
        there += [(image, f"extra-{number:03}") for image in pruned for number in range(random.randrange(20))]
        statuses = {pair: random.choice(("pending", "accepted", "rejected")) for pair in there}
        return cls(statuses, frozenset(random.sample(sorted(PLAN), IMAGES // 2)), frozenset(pruned))

    @property
    def extra(self) -> frozenset[Pair]:
        """The members to be removed."""
        return frozenset(self.present) - PAIRS

    @property
    def to_accept(self) -> frozenset[Pair]:
        """The pairs that need a PUT."""
        return frozenset(
            pair for pair in PAIRS if pair[0] in self.accepted and self.present.get(pair, "pending") == "pending"
        )

    @property
    def jobs(self) -> int:
        """How many writes the task takes."""
        return len(PAIRS - set(self.present)) + len(self.to_accept) + len(self.extra)

    def blocks(self, *, on_behalf: bool) -> Iterator[Block]:
        """Yield the pairs to enqueue; `on_behalf`: members are accepted with their own credentials."""
        accepted = Want.ACCEPTED | Want.AS_PROJECT if on_behalf else Want.ACCEPTED
        for image_id, member_ids in PLAN.items():
            yield Block(image_id, member_ids, accepted if image_id in self.accepted else Want.MEMBER)

    def orders(self) -> dict[str, Orders]:
        """Return the orders for the pruned images."""
        return {image_id: Orders(prune=True, kept=frozenset(PLAN[image_id])) for image_id in self.pruned}


class Process:
    """A process that can be killed: its tasks end, and its ledger takes nothing more.

    It has all the methods of its ledger.
    """

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.life = anyio.CancelScope()
        self.killed = False

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        self.killed = True
        self.life.cancel()

    def __getattr__(self, name: str) -> Any:
        if self.killed:
            raise LedgerError("killed")
        return getattr(self._ledger, name)


@dataclass
class Departures:
    """A Transport that records when each request leaves."""

    inner: Transport
    times: list[float]

    async def send(self, request: Request) -> Reply:
        """Record the time, and pass the request on."""
        self.times.append(asyncio.get_running_loop().time())
        return await self.inner.send(request)


class Tokens:
    """An Identity whose tokens the faulty cloud issues; concurrent callers share a renewal."""

    def __init__(self, cloud: FaultyCloud) -> None:
        self._cloud = cloud
        self._token = cloud.token
        self._lock = anyio.Lock()
        self.account = Account("chaos", "RegionOne", cloud.endpoint, "user", "project", "0" * 32)

    async def token(self, _project: str | None = None) -> str:
        """Return the token."""
        return self._token

    async def renew(self, refused: str, _project: str | None = None) -> str:
        """Return a token other than `refused`."""
        async with self._lock:
            if refused == self._token:
                await asyncio.sleep(0.3)  # a log-in at Keystone
                self._token = self._cloud.issue()
            return self._token


class ScenarioResult(NamedTuple):
    """The result of one run."""

    rows: dict[Pair, list[str]]  # on the server: the statuses of each pair, one per row
    outcomes: list[Outcome]
    seen: list[Seen]
    departures: list[float]  # when each request left
    task: Task
    injected: Counter[str]
    virtual_seconds: float
    cpu_seconds: float
    overlaps: list[Pair]  # in two requests at once, of which one was a batch
    kills: int


def run_scenario(
    folder: Path,
    seed: int,
    profile: FaultProfile,
    limits: Limits = DEFAULT_LIMITS,
    *,
    clock: Callable[[], datetime] = wall,
    layer: Callable[[Transport], Transport] = lambda transport: transport,
    acts: bool = False,
    batches: bool = False,
    kills: int = 0,
) -> ScenarioResult:
    """Run the plan once, in virtual time.

    layer: may sit between the pace and the network.
    acts: as in `Task`.
    batches: send batches.
    kills: how often the process is killed, and started again.
    """
    began = time.process_time()
    random = Random(seed)
    task = Task.draw(random, acts=acts)
    result = run_over_sockets(_run(folder, seed, profile, limits, clock, layer, task, random, batches, kills))
    return result._replace(cpu_seconds=time.process_time() - began)


async def _run(
    folder: Path,
    seed: int,
    profile: FaultProfile,
    limits: Limits,
    clock: Callable[[], datetime],
    layer: Callable[[Transport], Transport],
    task: Task,
    random: Random,
    batches: bool,  # noqa: FBT001
    kills: int,
) -> ScenarioResult:
    ledger = SqlLedger.open(str(folder / f"{seed}.db"))
    departures: list[float] = []
    killed = 0
    async with FaultyCloud(profile, seed, task.present) as cloud:
        tokens = Tokens(cloud)
        run = ledger.begin(plan="chaos", fingerprint="f" * 64, account=tokens.account, now=clock())
        ledger.enqueue(run.id, task.blocks(on_behalf=batches))

        async def live(work_list: WorkList) -> None:
            """Let one process work."""
            stopping = anyio.Event()
            http = HttpTransport(
                Connection(cloud.endpoint.replace(HOST, profile.host)),
                connections=limits.concurrency,
                total_seconds=profile.client_seconds,
            )
            async with http:
                breaker = Breaker(patience_seconds=random.choice((1.0, 10.0)))
                paced = Paced(
                    Departures(layer(http), departures),
                    limits,
                    breaker=breaker,
                    stopping=stopping,
                    clock=anyio.current_time,
                    wall=clock,
                )
                engine = Engine(
                    run_id=run.id,
                    transport=Identified(paced, tokens),
                    ledger=work_list,
                    observer=RecordingObserver(),
                    limits=limits,
                    policy=POLICY,
                    clock=anyio.current_time,
                    wall=clock,
                    jitter=random.random,
                    stopping=stopping,
                    answered_at=lambda: paced.answered_at,
                    useful=paced.useful,
                    orders=task.orders(),
                    account=tokens.account,
                    batches=batches,
                )
                await engine.run()

        for _ in range(kills):
            process = Process(ledger)
            with suppress(LedgerError), process.life:
                asyncio.get_running_loop().call_later(random.uniform(0, LONGEST_LIFE_SECONDS), process.kill)
                await live(process)
            killed += process.killed
            await cloud.quiet()  # what a kill does to single requests: test_kill
        await live(ledger)
        took = asyncio.get_running_loop().time()
        await cloud.finish()
    outcomes = list(ledger.outcomes(run.id))
    open_batches = ledger.open_batches(run.id)
    assert not open_batches, open_batches
    ledger.close()
    return ScenarioResult(
        cloud.table.rows, outcomes, cloud.seen, departures, task, cloud.injected, took, 0.0, cloud.overlaps, killed
    )
