"""The rows of runs: reading, writing and finding them, in the caller's transaction."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update

from bulkshare.errors import UsageError
from bulkshare.ledger.schema import PAIRS, RUNS
from bulkshare.ledger.settings import pack_settings, unpack_settings
from bulkshare.ledger.values import RESULTS, pack_time, unpack_time
from bulkshare.model import Account, Result, Run, RunState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Row, Select

    from bulkshare.model import Settings

MATCHES_SHOWN = 5


def count_pairs(connection: Connection, run_id: int) -> dict[Result, int]:
    """Count the run's pairs by result; every result is a key."""
    query = select(PAIRS.c.result, func.count()).where(PAIRS.c.run_id == run_id).group_by(PAIRS.c.result)
    counts = {RESULTS[code]: count for code, count in connection.execute(query)}
    return {result: counts.get(result, 0) for result in Result}


def newest_runs(connection: Connection, *, plan: str | None = None, limit: int | None = None) -> list[Run]:
    """Return the runs of a plan, or of all, newest first."""
    query = _newest_first().limit(limit)
    return _read(connection, query if plan is None else query.where(RUNS.c.plan == plan))


def find(connection: Connection, key: str) -> Run | None:
    """Return the run of that key, or of a unique beginning of it. Raises `UsageError` where several begin so."""
    exact = _read(connection, select(RUNS).where(RUNS.c.key == key))
    if exact:
        return exact[0]
    begins_so = func.substr(RUNS.c.key, 1, len(key)) == key  # LIKE would not tell upper case from lower
    keys = list(connection.scalars(select(RUNS.c.key).where(begins_so).order_by(RUNS.c.id.desc())))
    if len(keys) > 1:
        more = f" and {len(keys) - MATCHES_SHOWN} more" if len(keys) > MATCHES_SHOWN else ""
        shown = ", ".join(keys[:MATCHES_SHOWN])
        raise UsageError(f"{len(keys)} runs begin with {key!r}: {shown}{more}; give more of the name")
    return _one(connection, RUNS.c.key == keys[0]) if keys else None


def newest_at(
    connection: Connection, *, plan: str, account: Account, enqueued: bool = False, before: int | None = None
) -> Run | None:
    """Return the newest run of a plan at the account's endpoint and for its project.

    Only one that knows all its pairs where `enqueued`, and one that began before run `before` where that is given.
    """
    query = _newest_first().where(
        RUNS.c.plan == plan, RUNS.c.endpoint == account.endpoint, RUNS.c.project_id == account.project_id
    )
    if enqueued:
        query = query.where(RUNS.c.enqueued)
    if before is not None:
        query = query.where(RUNS.c.id < before)
    return next(iter(_read(connection, query.limit(1))), None)


def add(
    connection: Connection,
    *,
    plan: str,
    fingerprint: str,
    account: Account,
    now: datetime,
    settings: Settings,
    key_suffix: str,
    again: bool,
) -> Run:
    """Add a run that is at work from now on, under a key of its own; with `again`, unless that was done."""
    wanted = "-".join(filter(None, (plan, f"{now:%Y%m%dT%H%M%SZ}", key_suffix)))
    if again and (added := _read(connection, _mine(wanted, now))):
        return added[0]
    key = _free_key(connection, wanted)
    row = {
        "key": key,
        "plan": plan,
        "fingerprint": fingerprint,
        "cloud": account.cloud,
        "region": account.region,
        "endpoint": account.endpoint,
        "user": account.user,
        "project": account.project,
        "project_id": account.project_id,
        "started_at": pack_time(now),
        "settings": pack_settings(settings),
        **_at_work(),
    }
    connection.execute(insert(RUNS), row)
    return _one(connection, RUNS.c.key == key)


def set_to_work(connection: Connection, run_id: int, settings: Settings | None) -> Run:
    """Let a run be at work again, by this process."""
    values = {**_at_work(), "finished_at": None, "totals": None}
    if settings is not None:
        values["settings"] = pack_settings(settings)
    connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(values))
    return _one(connection, RUNS.c.id == run_id)


def mark_enqueued(connection: Connection, run_id: int) -> None:
    """Write down that all the run's pairs are in the ledger."""
    connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(enqueued=True))


def set_to_rest(
    connection: Connection, run_id: int, *, now: datetime, requests: int, retries: int, seconds: float, again: bool
) -> Run:
    """Write down that nobody is at work on a run any more, what it came to, and add to what it took.

    With `again`, unless that was done.
    """
    if again and (before := _one(connection, RUNS.c.id == run_id)).state is not RunState.RUNNING:
        return before
    totals = count_pairs(connection, run_id)
    values = {
        "state": (RunState.INTERRUPTED if totals[Result.PENDING] else RunState.FINISHED).value,
        "finished_at": pack_time(now),
        "requests": RUNS.c.requests + requests,
        "retries": RUNS.c.retries + retries,
        "seconds": RUNS.c.seconds + seconds,
        "totals": {result.value: count for result, count in totals.items()},
    }
    connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(values))
    return _one(connection, RUNS.c.id == run_id)


def _newest_first() -> Select[Any]:
    return select(RUNS).order_by(RUNS.c.id.desc())


def _mine(wanted: str, now: datetime) -> Select[Any]:
    """Return the query for a run that this process began at that very moment: it is added, and nobody was told."""
    mine = (
        RUNS.c.key.startswith(wanted, autoescape=True),
        *(RUNS.c[name] == value for name, value in _at_work().items()),
    )
    return select(RUNS).where(RUNS.c.started_at == pack_time(now), *mine)


def _at_work() -> dict[str, Any]:
    return {"state": RunState.RUNNING.value, "host": socket.gethostname(), "pid": os.getpid()}


def _free_key(connection: Connection, wanted: str) -> str:
    key, number = wanted, 1
    while connection.scalar(select(RUNS.c.id).where(RUNS.c.key == key)) is not None:
        number += 1
        key = f"{wanted}-{number}"
    return key


def _one(connection: Connection, condition: Any) -> Run:
    return _run(connection, connection.execute(select(RUNS).where(condition)).one())


def _read(connection: Connection, query: Select[Any]) -> list[Run]:
    return [_run(connection, row) for row in connection.execute(query).all()]


def _run(connection: Connection, row: Row[Any]) -> Run:
    started_at = unpack_time(row.started_at)
    assert started_at is not None  # noqa: S101  the column takes no NULL, which the type does not know
    kept = row.totals
    return Run(
        id=row.id,
        key=row.key,
        plan=row.plan,
        fingerprint=row.fingerprint,
        account=Account(row.cloud, row.region, row.endpoint, row.user, row.project, row.project_id),
        state=RunState(row.state),
        started_at=started_at,
        finished_at=unpack_time(row.finished_at),
        host=row.host,
        pid=row.pid,
        requests=row.requests,
        retries=row.retries,
        seconds=row.seconds,
        totals=count_pairs(connection, row.id) if kept is None else {result: kept[result.value] for result in Result},
        settings=unpack_settings(row.settings),
        enqueued=row.enqueued,
    )
