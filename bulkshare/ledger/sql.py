"""`SqlLedger`: the `ports.Ledger` in SQL. Images and members come in the order of their first mention in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from sqlalchemy import func, select, update

from bulkshare.ledger import pruning, runs
from bulkshare.ledger.labels import keep_labels, read_labels
from bulkshare.ledger.names import Names
from bulkshare.ledger.pairs import (
    DESCRIBE,
    MARK_LISTED,
    SETTLE,
    all_wants,
    batches,
    described_row,
    enqueue,
    execute_many,
    pending,
    read_outcomes,
    select_outcomes,
    settled_row,
    texts_of,
    texts_of_blocks,
)
from bulkshare.ledger.schema import PAIRS
from bulkshare.ledger.store import Store
from bulkshare.ledger.telemetry import add_telemetry, read_telemetry
from bulkshare.ledger.values import RESULT_CODES, WANTS, pack_time
from bulkshare.model import Account, Backlog, Job, Outcome, Result, Run, RunState, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from bulkshare.model import Block, Member, Telemetry

ENQUEUED_AT_ONCE = 20_000  # pairs in one transaction: others get to write in between
READ_AT_ONCE = 5_000  # rows


class SqlLedger:
    """A ledger in an SQLite file; see `ports.Ledger` for what the methods promise."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names = Names()
        self.path = store.path

    @classmethod
    def open(cls, where: str, *, create: bool = True) -> Self:
        """Open the ledger at a path or an sqlite URL, and make it where there is none. Raises `LedgerError`."""
        return cls(Store(where, create=create))

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    # --- runs ----------------------------------------------------------------------------------------------------

    def begin(
        self,
        *,
        plan: str,
        fingerprint: str,
        account: Account,
        now: datetime,
        settings: Settings | None = None,
        key_suffix: str = "",
    ) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            self._names.forget()  # somebody may have pruned while no run was at work here
            return runs.add(
                connection,
                plan=plan,
                fingerprint=fingerprint,
                account=account,
                now=now,
                settings=settings or Settings(),
                key_suffix=key_suffix,
            )

    def unfinished(self, *, plan: str, fingerprint: str, account: Account) -> Run | None:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            run = runs.newest_at(connection, plan=plan, account=account)
        if run is None or run.state is RunState.FINISHED or run.fingerprint != fingerprint:
            return None
        return run

    def newest_run(self, plan: str | None = None) -> Run | None:
        """Return the newest run, of a plan or of all."""
        with self._store.reading() as connection:
            return next(iter(runs.newest_runs(connection, plan=plan, limit=1)), None)

    def reopen(self, run_id: int, settings: Settings | None = None) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            self._names.forget()  # as in `begin`
            return runs.set_to_work(connection, run_id, settings)

    def finish(self, run_id: int, *, now: datetime, requests: int, retries: int, seconds: float) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            return runs.set_to_rest(connection, run_id, now=now, requests=requests, retries=retries, seconds=seconds)

    def runs(self, *, limit: int | None = None, plan: str | None = None) -> list[Run]:
        """See `ports.Ledger`. With `plan`, only its runs."""
        with self._store.reading() as connection:
            return runs.newest_runs(connection, plan=plan, limit=limit)

    def last_enqueued(self, *, plan: str, account: Account) -> Run | None:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return runs.newest_at(connection, plan=plan, account=account, enqueued=True)

    def run_before(self, run: Run) -> Run | None:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return runs.newest_at(connection, plan=run.plan, account=run.account, enqueued=True, before=run.id)

    def prune(self, run_ids: Sequence[int], *, names_unless_after: int | None) -> bool:
        """See `ports.Ledger`. A transaction for each run: others get to write in between."""
        for run_id in run_ids:
            with self._store.writing() as connection:
                pruning.delete_run(connection, run_id)
        if names_unless_after is None:
            return False
        with self._store.writing() as connection:
            # Who begins a run from here on waits, and then looks up all numbers anew.
            deleted = pruning.delete_unused_names(connection, unless_after=names_unless_after)
        if deleted:
            self._names.forget()
            self._store.shrink()
        return deleted

    def find_run(self, key: str | None = None) -> Run | None:
        """See `ports.Ledger`. Raises `UsageError` where several runs begin with `key`."""
        if key is None:
            return self.newest_run()
        with self._store.reading() as connection:
            return runs.find(connection, key)

    # --- the work list -------------------------------------------------------------------------------------------

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """See `ports.Ledger`. Commits as it goes: called again after a kill, it adds what is missing.

        A pending pair that wanted something else wants what it is given here; that it is LISTED stays.
        """
        added = 0
        for batch in batches(blocks, ENQUEUED_AT_ONCE):
            with self._store.writing() as connection:
                numbers = self._names.numbers(connection, texts_of_blocks(batch))
                added += enqueue(connection, run_id, batch, numbers)
            self._names.remember(numbers)
        return added

    def mark_enqueued(self, run_id: int) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            runs.mark_enqueued(connection, run_id)

    def pending_images(self, run_id: int, *, after: str | None, limit: int, gone: bool | None = None) -> list[Backlog]:
        """See `ports.Ledger`."""
        query = (
            select(PAIRS.c.image, func.count(), all_wants())
            .where(*pending(run_id, gone))
            .group_by(PAIRS.c.image)
            .order_by(PAIRS.c.image)
            .limit(limit)
        )
        with self._store.reading() as connection:
            rows = connection.execute(query.where(PAIRS.c.image > self._number(connection, after))).all()
            texts = self._names.texts(connection, [row[0] for row in rows])
            return [Backlog(texts[image], count, WANTS[want]) for image, count, want in rows]

    def pending_jobs(
        self, run_id: int, image_id: str, *, after: str | None, limit: int, gone: bool | None = None
    ) -> list[Job]:
        """See `ports.Ledger`."""
        query = select(PAIRS.c.member, PAIRS.c.want).where(*pending(run_id, gone)).order_by(PAIRS.c.member).limit(limit)
        with self._store.reading() as connection:
            here = PAIRS.c.image == self._number(connection, image_id)
            rows = connection.execute(query.where(here, PAIRS.c.member > self._number(connection, after))).all()
            texts = self._names.texts(connection, [row[0] for row in rows])
            return [Job(image_id, texts[member], WANTS[want]) for member, want in rows]

    def is_pending(self, run_id: int, image_id: str, member_id: str) -> bool:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            image, member = self._number(connection, image_id), self._number(connection, member_id)
            this = *pending(run_id, None), PAIRS.c.image == image, PAIRS.c.member == member
            return connection.scalar(select(PAIRS.c.member).where(*this)) is not None

    def mark_listed(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Ledger`."""
        if not member_ids:
            return
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, {image_id, *member_ids})
            image = numbers[image_id]
            execute_many(connection, MARK_LISTED, [(run_id, image, numbers[member]) for member in member_ids])
        self._names.remember(numbers)

    # --- the record ----------------------------------------------------------------------------------------------

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Ledger`. What a pair wants stays as it was enqueued, whatever the outcome's `want`."""
        if not outcomes:
            return
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, texts_of(outcomes))
            execute_many(connection, SETTLE, [settled_row(run_id, outcome, numbers) for outcome in outcomes])
        self._names.remember(numbers)

    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, gone: bool | None = None
    ) -> int:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, {reason} - {""})
            settled = connection.execute(
                update(PAIRS)
                .where(*pending(run_id, gone), PAIRS.c.image == self._number(connection, image_id))
                .values(result=RESULT_CODES[result], reason=numbers.get(reason), attempts=0, settled_at=pack_time(now))
            )
            count = settled.rowcount
        self._names.remember(numbers)
        return count

    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """See `ports.Ledger`."""
        already = PAIRS.c.result == RESULT_CODES[Result.ALREADY]
        pairs = select(PAIRS.c.image, PAIRS.c.member).where(PAIRS.c.run_id == run_id, already, PAIRS.c.status.is_(None))
        found: dict[str, list[str]] = {}
        with self._store.reading() as connection:
            images = (
                pairs.with_only_columns(PAIRS.c.image)
                .where(PAIRS.c.image > self._number(connection, after))
                .group_by(PAIRS.c.image)
                .order_by(PAIRS.c.image)
                .limit(limit)
            )
            query = pairs.where(PAIRS.c.image.in_(images)).order_by(PAIRS.c.image, PAIRS.c.member)
            rows = connection.execute(query).all()
            texts = self._names.texts(connection, {number for row in rows for number in row})
        for image, member in rows:
            found.setdefault(texts[image], []).append(texts[member])
        return list(found.items())

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """See `ports.Ledger`."""
        if not members:
            return
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, texts_of(members))
            execute_many(connection, DESCRIBE, [described_row(run_id, member, numbers) for member in members])
        self._names.remember(numbers)

    def totals(self, run_id: int) -> dict[Result, int]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return runs.count_pairs(connection, run_id)

    def outcomes(self, run_id: int, *, results: frozenset[Result] | None = None) -> Iterator[Outcome]:
        """See `ports.Ledger`. Reads a snapshot, a few thousand rows at a time."""
        query = select_outcomes(run_id, results)
        with self._store.reading() as connection:
            rows = connection.execution_options(yield_per=READ_AT_ONCE).execute(query)
            for part in rows.partitions():
                yield from read_outcomes(connection, part, self._names)

    # --- beside the pairs ----------------------------------------------------------------------------------------

    def record_telemetry(self, run_id: int, telemetry: Telemetry) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            add_telemetry(connection, run_id, telemetry)

    def telemetry(self, run_id: int) -> list[Telemetry]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return read_telemetry(connection, run_id)

    def label(self, labels: Mapping[str, str]) -> None:
        """See `ports.Ledger`."""
        if labels:
            with self._store.writing() as connection:
                keep_labels(connection, labels)

    def labels(self, run_id: int) -> dict[str, str]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return read_labels(connection, run_id)

    def _number(self, connection: Connection, text: str | None) -> int:
        """Return the number of a name, or 0, which comes before all and is nobody's."""
        return 0 if text is None else self._names.number(connection, text) or 0
