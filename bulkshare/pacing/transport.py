"""Waiting for the pace: a Transport that sends no faster than the limits and the endpoint allow.

A request passes, in this order, and is held up in each place first come, first served:

1. a place in the window (`window`): how many may be in flight;
2. the breaker (`breaker`): while the endpoint is down, only probes leave;
3. its turn in the rate (`rate`), which pauses after throttling, stops with the lease, and waits while someone has
   paused the run.

The common case, nothing holding it up, takes no lock and doesn't yield. What an answer says about the endpoint as a
whole is fed back to all three; this layer knows nothing of pairs.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

import anyio

from bulkshare.errors import StoppedEarlyError
from bulkshare.image_api.glance import interpret
from bulkshare.model import ENDPOINT_FAILURES, Fault, FaultKind, Request, Step, VerdictKind
from bulkshare.pacing.rate import Gcra
from bulkshare.pacing.window import Mode, Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bulkshare.model import Limits, Reply
    from bulkshare.pacing.breaker import Breaker
    from bulkshare.ports import Transport


THROTTLED_PAUSE_SECONDS = 1.0  # how long all requests wait after throttling without a Retry-After
LEASE_POLL_SECONDS = 0.05  # how often a request that waits checks whether an expired lease was renewed
PAUSE_POLL_SECONDS = 0.25  # and whether a pause has ended
MAYBE_FAILURES = frozenset({400, 408, 413, 429})  # beside 5xx; all other statuses are fine without a look at the body
# Why fewer requests are in flight than may be, in a few words.
AFTER_FAILURE = {
    VerdictKind.THROTTLED: "throttled",
    VerdictKind.TRANSIENT: "after errors",
    VerdictKind.LOST: "after lost answers",
}
SEARCHING = {Mode.CLIMB: "speeding up", Mode.SEARCH: "measuring what is fastest"}
PROBE_PATH = "/v2/images?limit=1"  # cheap, and harmless to repeat


class Paced:
    """A Transport that paces another one.

    Requests that still wait once `stopping` is set come back as Fault STOPPED. Raises `StoppedEarlyError` when the
    endpoint has been silent for too long.

    inner: sends the requests.
    limits: rate and requests in flight, at most.
    breaker: decides whether the endpoint is down.
    stopping: set once nothing more is to be sent; may be replaced between two engines.
    clock: monotonic, in seconds; finer than an event loop's clock, which may tick in milliseconds.
    wall: the current time, aware and UTC, to read Retry-After.
    """

    def __init__(
        self,
        inner: Transport,
        limits: Limits,
        *,
        breaker: Breaker,
        stopping: anyio.Event,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self.stopping = stopping
        self.sent = 0  # requests that have left, including probes and those an outer layer repeats
        self.unanswered = 0  # of these, requests without an answer yet
        self.cooling_until = -math.inf  # on the clock: until when the endpoint has asked us to send nothing
        self._inner = inner
        self._gcra = Gcra(limits.rate)
        self._window = Window(limits.concurrency)
        self._breaker = breaker
        self._clock = clock
        self._wall = wall
        self._turn = anyio.Lock(fast_acquire=True)
        self._probing = anyio.Lock(fast_acquire=True)
        self._waiting: deque[asyncio.Future[None]] = deque()  # half the cost of an event, for every request
        self._in_flight = 0  # requests that have a place in the window
        self._held = 0  # of these, requests that the rate, a pause or the breaker holds back
        self._leased = False
        self._lease_ends = math.inf
        self._paused_at: float | None = None
        self._last_failure = VerdictKind.TRANSIENT

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return self._window.size

    def useful(self) -> int:
        """Return how many requests are worth having here now: more would only wait for a place.

        After failures as many as there may ever be: those that wait here leave in the order in which they came, so that
        an outage meets many of them once rather than a few again and again.
        """
        return self._window.most if self._window.mode is Mode.RECOVER else self._window.size

    @property
    def answered_at(self) -> float:
        """When the endpoint last gave an answer that shows it works, on the clock."""
        return self._breaker.answered_at

    @property
    def limits(self) -> tuple[float, int]:
        """Requests per second, and requests in flight, at most."""
        return self._gcra.per_second, self._window.most

    @property
    def is_paused(self) -> bool:
        """Whether nothing new is sent because someone has paused the run."""
        return self._paused_at is not None

    def pause(self) -> None:
        """Send nothing new until `go`. What is in flight goes on, and the time counts as no outage."""
        if self._paused_at is None:
            self._paused_at = self._clock()

    def go(self) -> None:
        """End a pause."""
        if self._paused_at is not None:
            now = self._clock()
            self._breaker.leave_out(now - self._paused_at, now)
            self._paused_at = None

    def lease(self, limits: Limits, until: float = math.inf) -> None:
        """Keep to these limits from now on, and send nothing after `until` on the clock.

        Each lease replaces the one before. A worker of a fleet gets a share of the fleet's limits; if
        someone changes those of a run at work, there is no end.
        """
        self._gcra.change(limits.rate)
        self._window.limit(limits.concurrency)
        self._leased = True
        self._lease_ends = until
        self._give_places()

    def expire(self) -> None:
        """Send nothing until the next lease, and keep to the limits and to what was learned then."""
        self._leased = True
        self._lease_ends = -math.inf

    def cool_down(self, seconds: float) -> None:
        """Send nothing for so long, and restart the window then: the endpoint has throttled us or another worker."""
        self._gcra.pause(self._clock() + seconds)
        self._window.restart()

    def cooling_seconds(self) -> float:
        """Return for how long, from now, the endpoint has asked to be sent nothing; not above zero if it has not."""
        return self.cooling_until - self._clock()

    def state(self) -> str:
        """Describe the pace in a few words. May be called from any thread."""
        now = self._clock()
        if self.is_paused:
            return f"paused, {self.unanswered} in flight"
        if self._breaker.is_open:
            return f"endpoint down, next probe in {max(self._breaker.probe_at - now, 0):.0f} s"
        if (pause := self.cooling_seconds()) > 0:
            return f"throttled, paused for {math.ceil(pause)} s"
        why = self._why_few()
        return f"{self.unanswered} of {self._window.most} in flight{', ' if why else ''}{why}"

    def _why_few(self) -> str:
        """Return what keeps more requests from being in flight; "" for a lack of work, or if it is the limit."""
        if self._held:
            return "at the rate limit"
        window = self._window
        if self._in_flight < window.size or window.size == window.most:
            return ""
        return AFTER_FAILURE[self._last_failure] if window.mode is Mode.RECOVER else SEARCHING[window.mode]

    async def send(self, request: Request) -> Reply:
        """Send the request when its turn has come."""
        if self._waiting or self._in_flight >= self._window.size:
            await self._wait_for_place()
        else:
            self._in_flight += 1
        try:
            if self._held or self._breaker.is_open or self._wait_seconds() > 0:
                await self._wait_for_turn(request)
            if self.stopping.is_set():
                return Fault(FaultKind.STOPPED, "not sent: the run was stopped")
            return await self._exchange(request)
        finally:
            self._in_flight -= 1
            if self._waiting:
                self._give_places()

    async def _wait_for_place(self) -> None:
        """Wait for a place in the window."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():  # given but not taken: the next one's
                self._in_flight -= 1
                self._give_places()
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    def _give_places(self) -> None:
        while self._waiting and self._in_flight < self._window.size:
            place = self._waiting.popleft()
            if not place.done():  # else it was cancelled, and its task has yet to run
                place.set_result(None)
                self._in_flight += 1

    async def _wait_for_turn(self, request: Request) -> None:
        """Wait until the endpoint is up and the rate allows another request, or the run is stopped."""
        self._held += 1
        try:
            while self._breaker.is_open and not self.stopping.is_set():
                await self._probe(request)
            await self._wait_for_rate()
        finally:
            self._held -= 1

    async def _wait_for_rate(self) -> None:
        """Wait until a request may leave. The caller has to send one, or see the stop, before it yields."""
        async with self._turn:
            while (wait := self._wait_seconds()) > 0 and not self.stopping.is_set():
                with anyio.move_on_after(wait):
                    await self.stopping.wait()

    def _wait_seconds(self) -> float:
        """Return how long to wait, at least, before the next request may leave."""
        now = self._clock()
        if self._paused_at is not None:
            return PAUSE_POLL_SECONDS
        if self._leased and (now >= self._lease_ends or self.unanswered >= self._window.size):
            return LEASE_POLL_SECONDS  # the lease has expired, or has become smaller than what is in flight
        return self._gcra.earliest() - now

    async def _probe(self, request: Request) -> None:
        """Check whether the endpoint is back when it is time to; requests that come meanwhile wait for the answer."""
        async with self._probing:
            if not self._breaker.is_open:
                return
            with anyio.move_on_after(self._breaker.probe_at - self._clock()):
                await self.stopping.wait()
            await self._wait_for_rate()
            if not self.stopping.is_set():
                await self._exchange(Request("GET", PROBE_PATH, token=request.token))

    async def _exchange(self, request: Request) -> Reply:
        """Let a request leave now, and learn from its answer."""
        sent_at = self._clock()
        self._gcra.take(sent_at)
        self.sent += 1
        self.unanswered += 1
        try:
            reply = await self._inner.send(request)
            maybe_failed = isinstance(reply, Fault) or reply.status >= 500 or reply.status in MAYBE_FAILURES
            if not (maybe_failed and self._learn_from_failure(reply, sent_at)):
                now = self._clock()
                self._breaker.succeeded(now)
                # Not `unanswered`: if answers come in bursts, requests that just got their places have yet to leave.
                self._window.succeeded(self._in_flight - self._held, now)
            return reply
        finally:
            self.unanswered -= 1

    def _learn_from_failure(self, reply: Reply, sent_at: float) -> bool:
        """Learn that the endpoint is down, overloaded or out of reach; return whether the answer says so."""
        verdict = interpret(Step.GET_MEMBER, "", "", reply, self._wall())
        if verdict.kind not in ENDPOINT_FAILURES:
            return False
        now = self._clock()
        self._last_failure = verdict.kind
        self._window.failed(sent_at, now)
        if verdict.kind is VerdictKind.THROTTLED:
            pause_seconds = THROTTLED_PAUSE_SECONDS if verdict.retry_after is None else verdict.retry_after
            self.cooling_until = max(self.cooling_until, now + pause_seconds)
            self.cool_down(pause_seconds)
        self._breaker.failed(now)
        if self._breaker.gave_up(now):
            raise StoppedEarlyError("the endpoint has not answered for too long")
        return True
