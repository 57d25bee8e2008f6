"""The window finds how many requests in flight a server can use, on simulated servers of many kinds."""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.pacing import Window
from bulkshare.pacing.window import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 64


@dataclass(frozen=True)
class Server:
    """A server with some stations and one queue; times are in seconds.

    A request takes `work_seconds` on average, the same or not as `variation` says (its standard deviation in means),
    and so much of that more for each that is in flight beyond the stations as `crowding` says. Beyond `refuses_above`
    in flight every second answer is trouble. One in a hundred takes ten times as long where it has `hiccups`.
    """

    stations: int
    work_seconds: float
    way_seconds: float = 0.001
    variation: float = 0.6
    crowding: float = 0.0
    refuses_above: int = 1_000_000
    hiccups: bool = False

    def seconds(self, in_flight: int, chance: random.Random) -> float:
        """Return how long a request takes that arrives when so many are in flight."""
        shape = 1 / self.variation**2
        seconds = self.work_seconds * chance.gammavariate(shape, 1 / shape)
        if self.hiccups and chance.random() < 0.01:
            seconds *= 10
        return seconds * (1 + self.crowding * max(in_flight - self.stations, 0))


class Sized(Protocol):
    """A concurrency limit: a window, or a fixed number."""

    @property
    def size(self) -> int:
        """How many may be in flight."""
        ...

    def succeeded(self, in_flight: int, now: float) -> None:
        """Learn from an answer."""
        ...

    def failed(self, sent_at: float, now: float) -> bool:
        """Learn from trouble."""
        ...


class Fixed:
    """A window that learns nothing."""

    def __init__(self, size: int) -> None:
        self.size = size

    def succeeded(self, in_flight: int, now: float) -> None:
        """Do nothing."""

    def failed(self, sent_at: float, now: float) -> bool:
        """Do nothing."""
        del sent_at, now
        return False


@dataclass(frozen=True)
class Measured:
    """The result: answers per second, sizes after each answer, and how many answers were trouble."""

    per_second: float
    sizes: list[int]
    troubles: int

    def size(self, *, since: float = 0.5) -> float:
        """Return the mean size after this share of the answers."""
        return statistics.mean(self.sizes[int(len(self.sizes) * since) :])


def work(window: Sized, server_at: Callable[[int], Server], answers: int, seed: int = 1) -> Measured:
    """Keep the window full until so many answers have come; `server_at` returns the server of the n-th."""
    chance = random.Random(seed)
    now, in_flight, sent, troubles = 0.0, 0, 0, 0
    coming: list[tuple[float, int, float, bool]] = []
    free = [0.0] * server_at(0).stations
    sizes: list[int] = []
    for number in range(answers):
        server = server_at(number)
        if len(free) != server.stations:
            free = [now] * server.stations
        while in_flight < window.size and sent < answers:
            in_flight += 1
            sent += 1
            begins = max(heapq.heappop(free), now + server.way_seconds / 2)
            ends = begins + server.seconds(in_flight, chance)
            heapq.heappush(free, ends)
            good = in_flight <= server.refuses_above or chance.random() < 0.5
            heapq.heappush(coming, (ends + server.way_seconds / 2, sent, now, good))
        now, _, sent_at, good = heapq.heappop(coming)
        if good:
            window.succeeded(in_flight, now)
        else:
            window.failed(sent_at, now)
            troubles += 1
        in_flight -= 1
        sizes.append(window.size)
    return Measured(answers / now, sizes, troubles)


def best_of_all(server: Server, answers: int) -> float:
    """Return the most answers per second of any fixed size."""
    return max(work(Fixed(size), lambda _: server, answers).per_second for size in (1, 2, 3, 4, 6, 8, 12, 16, 32, MOST))


SERVERS = {
    "two processes on two cores": (Server(2, 0.02, crowding=0.003), 2, 12),
    "four processes": (Server(4, 0.04, crowding=0.003), 4, 16),
    "sixteen processes": (Server(16, 0.1, way_seconds=0.005), 14, 48),
    "one that chokes": (Server(1, 0.005, crowding=0.02), 1, 8),
    "one with hiccups": (Server(4, 0.03, hiccups=True), 4, 48),
    "far away and fast": (Server(8, 0.01, way_seconds=0.15), 55, MOST),
    "slow and wide": (Server(100, 1.0, way_seconds=0.01), 55, MOST),
    "faster than any client": (Server(1, 0.0002, way_seconds=0.0001, variation=0.3), 2, 16),
}


@pytest.mark.parametrize("name", SERVERS)
def test_finds_the_size_that_the_server_can_use(name: str) -> None:
    """It is nearly as fast as the best fixed size, without more in flight than that needs."""
    server, least, most = SERVERS[name]
    answers = 12_000
    best = best_of_all(server, answers)
    told = [work(Window(MOST), lambda _: server, answers, seed) for seed in range(5)]
    assert statistics.median(one.per_second for one in told) >= 0.93 * best
    assert least <= statistics.median(one.size() for one in told) <= most


@pytest.mark.parametrize("seed", range(5))
def test_follows_a_server_that_changes(seed: int) -> None:
    """It grows when processes are added to the server, and shrinks when they are removed."""
    few, many = Server(3, 0.03, crowding=0.003), Server(24, 0.03, crowding=0.003)
    grown = work(Window(MOST), lambda number: few if number < 3_000 else many, 40_000, seed)
    assert grown.sizes[2_900] <= 16
    assert grown.size(since=0.6) >= 20
    shrunk = work(Window(MOST), lambda number: many if number < 10_000 else few, 40_000, seed)
    assert shrunk.sizes[9_900] >= 16
    assert shrunk.size(since=0.8) <= 12


def test_doubles_while_that_pays() -> None:
    """At the start two round trips at a size are enough to double it."""
    told = work(Window(MOST), lambda _: Server(100, 1.0, variation=0.1), 500)
    assert [size for size, _ in itertools.groupby(told.sizes)] == [4, 8, 16, 32, 64]
    assert told.sizes.index(64) <= 200


def test_goes_back_to_where_it_came_from() -> None:
    """The last step up may be a small one, to the limit."""
    told = work(Window(12), lambda _: Server(8, 0.02, variation=0.1), 150)
    assert [size for size, _ in itertools.groupby(told.sizes)][:4] == [4, 8, 12, 8]


def test_stays_below_what_the_server_refuses() -> None:
    """If the server refuses requests beyond some size, the window stays below it most of the time."""
    server = Server(30, 0.1, refuses_above=20)
    told = [work(Window(MOST), lambda _: server, 10_000, seed) for seed in range(5)]
    near = work(Fixed(20), lambda _: server, 10_000).per_second
    assert statistics.median(one.per_second for one in told) >= 0.7 * near
    assert statistics.median(one.troubles for one in told) <= 0.05 * 10_000


def test_trouble_halves_the_window_once_in_a_round_trip() -> None:
    """A burst of 503s counts once."""
    window = climbed(16)
    decreased = [window.failed(sent_at=1.0, now=2.0 + n / 10) for n in range(8)]
    assert decreased == [True] + [False] * 7
    assert window.size == 8


def test_after_trouble_it_grows_by_one_in_a_round_trip_to_where_the_trouble_came() -> None:
    """As TCP does; from there on it compares again."""
    window = climbed(16)
    window.failed(sent_at=1.0, now=2.0)
    sizes = []
    while window.size < 16:
        sizes.append(window.size)
        window.succeeded(window.size, 3.0)
    trips = [len(list(answers)) for _, answers in itertools.groupby(sizes)]
    assert all(size <= answers <= size + 1 for size, answers in zip(range(8, 16), trips, strict=True))


def test_a_pause_restarts_the_window() -> None:
    """After throttling it starts with a few, and grows quickly to half of what it was."""
    window = climbed(16)
    window.failed(sent_at=1.0, now=2.0)
    window.restart()
    assert window.size == 2
    for _ in range(6):
        window.succeeded(window.size, 3.0)
    assert window.size == 8


def test_a_window_that_is_not_full_learns_nothing() -> None:
    """If requests are few, or held back by something else, its size doesn't matter."""
    window = Window(MOST)
    for number in range(1_000):
        window.succeeded(2, number / 10)
    assert window.size == 4


@pytest.mark.parametrize("most", [1, 2, 3])
def test_small_limits(most: int) -> None:
    """There is not always a neighbour to compare with."""
    told = work(Window(most), lambda _: Server(4, 0.02), 2_000)
    assert told.size() >= most - 0.5
    assert max(told.sizes) == most


def test_a_limit_that_changes_is_kept() -> None:
    """A smaller limit binds at once, a larger one is grown into."""
    window = climbed(MOST)
    window.limit(10)
    assert window.size == 10
    window.limit(MOST)
    assert window.size == 10
    told = work(window, lambda _: Server(100, 0.5, variation=0.1), 6_000)
    assert told.size() > 40


def test_a_limit_that_is_raised_much_is_grown_into_as_at_the_start() -> None:
    """By doubling, if the old one was the bottleneck: someone wants a run at work to be faster now."""
    window = climbed(MOST)
    window.limit(2)
    window.limit(MOST)
    work(window, lambda _: Server(100, 0.5, variation=0.1), 300)
    assert window.size > MOST / 2


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["good", "good", "good", "idle", "bad", "pause", "limit"]),
        st.sampled_from([0.0, 0.1, 0.3, 1.0, 3.0, 10.0]),
        st.integers(1, 2 * MOST),
    ),
    max_size=60,
)


@pytest.mark.parametrize("most", [1, 3, 6, 20])
@pytest.mark.parametrize("shrinks_at", [10, 30, 60, 90, 150, 200, 1_000, 3_000])
def test_a_share_that_shrinks_is_never_exceeded(shrinks_at: int, most: int) -> None:
    """In no phase of the search, however fast the server is from then on."""
    for slow in (Server(1, 0.05), Server(1, 0.5), Server(1, 5.0)):
        window = Window(MOST)
        work(window, lambda _: Server(100, 0.5, variation=0.1), shrinks_at)
        window.limit(most)
        told = work(window, partial(_always, slow), 500)
        assert max([window.size, *told.sizes]) <= most


@given(EVENTS, st.integers(1, MOST))
def test_the_window_stays_between_one_and_the_limit(events: list[tuple[str, float, int]], most: int) -> None:
    """Whatever happens, at least one request may be in flight and never more than the limit."""
    window, now = Window(most), 0.0
    for what, seconds, number in events:
        now += seconds
        if what == "good":
            for nth in range(number):
                window.succeeded(window.size, now - seconds * (number - nth) / number)
                assert 1 <= window.size <= most
        elif what == "idle":
            window.succeeded(0, now)
        elif what == "bad":
            window.failed(now, now)
        elif what == "pause":
            window.restart()
        else:
            most = min(number, MOST)
            window.limit(most)
        assert 1 <= window.size <= most


def _always(server: Server, _number: int) -> Server:
    return server


SHARES = st.lists(
    st.tuples(st.integers(1, 200), st.sampled_from([0.001, 0.01, 0.1]), st.sampled_from([1, 2, 3, 5, 8, 20, MOST])),
    max_size=8,
)


@given(SHARES)
def test_the_window_stays_within_its_share(shares: list[tuple[int, float, int]]) -> None:
    """Shares grow and shrink in every phase of the search, while answers come quickly or slowly to a full window."""
    window, now, most = Window(MOST), 0.0, MOST
    for answers, seconds, share in shares:
        for _ in range(answers):
            now += seconds
            window.succeeded(window.size, now)
            assert 1 <= window.size <= most
        most = share
        window.limit(most)
        assert 1 <= window.size <= most


def climbed(most: int) -> Window:
    """Return a window that has grown to its limit, on a clock that is at 0."""
    window = Window(most)
    work(window, lambda _: Server(1_000, 0.1, variation=0.1), 1_000)
    assert (window.size, window.mode) == (most, Mode.SEARCH)
    return window
