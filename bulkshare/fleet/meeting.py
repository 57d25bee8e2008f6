"""Asking a worker to take part in a run, which one that acts for another project or elsewhere does not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio

from bulkshare import __version__
from bulkshare.errors import UsageError
from bulkshare.fleet.hands import Hand
from bulkshare.fleet.sealing import seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.fleet.cluster import Cluster
    from bulkshare.fleet.messages import Muster, Remote
    from bulkshare.model import Account

MUSTER_SECONDS = 60.0  # for a worker to log in to the cloud


@dataclass
class Meetings:
    """The meetings with workers of one run, which acts as `account`. `clock` is monotonic, in seconds.

    Workers get `credentials` where there are some, and have their own else. Each meeting has a name of its own: what
    was said to a worker that was lost may come when it takes part again, and is void then.
    """

    cluster: Cluster
    remote: Remote
    muster: Muster
    account: Account
    credentials: str | None = field(repr=False)
    clock: Callable[[], float]
    _held: int = 0

    async def meet(self, address: str) -> Hand:
        """Raise `BulkshareError` where the worker can't take part, `AwayError` or `TimeoutError` where it may later."""
        self._held += 1
        engagement = f"{self.muster.engagement}-{self._held}"
        with anyio.fail_after(MUSTER_SECONDS):
            slot = await self.cluster.ask(address, self.remote.greet, __version__)
            sealed = None if self.credentials is None else seal(self.credentials, slot)
            muster = replace(self.muster, engagement=engagement, sealed=sealed)
            joined = await self.cluster.ask(address, self.remote.muster, muster)
        self._require_same(address, joined.account)
        return Hand(address, engagement, joined.clock, self.clock())

    def _require_same(self, address: str, account: Account) -> None:
        ours, its = ((each.endpoint, each.project_id) for each in (self.account, account))
        if ours != its:
            raise UsageError(
                f"worker {address} acts for project {account.project} ({account.project_id}) at {account.endpoint}, "
                f"and this run for {self.account.project} ({self.account.project_id}) at {self.account.endpoint}; "
                "give the workers the same clouds.yaml"
            )
