"""The rate limit, exact in arithmetic and with real tasks; the breaker; the transport that waits for both."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.errors import StoppedEarlyError
from bulkshare.model import Fault, FaultKind, Limits, Reply, Request
from bulkshare.pacing import Breaker, Gcra, Paced
from bulkshare.pacing.rate import CATCH_UP_SECONDS
from bulkshare.pacing.transport import PROBE_PATH
from tests.engine.fakes import NOW, response
from tests.engine.virtual_time import TICK_SECONDS, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable


@given(st.floats(0.1, 5000), st.lists(st.floats(0, 3), min_size=2, max_size=60))
def test_no_window_holds_more_than_its_share(rate: float, lateness: list[float]) -> None:
    """However late requests leave, n/rate seconds see at most n, and t seconds at most 20 ms' worth more."""
    gcra, now, left = Gcra(rate), 0.0, []
    share = max(int(rate), 1)
    for late in lateness:
        now = max(now, gcra.earliest()) + late / rate
        gcra.take(now)
        left.append(now)
    for first in range(len(left)):
        for last in range(first, len(left)):
            window = left[last] - left[first]
            assert last - first + 1 <= rate * (window + CATCH_UP_SECONDS) + 1 + 1e-6
            assert last - first < share or window >= share / rate - 1e-6


def test_a_short_delay_is_caught_up() -> None:
    """Requests that are each a little late still keep the rate."""
    gcra, now = Gcra(100), 0.0
    for number in range(1001):
        now = max(now, gcra.earliest()) + 0.001 * (number % 8)
        gcra.take(now)
    assert 10.0 <= now <= 10.1


def test_a_long_delay_is_not_caught_up() -> None:
    """After a pause requests leave at the rate, not in a burst."""
    gcra = Gcra(100)
    gcra.take(0.0)
    gcra.take(5.0)
    assert gcra.earliest() == pytest.approx(5.01)


def test_too_early_is_refused() -> None:
    """The arithmetic checks its own contract."""
    gcra = Gcra(10)
    gcra.take(5.0)
    with pytest.raises(ValueError, match="too early"):
        gcra.take(5.05)


class Inner:
    """A Transport that takes `latency_seconds` and answers as `script` says; it records when requests came."""

    def __init__(
        self, script: Callable[[float], Reply] = lambda _now: response(200), latency_seconds: float = 0.1
    ) -> None:
        self.script = script
        self.latency_seconds = latency_seconds
        self.came: list[tuple[float, str]] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def send(self, request: Request) -> Reply:
        """Answer."""
        self.came.append((anyio.current_time(), request.path))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await anyio.sleep(self.latency_seconds)
        self.in_flight -= 1
        return self.script(anyio.current_time())


def paced(
    inner: Inner,
    *,
    rate: float = 1000,
    concurrency: int = 16,
    breaker: Breaker | None = None,
    stopping: anyio.Event | None = None,
    clock: Callable[[], float] = anyio.current_time,
) -> Paced:
    """Return a Paced transport around `inner`."""
    return Paced(
        inner,
        Limits(concurrency=concurrency, rate=rate),
        breaker=breaker or Breaker(),
        stopping=stopping or anyio.Event(),
        clock=clock,
        wall=lambda: NOW,
    )


def send_all(transport: Paced, count: int) -> list[Reply]:
    """Send concurrent requests in virtual time; return the replies."""
    replies: list[Reply] = []

    async def one(number: int) -> None:
        replies.append(await transport.send(Request("GET", str(number))))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(one, number)

    run_virtual(main())
    return replies


def test_paced_sends_in_order_and_at_the_rate() -> None:
    """A hundred concurrent requests leave one by one, first come, first served, at exactly the rate."""
    inner = Inner()
    send_all(paced(inner, rate=20), 100)
    assert [path for _, path in inner.came] == [str(number) for number in range(100)]
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(inner.came)]
    assert min(gaps) >= 0.05 - 2 * TICK_SECONDS  # if one was late, the next catches up
    assert sum(gaps) == pytest.approx(99 / 20, rel=0.01)


def test_window_opens_to_the_limit_and_not_beyond() -> None:
    """Without trouble the window doubles per round trip, up to the user's limit."""
    inner = Inner()
    transport = paced(inner, concurrency=12)
    send_all(transport, 200)
    assert inner.most_in_flight == 12
    assert transport.allowed == 12
    assert transport.sent == 200


def test_an_expired_lease_sends_nothing_and_forgets_nothing() -> None:
    """The next one goes on at the pace and with the window of the one before."""
    inner = Inner(latency_seconds=0.01)
    transport = paced(inner, concurrency=64)

    async def send(count: int) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(transport.send, Request("GET", "/"))

    async def expire() -> None:
        transport.expire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, 400)
            await anyio.sleep(5.0)
            assert not inner.came
            transport.lease(Limits(concurrency=32, rate=1000))
            assert transport.allowed == 4
        size = transport.allowed
        assert size > 4
        transport.expire()
        transport.lease(Limits(concurrency=32, rate=1000))
        assert transport.allowed == size
        began = anyio.current_time()
        await send(10)
        assert anyio.current_time() - began < 0.1

    run_virtual(expire())


def test_answers_that_come_in_bursts_find_the_window_full() -> None:
    """Requests that have a place but have yet to leave count: otherwise a fast server would never get more at once."""
    inner = Bursts()
    transport = paced(inner, concurrency=64, rate=10_000)
    send_all(transport, 1000)
    assert transport.allowed == 64


class Bursts(Inner):
    """A Transport that answers only at tenths of a second."""

    async def send(self, request: Request) -> Reply:
        """Answer."""
        self.latency_seconds = 0.1 - anyio.current_time() % 0.1
        return await super().send(request)


def test_requests_that_wait_for_the_rate_are_not_in_flight() -> None:
    """If the rate is the limit, a wider window would change nothing: it keeps its size."""
    inner = Inner(latency_seconds=0.05)
    transport = paced(inner, concurrency=64, rate=50)
    send_all(transport, 500)
    assert inner.most_in_flight <= 4
    assert transport.allowed == 4
    assert inner.came[-1][0] - inner.came[0][0] == pytest.approx(499 / 50, rel=0.01)


def test_retry_after_pauses_all_requests() -> None:
    """After one 429 with Retry-After no request leaves before its time, and then only a few."""
    replies = iter([response(429, retry_after="30")])
    inner = Inner(lambda _now: next(replies, response(200)))
    send_all(paced(inner, concurrency=16, rate=100), 100)
    first = inner.came[0][0]
    assert not [at for at, _ in inner.came if first + 0.2 < at < first + 30]
    after = [at for at, _ in inner.came if first + 30 <= at < first + 30.15]
    assert 0 < len(after) <= 4, "gently"


def test_breaker_sends_probes_only_while_the_endpoint_is_down() -> None:
    """In an outage of five minutes few requests leave; when it ends, all are sent."""
    began, ended = 1005.0, 1305.0
    inner = Inner(lambda now: response(500) if began <= now <= ended else response(200))
    transport = paced(inner, rate=10)

    async def client() -> None:
        for _ in range(25):
            while not _is_success(await transport.send(Request("POST", "/v2/images/i/members", b"{}"))):
                await anyio.sleep(1)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(client)

    run_virtual(main())
    in_outage = [path for at, path in inner.came if began + 11 < at < ended]
    assert set(in_outage) == {PROBE_PATH}
    assert 8 <= len(in_outage) <= 16
    assert sum(path != PROBE_PATH for _, path in inner.came) < 200 + 150


def _is_success(reply: Reply) -> bool:
    return not isinstance(reply, Fault) and reply.status == 200


def test_gives_up_on_an_endpoint_that_stays_down() -> None:
    """The run ends after the time that the user allows."""
    inner = Inner(lambda _now: Fault(FaultKind.UNSENT, "refused"))
    transport = paced(inner, breaker=Breaker(give_up_after_seconds=100))

    async def main() -> None:
        while anyio.current_time() < 5000:
            await transport.send(Request("GET", "x"))

    with pytest.raises(StoppedEarlyError):
        run_virtual(main())
    assert 100 <= inner.came[-1][0] - inner.came[0][0] <= 135


def test_a_stop_ends_every_wait() -> None:
    """Requests that wait for a cool-down come back as stopped."""
    inner = Inner(lambda _now: response(429, retry_after="500"))
    stopping = anyio.Event()
    transport = paced(inner, stopping=stopping)
    replies: list[Reply] = []

    async def one() -> None:
        replies.append(await transport.send(Request("GET", "x")))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one)
            await anyio.sleep(5)
            stopping.set()
        assert anyio.current_time() < 1010

    run_virtual(main())
    assert sum(isinstance(reply, Fault) for reply in replies) == 20 - len(inner.came)


def test_a_cancelled_wait_gives_its_place_back() -> None:
    """A request that is cancelled while it waits loses no place of the window."""
    inner = Inner(latency_seconds=1.0)
    transport = paced(inner, concurrency=1)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.send, Request("GET", "1"))
            await anyio.sleep(0.1)
            with anyio.move_on_after(0.1):
                await transport.send(Request("GET", "2"))
            await transport.send(Request("GET", "3"))

    run_virtual(main())
    assert [path for _, path in inner.came] == ["1", "3"]


def test_refusals_are_not_trouble() -> None:
    """401, 403, 404, 409 and 413 show an endpoint that works."""
    statuses = iter([403, 404, 409, 413, 401] * 20)
    inner = Inner(lambda _now: response(next(statuses)))
    transport = paced(inner)
    send_all(transport, 100)
    assert transport.allowed == 16


def test_state_is_available_from_any_thread() -> None:
    """The display has its own thread, without an event loop."""
    breaker = Breaker(patience_seconds=0.0)
    transport = paced(Inner(), breaker=breaker, clock=time.monotonic)
    assert "0 of 16 in flight" in transport.state()
    for _ in range(5):
        breaker.failed(0.0)
    assert "endpoint down" in transport.state()


LOST = Fault(FaultKind.TIMEOUT, "no answer")
FEW: dict[str, tuple[Reply, int]] = {  # why fewer than the limit are in flight, by the answer before and the rate
    "speeding up": (response(200), 1000),
    "at the rate limit": (response(200), 1),
    "throttled": (response(429), 1000),
    "after errors": (response(503), 1000),
    "after lost answers": (LOST, 1000),
}


@pytest.mark.parametrize("why", FEW)
def test_state_says_why_few_are_in_flight(why: str) -> None:
    """As long as more could be sent, and in the cloud's own words for it."""
    answer, rate = FEW[why]
    answers = iter([answer])
    states: list[str] = []

    def script(_now: float) -> Reply:
        states.append(transport.state())
        return next(answers, response(200))

    transport = paced(Inner(script), rate=rate)

    async def main() -> None:
        await transport.send(Request("GET", "/"))
        states.append(transport.state())
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(transport.send, Request("GET", "/"))
        states.append(transport.state())

    run_virtual(main())
    assert any(state.endswith(f" of 16 in flight, {why}") for state in states), states
    assert states[-1] == "0 of 16 in flight"
    assert any(state.startswith("throttled, paused for 1 s") for state in states) == (why == "throttled")
