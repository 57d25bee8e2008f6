"""A worker as the coordinator knows it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkshare.fleet.leases import NOTHING
from bulkshare.text import counted

if TYPE_CHECKING:
    import anyio

    from bulkshare.fleet.leases import Share

SPEED_SECONDS = 5.0  # over which a worker's speed is taken
MOST_ANSWERED = 64  # reports, of which that takes the newest


@dataclass(eq=False)
class Hand:
    """A worker that takes part, as which `engagement`.

    Its own clock showed `clock` when it was last heard of, at `heard_at` on ours.
    """

    address: str
    engagement: str
    clock: float
    heard_at: float
    grants: int = 0
    outstanding: int = 0
    pairs: int = 0
    requests: int = 0
    allowed: int = 0
    share: Share = NOTHING
    paused_until: float = -math.inf  # it knows of this cool-down
    speed: float = 0.0  # pairs a second while it worked on its last shard
    answered: deque[tuple[float, int]] = field(
        default_factory=lambda: deque(maxlen=MOST_ANSWERED)
    )  # when, and how many
    scopes: set[anyio.CancelScope] = field(default_factory=set)  # of those who wait for what it does

    def rate(self, now: float) -> float:
        """Return the requests that it sent in a second lately."""
        while len(self.answered) > 1 and self.answered[0][0] < now - SPEED_SECONDS:
            self.answered.popleft()
        if not self.answered:
            return 0.0
        began, before = self.answered[0]
        return (self.requests - before) / max(now - began, 1.0)

    def described(self, now: float) -> str:
        """Say how fast it is, and what it has and had to do."""
        speed = f"{self.rate(now):.1f}/s of {self.share.rate:g}/s"
        return f"{self.address}  {speed}  {counted(self.outstanding, 'shard')} out  {counted(self.pairs, 'pair')}"
