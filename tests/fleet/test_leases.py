"""Leases: whatever is lost or late, the shares of all workers together never exceed the limits."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.fleet.leases import LEASE_SECONDS, NOTHING, Leases, Share, fair_shares
from bulkshare.model import Limits, Request
from bulkshare.pacing import Breaker, Gcra, Paced
from tests.engine.fakes import NOW, response
from tests.engine.virtual_time import run_virtual

RATES = st.floats(0.1, 5000) | st.integers(1, 5000).map(float)


@dataclass
class WorkerView:
    """The shares that a worker may hold, with their ends; includes those whose messages may still arrive."""

    shares: list[tuple[Share, float]] = field(default_factory=list)

    def most(self, now: float) -> Share:
        """Return the highest rate and concurrency that it may use at `now`."""
        live = [share for share, until in self.shares if until > now] or [NOTHING]
        return Share(max(share.rate for share in live), max(share.concurrency for share in live))


@given(
    RATES,
    st.integers(1, 200),
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.sets(st.sampled_from("abcde")), st.booleans(), st.floats(0, 2)),
        max_size=60,
    ),
)
def test_all_shares_together_stay_within_the_limits(
    rate: float, concurrency: int, steps: list[tuple[str, set[str], bool, float]]
) -> None:
    """Workers join, leave and miss messages in any order."""
    leases, now = Leases(rate, concurrency), 0.0
    views = {name: WorkerView() for name in "abcde"}
    for worker, sharers, arrives, passes in steps:
        now += passes
        share = leases.lend(worker, sorted(sharers), now)
        view = views[worker]
        view.shares.append((share, now + LEASE_SECONDS))
        if arrives:
            leases.confirm(worker, 0)
            view.shares = view.shares[-1:]
        together = [view.most(now) for view in views.values()]
        assert sum(share.rate for share in together) <= rate * (1 + 1e-9)
        assert sum(share.concurrency for share in together) <= concurrency


@given(RATES, st.integers(1, 200), st.integers(0, 300))
def test_fair_shares(rate: float, concurrency: int, sharers: int) -> None:
    """Shares are equal but for the remainder, and a worker without concurrency gets no rate."""
    shares = fair_shares(rate, concurrency, sharers)
    assert len(shares) == sharers
    assert sum(share.rate for share in shares) <= rate * (1 + 1e-9)
    assert sum(share.concurrency for share in shares) == (concurrency if sharers else 0)
    working = [share for share in shares if share != NOTHING]
    assert all(share.rate > 0 and share.concurrency > 0 for share in working)
    if working:
        assert max(share.rate for share in working) - min(share.rate for share in working) <= 1


def test_a_share_is_freed_when_its_worker_confirms_a_smaller_one() -> None:
    """The first worker has everything; the second gets its half once the first has confirmed the other half."""
    leases = Leases(100, 10)
    assert leases.lend("a", ["a"], 0.0) == Share(100, 10)
    leases.confirm("a", 0)
    assert leases.lend("b", ["a", "b"], 1.0) == NOTHING
    leases.confirm("b", 0)
    assert leases.lend("a", ["a", "b"], 1.0) == Share(50, 5)
    assert leases.lend("b", ["a", "b"], 1.5) == NOTHING, "the first may not know yet"
    leases.confirm("a", 0)
    assert leases.lend("b", ["a", "b"], 2.0) == Share(50, 5)


def test_requests_in_flight_are_not_lent_to_others() -> None:
    """A worker with more in flight than its share reduces what others get, until the answers arrive."""
    leases = Leases(100, 10)
    leases.lend("a", ["a"], 0.0)
    leases.lend("a", ["a", "b"], 1.0)
    leases.confirm("a", 8)
    assert leases.lend("b", ["a", "b"], 1.0) == Share(50, 2)
    leases.lend("a", ["a", "b"], 1.5)
    leases.confirm("a", 3)
    assert leases.lend("b", ["a", "b"], 1.5) == Share(50, 5)


def test_the_share_of_a_lost_worker_is_freed_when_it_expires() -> None:
    """Until then the lost worker may still be using it."""
    leases = Leases(100, 10)
    leases.lend("a", ["a"], 0.0)
    assert leases.ends("a") == LEASE_SECONDS
    assert leases.lend("b", ["b"], LEASE_SECONDS - 0.1) == NOTHING
    leases.confirm("b", 0)
    assert leases.lend("b", ["b"], LEASE_SECONDS) == Share(100, 10)


@given(st.lists(st.tuples(st.floats(0.5, 2000), st.integers(1, 20)), min_size=1, max_size=8))
def test_a_changed_rate_spaces_the_next_request(changes: list[tuple[float, int]]) -> None:
    """No two requests are closer together than allowed by the rate in force when the second leaves."""
    gcra, now, last = Gcra(changes[0][0]), 0.0, float("-inf")
    for rate, requests in changes:
        gcra.change(rate)
        for _ in range(requests):
            now = max(now, gcra.earliest())
            gcra.take(now)
            assert now - last >= 1 / rate - 1e-9
            last = now


class RecordingTransport:
    """A Transport that records when requests arrive."""

    def __init__(self) -> None:
        self.arrived_at: list[float] = []

    async def send(self, _request: Request) -> object:
        """Answer."""
        self.arrived_at.append(anyio.current_time())
        await anyio.sleep(0.01)
        return response(200)


def paced(inner: RecordingTransport, stopping: anyio.Event) -> Paced:
    """Return a transport behind the pace."""
    return Paced(
        inner,  # type: ignore[arg-type]  # a Transport by shape
        Limits(concurrency=50, rate=1000.0),
        breaker=Breaker(),
        stopping=stopping,
        clock=anyio.current_time,
        wall=lambda: NOW,
    )


def test_nothing_leaves_without_a_lease() -> None:
    """Requests leave until the lease ends, then wait, and continue at the new rate once it is renewed."""
    inner = RecordingTransport()
    began: list[float] = []

    async def main() -> None:
        stopping = anyio.Event()
        pace = paced(inner, stopping)
        began.append(anyio.current_time())
        pace.lease(Limits(concurrency=10, rate=100.0), until=began[0] + 1.0)

        async def keep_sending() -> None:
            while not stopping.is_set():
                await pace.send(Request("GET", "/v2/images"))

        async with anyio.create_task_group() as senders:
            for _ in range(10):
                senders.start_soon(keep_sending)
            await anyio.sleep(5.0)
            pace.lease(Limits(concurrency=10, rate=20.0), until=began[0] + 7.0)
            await anyio.sleep(5.0)
            stopping.set()

    run_virtual(main())
    arrived = [at - began[0] for at in inner.arrived_at]
    assert not [at for at in arrived if 1.0 < at < 5.0 or at > 7.0]
    assert 90 <= len([at for at in arrived if at <= 1.0]) <= 101
    assert 35 <= len([at for at in arrived if 5.0 <= at <= 7.0]) <= 41


def test_a_cool_down_of_another_worker() -> None:
    """Nothing leaves while it lasts, and it is not reported as one of this worker's."""
    inner = RecordingTransport()

    async def main() -> None:
        stopping = anyio.Event()
        pace = paced(inner, stopping)
        await pace.send(Request("GET", "/v2/images"))
        pace.cool_down(3.0)
        assert pace.cooling_until < 0
        await pace.send(Request("GET", "/v2/images"))

    run_virtual(main())
    assert inner.arrived_at[1] - inner.arrived_at[0] >= 3.0
