"""Who may send how fast: whatever is lost or late, all workers together never have more than the limits."""

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
class Believer:
    """What a worker may believe: shares that it got, those whose messages may still come included, and their ends."""

    shares: list[tuple[Share, float]] = field(default_factory=list)

    def most(self, now: float) -> Share:
        """Return the most of each that it may use at `now`."""
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
def test_all_together_hold_to_the_limits(
    rate: float, concurrency: int, steps: list[tuple[str, set[str], bool, float]]
) -> None:
    """Workers come, go, and miss messages in any order; the shares that they may believe in never exceed the limits."""
    leases, now = Leases(rate, concurrency), 0.0
    believers = {name: Believer() for name in "abcde"}
    for worker, sharers, arrives, passes in steps:
        now += passes
        share = leases.lend(worker, sorted(sharers), now)
        believer = believers[worker]
        believer.shares.append((share, now + LEASE_SECONDS))
        if arrives:
            leases.confirm(worker, 0)
            believer.shares = believer.shares[-1:]
        together = [believer.most(now) for believer in believers.values()]
        assert sum(share.rate for share in together) <= rate * (1 + 1e-9)
        assert sum(share.concurrency for share in together) <= concurrency


@given(RATES, st.integers(1, 200), st.integers(0, 300))
def test_fair_shares(rate: float, concurrency: int, sharers: int) -> None:
    """Everybody gets the same but for the remainder, and who gets no place gets no rate."""
    shares = fair_shares(rate, concurrency, sharers)
    assert len(shares) == sharers
    assert sum(share.rate for share in shares) <= rate * (1 + 1e-9)
    assert sum(share.concurrency for share in shares) == (concurrency if sharers else 0)
    working = [share for share in shares if share != NOTHING]
    assert all(share.rate > 0 and share.concurrency > 0 for share in working)
    if working:
        assert max(share.rate for share in working) - min(share.rate for share in working) <= 1


def test_a_share_is_free_when_its_worker_has_a_smaller_one() -> None:
    """The first worker has all; the second gets its half once the first has said that it has no more than that."""
    leases = Leases(100, 10)
    assert leases.lend("a", ["a"], 0.0) == Share(100, 10)
    leases.confirm("a", 0)
    assert leases.lend("b", ["a", "b"], 1.0) == NOTHING
    leases.confirm("b", 0)
    assert leases.lend("a", ["a", "b"], 1.0) == Share(50, 5)
    assert leases.lend("b", ["a", "b"], 1.5) == NOTHING, "the first may not have heard of it"
    leases.confirm("a", 0)
    assert leases.lend("b", ["a", "b"], 2.0) == Share(50, 5)


def test_what_is_in_flight_is_nobody_elses() -> None:
    """A worker that has more in flight than its share keeps others from theirs, until that is answered."""
    leases = Leases(100, 10)
    leases.lend("a", ["a"], 0.0)
    leases.lend("a", ["a", "b"], 1.0)
    leases.confirm("a", 8)
    assert leases.lend("b", ["a", "b"], 1.0) == Share(50, 2)
    leases.lend("a", ["a", "b"], 1.5)
    leases.confirm("a", 3)
    assert leases.lend("b", ["a", "b"], 1.5) == Share(50, 5)


def test_a_lost_share_is_free_when_it_has_ended() -> None:
    """Nobody gets what a lost worker may still use."""
    leases = Leases(100, 10)
    leases.lend("a", ["a"], 0.0)
    assert leases.ends("a") == LEASE_SECONDS
    assert leases.lend("b", ["b"], LEASE_SECONDS - 0.1) == NOTHING
    leases.confirm("b", 0)
    assert leases.lend("b", ["b"], LEASE_SECONDS) == Share(100, 10)


@given(st.lists(st.tuples(st.floats(0.5, 2000), st.integers(1, 20)), min_size=1, max_size=8))
def test_a_rate_that_changes(changes: list[tuple[float, int]]) -> None:
    """No two requests are closer together than the rate in force when the second leaves allows."""
    gcra, now, last = Gcra(changes[0][0]), 0.0, float("-inf")
    for rate, requests in changes:
        gcra.change(rate)
        for _ in range(requests):
            now = max(now, gcra.earliest())
            gcra.take(now)
            assert now - last >= 1 / rate - 1e-9
            last = now


class Inner:
    """A Transport that remembers when requests came."""

    def __init__(self) -> None:
        self.came: list[float] = []

    async def send(self, _request: Request) -> object:
        """Answer."""
        self.came.append(anyio.current_time())
        await anyio.sleep(0.01)
        return response(200)


def paced(inner: Inner, stopping: anyio.Event) -> Paced:
    """Put the pace in front of a transport."""
    return Paced(
        inner,  # type: ignore[arg-type]  # it is one
        Limits(concurrency=50, rate=1000.0),
        breaker=Breaker(),
        stopping=stopping,
        clock=anyio.current_time,
        wall=lambda: NOW,
    )


def test_nothing_leaves_without_a_lease() -> None:
    """Requests go out until the lease ends, wait, and go on when it is renewed, at the new rate."""
    inner = Inner()
    began: list[float] = []

    async def main() -> None:
        stopping = anyio.Event()
        pace = paced(inner, stopping)
        began.append(anyio.current_time())
        pace.lease(Limits(concurrency=10, rate=100.0), until=began[0] + 1.0)

        async def send_on() -> None:
            while not stopping.is_set():
                await pace.send(Request("GET", "/v2/images"))

        async with anyio.create_task_group() as senders:
            for _ in range(10):
                senders.start_soon(send_on)
            await anyio.sleep(5.0)
            pace.lease(Limits(concurrency=10, rate=20.0), until=began[0] + 7.0)
            await anyio.sleep(5.0)
            stopping.set()

    run_virtual(main())
    came = [at - began[0] for at in inner.came]
    assert not [at for at in came if 1.0 < at < 5.0 or at > 7.0]
    assert 90 <= len([at for at in came if at <= 1.0]) <= 101
    assert 35 <= len([at for at in came if 5.0 <= at <= 7.0]) <= 41


def test_cool_down_from_elsewhere() -> None:
    """After it nothing leaves for so long, and it is not told as an own one."""
    inner = Inner()

    async def main() -> None:
        stopping = anyio.Event()
        pace = paced(inner, stopping)
        await pace.send(Request("GET", "/v2/images"))
        pace.cool_down(3.0)
        assert pace.cooling_until < 0
        await pace.send(Request("GET", "/v2/images"))

    run_virtual(main())
    assert inner.came[1] - inner.came[0] >= 3.0
