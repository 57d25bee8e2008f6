"""A ledger in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkshare.errors import LedgerError
from bulkshare.model import Backlog, Block, Job, Outcome, Result, Want

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from bulkshare.model import Alike, Batch, Member


@dataclass
class MemoryLedger:
    """A `WorkList` in a dict, in the order of enqueueing.

    An image's pending pairs come in the order of their projects, or backwards: a ledger has an order of its own.
    """

    rows: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    commits: list[int] = field(default_factory=list)
    break_after: int | None = None
    opened: dict[str, datetime | None] = field(default_factory=dict)
    backwards: bool = False
    batches: dict[int, Batch] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def enqueue_all(self, jobs: Iterable[tuple[str, str]], want: Want = Want.MEMBER) -> None:
        """Add pending pairs."""
        for image_id, member_id in jobs:
            self.rows.setdefault((image_id, member_id), Outcome(image_id, member_id, Result.PENDING, want=want))

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """See the port."""
        del run_id
        before = len(self.rows)
        for image_id, member_ids, want in blocks:
            self.enqueue_all([(image_id, member_id) for member_id in member_ids], want)
        return len(self.rows) - before

    def images_to_list(self, run_id: int, *, settled_before: datetime, after: str | None, limit: int) -> list[Backlog]:
        """See the port."""
        pending = {each.image_id: each for each in self.pending_images(run_id, after=after, limit=len(self.rows))}
        settled = [row for row in self.rows.values() if row.result is not Result.PENDING]
        counts = Counter(row.image_id for row in settled)
        old = {row.image_id for row in settled if row.settled_at is not None and row.settled_at < settled_before}
        found = sorted(image_id for image_id in pending.keys() | old if after is None or image_id > after)
        backlogs = [pending.get(image_id, Backlog(image_id, 0)) for image_id in found[:limit]]
        return [each._replace(want=each.want & Want.REMOVE, settled=counts[each.image_id]) for each in backlogs]

    def count_to_list(self, run_id: int, *, settled_before: datetime) -> int:
        """See the port."""
        return len(self.images_to_list(run_id, settled_before=settled_before, after=None, limit=len(self.rows)))

    def label(self, labels: Mapping[str, str], *, from_plan: bool = False) -> None:
        """See the port."""
        assert not from_plan
        self.labels.update(labels)

    def image_pairs(self, run_id: int, image_id: str) -> list[tuple[Block, Result]]:
        """See the port."""
        del run_id
        found: dict[tuple[Want, Result], list[str]] = {}
        for row in self.rows.values():
            if row.image_id == image_id:
                found.setdefault((row.want, row.result), []).append(row.member_id)
        return [(Block(image_id, sorted(members), want), result) for (want, result), members in found.items()]

    def unsettle(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See the port."""
        del run_id
        for key in [(image_id, member_id) for member_id in member_ids]:
            want = self.rows[key].want & ~(Want.ALREADY_MEMBER | Want.ADDED | Want.WAS_ACCEPTED)
            self.rows[key] = Outcome(*key, Result.PENDING, want=want)

    def _pending(self, image_id: str | None, *, removals: bool | None) -> Iterator[Outcome]:
        for row in self.rows.values():
            here = row.result is Result.PENDING and image_id in {None, row.image_id}
            if here and removals in {None, Want.REMOVE in row.want}:
                yield row

    def pending_images(
        self, run_id: int, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Backlog]:
        """See the port."""
        del run_id
        found: dict[str, Backlog] = {}
        for row in self._pending(None, removals=removals):
            _, pairs, want, _ = found.get(row.image_id, Backlog(row.image_id, 0))
            found[row.image_id] = Backlog(row.image_id, pairs + 1, want | row.want)
        return [backlog for image_id, backlog in sorted(found.items()) if after is None or image_id > after][:limit]

    def pending_jobs(
        self, run_id: int, image_id: str, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Job]:
        """See the port."""
        del run_id
        rows = self._pending(image_id, removals=removals)
        pending = sorted(((row.member_id, row.want) for row in rows), reverse=self.backwards)
        return [
            Job(image_id, member_id, want)
            for member_id, want in pending
            if after is None or (member_id < after if self.backwards else member_id > after)
        ][:limit]

    def pending_jobs_between(self, run_id: int, first: str, last: str, *, removals: bool | None = None) -> list[Job]:
        """See the port."""
        images = [
            backlog.image_id for backlog in self.pending_images(run_id, after=None, limit=10**9, removals=removals)
        ]
        between = images[images.index(first) : images.index(last) + 1]
        return [
            job for one in between for job in self.pending_jobs(run_id, one, after=None, limit=10**9, removals=removals)
        ]

    def pending_wants(self, run_id: int, image_ids: Collection[str], member_id: str) -> dict[str, Want]:
        """See the port."""
        del run_id
        rows = [self.rows[image_id, member_id] for image_id in image_ids if (image_id, member_id) in self.rows]
        return {row.image_id: row.want for row in rows if row.result is Result.PENDING}

    def mark_listed(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See the port."""
        del run_id
        for key in [(image_id, member_id) for member_id in member_ids]:
            self.rows[key] = self.rows[key]._replace(want=self.rows[key].want | Want.ALREADY_MEMBER)

    def mark_was_accepted(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See the port."""
        del run_id
        for key in [(image_id, member_id) for member_id in member_ids]:
            self.rows[key] = self.rows[key]._replace(want=self.rows[key].want | Want.WAS_ACCEPTED)

    def mark_added(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See the port."""
        self.mark_listed(run_id, image_id, member_ids)
        for key in [(image_id, member_id) for member_id in member_ids]:
            self.rows[key] = self.rows[key]._replace(want=self.rows[key].want | Want.ADDED)

    def open_batch(self, run_id: int, batch: Batch) -> None:
        """See the port."""
        del run_id
        assert batch.number not in self.batches
        self.batches[batch.number] = batch

    def set_job(self, run_id: int, number: int, job_id: str) -> None:
        """See the port."""
        del run_id
        self.batches[number] = self.batches[number]._replace(job_id=job_id)

    def close_batch(self, run_id: int, number: int) -> None:
        """See the port."""
        del run_id
        del self.batches[number]

    def open_batches(self, run_id: int) -> list[Batch]:
        """See the port."""
        del run_id
        return [self.batches[number] for number in sorted(self.batches)]

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See the port."""
        del run_id
        if self.break_after is not None and len(self.commits) >= self.break_after:
            raise LedgerError("disk full")
        self.commits.append(len(outcomes))
        for outcome in outcomes:
            assert self.rows[outcome.image_id, outcome.member_id].result is Result.PENDING, "settled twice"
            self.rows[outcome.image_id, outcome.member_id] = outcome

    def settle_alike(self, run_id: int, groups: Sequence[Alike]) -> None:
        """See the port."""
        self.settle(run_id, [outcome for alike in groups for outcome in alike.outcomes()])

    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, removals: bool | None = None
    ) -> int:
        """See the port."""
        del run_id
        rest = list(self._pending(image_id, removals=removals))
        for row in rest:
            settled = row._replace(result=result, reason=reason, settled_at=now)
            self.rows[image_id, row.member_id] = settled
        return len(rest)

    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """See the port."""
        del run_id
        found: dict[str, list[str]] = {}
        for (image, member), row in self.rows.items():
            if row.result is Result.ALREADY and row.http_status is not None and row.status is None:
                found.setdefault(image, []).append(member)
        return [item for item in sorted(found.items()) if after is None or item[0] > after][:limit]

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """See the port."""
        del run_id
        for member in members:
            key = member.image_id, member.member_id
            self.rows[key] = self.rows[key]._replace(
                status=member.status, created_at=member.created_at, schema=member.schema
            )

    def mark_opened(self, run_id: int, image_ids: Sequence[str], at: datetime | None) -> None:
        """See the port."""
        del run_id
        self.opened |= dict.fromkeys(image_ids, at)

    def opening(self, run_id: int) -> list[str]:
        """See the port."""
        del run_id
        return [image_id for image_id, at in self.opened.items() if at is None]

    def totals(self, run_id: int) -> dict[Result, int]:
        """See the port."""
        del run_id
        counts = Counter(row.result for row in self.rows.values())
        return {result: counts[result] for result in Result}

    def results(self) -> dict[tuple[str, str], Result]:
        """Return the result of every pair."""
        return {key: row.result for key, row in self.rows.items()}
