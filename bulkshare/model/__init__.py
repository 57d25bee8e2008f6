"""The values that the packages exchange: immutable, with no behaviour of their own.

Plan -> `Job` -> `Request` -> `Reply` -> `Verdict` -> `Outcome`. Nothing here knows HTTP libraries, SQL or asyncio.
"""

from bulkshare.model.clouds import Account, Connection, Image, KnownProjects, Member, Project
from bulkshare.model.exchange import (
    ENDPOINT_FAILURES,
    RETRYABLE,
    Attempt,
    Fault,
    FaultKind,
    Reply,
    Request,
    Response,
    Scope,
    Step,
    Verdict,
    VerdictKind,
)
from bulkshare.model.notify import Notify, NotifyOn, Webhook, WebhookFormat
from bulkshare.model.pairs import AS_PLANNED, Backlog, Batch, Block, Job, Orders, Outcome, PruneLimit, Result, Want
from bulkshare.model.plans import (
    Api,
    CheckProjects,
    Entry,
    IdList,
    ImageSelector,
    Limits,
    Plan,
    Problem,
    ProjectSelector,
    Receive,
)
from bulkshare.model.retry import UNLIMITED, RetryPolicy, RetryState, backoff_seconds, no_jitter
from bulkshare.model.runs import Origin, Run, RunState, Settings, Telemetry
from bulkshare.model.sightings import RunRef, Sighting

__all__ = [
    "AS_PLANNED",
    "ENDPOINT_FAILURES",
    "RETRYABLE",
    "UNLIMITED",
    "Account",
    "Api",
    "Attempt",
    "Backlog",
    "Batch",
    "Block",
    "CheckProjects",
    "Connection",
    "Entry",
    "Fault",
    "FaultKind",
    "IdList",
    "Image",
    "ImageSelector",
    "Job",
    "KnownProjects",
    "Limits",
    "Member",
    "Notify",
    "NotifyOn",
    "Orders",
    "Origin",
    "Outcome",
    "Plan",
    "Problem",
    "Project",
    "ProjectSelector",
    "PruneLimit",
    "Receive",
    "Reply",
    "Request",
    "Response",
    "Result",
    "RetryPolicy",
    "RetryState",
    "Run",
    "RunRef",
    "RunState",
    "Scope",
    "Settings",
    "Sighting",
    "Step",
    "Telemetry",
    "Verdict",
    "VerdictKind",
    "Want",
    "Webhook",
    "WebhookFormat",
    "backoff_seconds",
    "no_jitter",
]
