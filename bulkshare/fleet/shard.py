"""A shard as an engine sees it: the part of the Ledger port that an engine uses, in memory, for minutes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bulkshare.fleet.messages import Closed
from bulkshare.model import Backlog, Job, Outcome, Result, Want

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from bulkshare.model import Block, Member


class ShardLedger:
    """Pairs that are pending, and outcomes. There is one run, whatever its number."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._pending: dict[str, dict[str, Job]] = {}
        for job in jobs:
            self._pending.setdefault(job.image_id, {})[job.member_id] = job
        self.outcomes: list[Outcome] = []
        self.closed: dict[str, Closed] = {}

    def close(self, image_id: str, reason: str, full: bool) -> None:  # noqa: FBT001  see `engine.Sharing`
        """Note that an image takes no more: the rest of it, in other shards, too, is the coordinator's to settle."""
        self.closed[image_id] = Closed(reason, full)

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """Nothing is added to a shard."""
        raise NotImplementedError

    def mark_enqueued(self, run_id: int) -> None:
        """See `ports.Ledger`: it always was."""

    def pending_images(self, run_id: int, *, after: str | None, limit: int, gone: bool | None = None) -> list[Backlog]:
        """See `ports.Ledger`."""
        del run_id
        found = []
        for image_id in sorted(self._pending):
            jobs = self._jobs(image_id, gone)
            if jobs and (after is None or image_id > after):
                want = Want(0)
                for job in jobs:
                    want |= job.want
                found.append(Backlog(image_id, len(jobs), want))
        return found[:limit]

    def pending_jobs(
        self, run_id: int, image_id: str, *, after: str | None, limit: int, gone: bool | None = None
    ) -> list[Job]:
        """See `ports.Ledger`."""
        del run_id
        jobs = self._jobs(image_id, gone)
        return sorted(job for job in jobs if after is None or job.member_id > after)[:limit]

    def is_pending(self, run_id: int, image_id: str, member_id: str) -> bool:
        """See `ports.Ledger`."""
        del run_id
        return member_id in self._pending.get(image_id, {})

    def mark_listed(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Nothing is listed of a shard."""
        raise NotImplementedError

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Ledger`."""
        del run_id
        for outcome in outcomes:
            self._pending[outcome.image_id].pop(outcome.member_id, None)
        self.outcomes += outcomes

    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, gone: bool | None = None
    ) -> int:
        """It is the coordinator's to settle: see `close`."""
        raise NotImplementedError

    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """Return none: the coordinator asks, once for each image."""
        del run_id, after, limit
        return []

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """Nothing is undescribed here."""
        raise NotImplementedError

    def totals(self, run_id: int) -> dict[Result, int]:
        """See `ports.Ledger`."""
        del run_id
        counts = Counter(outcome.result for outcome in self.outcomes)
        counts[Result.PENDING] = sum(map(len, self._pending.values()))
        return {result: counts[result] for result in Result}

    def _jobs(self, image_id: str, gone: bool | None) -> list[Job]:  # noqa: FBT001  as in `ports.Ledger`
        jobs = self._pending.get(image_id, {}).values()
        return [job for job in jobs if gone is None or gone == (Want.GONE in job.want)]
