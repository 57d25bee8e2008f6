"""Heartbeats of runs at work, and what was asked of them. Every function works in the caller's transaction."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from bulkshare.ledger.codecs import pack_json, pack_time, unpack_json, unpack_time
from bulkshare.ledger.dialects import insert, insert_or_update
from bulkshare.model import Action, Control, Heartbeat, Result, RunState

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from bulkshare.ledger.store import Connection

TOO_LATE = 0  # in `obeyed_at`


def pack_heartbeat(heartbeat: Heartbeat) -> dict[str, Any]:
    """Return a heartbeat as plain values by field name, without its time."""
    values = asdict(heartbeat)
    del values["at"]
    return values | {"totals": {result.value: count for result, count in heartbeat.totals.items() if count}}


def unpack_heartbeat(stored: dict[str, Any], at: datetime) -> Heartbeat:
    """Return the heartbeat that `pack_heartbeat` took."""
    totals = {Result(name): count for name, count in stored["totals"].items()}
    return Heartbeat(**{**stored, "at": at, "totals": totals, "details": tuple(stored["details"])})


def pack_control(control: Control) -> dict[str, Any]:
    """Return what was asked for, and by whom, as plain values by field name."""
    values = asdict(control)
    return {name: values[name] for name in ("os_user", "host", "rate", "concurrency", "action")}


def unpack_control(number: int, at: int, stored: dict[str, Any], obeyed_at: int | None) -> Control:
    """Return the control that `pack_control` took, as the ledger has it."""
    time = unpack_time(at)
    assert time is not None  # noqa: S101  the column is NOT NULL
    action = None if stored["action"] is None else Action(stored["action"])
    given = {**stored, "action": action, "number": number}
    return Control(at=time, obeyed_at=unpack_time(obeyed_at or None), **given)


def write_heartbeat(connection: Connection, run_id: int, heartbeat: Heartbeat) -> None:
    """Replace a run's heartbeat."""
    statement = insert_or_update(connection.dialect, "heartbeats", ("run_id",), "at", "body")
    body = pack_json(pack_heartbeat(heartbeat))
    connection.execute(statement, run_id=run_id, at=pack_time(heartbeat.at), body=body)


def forget(connection: Connection, run_id: int) -> None:
    """Forget what an earlier process of a run has recorded or left undone."""
    connection.execute("DELETE FROM heartbeats WHERE run_id = :run_id", run_id=run_id)
    left = "UPDATE controls SET obeyed_at = :too_late WHERE run_id = :run_id AND obeyed_at IS NULL"
    connection.execute(left, run_id=run_id, too_late=TOO_LATE)


def add_control(connection: Connection, run_id: int, control: Control) -> Control | None:
    """Add a control and return it with its number; None unless the run is RUNNING."""
    state = connection.scalar("SELECT state FROM runs WHERE id = :run_id", run_id=run_id)
    if state != RunState.RUNNING.value:
        return None
    last = connection.scalar("SELECT MAX(number) FROM controls WHERE run_id = :run_id", run_id=run_id) or 0
    row = {"run_id": run_id, "number": last + 1, "at": pack_time(control.at), "body": pack_json(pack_control(control))}
    connection.execute(insert("controls", row), **row)
    return replace(control, number=last + 1)


def read_controls(connection: Connection, run_id: int, *, waiting: bool = False) -> list[Control]:
    """Return a run's controls in order: all, or only those that wait to be obeyed."""
    these = "run_id = :run_id AND obeyed_at IS NULL" if waiting else "run_id = :run_id"
    query = f"SELECT number, at, body, obeyed_at FROM controls WHERE {these} ORDER BY number"
    rows = connection.rows(query, run_id=run_id)
    return [unpack_control(number, at, unpack_json(body), obeyed_at) for number, at, body, obeyed_at in rows]


def mark_obeyed(connection: Connection, run_id: int, numbers: Collection[int], at: datetime) -> None:
    """Record when controls were obeyed."""
    statement = "UPDATE controls SET obeyed_at = :at WHERE run_id = :run_id AND number IN :numbers"
    connection.execute(statement, run_id=run_id, numbers=list(numbers), at=pack_time(at))


def read_pulses(connection: Connection, run_ids: Collection[int]) -> dict[int, tuple[RunState, Heartbeat | None]]:
    """Return the state of each run that is there, and its heartbeat if it has one."""
    query = (
        "SELECT runs.id, runs.state, heartbeats.at, heartbeats.body FROM runs "
        "LEFT JOIN heartbeats ON heartbeats.run_id = runs.id WHERE runs.id IN :run_ids"
    )
    found: dict[int, tuple[RunState, Heartbeat | None]] = {}
    for run_id, state, time, body in connection.rows(query, run_ids=list(run_ids)):
        at = unpack_time(time)
        found[run_id] = RunState(state), None if at is None else unpack_heartbeat(unpack_json(body), at)
    return found
