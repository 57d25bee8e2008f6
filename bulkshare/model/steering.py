"""What a run at work tells those who watch it, and what they may ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bulkshare.model.pairs import Result


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The state of a run at work, as its process last recorded it.

    at: when it was recorded.
    planned, totals: pairs of the run, and those settled, which the ledger holds already.
    opened: images that the run made shared.
    requests, retries, elapsed_seconds: of this invocation.
    batches, batched_pairs: how many were sent, and of how many pairs.
    phase, phase_done, phase_total: as in `events.PhaseStarted`.
    rate: requests per second over the last few seconds.
    allowed_rate, concurrency: the limits.
    seconds_left: estimated; None if there is too little to go by.
    cooling_seconds: for how long the endpoint has asked to be sent nothing.
    paused: nothing new is sent until someone says "go".
    pace: the state of the pace in a few words.
    details: more about it, a line for each worker of a fleet.
    """

    at: datetime
    planned: int = 0
    totals: Mapping[Result, int] = field(default_factory=dict)
    opened: int = 0
    requests: int = 0
    retries: int = 0
    batches: int = 0
    batched_pairs: int = 0
    elapsed_seconds: float = 0.0
    phase: str = ""
    phase_done: int = 0
    phase_total: int = 0
    rate: float = 0.0
    allowed_rate: float = 0.0
    concurrency: int = 0
    seconds_left: float | None = None
    cooling_seconds: float = 0.0
    paused: bool = False
    pace: str = ""
    details: tuple[str, ...] = ()


class Action(StrEnum):
    """What a run at work may be told to do."""

    PAUSE = "pause"  # send nothing new
    GO = "go"  # send again
    STOP = "stop"  # stop as at the first Ctrl-C


@dataclass(frozen=True, slots=True)
class Control:
    """What someone asked of a run at work. None: that stays as it is.

    at: when.
    os_user, host: who, as the operating system calls them.
    number: its place among the run's, from 1 on; the ledger assigns it.
    obeyed_at: when the run's process obeyed; None: not yet, or never.
    """

    at: datetime
    os_user: str = ""
    host: str = ""
    rate: float | None = None
    concurrency: int | None = None
    action: Action | None = None
    number: int = 0
    obeyed_at: datetime | None = None

    @property
    def words(self) -> str:
        """What was asked for, as it is written on the command line."""
        limits = (("rate", self.rate), ("concurrency", self.concurrency))
        given = [f"{name}={value:.10g}" for name, value in limits if value is not None]
        return " ".join([*given, *([self.action.value] if self.action else [])])
