"""The pace of requests: arithmetic first (`rate`, `window`, `breaker`), waiting second (`Paced`).

Knows what an answer says about the endpoint as a whole; knows nothing of pairs.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import anyio

from bulkshare.errors import StoppedEarlyError
from bulkshare.image_api.glance import interpret
from bulkshare.model import ENDPOINT_TROUBLE, Fault, FaultKind, Request, Step, VerdictKind
from bulkshare.pacing.rate import Gcra
from bulkshare.pacing.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bulkshare.model import Limits, Reply, Verdict
    from bulkshare.pacing.breaker import Breaker
    from bulkshare.ports import Transport


THROTTLED_PAUSE_SECONDS = 1.0  # how long all requests wait after a "too fast" that does not say how long
LEASE_POLL_SECONDS = 0.05  # how often those who wait look whether a lease that has ended was renewed
MAYBE_TROUBLE = frozenset({400, 408, 429})  # beside 5xx; of all others it is known without a look at the body
PROBE_PATH = "/v2/images?limit=1"  # cheap, and harmless to repeat


class Paced:
    """A Transport that lets requests through as fast as the limits and the endpoint allow, first come first served.

    `clock` is monotonic, in seconds, and finer than an event loop's own, which may tick in milliseconds; `wall` gives
    aware UTC times, for Retry-After. Once `stopping` is set, requests that still wait come back as Fault
    STOPPED. Raises `StoppedEarlyError` when the endpoint has been silent for too long.
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
        self._inner = inner
        self._gcra = Gcra(limits.rate)
        self._window = Window(limits.concurrency)
        self._breaker = breaker
        self.stopping = stopping
        self._clock = clock
        self._wall = wall
        self._turn = anyio.Lock(fast_acquire=True)
        self._probing = anyio.Lock(fast_acquire=True)
        self._waiting: deque[anyio.Event] = deque()
        self._in_flight = 0  # requests that have a place in the window
        self._held = 0  # of these, requests that the rate, a pause or the breaker holds back
        self.unanswered = 0  # and requests that have left
        self._lease_ends = math.inf
        self.cooling_until = -math.inf  # on the clock: until when the endpoint has asked us to send nothing
        self.sent = 0  # requests let through, those that an outer layer repeats and probes included

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return self._window.size

    @property
    def answered_at(self) -> float:
        """When the endpoint last gave an answer that is one, on the clock."""
        return self._breaker.answered_at

    def lease(self, limits: Limits, until: float) -> None:
        """Hold to these limits from now on, which are a share of a fleet's; send nothing after `until` on the clock.

        Each lease takes the place of the one before.
        """
        self._gcra.change(limits.rate)
        self._window.limit(limits.concurrency)
        self._lease_ends = until
        self._give_places()

    def cool_down(self, seconds: float) -> None:
        """Send nothing for so long, and begin anew then: somebody was told that the requests come too fast."""
        self._gcra.pause(self._clock() + seconds)
        self._window.restart()

    def state(self) -> str:
        """Describe the pace in a few words. May be called from any thread: a display has one of its own."""
        now = self._clock()
        if self._breaker.is_open:
            return f"endpoint down, next probe in {max(self._breaker.probe_at - now, 0):.0f} s"
        pause = self._gcra.earliest() - now
        if pause > THROTTLED_PAUSE_SECONDS / 2 and pause > 2 / self._gcra.per_second:
            return f"cooling down, {pause:.0f} s"
        return f"{self._in_flight} of {self.allowed} in flight"

    async def send(self, request: Request) -> Reply:
        """Wait for the request's turn and send it."""
        if self._waiting or self._in_flight >= self._window.size:
            await self._wait_for_place()
        else:
            self._in_flight += 1
        try:
            if self._breaker.is_open or self._turn.locked() or self._wait_seconds() > 0:
                await self._wait_for_turn(request)
            if not self._take_turn():
                return Fault(FaultKind.STOPPED, "not sent: the run was stopped")
            return await self._send(request)
        finally:
            self._in_flight -= 1
            if self._waiting:
                self._give_places()

    async def _wait_for_place(self) -> None:
        """Wait for a place in the window, first come first served."""
        place = anyio.Event()
        self._waiting.append(place)
        try:
            await place.wait()
        except BaseException:
            if place.is_set():  # given and not taken: somebody else's
                self._in_flight -= 1
                self._give_places()
            else:
                self._waiting.remove(place)
            raise

    def _give_places(self) -> None:
        while self._waiting and self._in_flight < self._window.size:
            self._waiting.popleft().set()
            self._in_flight += 1

    async def _wait_for_turn(self, request: Request) -> None:
        """Wait until the endpoint is up and the rate's turn has come, or the run is stopped."""
        self._held += 1
        try:
            while self._breaker.is_open and not self.stopping.is_set():
                await self._probe(request)
            await self._wait_for_rate()
        finally:
            self._held -= 1

    async def _wait_for_rate(self) -> None:
        """Wait until a request may leave, first come first served. Whoever comes back has to leave at once."""
        async with self._turn:
            while (wait := self._wait_seconds()) > 0 and not self.stopping.is_set():
                with anyio.move_on_after(wait):
                    await self.stopping.wait()

    def _wait_seconds(self) -> float:
        """Return how long to wait at least before the next request may leave."""
        now = self._clock()
        if self._lease_ends < math.inf and (now >= self._lease_ends or self.unanswered >= self._window.size):
            return LEASE_POLL_SECONDS  # a lease has ended, or has become smaller than what is in flight
        return self._gcra.earliest() - now

    def _take_turn(self) -> bool:
        """Let a request leave; return whether it may, because the run was not stopped."""
        if self.stopping.is_set():
            return False
        self._gcra.take(self._clock())
        self.sent += 1
        return True

    async def _probe(self, request: Request) -> None:
        """Ask the endpoint whether it is back, when it is time to; those who come meanwhile wait for the answer."""
        async with self._probing:
            if not self._breaker.is_open:
                return
            with anyio.move_on_after(self._breaker.probe_at - self._clock()):
                await self.stopping.wait()
            await self._wait_for_rate()
            if not self._take_turn():
                return
            await self._send(Request("GET", PROBE_PATH, token=request.token))

    async def _send(self, request: Request) -> Reply:
        sent_at = self._clock()
        self.unanswered += 1
        try:
            reply = await self._inner.send(request)
            self._learn(reply, sent_at)
            return reply
        finally:
            self.unanswered -= 1

    def _learn(self, reply: Reply, sent_at: float) -> None:
        now = self._clock()
        verdict = self._trouble_in(reply)
        if verdict is None:
            self._breaker.succeeded(now)
            # Not `unanswered`: where answers come in bursts, those who got their places are only about to send.
            self._window.succeeded(self._in_flight - self._held, now)
            return
        self._window.troubled(sent_at, now)
        if verdict.kind is VerdictKind.THROTTLED:
            pause = THROTTLED_PAUSE_SECONDS if verdict.retry_after is None else verdict.retry_after
            self.cooling_until = max(self.cooling_until, now + pause)
            self.cool_down(pause)
        self._breaker.troubled(now)
        if self._breaker.gave_up(now):
            raise StoppedEarlyError("the endpoint has not answered for too long")

    def _trouble_in(self, reply: Reply) -> Verdict | None:
        if not isinstance(reply, Fault) and reply.status < 500 and reply.status not in MAYBE_TROUBLE:
            return None  # the 401 of a token that has ended is no trouble of the endpoint's either
        verdict = interpret(Step.GET_MEMBER, "", "", reply, self._wall())
        return verdict if verdict.kind in ENDPOINT_TROUBLE else None
