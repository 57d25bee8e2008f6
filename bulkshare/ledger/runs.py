"""The rows of runs and of what belongs to them: orders, settings, telemetry, labels; and their deletion.

Every function works in the caller's transaction.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from itertools import groupby, islice
from math import inf
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, false, func, insert, select, union, update
from sqlalchemy import delete as delete_from

from bulkshare.errors import UsageError
from bulkshare.ledger import steering
from bulkshare.ledger.codecs import RESULTS, pack_time, unpack_time
from bulkshare.ledger.dialects import execute_many, insert_or_update
from bulkshare.ledger.schema import BATCHES, CONTROLS, HEARTBEATS, IMAGES, LABELS, NAMES, ORDERS, PAIRS, RUNS, TELEMETRY
from bulkshare.ledger.strings import CHUNK, StringTable
from bulkshare.model import (
    AS_PLANNED,
    Account,
    Api,
    CheckProjects,
    Limits,
    Orders,
    Origin,
    PruneLimit,
    Result,
    RetryPolicy,
    Run,
    RunState,
    Settings,
    Telemetry,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Row, Select

MATCHES_SHOWN = 5
MATCHES_READ = 100  # as many clouds as a plan will have
STRING_COLUMNS = (PAIRS.c.image, PAIRS.c.member, PAIRS.c.status, PAIRS.c.schema, PAIRS.c.reason, IMAGES.c.image)


# --- life ------------------------------------------------------------------------------------------------------------


def add(
    connection: Connection,
    *,
    plan: str,
    fingerprint: str,
    account: Account,
    now: datetime,
    settings: Settings,
    key_suffix: str,
    invocation: str | None,
    origin: Origin | None,
    again: bool,
) -> Run:
    """Insert a run of this process in state RUNNING, with a unique key. With `again`, it may have been inserted before.

    The key is the plan, the time and the suffix, with a number if there is such a run already.
    """
    prefix = "-".join(filter(None, (plan, f"{now:%Y%m%dT%H%M%SZ}", key_suffix)))
    if again and (added := _read(connection, _begun_by_this_process(prefix, now))):
        return added[0]
    key = _free_key(connection, prefix)
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
        "worked_at": pack_time(now),
        "settings": pack_settings(settings),
        "invocation": invocation,
        "origin": None if origin is None else pack_origins([origin]),
        **_this_process(),
    }
    connection.execute(insert(RUNS), row)
    return _one(connection, RUNS.c.key == key)


def mark_running(
    connection: Connection,
    run_id: int,
    *,
    now: datetime,
    settings: Settings | None,
    invocation: str | None,
    origin: Origin | None,
) -> Run:
    """Set a run to RUNNING in this process, with new settings, another invocation and its origin if given."""
    steering.forget(connection, run_id)
    values = {
        **_this_process(),
        "worked_at": pack_time(now),
        "finished_at": None,
        "totals": None,
        "exit_code": None,
        "ended_because": None,
    }
    if settings is not None:
        values["settings"] = pack_settings(settings)
    if invocation is not None:
        values["invocation"] = invocation
    if origin is not None:
        before = connection.scalar(select(RUNS.c.origin).where(RUNS.c.id == run_id)) or []
        values["origin"] = [*before[:1], *pack_origins([origin])]
    connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(values))
    return _one(connection, RUNS.c.id == run_id)


def mark_enqueued(connection: Connection, run_id: int) -> None:
    """Record that all of the plan's pairs and orders are in the ledger."""
    connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(enqueued=True))


def mark_ended(
    connection: Connection,
    run_id: int,
    *,
    now: datetime,
    requests: int,
    retries: int,
    seconds: float,
    complete: bool,
    exit_code: int | None,
    ended_because: str,
    again: bool,
) -> Run:
    """Set a run to FINISHED, or to INTERRUPTED if pairs are pending, and add what this invocation took to its sums.

    Unless it is `complete`, there may be more to do than what is pending, and it is INTERRUPTED, too. With `again`, it
    may have been done before, and is not done twice.
    """
    if again and (before := _one(connection, RUNS.c.id == run_id)).state is not RunState.RUNNING:
        return before
    totals = tally(connection, run_id)
    values = {
        "state": (RunState.FINISHED if complete and not totals[Result.PENDING.value] else RunState.INTERRUPTED).value,
        "finished_at": pack_time(now),
        "worked_at": pack_time(now),
        "requests": RUNS.c.requests + requests,
        "retries": RUNS.c.retries + retries,
        "seconds": RUNS.c.seconds + seconds,
        "totals": totals,
        "exit_code": exit_code,
        "ended_because": ended_because or None,
    }
    connection.execute(delete_from(HEARTBEATS).where(HEARTBEATS.c.run_id == run_id))
    connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(values))
    return _one(connection, RUNS.c.id == run_id)


def delete(connection: Connection, run_id: int) -> None:
    """Delete a run and all rows that belong to it. The strings stay."""
    for table in (PAIRS, BATCHES, IMAGES, ORDERS, TELEMETRY, HEARTBEATS, CONTROLS):
        connection.execute(delete_from(table).where(table.c.run_id == run_id))
    connection.execute(delete_from(RUNS).where(RUNS.c.id == run_id))


def delete_unused_strings(connection: Connection, *, unless_after: int) -> bool:
    """Delete the strings that no run refers to, with their labels, unless a run is newer than run `unless_after`.

    Return whether they were deleted. No process that works on that run or an older one may have their numbers cached.
    """
    if (connection.scalar(select(func.max(RUNS.c.id))) or 0) > unless_after:
        return False
    used = union(*(select(column).where(column.is_not(None)) for column in STRING_COLUMNS))
    connection.execute(delete_from(NAMES).where(NAMES.c.id.not_in(used)))
    connection.execute(delete_from(LABELS).where(LABELS.c.id.not_in(select(NAMES.c.id))))
    return True


# --- reading ---------------------------------------------------------------------------------------------------------


def count_pairs(connection: Connection, run_id: int) -> dict[Result, int]:
    """Count the run's pairs by result; every result is a key."""
    counts = tally(connection, run_id)
    return {result: counts[result.value] for result in Result}


def tally(connection: Connection, run_id: int) -> dict[str, int]:
    """Count the run's pairs by result, and the fields of `Run` that are counts of something else, by name."""
    pending = select(NAMES.c.id).where(NAMES.c.text == "pending").scalar_subquery()
    waiting = func.count(case((PAIRS.c.status == pending, 1)))
    query = select(PAIRS.c.result, func.count(), waiting).where(PAIRS.c.run_id == run_id).group_by(PAIRS.c.result)
    counts = {RESULTS[code]: (pairs, waiting) for code, pairs, waiting in connection.execute(query)}
    opened = select(func.count()).where(IMAGES.c.run_id == run_id, IMAGES.c.opened_at > 0)
    return {
        **{result.value: counts.get(result, (0, 0))[0] for result in Result},
        "opened": connection.scalar(opened) or 0,
        "awaiting_acceptance": sum(counts.get(result, (0, 0))[1] for result in AS_PLANNED),
    }


def newest(connection: Connection, *, plan: str | None = None, limit: int | None = None) -> list[Run]:
    """Return the runs of a plan, or of all, newest first."""
    query = _newest_first().limit(limit)
    return _read(connection, query if plan is None else query.where(RUNS.c.plan == plan))


def last_worked_on(connection: Connection, *, plan: str | None = None, limit: int | None = None) -> list[Run]:
    """Return the runs of a plan, or of all, the one last worked on first."""
    query = select(RUNS).order_by(RUNS.c.worked_at.desc(), RUNS.c.id.desc()).limit(limit)
    return _read(connection, query if plan is None else query.where(RUNS.c.plan == plan))


def newest_for(
    connection: Connection, *, plan: str, account: Account, enqueued: bool = False, before: int | None = None
) -> Run | None:
    """Return the newest run of a plan at the account's endpoint and for its project.

    enqueued: only runs whose pairs are all in the ledger.
    before: only runs begun before the run with this ID.
    """
    query = _newest_first().where(
        RUNS.c.plan == plan, RUNS.c.endpoint == account.endpoint, RUNS.c.project_id == account.project_id
    )
    if enqueued:
        query = query.where(RUNS.c.enqueued)
    if before is not None:
        query = query.where(RUNS.c.id < before)
    return next(iter(_read(connection, query.limit(1))), None)


def newest_invocations(connection: Connection, limit: int | None, plan: str | None = None) -> list[list[Run]]:
    """Return the runs of the newest invocations, of a plan or of all, newest first; one that belongs to none alone."""
    invocation = func.coalesce(RUNS.c.invocation, RUNS.c.key)
    last = func.max(RUNS.c.id).label("last")
    named = select(invocation.label("name"), last).group_by(invocation).order_by(last.desc()).limit(limit)
    groups = (named if plan is None else named.where(RUNS.c.plan == plan)).subquery()
    query = select(RUNS).join(groups, groups.c.name == invocation).order_by(groups.c.last.desc(), RUNS.c.id)
    found = groupby(_read(connection, query), lambda run: run.invocation or run.key)
    return [list(runs) for _, runs in found]


def of_invocation(connection: Connection, run: Run) -> list[Run]:
    """Return the runs of a run's invocation, in the order in which they were begun; at least itself."""
    if run.invocation is None:
        return [run]
    return _read(connection, select(RUNS).where(RUNS.c.invocation == run.invocation).order_by(RUNS.c.id))


def find(connection: Connection, key: str) -> list[Run]:
    """Return the run with that key, or those whose keys begin so, in the order in which they were begun.

    Raises `UsageError` if several begin so that were not begun together.
    """
    exact = _read(connection, select(RUNS).where(RUNS.c.key == key))
    if exact:
        return exact
    begins_so = func.substr(RUNS.c.key, 1, len(key)) == key  # LIKE would ignore case
    found = _read(connection, _newest_first().where(begins_so).limit(MATCHES_READ))
    if len({(run.plan, run.started_at) for run in found}) > 1:
        shown = ", ".join(run.key for run in found[:MATCHES_SHOWN])
        count = connection.scalar(select(func.count()).select_from(RUNS).where(begins_so)) or 0
        more = f" and {count - MATCHES_SHOWN} more" if count > MATCHES_SHOWN else ""
        raise UsageError(f"{count} runs begin with {key!r}: {shown}{more}; give more of the name")
    return found[::-1]


def _newest_first() -> Select[Any]:
    return select(RUNS).order_by(RUNS.c.id.desc())


def _begun_by_this_process(prefix: str, now: datetime) -> Select[Any]:
    """Return the query for a run that this process began at exactly that time: the one that a lost commit added."""
    here = (RUNS.c[name] == value for name, value in _this_process().items())
    begins_so = RUNS.c.key.startswith(prefix, autoescape=True)
    return select(RUNS).where(RUNS.c.started_at == pack_time(now), begins_so, *here)


def _this_process() -> dict[str, Any]:
    return {"state": RunState.RUNNING.value, "host": socket.gethostname(), "pid": os.getpid()}


def _free_key(connection: Connection, prefix: str) -> str:
    key, number = prefix, 1
    while connection.scalar(select(RUNS.c.id).where(RUNS.c.key == key)) is not None:
        number += 1
        key = f"{prefix}-{number}"
    return key


COUNTED = frozenset({"opened", "awaiting_acceptance", *(result.value for result in Result)})  # see `tally`


def _one(connection: Connection, condition: ColumnElement[bool]) -> Run:
    return _to_run(connection, connection.execute(select(RUNS).where(condition)).one())


def _read(connection: Connection, query: Select[Any]) -> list[Run]:
    return [_to_run(connection, row) for row in connection.execute(query).all()]


def _to_run(connection: Connection, row: Row[Any]) -> Run:
    started_at = unpack_time(row.started_at)
    assert started_at is not None  # noqa: S101  the column is NOT NULL
    totals = row.totals
    if totals is None or not totals.keys() >= COUNTED:  # it is in progress, or was made by a version that counted less
        totals = tally(connection, row.id)
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
        totals={result: totals[result.value] for result in Result},
        settings=unpack_settings(row.settings),
        enqueued=row.enqueued,
        invocation=row.invocation,
        worked_at=unpack_time(row.worked_at),
        opened=totals["opened"],
        awaiting_acceptance=totals["awaiting_acceptance"],
        origins=tuple(Origin(**each) for each in row.origin or ()),
        exit_code=row.exit_code,
        ended_because=row.ended_because or "",
    )


# --- orders ----------------------------------------------------------------------------------------------------------


def pack_orders(orders: Orders) -> dict[str, Any]:
    """Return orders as plain values by field name, without those that are as by default."""
    given = {name: value for name, value in orders._asdict().items() if value != Orders._field_defaults[name]}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in given.items()}


def unpack_orders(stored: dict[str, Any]) -> Orders:
    """Return the orders that `pack_orders` took."""
    limits = tuple(PruneLimit(*limit) for limit in stored.get("prune_limits", ()))
    return Orders(**{**stored, "kept": frozenset(stored.get("kept", ())), "prune_limits": limits})


def add_orders(connection: Connection, run_id: int, orders: Iterable[Orders]) -> dict[Orders, int]:
    """Store distinct orders of a run, and return their numbers. Those that are there already keep theirs."""
    query = select(ORDERS.c.number, ORDERS.c.body).where(ORDERS.c.run_id == run_id)
    numbers = {unpack_orders(row.body): row.number for row in connection.execute(query)}
    last = max(numbers.values(), default=0)
    new = {each: number for number, each in enumerate(dict.fromkeys(orders).keys() - numbers.keys(), last + 1)}
    if new:
        rows = [{"run_id": run_id, "number": number, "body": pack_orders(each)} for each, number in new.items()]
        connection.execute(insert(ORDERS), rows)
    return numbers | new


def set_of_images(connection: Connection, column: str, rows: Sequence[tuple[int, int, int]]) -> None:
    """Set a column of images: rows of run, image and value."""
    key = ("run_id", "image")
    statement = insert_or_update(connection, IMAGES, key, column)
    execute_many(connection, statement.values({name: bindparam(name) for name in (*key, column)}), rows)


def read_orders(connection: Connection, run_id: int) -> dict[str, Orders]:
    """Return the orders of a run's images that have any, by image ID."""
    bodies = select(ORDERS.c.number, ORDERS.c.body).where(ORDERS.c.run_id == run_id)
    orders = {row.number: unpack_orders(row.body) for row in connection.execute(bodies)}
    if not orders:
        return {}
    images = select(NAMES.c.text, IMAGES.c.orders).join(IMAGES, IMAGES.c.image == NAMES.c.id)
    rows = connection.execute(images.where(IMAGES.c.run_id == run_id, IMAGES.c.orders.is_not(None)))
    return {text: orders[number] for text, number in rows}


def read_opened(connection: Connection, run_id: int) -> dict[str, datetime]:
    """Return when the run made images shared, by ID."""
    images = select(NAMES.c.text, IMAGES.c.opened_at).join(IMAGES, IMAGES.c.image == NAMES.c.id)
    rows = connection.execute(images.where(IMAGES.c.run_id == run_id, IMAGES.c.opened_at > 0))
    return {text: time for text, opened_at in rows if (time := unpack_time(opened_at)) is not None}


def read_opening(connection: Connection, run_id: int) -> list[str]:
    """Return the images that were asked to be made shared, without an answer yet."""
    images = select(NAMES.c.text).join(IMAGES, IMAGES.c.image == NAMES.c.id).order_by(NAMES.c.id)
    return list(connection.scalars(images.where(IMAGES.c.run_id == run_id, IMAGES.c.opened_at == 0)))


# --- settings, telemetry, labels -------------------------------------------------------------------------------------


def pack_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values by field name."""
    return asdict(settings)


def pack_origins(origins: Iterable[Origin]) -> list[dict[str, Any]]:
    """Return origins as plain values by field name."""
    return [asdict(origin) for origin in origins]


def unpack_settings(stored: dict[str, Any]) -> Settings:
    """Return the settings that `pack_settings` took."""
    given = {
        "limits": Limits(**stored["limits"]),
        "retry": RetryPolicy(**stored["retry"]),
        "check_projects": CheckProjects(stored.get("check_projects", CheckProjects.AUTO)),  # not in version 1, nor is:
        "api": Api(stored.get("api", Api.AUTO)),
    }
    return Settings(**{**stored, **given})


def pack_telemetry(telemetry: Telemetry) -> dict[str, Any]:
    """Return telemetry as plain values by field name.

    `latency` is a list of bounds and counts, because JSON objects have only strings as keys; None stands for inf.
    """
    latency = [[None if bound == inf else bound, count] for bound, count in telemetry.latency.items()]
    return asdict(telemetry) | {"began_at": pack_time(telemetry.began_at), "latency": latency}


def unpack_telemetry(stored: dict[str, Any]) -> Telemetry:
    """Return the telemetry that `pack_telemetry` took, its time without microseconds."""
    columns = {name: tuple(stored[name]) for name in ("requests", "troubled", "allowed")}
    latency = {inf if bound is None else bound: count for bound, count in stored["latency"]}
    return Telemetry(**{**stored, **columns, "began_at": unpack_time(stored["began_at"]), "latency": latency})


def add_telemetry(connection: Connection, run_id: int, telemetry: Telemetry) -> None:
    """Add the telemetry of the run's next invocation."""
    last = connection.scalar(select(func.max(TELEMETRY.c.number)).where(TELEMETRY.c.run_id == run_id)) or 0
    row = {"run_id": run_id, "number": last + 1, "body": pack_telemetry(telemetry)}
    connection.execute(insert(TELEMETRY), row)


def read_telemetry(connection: Connection, run_id: int) -> list[Telemetry]:
    """Return the telemetry of the run's invocations, in their order."""
    query = select(TELEMETRY.c.body).where(TELEMETRY.c.run_id == run_id).order_by(TELEMETRY.c.number)
    return [unpack_telemetry(body) for body in connection.scalars(query)]


def write_labels(connection: Connection, labels: Mapping[str, str], *, from_plan: bool) -> None:
    """Store the names of images and projects by their IDs; see `ports.Ledger.label`.

    Nearly all labels of a nightly run are there already, so only what is new looks up its number.
    """
    new: dict[str, str] = {}
    labelled = select(NAMES.c.text, LABELS.c.label, LABELS.c.from_plan).join(LABELS, LABELS.c.id == NAMES.c.id)
    remaining = iter(labels)
    while chunk := list(islice(remaining, CHUNK)):
        rows = connection.execute(labelled.where(NAMES.c.text.in_(chunk)))
        there = {row.text: (row.label, row.from_plan) for row in rows}
        for text in chunk:
            if _replaces(labels[text], from_plan=from_plan, old=there.get(text)):
                new[text] = labels[text]
    if new:
        numbers = StringTable().numbers(connection, new.keys())  # without a cache: a run may not have begun yet
        values = [{"id": numbers[text], "label": label, "from_plan": from_plan} for text, label in new.items()]
        connection.execute(insert_or_update(connection, LABELS, ("id",), "label", "from_plan"), values)


def _replaces(label: str, *, from_plan: bool, old: tuple[str, bool] | None) -> bool:
    """Return whether a label is to be written; `old` is the one that is there, and whether that is from a plan."""
    if old is None:
        return True
    old_label, old_from_plan = old
    if not (label and old_label):
        return bool(label)
    return (label, from_plan) != old and (old_from_plan or not from_plan)


def read_labels(connection: Connection, run_id: int) -> dict[str, str]:
    """Return the known names of the run's images and projects, by their IDs."""
    if connection.scalar(select(LABELS.c.id).limit(1)) is None:
        return {}  # spares a scan of the run's pairs
    used = union(*(select(column).where(PAIRS.c.run_id == run_id) for column in (PAIRS.c.image, PAIRS.c.member)))
    query = (
        select(NAMES.c.text, LABELS.c.label)
        .join(LABELS, LABELS.c.id == NAMES.c.id)
        .where(LABELS.c.id.in_(used), LABELS.c.label != "")
    )
    return {row.text: row.label for row in connection.execute(query)}


def read_labels_of(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """Return the known names of images and projects, by ID."""
    query = select(NAMES.c.text, LABELS.c.label).join(LABELS, LABELS.c.id == NAMES.c.id).where(LABELS.c.label != "")
    remaining, found = iter(ids), {}
    while chunk := list(islice(remaining, CHUNK)):
        found.update({row.text: row.label for row in connection.execute(query.where(NAMES.c.text.in_(chunk)))})
    return found


def read_all_labels(connection: Connection) -> dict[str, str]:
    """Return all known names, by ID."""
    query = select(NAMES.c.text, LABELS.c.label).join(LABELS, LABELS.c.id == NAMES.c.id).where(LABELS.c.label != "")
    return {row.text: row.label for row in connection.execute(query)}


def read_unnamed_images(connection: Connection, run_id: int) -> list[str]:
    """Return the run's images of which it was not stored what the cloud calls them."""
    used = select(PAIRS.c.image).where(PAIRS.c.run_id == run_id).distinct()
    named = select(LABELS.c.id).where(LABELS.c.from_plan.is_(false()))
    query = select(NAMES.c.text).where(NAMES.c.id.in_(used), NAMES.c.id.not_in(named)).order_by(NAMES.c.id)
    return list(connection.scalars(query))
