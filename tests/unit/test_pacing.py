"""The rate limit: exact in arithmetic, and exact when real tasks wait for it."""

from __future__ import annotations

import itertools

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Reply, Request
from bulkshare.pacing import Gcra, Paced
from tests.engine.fakes import response
from tests.engine.virtual import run_virtual


@given(st.floats(0.1, 5000), st.lists(st.floats(0, 3), min_size=2, max_size=60))
def test_no_window_holds_more_than_its_share(rate: float, lateness: list[float]) -> None:
    """However late requests leave, any window of t seconds holds at most rate x t + 1 of them."""
    gcra, now, left = Gcra(rate), 0.0, []
    for late in lateness:
        now = max(now, gcra.earliest()) + late / rate
        gcra.take(now)
        left.append(now)
    for first in range(len(left)):
        for last in range(first, len(left)):
            window = left[last] - left[first]
            assert last - first + 1 <= rate * window + 1 + 1e-6


def test_too_early_is_refused() -> None:
    """The arithmetic guards itself."""
    gcra = Gcra(10)
    gcra.take(5.0)
    with pytest.raises(ValueError, match="too early"):
        gcra.take(5.05)


def test_paced_sends_in_order_and_at_the_rate() -> None:
    """A hundred tasks at once leave one by one, first come first served, at exactly the rate."""
    left: list[tuple[float, str]] = []

    class Inner:
        async def send(self, request: Request) -> Reply:
            left.append((anyio.current_time(), request.path))
            return response(200)

    async def main() -> None:
        paced = Paced(Inner(), Gcra(20))
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(paced.send, Request("GET", str(number)))

    run_virtual(main())
    assert [path for _, path in left] == [str(number) for number in range(100)]
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(left)]
    assert min(gaps) >= 0.05 - 1e-9
    assert sum(gaps) == pytest.approx(99 / 20, rel=0.01)
