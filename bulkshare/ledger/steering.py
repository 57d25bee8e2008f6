"""Heartbeats of runs at work, and what was asked of them. Every function works in the caller's transaction."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from bulkshare.ledger.codecs import pack_time, unpack_time
from bulkshare.ledger.dialects import insert_or_update
from bulkshare.ledger.schema import CONTROLS, HEARTBEATS, RUNS
from bulkshare.model import Action, Control, Heartbeat, Result, RunState

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Connection

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
    row = {"run_id": run_id, "at": pack_time(heartbeat.at), "body": pack_heartbeat(heartbeat)}
    connection.execute(insert_or_update(connection, HEARTBEATS, ("run_id",), "at", "body"), row)


def forget(connection: Connection, run_id: int) -> None:
    """Forget what an earlier process of a run has recorded or left undone."""
    connection.execute(delete(HEARTBEATS).where(HEARTBEATS.c.run_id == run_id))
    left = CONTROLS.c.run_id == run_id, CONTROLS.c.obeyed_at.is_(None)
    connection.execute(update(CONTROLS).where(*left).values(obeyed_at=TOO_LATE))


def add_control(connection: Connection, run_id: int, control: Control) -> Control | None:
    """Add a control and return it with its number; None unless the run is RUNNING."""
    if connection.scalar(select(RUNS.c.state).where(RUNS.c.id == run_id)) != RunState.RUNNING.value:
        return None
    last = connection.scalar(select(func.max(CONTROLS.c.number)).where(CONTROLS.c.run_id == run_id)) or 0
    row = {"run_id": run_id, "number": last + 1, "at": pack_time(control.at), "body": pack_control(control)}
    connection.execute(insert(CONTROLS), row)
    return replace(control, number=last + 1)


def read_controls(connection: Connection, run_id: int, *, waiting: bool = False) -> list[Control]:
    """Return a run's controls in order: all, or only those that wait to be obeyed."""
    query = select(CONTROLS).where(CONTROLS.c.run_id == run_id).order_by(CONTROLS.c.number)
    rows = connection.execute(query.where(CONTROLS.c.obeyed_at.is_(None)) if waiting else query)
    return [unpack_control(row.number, row.at, row.body, row.obeyed_at) for row in rows]


def mark_obeyed(connection: Connection, run_id: int, numbers: Collection[int], at: datetime) -> None:
    """Record when controls were obeyed."""
    these = CONTROLS.c.run_id == run_id, CONTROLS.c.number.in_(numbers)
    connection.execute(update(CONTROLS).where(*these).values(obeyed_at=pack_time(at)))


def read_pulses(connection: Connection, run_ids: Collection[int]) -> dict[int, tuple[RunState, Heartbeat | None]]:
    """Return the state of each run that is there, and its heartbeat if it has one."""
    query = (
        select(RUNS.c.id, RUNS.c.state, HEARTBEATS.c.at, HEARTBEATS.c.body)
        .join_from(RUNS, HEARTBEATS, HEARTBEATS.c.run_id == RUNS.c.id, isouter=True)
        .where(RUNS.c.id.in_(run_ids))
    )
    found: dict[int, tuple[RunState, Heartbeat | None]] = {}
    for row in connection.execute(query):
        at = unpack_time(row.at)
        found[row.id] = RunState(row.state), None if at is None else unpack_heartbeat(row.body, at)
    return found
