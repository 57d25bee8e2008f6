"""A run of a plan against a faulty cloud: the real layers from the transport to the ledger, and the result."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import anyio

from bulkshare.cloud import Identified
from bulkshare.cloud.http import HttpTransport
from bulkshare.engine import Engine
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

    from bulkshare.ports import Transport

IMAGES, MEMBERS = 10, 50
PLAN: dict[str, list[str]] = {
    f"image-{image:02}": [f"member-{member:03}" for member in range(MEMBERS)] for image in range(IMAGES)
}
PAIRS: frozenset[Pair] = frozenset((image, member) for image, members in PLAN.items() for member in members)
DEFAULT_LIMITS = Limits(rate=1000.0)
# More attempts than the default: with so many seeds one in a million happens, and a failed pair is no wrong report.
POLICY = RetryPolicy(attempts=20)


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

    def blocks(self) -> Iterator[Block]:
        """Yield the pairs to enqueue."""
        for image_id, member_ids in PLAN.items():
            yield Block(image_id, member_ids, Want.ACCEPTED if image_id in self.accepted else Want.MEMBER)

    def orders(self) -> dict[str, Orders]:
        """Return the orders for the pruned images."""
        return {image_id: Orders(prune=True, kept=frozenset(PLAN[image_id])) for image_id in self.pruned}


@dataclass
class Departures:
    """A Transport that records when each request leaves."""

    inner: Transport
    times: list[float] = field(default_factory=list)

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


def run_scenario(
    folder: Path,
    seed: int,
    profile: FaultProfile,
    limits: Limits = DEFAULT_LIMITS,
    *,
    clock: Callable[[], datetime] = wall,
    layer: Callable[[Transport], Transport] = lambda transport: transport,
    acts: bool = False,
) -> ScenarioResult:
    """Run the plan once, in virtual time. `layer` may sit between the pace and the network; `acts` as in `Task`."""
    began = time.process_time()
    random = Random(seed)
    task = Task.draw(random, acts=acts)
    result = run_over_sockets(_run(folder, seed, profile, limits, clock, layer, task, random))
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
) -> ScenarioResult:
    ledger = SqlLedger.open(str(folder / f"{seed}.db"))
    stopping = anyio.Event()
    async with FaultyCloud(profile, seed, task.present) as cloud:
        tokens = Tokens(cloud)
        run = ledger.begin(plan="chaos", fingerprint="f" * 64, account=tokens.account, now=clock())
        ledger.enqueue(run.id, task.blocks())
        http = HttpTransport(
            Connection(cloud.endpoint.replace(HOST, profile.host)),
            connections=limits.concurrency,
            total_seconds=profile.client_seconds,
        )
        async with http:
            departures = Departures(layer(http))
            breaker = Breaker(patience_seconds=random.choice((1.0, 10.0)))
            paced = Paced(departures, limits, breaker=breaker, stopping=stopping, clock=anyio.current_time, wall=clock)
            engine = Engine(
                run_id=run.id,
                transport=Identified(paced, tokens),
                ledger=ledger,
                observer=RecordingObserver(),
                limits=limits,
                policy=POLICY,
                clock=anyio.current_time,
                wall=clock,
                jitter=random.random,
                stopping=stopping,
                answered_at=lambda: paced.answered_at,
                orders=task.orders(),
                account=tokens.account,
            )
            await engine.run()
            took = asyncio.get_running_loop().time()
            await cloud.finish()
    outcomes = list(ledger.outcomes(run.id))
    ledger.close()
    return ScenarioResult(cloud.table.rows, outcomes, cloud.seen, departures.times, task, cloud.injected, took, 0.0)
