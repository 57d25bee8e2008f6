"""An engine with fakes of everything around it, and scripts for its cloud."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from bulkshare.engine import Engine
from bulkshare.model import (
    UNLIMITED,
    Account,
    Image,
    Limits,
    Orders,
    Outcome,
    Reply,
    Request,
    Result,
    RetryPolicy,
    Want,
)
from bulkshare.pacing import Breaker, Paced
from tests.engine.fakes import NOW, FakeCloud, RecordingObserver
from tests.engine.memory_ledger import MemoryLedger
from tests.engine.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from bulkshare.engine import Senders

ACCOUNT = Account("cloud", "RegionOne", "https://images.example", "user", "project", "ours")


@dataclass
class EngineHarness:
    """An engine with fakes of everything around it."""

    cloud: FakeCloud = field(default_factory=FakeCloud)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    observer: RecordingObserver = field(default_factory=RecordingObserver)
    limits: Limits = field(default_factory=lambda: Limits(concurrency=8, per_image=4, members_per_image=0))
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=4, base_seconds=1.0, cap_seconds=8.0))
    through_pace: bool = False
    max_failures: float = math.inf
    deadline_seconds: float = math.inf
    give_up_after_seconds: float = 900.0
    pace_stops_at: float | None = None  # seconds after the start, without a stop of the engine
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random(7).random)
    orders: dict[str, Orders] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    account: Account = ACCOUNT
    preflight: bool = True
    senders: Senders | None = None
    batches: bool = False
    before_writing: Callable[[], Awaitable[None]] | None = None
    at: dict[float, Callable[[], None]] = field(default_factory=dict)  # seconds after the start: what is done then
    engine: Engine = field(init=False)
    paced: Paced = field(init=False)

    def plan(self, images: int, projects: int, want: Want = Want.MEMBER) -> None:
        """Enqueue all pairs of so many images and projects."""
        self.ledger.enqueue_all([(f"i{i:02}", f"p{p:03}") for i in range(images) for p in range(projects)], want)

    def run(
        self,
        *,
        share: bool = True,
        beside: Callable[[Engine], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Run an engine to its end, with a concurrent task if given."""

        async def main() -> None:
            stopping = anyio.Event()
            pace_stopping = stopping if self.pace_stops_at is None else anyio.Event()
            if self.pace_stops_at is not None:
                asyncio.get_running_loop().call_later(self.pace_stops_at, pace_stopping.set)
            for seconds, action in self.at.items():
                asyncio.get_running_loop().call_later(seconds, action)
            paced = self.paced = Paced(
                self.cloud,
                self.limits,
                breaker=Breaker(give_up_after_seconds=self.give_up_after_seconds),
                stopping=pace_stopping,
                clock=anyio.current_time,
                wall=lambda: NOW,
            )
            engine = self.engine = Engine(
                run_id=1,
                transport=paced if self.through_pace else self.cloud,
                ledger=self.ledger,
                observer=self.observer,
                limits=self.limits,
                policy=self.policy,
                clock=anyio.current_time,
                wall=lambda: NOW,
                jitter=self.jitter,
                stopping=stopping,
                answered_at=(lambda: paced.answered_at) if self.through_pace else (lambda: math.inf),
                useful=paced.useful if self.through_pace else (lambda: UNLIMITED),
                max_failures=self.max_failures,
                orders=self.orders,
                images=self.images,
                account=self.account,
                senders=self.senders,
                batches=self.batches,
                before_writing=self.before_writing,
            )
            if beside is None:
                await engine.run(preflight=self.preflight, share=share, deadline_seconds=self.deadline_seconds)
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(beside, engine)
                await engine.run(preflight=self.preflight, share=share, deadline_seconds=self.deadline_seconds)
                tasks.cancel_scope.cancel()

        run_virtual(main())

    def again(self) -> None:
        """Prepare another run of the same plan on the same cloud, with a new ledger."""
        planned = [(pair, row.want) for pair, row in self.ledger.rows.items() if Want.REMOVE not in row.want]
        self.ledger = MemoryLedger({pair: Outcome(*pair, Result.PENDING, want=want) for pair, want in planned})
        self.observer = RecordingObserver()
        self.cloud.sent.clear()

    def totals(self) -> dict[Result, int]:
        """Return the counts that are not zero."""
        return {result: count for result, count in self.ledger.totals(1).items() if count}

    def reasons(self) -> dict[str, set[str]]:
        """Return the members by the reasons of their outcomes."""
        found: dict[str, set[str]] = {}
        for (_, member_id), row in self.ledger.rows.items():
            if row.reason:
                found.setdefault(row.reason, set()).add(member_id)
        return found


def on_post(reply_of: Callable[[str, str], Reply | None]) -> Callable[[Request, int], Reply | None]:
    """Make a script that answers POSTs by image and body."""

    def script(request: Request, _count: int) -> Reply | None:
        if request.method != "POST":
            return None
        return reply_of(request.path.split("/")[3], (request.body or b"").decode())

    return script
