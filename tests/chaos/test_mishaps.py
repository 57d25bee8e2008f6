"""Trouble around a run: names that don't resolve, a clock that is set, other runs of the same plan."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiohttp.abc
import aiohttp.connector
import pytest

from bulkshare.model import Fault, FaultKind
from tests.chaos.checks import check_definite_answers, check_members, check_rate
from tests.chaos.clock import wall
from tests.chaos.faults import HOST, FaultProfile
from tests.chaos.scenario import DEFAULT_LIMITS, PAIRS, run_scenario
from tests.chaos.served import ServedSandbox

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from bulkshare.model import Reply, Request
    from bulkshare.ports import Transport
    from tests.shell import Shell

FROM_SECONDS, UNTIL_SECONDS = 0.2, 25.0  # longer than the breaker's patience
RUNS = 10
LONGEST_SECONDS = 120


class LateResolver(aiohttp.abc.AbstractResolver):
    """A resolver that resolves no name before a certain time."""

    failed = 0

    def __init__(self, *_args: Any, **_options: Any) -> None:
        pass

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Resolve every name to the loopback."""
        if asyncio.get_running_loop().time() < UNTIL_SECONDS:
            LateResolver.failed += 1
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [{"hostname": host, "host": HOST, "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing: nothing is open."""


class Nameless:
    """A layer without name resolution for a while."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.failed = 0

    async def send(self, request: Request) -> Reply:
        """Send nothing while no name resolves."""
        if FROM_SECONDS <= asyncio.get_running_loop().time() < UNTIL_SECONDS:
            self.failed += 1
            return Fault(FaultKind.UNSENT, "no connection to images.example:443: Temporary failure in name resolution")
        return await self._inner.send(request)


def test_names_resolve_only_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts while DNS is down waits for it and ends as planned."""
    monkeypatch.setattr(aiohttp.connector, "DefaultResolver", LateResolver)
    monkeypatch.setattr(LateResolver, "failed", 0)
    result = run_scenario(tmp_path, 1, FaultProfile(faults=0.02, host="images.example"))
    check_members(result)
    check_definite_answers(result)
    assert 0 < LateResolver.failed == len(result.departures) - len(result.seen)
    assert LateResolver.failed < len(PAIRS) / 5, "a name server that is down is queried for every pair"


def test_names_stop_resolving(tmp_path: Path) -> None:
    """DNS that fails in the middle of a run and recovers costs no pair."""
    layers: list[Nameless] = []

    def nameless(transport: Transport) -> Transport:
        layers.append(Nameless(transport))
        return layers[0]

    result = run_scenario(tmp_path, 1, FaultProfile(faults=0.02), layer=nameless)
    check_members(result)
    check_definite_answers(result)
    assert layers[0].failed > 0


@pytest.mark.parametrize("hours", [-24, 24])
def test_the_clock_is_set(tmp_path: Path, hours: int) -> None:
    """Setting the wall clock by a day in the middle of a run changes neither pace nor waits nor results."""

    def clock() -> datetime:
        now = asyncio.get_running_loop().time()
        return wall() + timedelta(hours=hours if now > FROM_SECONDS else 0)

    result = run_scenario(tmp_path, 1, FaultProfile(), clock=clock)
    steady = run_scenario(tmp_path, 2, FaultProfile())
    for run in (result, steady):
        check_members(run)
        check_definite_answers(run)
        check_rate(run, DEFAULT_LIMITS.rate)
    assert result.virtual_seconds < 10 * steady.virtual_seconds


def test_ten_runs_at_once(shell: Shell) -> None:
    """Of ten runs of one plan that start together, one ends as planned; nine exit with 75 and say why."""
    with ServedSandbox(2, latency_seconds=0.01) as sandbox:
        sandbox.serve_to(shell)
        plan = shell.plan(sandbox.images, ["p1", "p2", "p3"])
        sandbox.held.set()  # the first can't end before the others have started
        processes = [shell.start("run", plan, "--os-cloud", "sandbox") for _ in range(RUNS)]
        deadline = time.monotonic() + LONGEST_SECONDS
        while sum(process.poll() is not None for process in processes) < RUNS - 1:
            assert time.monotonic() < deadline, "more than one is still at work"
            time.sleep(0.01)
        sandbox.held.clear()
        outputs = [process.communicate() for process in processes]
        assert Counter(process.returncode for process in processes) == {0: 1, 75: RUNS - 1}, outputs
        winner = next(process for process in processes if process.returncode == 0)
        for process, (_, err) in zip(processes, outputs, strict=True):
            assert process is winner or "another run of plan plan is in progress" in err
        assert sandbox.posts == len(sandbox.rows()) == 6
