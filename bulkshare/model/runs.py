"""A run as the ledger stores it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from bulkshare.model.plans import Api, CheckProjects, Limits
from bulkshare.model.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bulkshare.model.clouds import Account
    from bulkshare.model.pairs import Result


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run: what is needed to resume it without its plan file."""

    cloud: str | None = None  # the clouds.yaml entry as configured; None: the OS_* variables
    region: str | None = None  # as the plan names it
    sandbox: bool = False  # an embedded cloud that ended with the run
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    api: Api = Api.AUTO
    check_projects: CheckProjects = CheckProjects.AUTO


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run comes from: what was asked for, on which machine.

    plan_file: the absolute path of the plan or saved plan; empty: there was none, or it came from a pipe.
    plan_sha256: of that file's bytes, in hexadecimal; empty: no plan was read.
    version: bulkshare's own.
    command: the command line without secrets; empty: it was called from Python.
    os_user, host: who ran it, as the operating system calls them.
    """

    plan_file: str = ""
    plan_sha256: str = ""
    version: str = ""
    command: str = ""
    os_user: str = ""
    host: str = ""


class RunState(StrEnum):
    """The state of a run. A killed run stays RUNNING; the next run can tell because the lock is free."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"  # stopped early but cleanly; the rest is pending
    FINISHED = "finished"  # no pair is pending


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a plan, as the ledger stores it.

    key: the name that users see.
    fingerprint: a hash of the plan's pairs; only the same plan with the same account may continue the run.
    requests, retries, seconds: sums over all invocations of the run.
    enqueued: the plan's pairs and orders are all in the ledger; until then only the plan has them.
    opened: images that it made shared.
    awaiting_acceptance: pairs as planned whose member has the status "pending": no one has accepted for the project.
    invocation: common to the runs of one command on several clouds; None: made by a version that kept none.
    worked_at: when the run was last begun, reopened or ended.
    exit_code: of what ended its last invocation early; None: nothing did, it is at work, or it was killed.
    ended_because: the same in a sentence.
    origins: of the first invocation, and of the latest if there were several; empty: made by a version that kept none.
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
    invocation: str | None = None
    worked_at: datetime | None = None
    opened: int = 0
    awaiting_acceptance: int = 0
    origins: tuple[Origin, ...] = ()
    exit_code: int | None = None
    ended_because: str = ""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """How one invocation of a run went over time, in intervals of equal length since `began_at`.

    The tuples have the same length, one item per interval.

    requests: requests answered.
    troubled: those of them that were throttled, got a 5xx or got no answer.
    allowed: the concurrency limit at the end of the interval.
    latency: answers by the upper bound of their latency in seconds; inf: above the highest bound.
    statuses: answers by HTTP status or kind of fault.
    batches, batched_pairs: of the requests those that were batches, and the pairs in them.
    """

    began_at: datetime
    interval_seconds: float
    requests: tuple[int, ...] = ()
    troubled: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    latency: Mapping[float, int] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0
    batched_pairs: int = 0
