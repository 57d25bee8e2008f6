"""`SqlLedger`: the `ports.Ledger` in SQL. Images and members are ordered by their first mention in the ledger.

After a lost connection to a server a method is repeated, so every write is safe to do twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import select

from bulkshare.ledger import runs
from bulkshare.ledger.codecs import WANTS
from bulkshare.ledger.dialects import execute_many
from bulkshare.ledger.pairs import (
    DESCRIBE,
    MARK_LISTED,
    SETTLE,
    batches,
    described_row,
    enqueue,
    pending,
    read_outcomes,
    select_backlog,
    select_jobs,
    select_outcomes,
    select_undescribed,
    settle_all,
    settled_rows,
    texts_of,
    texts_of_blocks,
)
from bulkshare.ledger.schema import LONGEST_TEXT, PAIRS
from bulkshare.ledger.sqlite import FileStore
from bulkshare.ledger.store import retry_lost, retrying
from bulkshare.ledger.strings import StringTable
from bulkshare.ledger.url import parse_location
from bulkshare.model import Account, Backlog, Job, Outcome, Result, Run, RunState, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from bulkshare.ledger.store import PlanLock, Store
    from bulkshare.model import Block, Member, Telemetry


ENQUEUED_AT_ONCE = 20_000  # pairs in one transaction, so that others can write in between
READ_AT_ONCE = 5_000  # rows

P = ParamSpec("P")
T = TypeVar("T")


class SqlLedger:
    """A ledger in a file or on a database server; `ports.Ledger` documents the methods."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names = StringTable()

    @classmethod
    def open(cls, where: str, *, create: bool = True) -> Self:
        """Open the ledger at a path or URL; `create` a missing one. Raises `LedgerError`."""
        location = parse_location(where)
        if isinstance(location, Path):
            return cls(FileStore(location, create=create))
        from bulkshare.ledger.server import ServerStore  # noqa: PLC0415  most ledgers are files

        return cls(ServerStore(location, create=create))

    def close(self) -> None:
        """Close it."""
        self._store.close()

    def lock_of(self, plan: str) -> PlanLock:
        """Return the lock of a plan; use it through `RunLock`."""
        return self._store.lock_of(plan)

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

        def add(again: bool) -> Run:  # noqa: FBT001  as `retry_lost` calls it
            with self._store.writing() as connection:
                self._names.forget()  # another process may have pruned while no run was active
                return runs.add(
                    connection,
                    plan=plan,
                    fingerprint=fingerprint,
                    account=account,
                    now=now,
                    settings=settings or Settings(),
                    key_suffix=key_suffix,
                    again=again,
                )

        return retry_lost(add)

    def unfinished(self, *, plan: str, fingerprint: str, account: Account) -> Run | None:
        """See `ports.Ledger`."""
        run = self._read(runs.newest_at, plan=plan, account=account)
        if run is None or run.state is RunState.FINISHED or run.fingerprint != fingerprint:
            return None
        return run

    def newest_run(self, plan: str | None = None) -> Run | None:
        """Return the newest run, of a plan or of all."""
        return next(iter(self.runs(plan=plan, limit=1)), None)

    @retrying
    def reopen(self, run_id: int, settings: Settings | None = None) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            self._names.forget()  # as in `begin`
            return runs.mark_running(connection, run_id, settings)

    def finish(self, run_id: int, *, now: datetime, requests: int, retries: int, seconds: float) -> Run:
        """See `ports.Ledger`."""

        def rest(again: bool) -> Run:  # noqa: FBT001  as `retry_lost` calls it
            with self._store.writing() as connection:
                return runs.mark_stopped(
                    connection, run_id, now=now, requests=requests, retries=retries, seconds=seconds, again=again
                )

        return retry_lost(rest)

    def runs(self, *, limit: int | None = None, plan: str | None = None) -> list[Run]:
        """See `ports.Ledger`. With `plan`, only its runs."""
        return self._read(runs.newest_runs, plan=plan, limit=limit)

    def last_enqueued(self, *, plan: str, account: Account) -> Run | None:
        """See `ports.Ledger`."""
        return self._read(runs.newest_at, plan=plan, account=account, enqueued=True)

    def run_before(self, run: Run) -> Run | None:
        """See `ports.Ledger`."""
        return self._read(runs.newest_at, plan=run.plan, account=run.account, enqueued=True, before=run.id)

    @retrying
    def prune(self, run_ids: Sequence[int], *, names_unless_after: int | None) -> bool:
        """See `ports.Ledger`. One transaction per run, so that others can write in between."""
        for run_id in run_ids:
            with self._store.writing() as connection:
                runs.delete_run(connection, run_id)
        if names_unless_after is None:
            return False
        with self._store.writing() as connection:
            # A run that begins now waits for this transaction, and then looks up all numbers again.
            deleted = runs.delete_unused_names(connection, unless_after=names_unless_after)
        if deleted:
            self._names.forget()
            self._store.shrink()
        return deleted

    def find_run(self, key: str | None = None) -> Run | None:
        """See `ports.Ledger`. Raises `UsageError` if several keys start with `key`."""
        return self.newest_run() if key is None else self._read(runs.find, key)

    # --- the work list -------------------------------------------------------------------------------------------

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """See `ports.Ledger`. Commits in batches: called again after a kill, it adds what is missing.

        A pending pair takes over the new want, but keeps `Want.ALREADY_MEMBER`.
        """
        return sum(self._enqueue(run_id, batch) for batch in batches(blocks, ENQUEUED_AT_ONCE))

    @retrying
    def _enqueue(self, run_id: int, batch: list[Block]) -> int:
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, texts_of_blocks(batch))
            added = enqueue(connection, run_id, batch, numbers)
        self._names.remember(numbers)
        return added

    @retrying
    def mark_enqueued(self, run_id: int) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            runs.mark_enqueued(connection, run_id)

    @retrying
    def pending_images(
        self, run_id: int, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Backlog]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            query = select_backlog(run_id, removals, after=self._number(connection, after), images=limit)
            rows = connection.execute(query).all()
            texts = self._names.texts(connection, [row[0] for row in rows])
            return [Backlog(texts[image], count, WANTS[want]) for image, count, want in rows]

    @retrying
    def pending_jobs(
        self, run_id: int, image_id: str, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Job]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            image, last = self._number(connection, image_id), self._number(connection, after)
            of = {"run_id": run_id, "image": image, "member": last}
            rows = connection.execute(select_jobs(removals, limit), of).all()
            texts = self._names.texts(connection, [row[0] for row in rows])
            return [Job(image_id, texts[member], WANTS[want]) for member, want in rows]

    @retrying
    def is_pending(self, run_id: int, image_id: str, member_id: str) -> bool:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            image, member = self._number(connection, image_id), self._number(connection, member_id)
            this = *pending(run_id, None), PAIRS.c.image == image, PAIRS.c.member == member
            return connection.scalar(select(PAIRS.c.member).where(*this)) is not None

    @retrying
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

    @retrying
    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Ledger`. The want of a pair stays as it was enqueued, whatever the outcome's `want`."""
        if not outcomes:
            return
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, texts_of(outcomes))
            execute_many(connection, SETTLE, settled_rows(run_id, outcomes, numbers))
        self._names.remember(numbers)

    @retrying
    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, removals: bool | None = None
    ) -> int:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            reason = reason[:LONGEST_TEXT]
            numbers = self._names.numbers(connection, {reason} - {""})
            rest = *pending(run_id, removals), PAIRS.c.image == self._number(connection, image_id)
            count = connection.execute(settle_all(rest, result, numbers[reason] if reason else None, now)).rowcount
        self._names.remember(numbers)
        return count

    @retrying
    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """See `ports.Ledger`."""
        found: dict[str, list[str]] = {}
        with self._store.reading() as connection:
            query = select_undescribed(run_id, after=self._number(connection, after), images=limit)
            rows = connection.execute(query).all()
            texts = self._names.texts(connection, {number for row in rows for number in row})
        for image, member in rows:
            found.setdefault(texts[image], []).append(texts[member])
        return list(found.items())

    @retrying
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
        return self._read(runs.count_pairs, run_id)

    def outcomes(self, run_id: int, *, results: frozenset[Result] | None = None) -> Iterator[Outcome]:
        """See `ports.Ledger`. Reads a snapshot, a few thousand rows at a time."""
        query = select_outcomes(run_id, results).limit(READ_AT_ONCE)
        last = {"image": 0, "member": 0}
        with self._store.reading() as connection:
            while rows := connection.execute(query, last).all():
                yield from read_outcomes(connection, rows, self._names)
                last = {"image": rows[-1].image, "member": rows[-1].member}

    # --- beside the pairs ----------------------------------------------------------------------------------------

    @retrying
    def record_telemetry(self, run_id: int, telemetry: Telemetry) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            runs.add_telemetry(connection, run_id, telemetry)

    def telemetry(self, run_id: int) -> list[Telemetry]:
        """See `ports.Ledger`."""
        return self._read(runs.read_telemetry, run_id)

    @retrying
    def label(self, labels: Mapping[str, str]) -> None:
        """See `ports.Ledger`."""
        if labels:
            with self._store.writing() as connection:
                runs.keep_labels(connection, labels)

    def labels(self, run_id: int) -> dict[str, str]:
        """See `ports.Ledger`."""
        return self._read(runs.read_labels, run_id)

    @retrying
    def _read(self, ask: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._store.reading() as connection:
            return ask(connection, *args, **kwargs)

    def _number(self, connection: Connection, text: str | None) -> int:
        """Return the number of a text, or 0, which no text has and which precedes all numbers."""
        return 0 if text is None else self._names.number(connection, text) or 0
