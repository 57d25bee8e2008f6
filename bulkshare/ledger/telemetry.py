"""How the invocations of a run went, as JSON objects and back, in the caller's transaction."""

from __future__ import annotations

from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select

from bulkshare.ledger.schema import TELEMETRY
from bulkshare.ledger.values import pack_time, unpack_time
from bulkshare.model import Telemetry

if TYPE_CHECKING:
    from sqlalchemy import Connection


def add_telemetry(connection: Connection, run_id: int, telemetry: Telemetry) -> None:
    """Keep how the run's next invocation went."""
    last = connection.scalar(select(func.max(TELEMETRY.c.number)).where(TELEMETRY.c.run_id == run_id)) or 0
    row = {"run_id": run_id, "number": last + 1, "body": pack_telemetry(telemetry)}
    connection.execute(insert(TELEMETRY), row)


def read_telemetry(connection: Connection, run_id: int) -> list[Telemetry]:
    """Return how the run's invocations went, in their order."""
    query = select(TELEMETRY.c.body).where(TELEMETRY.c.run_id == run_id).order_by(TELEMETRY.c.number)
    return [unpack_telemetry(body) for body in connection.scalars(query)]


def pack_telemetry(telemetry: Telemetry) -> dict[str, Any]:
    """Return telemetry as plain values; the names are the fields'.

    `latency` is a list of bounds and counts, because a JSON object has only texts as keys; None stands for inf.
    """
    latency = [[None if bound == inf else bound, count] for bound, count in telemetry.latency.items()]
    return asdict(telemetry) | {"began_at": pack_time(telemetry.began_at), "latency": latency}


def unpack_telemetry(kept: dict[str, Any]) -> Telemetry:
    """Return what `pack_telemetry` was given, its time without the microseconds."""
    columns = {name: tuple(kept[name]) for name in ("requests", "troubled", "allowed")}
    latency = {inf if bound is None else bound: count for bound, count in kept["latency"]}
    return Telemetry(**{**kept, **columns, "began_at": unpack_time(kept["began_at"]), "latency": latency})
