"""The faults of networks and gateways, and how often they occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

HOST = "127.0.0.1"


class Fault(NamedTuple):
    """A fault of one request.

    how: what the client sees.
    commits: when a write takes effect, or the job of a batch begins: "never", "before" the client sees the fault, or
        "late", up to `late_seconds` after that.
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


@dataclass(frozen=True, slots=True)
class FaultProfile:
    """How bad it gets.

    faults: share of requests with a fault.
    outage: its kind: "refused", "silent" or "503"; it starts at `outage_at` and lasts for `outage_seconds`.
    token_uses: for how many requests a token is valid.
    late_seconds: how long a POST may still be processed after the client was answered, or gave up.
    client_seconds: after how long the client gives up.
    job_seconds: how long the job of a batch takes at most.
    left_out: share of a job's pairs that it leaves as they are.
    host: the name under which the client looks for the server.
    """

    faults: float = 0.1
    outage: str | None = None
    outage_at: float = 0.2
    outage_seconds: float = 5.0
    token_uses: int | None = None
    latency_seconds: float = 0.02
    late_seconds: float = 2.0
    client_seconds: float = 10.0
    job_seconds: float = 5.0
    left_out: float = 0.02
    host: str = HOST
