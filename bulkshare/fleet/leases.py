"""Leases: shares of a run's limits, lent to workers for some seconds. Arithmetic only.

Together the workers never exceed the limits, whatever messages are lost or late. A share therefore counts as lent until
its worker confirms a smaller one, or until it has expired on the worker's clock. A new share is the fair one, bounded
by what is free: the limits minus what every other worker may still believe it has, requests in flight included. So a
worker that joins or returns gets little at first, and its fair share when the others have confirmed theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE_SECONDS = 5.0  # how long a worker continues without hearing from us, and how long a lost one's share is reserved


class Share(NamedTuple):
    """A part of the limits: requests per second, and requests in flight. If either is zero, nothing is sent."""

    rate: float
    concurrency: int


class Lease(NamedTuple):
    """A share and when it expires on the coordinator's clock, a little later than on the worker's.

    The worker had `in_flight` requests when it got it, possibly more than a share that shrank.
    """

    share: Share
    until: float
    in_flight: int = 0


NOTHING = Share(0.0, 0)


@dataclass
class Leases:
    """The shares of one endpoint's limits that are lent to workers."""

    rate: float
    concurrency: int
    seconds: float = LEASE_SECONDS
    _lent: dict[str, list[Lease]] = field(default_factory=dict)

    def lend(self, worker: str, active: Sequence[str], now: float) -> Share:
        """Return the new share of `worker`: an equal part for each `active` worker, as far as it is free now."""
        fair = dict(zip(active, fair_shares(self.rate, self.concurrency, len(active)), strict=True))
        share = fair.get(worker, NOTHING)
        others = [self._held(other, now) for other in self._lent if other != worker]
        rate = min(share.rate, self.rate - sum(held.rate for held in others))
        concurrency = min(share.concurrency, self.concurrency - sum(held.concurrency for held in others))
        sliver = concurrency < 1 or rate < share.rate / 2  # not worth it until the next exchange
        share = NOTHING if sliver else Share(rate, concurrency)
        self._lent.setdefault(worker, []).append(Lease(share, now + self.seconds))
        return share

    def confirm(self, worker: str, in_flight: int) -> None:
        """Void all shares of the worker but the last, which it has confirmed with `in_flight` requests unanswered.

        It sends nothing beyond its share until these are answered.
        """
        self._lent[worker] = [self._lent[worker][-1]._replace(in_flight=in_flight)]

    def ends(self, worker: str) -> float:
        """Return when the worker stops sending unless it hears from us; -inf if nothing is lent to it."""
        return max((lent.until for lent in self._lent.get(worker, ()) if lent.share != NOTHING), default=float("-inf"))

    def _held(self, worker: str, now: float) -> Share:
        """Return the most that the worker may believe it has, or still has in flight."""
        live = [lent for lent in self._lent[worker] if lent.until > now]
        in_flight = (max(lent.share.concurrency, lent.in_flight) for lent in live)
        return Share(max((lent.share.rate for lent in live), default=0.0), max(in_flight, default=0))


def fair_shares(rate: float, concurrency: int, active: int) -> list[Share]:
    """Divide limits among workers; those beyond the concurrency get nothing.

    Rates are whole numbers if each worker can have one: then no second sees more than the limit, however the workers'
    seconds align. With fractions each would send one more now and then.
    """
    working = min(active, concurrency)
    if not working:
        return []
    concurrencies = _split(concurrency, working)
    divides = working < 2 or rate < working
    rates = [rate / working] * working if divides else list(map(float, _split(int(rate), working)))
    return [*map(Share, rates, concurrencies), *[NOTHING] * (active - working)]


def _split(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]
