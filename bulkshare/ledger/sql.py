"""`SqlLedger`: the `ports.Ledger` in SQL. Images and members come in the order of their first mention in the ledger."""

from __future__ import annotations

import os
import socket
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import bindparam, func, insert, select, update

from bulkshare.errors import UsageError
from bulkshare.ledger.names import Names
from bulkshare.ledger.schema import PAIRS, RESULT_CODES, RESULTS, RUNS
from bulkshare.ledger.store import Store
from bulkshare.model import Account, Outcome, Result, Run, RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row, Select

    from bulkshare.model import Member

ENQUEUED_AT_ONCE = 20_000  # pairs in one transaction: others get to write in between
READ_AT_ONCE = 5_000  # rows
MATCHES_SHOWN = 5

SAME_PAIR = (
    PAIRS.c.run_id == bindparam("at_run"),
    PAIRS.c.image == bindparam("at_image"),
    PAIRS.c.member == bindparam("at_member"),
)
DESCRIBED = ("status", "created_at", "updated_at", "schema")
RECORDED = ("result", "http_status", *DESCRIBED, "attempts", "request_id", "reason", "started_at", "settled_at")
SETTLE = update(PAIRS).where(*SAME_PAIR).values({name: bindparam(f"new_{name}") for name in RECORDED})
DESCRIBE = update(PAIRS).where(*SAME_PAIR).values({name: bindparam(f"new_{name}") for name in DESCRIBED})


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

    def begin(self, *, plan: str, fingerprint: str, account: Account, now: datetime) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            row = {
                "key": _free_key(connection, f"{plan}-{now:%Y%m%dT%H%M%SZ}"),
                "plan": plan,
                "fingerprint": fingerprint,
                "cloud": account.cloud,
                "region": account.region,
                "endpoint": account.endpoint,
                "user": account.user,
                "project": account.project,
                "project_id": account.project_id,
                "started_at": now,
                **_at_work(),
            }
            connection.execute(insert(RUNS), row)
            return self._one(connection, select(RUNS).where(RUNS.c.key == row["key"]))

    def unfinished(self, *, plan: str, fingerprint: str, account: Account) -> Run | None:
        """See `ports.Ledger`."""
        run = self.newest_run(plan)
        if run is None or run.state is RunState.FINISHED:
            return None
        same = (run.fingerprint, run.account.endpoint, run.account.project_id)
        return run if same == (fingerprint, account.endpoint, account.project_id) else None

    def newest_run(self, plan: str | None = None) -> Run | None:
        """Return the newest run, of a plan or of all."""
        query = _newest_first() if plan is None else _newest_first().where(RUNS.c.plan == plan)
        with self._store.reading() as connection:
            return next(self._runs(connection, query.limit(1)), None)

    def reopen(self, run_id: int) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(**_at_work(), finished_at=None))
            return self._one(connection, select(RUNS).where(RUNS.c.id == run_id))

    def finish(self, run_id: int, *, now: datetime, requests: int, retries: int, seconds: float) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            totals = _totals(connection, run_id)
            state = RunState.INTERRUPTED if totals[Result.PENDING] else RunState.FINISHED
            connection.execute(
                update(RUNS)
                .where(RUNS.c.id == run_id)
                .values(
                    state=state.value,
                    finished_at=now,
                    requests=RUNS.c.requests + requests,
                    retries=RUNS.c.retries + retries,
                    seconds=RUNS.c.seconds + seconds,
                    totals={result.value: count for result, count in totals.items()},
                )
            )
            return self._one(connection, select(RUNS).where(RUNS.c.id == run_id))

    def runs(self, *, limit: int | None = None) -> list[Run]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return list(self._runs(connection, _newest_first().limit(limit)))

    def find_run(self, key: str | None = None) -> Run | None:
        """See `ports.Ledger`. Raises `UsageError` where several runs begin with `key`."""
        if key is None:
            return self.newest_run()
        with self._store.reading() as connection:
            exact = next(self._runs(connection, select(RUNS).where(RUNS.c.key == key)), None)
            if exact is not None:
                return exact
            query = _newest_first().where(RUNS.c.key.startswith(key, autoescape=True)).limit(MATCHES_SHOWN + 1)
            matches = list(self._runs(connection, query))
        if len(matches) > 1:
            more = ", ..." if len(matches) > MATCHES_SHOWN else ""
            names = ", ".join(run.key for run in matches[:MATCHES_SHOWN])
            raise UsageError(f"several runs begin with {key}: {names}{more}; give more of the name")
        return matches[0] if matches else None

    # --- the work list -------------------------------------------------------------------------------------------

    def enqueue(self, run_id: int, blocks: Iterable[tuple[str, Sequence[str]]]) -> int:
        """See `ports.Ledger`. Commits as it goes: called again after a kill, it adds what is missing."""
        new = 0
        for batch in _batches(blocks, ENQUEUED_AT_ONCE):
            with self._store.writing() as connection:
                texts = [image_id for image_id, _ in batch]
                for _, member_ids in batch:
                    texts.extend(member_ids)
                numbers = self._names.numbers(connection, texts)
                rows = [
                    {"run_id": run_id, "image": numbers[image_id], "member": numbers[member_id]}
                    for image_id, member_ids in batch
                    for member_id in member_ids
                ]
                new += connection.execute(insert(PAIRS).prefix_with("OR IGNORE", dialect="sqlite"), rows).rowcount
            self._names.remember(numbers)
        return new

    def pending_images(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, int]]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            query = (
                select(PAIRS.c.image, func.count())
                .where(PAIRS.c.run_id == run_id, PAIRS.c.result.is_(None))
                .group_by(PAIRS.c.image)
                .order_by(PAIRS.c.image)
                .limit(limit)
            )
            if after is not None:
                query = query.where(PAIRS.c.image > self._names.number(connection, after))
            rows = connection.execute(query).all()
            texts = self._names.texts(connection, [row[0] for row in rows])
            return [(texts[image], count) for image, count in rows]

    def pending_members(self, run_id: int, image_id: str, *, after: str | None, limit: int) -> list[str]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            query = (
                select(PAIRS.c.member)
                .where(*self._of_image(connection, run_id, image_id), PAIRS.c.result.is_(None))
                .order_by(PAIRS.c.member)
                .limit(limit)
            )
            if after is not None:
                query = query.where(PAIRS.c.member > self._names.number(connection, after))
            members = connection.scalars(query).all()
            texts = self._names.texts(connection, members)
            return [texts[member] for member in members]

    # --- the record ----------------------------------------------------------------------------------------------

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Ledger`. An outcome for a pair that was not enqueued is dropped."""
        if not outcomes:
            return
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, _texts_of(outcomes))
            connection.execute(SETTLE, [_settled_row(run_id, outcome, numbers) for outcome in outcomes])
        self._names.remember(numbers)

    def settle_rest(self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime) -> int:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, [reason])
            settled = connection.execute(
                update(PAIRS)
                .where(*self._of_image(connection, run_id, image_id), PAIRS.c.result.is_(None))
                .values(result=RESULT_CODES[result], reason=numbers[reason], attempts=0, settled_at=now)
            )
            count = settled.rowcount
        self._names.remember(numbers)
        return count

    def undescribed(self, run_id: int) -> list[tuple[str, list[str]]]:
        """See `ports.Ledger`."""
        query = (
            select(PAIRS.c.image, PAIRS.c.member)
            .where(PAIRS.c.run_id == run_id, PAIRS.c.result == RESULT_CODES[Result.ALREADY], PAIRS.c.status.is_(None))
            .order_by(PAIRS.c.image, PAIRS.c.member)
        )
        found: dict[str, list[str]] = {}
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
            texts = self._names.texts(connection, [number for row in rows for number in row])
            for image, member in rows:
                found.setdefault(texts[image], []).append(texts[member])
        return list(found.items())

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """See `ports.Ledger`."""
        if not members:
            return
        with self._store.writing() as connection:
            numbers = self._names.numbers(connection, _texts_of(members))
            connection.execute(DESCRIBE, [_described_row(run_id, member, numbers) for member in members])
        self._names.remember(numbers)

    def totals(self, run_id: int) -> dict[Result, int]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return _totals(connection, run_id)

    def outcomes(self, run_id: int, *, results: frozenset[Result] | None = None) -> Iterator[Outcome]:
        """See `ports.Ledger`. Reads a snapshot, a few thousand rows at a time."""
        query = select(PAIRS).where(PAIRS.c.run_id == run_id).order_by(PAIRS.c.image, PAIRS.c.member)
        if results is not None:
            settled = PAIRS.c.result.in_([RESULT_CODES[result] for result in results - {Result.PENDING}])
            query = query.where(settled | PAIRS.c.result.is_(None) if Result.PENDING in results else settled)
        with self._store.reading() as connection:
            rows = connection.execution_options(yield_per=READ_AT_ONCE).execute(query)
            for part in rows.partitions():
                numbers = [n for row in part for n in (row.image, row.member, row.status, row.schema, row.reason)]
                texts = self._names.texts(connection, numbers)
                yield from (_outcome(row, texts) for row in part)

    def _of_image(self, connection: Connection, run_id: int, image_id: str) -> tuple[Any, Any]:
        return PAIRS.c.run_id == run_id, PAIRS.c.image == self._names.number(connection, image_id)

    def _one(self, connection: Connection, query: Select[Any]) -> Run:
        return next(self._runs(connection, query))

    def _runs(self, connection: Connection, query: Select[Any]) -> Iterator[Run]:
        for row in connection.execute(query).all():
            finished = row.state == RunState.FINISHED.value and row.totals is not None
            yield _run(row, _read_totals(row.totals) if finished else _totals(connection, row.id))


def _newest_first() -> Select[Any]:
    return select(RUNS).order_by(RUNS.c.id.desc())


def _at_work() -> dict[str, Any]:
    return {"state": RunState.RUNNING.value, "host": socket.gethostname(), "pid": os.getpid()}


def _free_key(connection: Connection, wanted: str) -> str:
    key, number = wanted, 1
    while connection.scalar(select(RUNS.c.id).where(RUNS.c.key == key)) is not None:
        number += 1
        key = f"{wanted}-{number}"
    return key


def _totals(connection: Connection, run_id: int) -> dict[Result, int]:
    query = select(PAIRS.c.result, func.count()).where(PAIRS.c.run_id == run_id).group_by(PAIRS.c.result)
    counts = {RESULTS[code]: count for code, count in connection.execute(query)}
    return {result: counts.get(result, 0) for result in Result}


def _read_totals(kept: dict[str, int]) -> dict[Result, int]:
    return {result: kept.get(result.value, 0) for result in Result}


def _batches(blocks: Iterable[tuple[str, Sequence[str]]], pairs: int) -> Iterator[list[tuple[str, Sequence[str]]]]:
    """Group blocks so that each batch has about that many pairs, cutting those that are larger."""
    batch: list[tuple[str, Sequence[str]]] = []
    size = 0
    for image_id, member_ids in blocks:
        members = iter(member_ids)
        while part := list(islice(members, pairs)):
            batch.append((image_id, part))
            size += len(part)
            if size >= pairs:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _texts_of(records: Sequence[Outcome] | Sequence[Member]) -> Iterator[str]:
    for record in records:
        texts = [record.image_id, record.member_id, record.status, record.schema]
        if isinstance(record, Outcome):
            texts.append(record.reason)
        yield from (text for text in texts if text)


def _described_row(run_id: int, record: Outcome | Member, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "at_run": run_id,
        "at_image": numbers[record.image_id],
        "at_member": numbers[record.member_id],
        "new_status": numbers[record.status] if record.status else None,
        "new_created_at": record.created_at,
        "new_updated_at": record.updated_at,
        "new_schema": numbers[record.schema] if record.schema else None,
    }


def _settled_row(run_id: int, outcome: Outcome, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        **_described_row(run_id, outcome, numbers),
        "new_result": RESULT_CODES.get(outcome.result),
        "new_http_status": outcome.http_status,
        "new_attempts": outcome.attempts,
        "new_request_id": outcome.request_id,
        "new_reason": numbers[outcome.reason] if outcome.reason else None,
        "new_started_at": outcome.started_at,
        "new_settled_at": outcome.settled_at,
    }


def _outcome(row: Row[Any], texts: dict[int, str]) -> Outcome:
    return Outcome(
        image_id=texts[row.image],
        member_id=texts[row.member],
        result=RESULTS[row.result],
        http_status=row.http_status,
        status=texts.get(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        schema=texts.get(row.schema),
        attempts=row.attempts or 0,
        request_id=row.request_id,
        reason=texts.get(row.reason, ""),
        started_at=row.started_at,
        settled_at=row.settled_at,
    )


def _run(row: Row[Any], totals: dict[Result, int]) -> Run:
    return Run(
        id=row.id,
        key=row.key,
        plan=row.plan,
        fingerprint=row.fingerprint,
        account=Account(row.cloud, row.region, row.endpoint, row.user, row.project, row.project_id),
        state=RunState(row.state),
        started_at=row.started_at,
        finished_at=row.finished_at,
        host=row.host,
        pid=row.pid,
        requests=row.requests,
        retries=row.retries,
        seconds=row.seconds,
        totals=totals,
    )
