"""Metrics of a plan's last run, as a file for the textfile collector of the Prometheus node exporter.

The one module that knows prometheus-client.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkshare.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from prometheus_client import Gauge

    from bulkshare.model import Result


@dataclass(frozen=True, slots=True)
class LastRun:
    """A run on one cloud: pairs by result, requests by HTTP status or kind of fault; the rest is as in `Run`."""

    cloud: str
    pairs: Mapping[Result, int] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    opened: int = 0
    awaiting_acceptance: int = 0


def require_writable(path: Path) -> None:
    """Raise `UsageError` if a file can't be created there, as far as that can be known beforehand."""
    directory = path.absolute().parent
    if not directory.is_dir():
        raise UsageError(f"can't write the metrics to {path}: there is no directory {directory}")
    if path.is_dir() or not os.access(directory, os.W_OK | os.X_OK):  # it is created beside the target, then renamed
        raise UsageError(f"can't write the metrics to {path}: this user may not write there")


def write_metrics(
    path: Path, *, plan: str, exit_code: int, ended_at: datetime, seconds: float, clouds: Sequence[LastRun]
) -> None:
    """Write the metrics of a plan's last run; the file appears whole or not at all. Raises `UsageError`."""
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile  # noqa: PLC0415  few runs write metrics

    registry = CollectorRegistry()

    def gauge(name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"bulkshare_last_run_{name}", description, ("plan", *labels), registry=registry)

    gauge("timestamp_seconds", "When the last run ended, in seconds since 1970.").labels(plan).set(ended_at.timestamp())
    gauge("duration_seconds", "How long the last run took.").labels(plan).set(seconds)
    gauge("exit_code", "The exit code of the last run; 0: every pair is as planned.").labels(plan).set(exit_code)
    pairs = gauge("pairs", "The pairs of the last run by result.", "cloud", "result")
    requests = gauge("requests", "The requests of the last run by HTTP status or kind of fault.", "cloud", "status")
    retries = gauge("retries", "How many requests of the last run were retries.", "cloud")
    opened = gauge("opened_images", "How many images the last run made shared.", "cloud")
    awaiting = gauge("members_awaiting_acceptance", "The members whose status is pending after the last run.", "cloud")
    for run in clouds:
        for result, count in run.pairs.items():
            pairs.labels(plan, run.cloud, result.value).set(count)
        for status, count in run.requests.items():
            requests.labels(plan, run.cloud, status).set(count)
        retries.labels(plan, run.cloud).set(run.retries)
        opened.labels(plan, run.cloud).set(run.opened)
        awaiting.labels(plan, run.cloud).set(run.awaiting_acceptance)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise UsageError(f"can't write the metrics to {path}: {error.strerror}") from error
