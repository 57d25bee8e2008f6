"""Lets others watch and steer a run at work, through its ledger.

While an engine works, its process records a heartbeat once a second, and in the same transaction reads what was asked
of it since. So both cost one short transaction a second, in turn with the engine's own, and are on the way wherever the
ledger is. A heartbeat that can't be written ends nothing: what ends a run is that its outcomes can't be.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from bulkshare.errors import LedgerError
from bulkshare.model import Action, Heartbeat
from bulkshare.operations.defaults import utc_now
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.engine import Engine
    from bulkshare.fleet import Coordinator
    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Control, Limits
    from bulkshare.operations.lock import SharedLedger
    from bulkshare.pacing import Paced
    from bulkshare.progress import View

BEAT_SECONDS = 1.0


class Steering:
    """The heartbeat of one run at work, and the controls that it obeys.

    ledger, run_id: the run, and the handle for all work on it.
    view: what is shown of it.
    requests: how many have been sent in this invocation.
    limits: those it began with.
    paced: the pace of this process.
    fleet: the fleet that sends, if there is one.
    note: reports a control that was obeyed.
    """

    def __init__(
        self,
        ledger: SharedLedger,
        run_id: int,
        view: View,
        *,
        requests: Callable[[], int],
        limits: Limits,
        paced: Paced,
        fleet: Coordinator | None,
        note: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._view = view
        self._requests = requests
        self._limits = limits
        self._paced = paced
        self._fleet = fleet
        self._note = note
        self._last = 0  # the number of the last control obeyed

    async def keep(self, engine: Engine) -> None:
        """Record heartbeats and obey controls until cancelled."""
        while True:
            await anyio.sleep(BEAT_SECONDS)
            with suppress(LedgerError):
                await self._beat(engine)

    async def _beat(self, engine: Engine) -> None:
        ledger: SqlLedger = self._ledger.ledger
        waiting = await self._ledger.call(ledger.beat, self._run_id, self._heartbeat())
        if not waiting:
            return
        for control in waiting:
            if control.number > self._last:  # else it was obeyed, and that could not be recorded
                self._obey(control, engine)
                self._last = control.number
        numbers = [control.number for control in waiting]
        await self._ledger.call(ledger.mark_obeyed, self._run_id, numbers, utc_now())
        await self._ledger.call(ledger.beat, self._run_id, self._heartbeat())  # whoever asked sees it at once

    def _heartbeat(self) -> Heartbeat:
        tracker, paced = self._view.tracker, self._paced
        return Heartbeat(
            at=utc_now(),
            planned=tracker.planned,
            totals=dict(tracker.totals),
            opened=tracker.opened,
            requests=self._requests(),
            retries=tracker.retries,
            batches=tracker.batches,
            batched_pairs=tracker.batched_pairs,
            elapsed_seconds=round(tracker.elapsed_seconds(), 3),
            phase=tracker.phase_name,
            phase_done=tracker.phase_done,
            phase_total=tracker.phase_total,
            rate=round(tracker.rate(), 3),
            allowed_rate=self._limits.rate,
            concurrency=self._limits.concurrency,
            seconds_left=tracker.seconds_left(),
            cooling_seconds=round(max(paced.cooling_seconds(), 0.0), 3),
            paused=paced.is_paused,
            pace=self._view.pace(),
            details=tuple(self._view.details()),
        )

    def _obey(self, control: Control, engine: Engine) -> None:
        given = {"rate": control.rate, "concurrency": control.concurrency}
        if limits := {name: value for name, value in given.items() if value is not None}:
            self._limits = replace(self._limits, **limits)  # type: ignore[arg-type]  # each has its field's type
            self._view.tracker.allowed_rate = self._limits.rate
            self._paced.lease(self._limits)
            engine.allow(self._limits.concurrency)
            if self._fleet is not None:
                self._fleet.limit(self._limits)
        self._view.tracker.estimate_anew()
        paces: list[Paced | Coordinator] = [self._paced, *([] if self._fleet is None else [self._fleet])]
        match control.action:
            case Action.PAUSE:
                for pace in paces:
                    pace.pause()
            case Action.GO:
                for pace in paces:
                    pace.go()
            case Action.STOP if not engine.is_stopping:  # a second stop would not wait for what is in flight
                engine.stop()
        label = f"cloud {self._view.label}: " if self._view.label else ""
        who = clean(f"{control.os_user} on {control.host}")
        self._note(f"{label}{control.words}, as {who} asked at {control.at:%H:%M:%S} UTC")
