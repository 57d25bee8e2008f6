"""The pace of requests: arithmetic first (`Gcra`), waiting second (`Paced`). Knows nothing of images or tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from bulkshare.model import Reply, Request
    from bulkshare.ports import Transport

# An event loop wakes up to about a millisecond late (epoll's resolution). The last stretch of a wait is therefore
# spent yielding to the other tasks instead of sleeping.
COARSE_SECONDS = 0.0015


class Gcra:
    """The generic cell rate algorithm (ITU-T I.371) without burst: one request per 1/rate seconds.

    `take` counts from the moment a request really leaves, never from when it should have: a late request is not made
    up for, so that no window of t seconds sees more than rate x t + 1 requests.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._next = float("-inf")

    def earliest(self) -> float:
        """Return the first moment at which the next request may leave."""
        return self._next

    def take(self, now: float) -> None:
        """Let a request leave at `now`. Raises ValueError when that is too early."""
        if now < self._next:
            raise ValueError("a request would leave too early")
        self._next = now + 1.0 / self.per_second


class Paced:
    """A Transport that lets requests through at the pace of a `Gcra`, in the order in which they came."""

    def __init__(self, inner: Transport, gcra: Gcra) -> None:
        self._inner = inner
        self._gcra = gcra
        self._turn = anyio.Lock(fast_acquire=True)
        self.sent = 0  # requests let through, those that an outer layer repeats included

    async def send(self, request: Request) -> Reply:
        """Wait for the request's turn and send it."""
        async with self._turn:
            # A loop of sleeps, since the clock, not an event, is what is waited for.
            while (wait := self._gcra.earliest() - anyio.current_time()) > 0:  # noqa: ASYNC110
                await anyio.sleep(max(wait - COARSE_SECONDS, 0.0))
            self._gcra.take(anyio.current_time())
        self.sent += 1
        return await self._inner.send(request)
