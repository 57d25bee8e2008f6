"""Workers that come, go and are refused, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bulkshare.errors import StoppedEarlyError, UsageError
from bulkshare.model import Limits, Result
from tests.engine.bench import Bench
from tests.fleet.inplace import Worker, crew_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.engine import Engine

REFUSAL = UsageError("it has no clouds.yaml")


def slow_bench(images: int = 20, projects: int = 50) -> Bench:
    """Return a bench with work for some ten seconds."""
    bench = Bench(limits=Limits(concurrency=8, per_image=4, rate=100, members_per_image=0))
    bench.plan(images, projects)
    return bench


def run_with(bench: Bench, *events: tuple[float, Callable[[], object]]) -> None:
    """Run, with things that happen at seconds since the beginning."""

    async def happen(_engine: Engine) -> None:
        began = anyio.current_time()
        for at, event in events:
            await anyio.sleep_until(began + at)
            event()

    bench.run(beside=happen)


def test_all_are_refused() -> None:
    """The run ends at once, with the first refusal."""
    bench = slow_bench()
    crew_of(bench, 1).members["w0"].account = REFUSAL
    with pytest.raises(UsageError, match="it has no clouds"):
        bench.run()


def test_the_last_good_worker_goes() -> None:
    """A worker that was refused does not end the run then: it waits for others, as without it."""
    bench = slow_bench()
    cluster = crew_of(bench, 2)
    cluster.members["w1"].account = REFUSAL
    run_with(
        bench,
        (2.0, lambda: cluster.members.pop("w0")),
        (30.0, lambda: cluster.members.update(w2=Worker(bench.cloud))),
    )
    assert set(bench.totals()) == {Result.SHARED, Result.ALREADY}  # the lost worker's, done again
    assert len(bench.cloud.members) == 1000


def test_nobody_comes() -> None:
    """After a minute the run ends, so that it can be gone on with."""
    bench = slow_bench()
    cluster = crew_of(bench, 2)
    cluster.members["w1"].account = REFUSAL
    with pytest.raises(ExceptionGroup) as stopped:
        run_with(bench, (2.0, lambda: cluster.members.pop("w0")))
    (error,) = stopped.value.exceptions
    assert isinstance(error, StoppedEarlyError)
    assert "no worker; the 1 worker there did not take part" in str(error)


def test_a_refused_worker_is_mended() -> None:
    """Another process at the same address is asked anew."""
    bench = slow_bench()
    cluster = crew_of(bench, 2)
    cluster.members["w1"].account = REFUSAL
    mended = Worker(bench.cloud)
    run_with(bench, (2.0, lambda: cluster.members.pop("w1")), (4.0, lambda: cluster.members.update(w1=mended)))
    assert bench.totals() == {Result.SHARED: 1000}
    assert mended.grants
