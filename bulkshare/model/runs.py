"""A run as the ledger keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from bulkshare.model.plans import Limits
from bulkshare.model.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bulkshare.model.clouds import Account
    from bulkshare.model.pairs import Result


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run was told to work: what it takes to go on with it where its plan is not at hand."""

    cloud: str | None = None  # the clouds.yaml entry as configured; None: the OS_* variables
    region: str | None = None  # as the plan names it
    sandbox: bool = False  # on a cloud that ended with the run
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class RunState(StrEnum):
    """Where a run stands. A killed run stays RUNNING: its lock is free, so the next one can tell."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"  # stopped early in good order; the rest is pending
    FINISHED = "finished"  # no pair is pending


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a plan, as the ledger keeps it.

    `key` is the name users see. `fingerprint` is the plan's set of pairs as a hash: a run may be continued only by
    the same plan against the same account. `requests`, `retries` and `seconds` sum over its continuations. `enqueued`
    says that all its pairs are in the ledger: without that only its plan knows what they are.
    """

    id: int
    key: str
    plan: str
    fingerprint: str
    account: Account
    state: RunState
    started_at: datetime
    finished_at: datetime | None = None
    host: str = ""
    pid: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    totals: Mapping[Result, int] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    enqueued: bool = False


@dataclass(frozen=True, slots=True)
class Telemetry:
    """How one invocation of a run went over time, in intervals of equal length since `began_at`.

    The tuples are of one length: requests answered, those of them that were trouble (throttled, 5xx, no answer), and
    how many requests the pace allowed in flight at the end of the interval. `latency` counts answers by the upper
    bound of their time in seconds (inf: beyond the last), `statuses` by HTTP status, or the kind of fault.
    """

    began_at: datetime
    interval_seconds: float
    requests: tuple[int, ...] = ()
    troubled: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    latency: Mapping[float, int] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
