"""The rows of runs and of what belongs to them: orders, settings, telemetry, labels; and their deletion.

Every function works in the caller's transaction.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from itertools import groupby, islice
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.errors import UsageError
from bulkshare.ledger import steering
from bulkshare.ledger.codecs import RESULTS, pack_json, pack_time, unpack_json, unpack_time
from bulkshare.ledger.dialects import assignments, first, insert, insert_or_update
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

    from bulkshare.ledger.store import Connection

BEGINS_SO = 'substr("key", 1, :length) = :key'  # LIKE would ignore case
MATCHES_SHOWN = 5
MATCHES_READ = 100  # as many clouds as a plan will have
TABLES_OF_RUNS = ("pairs", "batches", "images", "orders", "telemetry", "heartbeats", "controls")  # with a `run_id`
# That hold numbers of strings, by table.
STRING_COLUMNS = {"pairs": ("image", "member", "status", '"schema"', "reason"), "images": ("image",)}
LABELLED = "SELECT names.text, labels.label FROM names JOIN labels ON labels.id = names.id WHERE labels.label <> ''"


class Row(NamedTuple):
    """A row of `runs`."""

    id: int
    key: str
    plan: str
    fingerprint: str
    cloud: str
    region: str
    endpoint: str
    user: str
    project: str
    project_id: str
    state: str
    started_at: int
    finished_at: int | None
    host: str
    pid: int
    requests: int
    retries: int
    seconds: float
    settings: Any
    enqueued: bool
    totals: Any
    invocation: str | None
    worked_at: int
    origin: Any
    exit_code: int | None
    ended_because: str | None


COLUMNS = ", ".join(f'runs."{name}"' for name in Row._fields)
SELECT = f"SELECT {COLUMNS} FROM runs"


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
    if again and (added := _begun_by_this_process(connection, prefix, now)):
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
        "requests": 0,
        "retries": 0,
        "seconds": 0.0,
        "settings": pack_json(pack_settings(settings)),
        "enqueued": False,
        "invocation": invocation,
        "origin": pack_json(None if origin is None else pack_origins([origin])),
        **_this_process(),
    }
    connection.execute(insert("runs", row), **row)
    return _read(connection, f'{SELECT} WHERE "key" = :key', key=key)[0]


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
        values["settings"] = pack_json(pack_settings(settings))
    if invocation is not None:
        values["invocation"] = invocation
    if origin is not None:
        before = unpack_json(connection.scalar("SELECT origin FROM runs WHERE id = :run_id", run_id=run_id)) or []
        values["origin"] = pack_json([*before[:1], *pack_origins([origin])])
    connection.execute(f"UPDATE runs SET {assignments(values)} WHERE id = :run_id", run_id=run_id, **values)
    return _one(connection, run_id)


def mark_enqueued(connection: Connection, run_id: int) -> None:
    """Record that all of the plan's pairs and orders are in the ledger."""
    connection.execute("UPDATE runs SET enqueued = TRUE WHERE id = :run_id", run_id=run_id)


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
    if again and (before := _one(connection, run_id)).state is not RunState.RUNNING:
        return before
    totals = tally(connection, run_id)
    values = {
        "state": (RunState.FINISHED if complete and not totals[Result.PENDING.value] else RunState.INTERRUPTED).value,
        "finished_at": pack_time(now),
        "worked_at": pack_time(now),
        "totals": pack_json(totals),
        "exit_code": exit_code,
        "ended_because": ended_because or None,
    }
    statement = (
        "UPDATE runs SET requests = requests + :more_requests, retries = retries + :more_retries, "
        f"seconds = seconds + :more_seconds, {assignments(values)} WHERE id = :run_id"
    )
    sums = {"more_requests": requests, "more_retries": retries, "more_seconds": seconds}
    connection.execute("DELETE FROM heartbeats WHERE run_id = :run_id", run_id=run_id)
    connection.execute(statement, run_id=run_id, **sums, **values)
    return _one(connection, run_id)


def delete(connection: Connection, run_id: int) -> None:
    """Delete a run and all rows that belong to it. The strings stay."""
    for table in TABLES_OF_RUNS:
        connection.execute(f"DELETE FROM {table} WHERE run_id = :run_id", run_id=run_id)
    connection.execute("DELETE FROM runs WHERE id = :run_id", run_id=run_id)


def delete_unused_strings(connection: Connection, *, unless_after: int) -> bool:
    """Delete the strings that no run refers to, with their labels, unless a run is newer than run `unless_after`.

    Return whether they were deleted. No process that works on that run or an older one may have their numbers cached.
    """
    if (connection.scalar("SELECT MAX(id) FROM runs") or 0) > unless_after:
        return False
    used = " UNION ".join(
        f"SELECT {column} AS id FROM {table} WHERE {column} IS NOT NULL"
        for table, columns in STRING_COLUMNS.items()
        for column in columns
    )
    # As a table it is made once: a UNION directly behind IN is one that MariaDB makes anew for each name.
    connection.execute(f"DELETE FROM names WHERE id NOT IN (SELECT id FROM ({used}) used)")
    connection.execute("DELETE FROM labels WHERE id NOT IN (SELECT id FROM names)")
    return True


# --- reading ---------------------------------------------------------------------------------------------------------


def count_pairs(connection: Connection, run_id: int) -> dict[Result, int]:
    """Count the run's pairs by result; every result is a key."""
    counts = tally(connection, run_id)
    return {result: counts[result.value] for result in Result}


def tally(connection: Connection, run_id: int) -> dict[str, int]:
    """Count the run's pairs by result, and the fields of `Run` that are counts of something else, by name."""
    pending = "(SELECT id FROM names WHERE text = 'pending')"
    query = (
        f"SELECT result, COUNT(*), COUNT(CASE WHEN status = {pending} THEN 1 END) FROM pairs WHERE run_id = :run_id "
        "GROUP BY result"
    )
    counts = {RESULTS[code]: (pairs, waiting) for code, pairs, waiting in connection.rows(query, run_id=run_id)}
    opened = "SELECT COUNT(*) FROM images WHERE run_id = :run_id AND opened_at > 0"
    return {
        **{result.value: counts.get(result, (0, 0))[0] for result in Result},
        "opened": connection.scalar(opened, run_id=run_id),
        "awaiting_acceptance": sum(counts.get(result, (0, 0))[1] for result in AS_PLANNED),
    }


def newest(connection: Connection, *, plan: str | None = None, limit: int | None = None) -> list[Run]:
    """Return the runs of a plan, or of all, newest first."""
    return _read(connection, f"{SELECT}{_of(plan)} ORDER BY id DESC{first(limit)}", plan=plan)


def last_worked_on(connection: Connection, *, plan: str | None = None, limit: int | None = None) -> list[Run]:
    """Return the runs of a plan, or of all, the one last worked on first."""
    return _read(connection, f"{SELECT}{_of(plan)} ORDER BY worked_at DESC, id DESC{first(limit)}", plan=plan)


def newest_for(
    connection: Connection, *, plan: str, account: Account, enqueued: bool = False, before: int | None = None
) -> Run | None:
    """Return the newest run of a plan at the account's endpoint and for its project.

    enqueued: only runs whose pairs are all in the ledger.
    before: only runs begun before the run with this ID.
    """
    query = f"{SELECT} WHERE plan = :plan AND endpoint = :endpoint AND project_id = :project_id"
    if enqueued:
        query += " AND enqueued"
    if before is not None:
        query += " AND id < :before"
    where = {"plan": plan, "endpoint": account.endpoint, "project_id": account.project_id, "before": before}
    return next(iter(_read(connection, f"{query} ORDER BY id DESC LIMIT 1", **where)), None)


def newest_invocations(connection: Connection, limit: int | None, plan: str | None = None) -> list[list[Run]]:
    """Return the runs of the newest invocations, of a plan or of all, newest first; one that belongs to none alone."""
    name = 'COALESCE(invocation, "key")'
    named = f"SELECT {name} AS name, MAX(id) AS newest FROM runs{_of(plan)} GROUP BY {name}"
    query = (
        f"{SELECT} JOIN ({named} ORDER BY newest DESC{first(limit)}) named ON named.name = {name} "
        "ORDER BY named.newest DESC, runs.id"
    )
    found = groupby(_read(connection, query, plan=plan), lambda run: run.invocation or run.key)
    return [list(runs) for _, runs in found]


def of_invocation(connection: Connection, run: Run) -> list[Run]:
    """Return the runs of a run's invocation, in the order in which they were begun; at least itself."""
    if run.invocation is None:
        return [run]
    return _read(connection, f"{SELECT} WHERE invocation = :name ORDER BY id", name=run.invocation)


def find(connection: Connection, key: str) -> list[Run]:
    """Return the run with that key, or those whose keys begin so, in the order in which they were begun.

    Raises `UsageError` if several begin so that were not begun together.
    """
    exact = _read(connection, f'{SELECT} WHERE "key" = :key', key=key)
    if exact:
        return exact
    begins_so = {"length": len(key), "key": key}
    found = _read(connection, f"{SELECT} WHERE {BEGINS_SO} ORDER BY id DESC{first(MATCHES_READ)}", **begins_so)
    if len({(run.plan, run.started_at) for run in found}) > 1:
        shown = ", ".join(run.key for run in found[:MATCHES_SHOWN])
        count = connection.scalar(f"SELECT COUNT(*) FROM runs WHERE {BEGINS_SO}", **begins_so)
        more = f" and {count - MATCHES_SHOWN} more" if count > MATCHES_SHOWN else ""
        raise UsageError(f"{count} runs begin with {key!r}: {shown}{more}; give more of the name")
    return found[::-1]


def _of(plan: str | None) -> str:
    return "" if plan is None else " WHERE plan = :plan"


def _begun_by_this_process(connection: Connection, prefix: str, now: datetime) -> list[Run]:
    """Return the run that this process began at exactly that time: the one that a lost commit added."""
    here = _this_process()
    these = " AND ".join(f"{name} = :{name}" for name in here)
    query = f"{SELECT} WHERE started_at = :started_at AND {BEGINS_SO} AND {these}"
    return _read(connection, query, started_at=pack_time(now), length=len(prefix), key=prefix, **here)


def _this_process() -> dict[str, Any]:
    return {"state": RunState.RUNNING.value, "host": socket.gethostname(), "pid": os.getpid()}


def _free_key(connection: Connection, prefix: str) -> str:
    key, number = prefix, 1
    while connection.rows('SELECT 1 FROM runs WHERE "key" = :key', key=key):
        number += 1
        key = f"{prefix}-{number}"
    return key


COUNTED = frozenset({"opened", "awaiting_acceptance", *(result.value for result in Result)})  # see `tally`


def _one(connection: Connection, run_id: int) -> Run:
    return _read(connection, f"{SELECT} WHERE id = :run_id", run_id=run_id)[0]


def _read(connection: Connection, query: str, /, **parameters: Any) -> list[Run]:
    return [_to_run(connection, Row._make(row)) for row in connection.rows(query, **parameters)]


def _to_run(connection: Connection, row: Row) -> Run:
    started_at = unpack_time(row.started_at)
    assert started_at is not None  # noqa: S101  the column is NOT NULL
    totals = unpack_json(row.totals)
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
        settings=unpack_settings(unpack_json(row.settings)),
        enqueued=bool(row.enqueued),
        invocation=row.invocation,
        worked_at=unpack_time(row.worked_at),
        opened=totals["opened"],
        awaiting_acceptance=totals["awaiting_acceptance"],
        origins=tuple(Origin(**each) for each in unpack_json(row.origin) or ()),
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
    numbers = {each: number for number, each in _read_orders(connection, run_id).items()}
    last = max(numbers.values(), default=0)
    new = {each: number for number, each in enumerate(dict.fromkeys(orders).keys() - numbers.keys(), last + 1)}
    if new:
        rows = [(run_id, number, pack_json(pack_orders(each))) for each, number in new.items()]
        connection.execute_many(insert("orders", ("run_id", "number", "body")), rows)
    return numbers | new


def set_of_images(connection: Connection, column: str, rows: Sequence[tuple[int, int, int]]) -> None:
    """Set a column of images: rows of run, image and value."""
    connection.execute_many(insert_or_update(connection.dialect, "images", ("run_id", "image"), column), rows)


def read_orders(connection: Connection, run_id: int) -> dict[str, Orders]:
    """Return the orders of a run's images that have any, by image ID."""
    orders = _read_orders(connection, run_id)
    if not orders:
        return {}
    query = (
        "SELECT names.text, images.orders FROM names JOIN images ON images.image = names.id "
        "WHERE images.run_id = :run_id AND images.orders IS NOT NULL"
    )
    return {text: orders[number] for text, number in connection.rows(query, run_id=run_id)}


def _read_orders(connection: Connection, run_id: int) -> dict[int, Orders]:
    rows = connection.rows("SELECT number, body FROM orders WHERE run_id = :run_id", run_id=run_id)
    return {number: unpack_orders(unpack_json(body)) for number, body in rows}


def read_opened(connection: Connection, run_id: int) -> dict[str, datetime]:
    """Return when the run made images shared, by ID."""
    query = (
        "SELECT names.text, images.opened_at FROM names JOIN images ON images.image = names.id "
        "WHERE images.run_id = :run_id AND images.opened_at > 0"
    )
    rows = connection.rows(query, run_id=run_id)
    return {text: time for text, opened_at in rows if (time := unpack_time(opened_at)) is not None}


def read_opening(connection: Connection, run_id: int) -> list[str]:
    """Return the images that were asked to be made shared, without an answer yet."""
    query = (
        "SELECT names.text FROM names JOIN images ON images.image = names.id "
        "WHERE images.run_id = :run_id AND images.opened_at = 0 ORDER BY names.id"
    )
    return connection.scalars(query, run_id=run_id)


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
    last = connection.scalar("SELECT MAX(number) FROM telemetry WHERE run_id = :run_id", run_id=run_id) or 0
    row = {"run_id": run_id, "number": last + 1, "body": pack_json(pack_telemetry(telemetry))}
    connection.execute(insert("telemetry", row), **row)


def read_telemetry(connection: Connection, run_id: int) -> list[Telemetry]:
    """Return the telemetry of the run's invocations, in their order."""
    query = "SELECT body FROM telemetry WHERE run_id = :run_id ORDER BY number"
    return [unpack_telemetry(unpack_json(body)) for body in connection.scalars(query, run_id=run_id)]


def write_labels(connection: Connection, labels: Mapping[str, str], *, from_plan: bool) -> None:
    """Store the names of images and projects by their IDs; see `ports.Ledger.label`.

    Nearly all labels of a nightly run are there already, so only what is new looks up its number.
    """
    new: dict[str, str] = {}
    labelled = (
        "SELECT names.text, labels.label, labels.from_plan FROM names JOIN labels ON labels.id = names.id "
        "WHERE names.text IN :texts"
    )
    remaining = iter(labels)
    while chunk := list(islice(remaining, CHUNK)):
        rows = connection.rows(labelled, texts=chunk)
        there = {text: (label, bool(old_from_plan)) for text, label, old_from_plan in rows}
        for text in chunk:
            if _replaces(labels[text], from_plan=from_plan, old=there.get(text)):
                new[text] = labels[text]
    if new:
        numbers = StringTable().numbers(connection, new.keys())  # without a cache: a run may not have begun yet
        statement = insert_or_update(connection.dialect, "labels", ("id",), "label", "from_plan")
        connection.execute_many(statement, [(numbers[text], label, from_plan) for text, label in new.items()])


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
    if not connection.rows("SELECT 1 FROM labels LIMIT 1"):
        return {}  # spares a scan of the run's pairs
    used = "SELECT image AS id FROM pairs WHERE run_id = :run_id UNION SELECT member FROM pairs WHERE run_id = :run_id"
    return dict(connection.rows(f"{LABELLED} AND labels.id IN (SELECT id FROM ({used}) used)", run_id=run_id))


def read_labels_of(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """Return the known names of images and projects, by ID."""
    remaining = iter(ids)
    found: dict[str, str] = {}
    while chunk := list(islice(remaining, CHUNK)):
        found.update(connection.rows(f"{LABELLED} AND names.text IN :texts", texts=chunk))
    return found


def read_all_labels(connection: Connection) -> dict[str, str]:
    """Return all known names, by ID."""
    return dict(connection.rows(LABELLED))


def read_unnamed_images(connection: Connection, run_id: int) -> list[str]:
    """Return the run's images of which it was not stored what the cloud calls them."""
    query = (
        "SELECT text FROM names WHERE id IN (SELECT DISTINCT image FROM pairs WHERE run_id = :run_id) "
        "AND id NOT IN (SELECT id FROM labels WHERE NOT from_plan) ORDER BY id"
    )
    return connection.scalars(query, run_id=run_id)
