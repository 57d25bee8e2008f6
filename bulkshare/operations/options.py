"""The options of all operations, in one record that the command line and the Python API fill in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from os import PathLike

    from bulkshare.model import Limits, Origin, PruneLimit
    from bulkshare.sandbox import FaultRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be asked of run, diff, verify and resume; each reads the fields that concern it.

    ledger: path or URL; default: the user's own.
    cloud: the clouds.yaml entry to use; default: the plan's, or that of the run to resume.
    sandbox: work on an embedded cloud that has the plan's images.
    faults: what fails on the sandbox.
    latency_seconds: of each answer of the sandbox.
    dialect: which cloud the sandbox plays, by the names of `sandbox.ims.Dialect`.
    answers: how it answers where the documentation is silent, as `sandbox.ims.Behaviour.parse` takes them.
    dry_run: write neither to a cloud nor to the ledger.
    retry_failed: only the pairs that the plan's last run did not bring about.
    verify: compare plan and cloud at the end of a run.
    prune: remove members that the plan doesn't name, from all of its images.
    prune_limit: how many of an image's members may be removed; if it would be more, no one is removed from any image.
        Default: as the plan says.
    preflight: list the images' members before the first write.
    concurrency: requests in flight; default: the plan's.
    rate: requests a second; default: the plan's.
    max_failures: pairs rejected or failed before a run stops, as a number or "P%" of the planned ones; default: any.
    deadline_seconds: stop after this time.
    give_up_after_seconds: stop when the endpoint or Keystone has been down for this long.
    wait_lock_seconds: how long to wait for another run of the plan.
    fleet: address of a Dask scheduler, or "local:N"; default: this process sends.
    fleet_credentials: "own": each worker has a clouds.yaml; "pass": it is sent ours.
    origin: kept with the run; default: what is known of this process.
    """

    ledger: str | PathLike[str] | None = None
    cloud: str | None = None
    sandbox: bool = False
    faults: tuple[FaultRule, ...] = ()
    latency_seconds: float = 0.0
    dialect: str = "openstack"
    answers: tuple[str, ...] = ()
    dry_run: bool = False
    retry_failed: bool = False
    verify: bool = False
    prune: bool = False
    prune_limit: PruneLimit | None = None
    preflight: bool = True
    concurrency: int | None = None
    rate: float | None = None
    max_failures: int | str | None = None
    deadline_seconds: float = math.inf
    give_up_after_seconds: float = 15 * 60.0
    wait_lock_seconds: float = 0.0
    fleet: str | None = None
    fleet_credentials: Literal["own", "pass"] = "own"
    origin: Origin | None = None

    @property
    def has_local_fleet(self) -> bool:
        """Whether this process starts the fleet's workers itself."""
        return self.fleet is not None and self.fleet.startswith("local:")

    @property
    def passes_credentials(self) -> bool:
        """Whether the fleet's workers are sent our credentials."""
        return self.fleet_credentials == "pass"

    def limits(self, limits: Limits) -> Limits:
        """Return a plan's or run's limits with the ones asked for in their place."""
        if self.concurrency is not None:
            limits = replace(limits, concurrency=self.concurrency)
        if self.rate is not None:
            limits = replace(limits, rate=self.rate)
        return limits

    def failures_allowed(self, planned: int) -> float:
        """Return how many of `planned` pairs may be rejected or failed before the run stops."""
        if self.max_failures is None:
            return math.inf
        number = str(self.max_failures)
        return planned * float(number[:-1]) / 100 if number.endswith("%") else float(number)
