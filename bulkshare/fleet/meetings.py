"""Meeting a worker: whether it may take part in a run, and as which engagement it does."""

from __future__ import annotations

from dataclasses import replace
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


class Meetings:
    """Asks workers to take part in one run on one cloud, where they have to act as `account` does.

    They get `credentials` where there are some, each sealed for it alone, and have their own else. `clock` is
    monotonic, in seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        remote: Remote,
        muster: Muster,
        account: Account,
        *,
        credentials: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._remote = remote
        self._muster = muster
        self._account = account
        self._credentials = credentials
        self._clock = clock
        self._number = 0

    async def meet(self, address: str) -> Hand:
        """Return the worker there once it has logged in.

        Raises `AwayError` or TimeoutError where it does not answer, and `BulkshareError` where it can't take part.
        """
        self._number += 1  # a name for each: what is said to a worker that was lost may come when it takes part again
        engagement = f"{self._muster.engagement}-{self._number}"
        with anyio.fail_after(MUSTER_SECONDS):
            slot = await self._cluster.ask(address, self._remote.greet, __version__)
            sealed = None if self._credentials is None else seal(self._credentials, slot)
            muster = replace(self._muster, engagement=engagement, sealed=sealed)
            joined = await self._cluster.ask(address, self._remote.muster, muster)
        self._require_same(address, joined.account)
        return Hand(address, engagement, joined.clock, self._clock())

    def _require_same(self, address: str, account: Account) -> None:
        ours, its = ((each.endpoint, each.project_id) for each in (self._account, account))
        if ours != its:
            raise UsageError(
                f"worker {address} acts for project {account.project} ({account.project_id}) at {account.endpoint}, "
                f"and this run for {self._account.project} ({self._account.project_id}) at {self._account.endpoint}; "
                "give the workers the same clouds.yaml"
            )
