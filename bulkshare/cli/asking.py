"""The options that commands which talk to a cloud have in common, as the command line has them."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass

from bulkshare.app.fleets import FleetRequest
from bulkshare.app.work import Effort
from bulkshare.cli.output import Voice

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """Which cloud, how hard, for how long (in seconds), and how to tell of it."""

    os_cloud: str | None
    concurrency: int | None
    rate: float | None
    as_json: bool
    quiet: bool
    verbose: bool = False
    log_format: str = "console"
    failures: str | None = None
    deadline: float = math.inf
    give_up_after: float = 15 * 60.0
    fleet: str | None = None
    fleet_credentials: str = "own"

    @property
    def effort(self) -> Effort:
        """How hard to work, and when to stop."""
        return Effort(
            concurrency=self.concurrency,
            rate=self.rate,
            max_failures=self.failures,
            deadline_seconds=self.deadline,
            give_up_after_seconds=self.give_up_after,
        )

    @property
    def fleet_request(self) -> FleetRequest | None:
        """Which fleet is to send; None for no other than this process."""
        if self.fleet is None:
            return None
        return FleetRequest(address=self.fleet, pass_credentials=self.fleet_credentials == "pass")

    def voice(self) -> Voice:
        """Return what speaks as the options say."""
        return Voice.choose(quiet=self.quiet, verbose=self.verbose, as_json=self.as_json, log_format=self.log_format)
