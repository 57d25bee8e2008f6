"""Who may send how fast: shares of a run's limits, lent for some seconds. Arithmetic only.

What all workers may send together never exceeds the limits, whatever is lost or late: a share counts as lent until its
worker has said that it has a smaller one, or until it has ended on that worker's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE_SECONDS = (
    5.0  # as long a worker goes on that hears nothing, and as long nobody gets the share of one that is lost
)


class Share(NamedTuple):
    """A part of the limits: requests a second, and requests in flight. With nothing of either nothing is sent."""

    rate: float
    concurrency: int


class Lent(NamedTuple):
    """A share, and when it ends, on the coordinator's clock; a little later than on the worker's.

    Its worker had `in_flight` requests when it got it: more than the share, where that is smaller than the one before.
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
    _lent: dict[str, list[Lent]] = field(default_factory=dict)

    def lend(self, worker: str, sharers: Sequence[str], now: float) -> Share:
        """Return what `worker` may have from now on, of what is equal for all `sharers` and free now."""
        fair = dict(zip(sharers, fair_shares(self.rate, self.concurrency, len(sharers)), strict=True))
        share = fair.get(worker, NOTHING)
        others = [self._held(other, now) for other in self._lent if other != worker]
        rate = min(share.rate, self.rate - sum(held.rate for held in others))
        concurrency = min(share.concurrency, self.concurrency - sum(held.concurrency for held in others))
        sliver = concurrency < 1 or rate < share.rate / 2  # it would last no longer than until the next time
        share = NOTHING if sliver else Share(rate, concurrency)
        self._lent.setdefault(worker, []).append(Lent(share, now + self.seconds))
        return share

    def confirm(self, worker: str, in_flight: int) -> None:
        """The worker has the share that was lent to it last: those before are void. It has so many requests in flight.

        Beyond its share it sends none before these are answered.
        """
        self._lent[worker] = [self._lent[worker][-1]._replace(in_flight=in_flight)]

    def ends(self, worker: str) -> float:
        """Return when the worker sends nothing any more unless it hears of us; -inf where nothing was lent."""
        return max((lent.until for lent in self._lent.get(worker, ()) if lent.share != NOTHING), default=float("-inf"))

    def _held(self, worker: str, now: float) -> Share:
        """Return the most that the worker may believe to have, or has in flight still."""
        live = [lent for lent in self._lent[worker] if lent.until > now]
        in_flight = (max(lent.share.concurrency, lent.in_flight) for lent in live)
        return Share(max((lent.share.rate for lent in live), default=0.0), max(in_flight, default=0))


def fair_shares(rate: float, concurrency: int, sharers: int) -> list[Share]:
    """Divide limits among workers; those who find no place in the concurrency get nothing.

    Rates are whole numbers where there is one for each: then no second sees more than the limit, however the workers'
    seconds lie. A fraction would let each send one more now and then.
    """
    working = min(sharers, concurrency)
    if not working:
        return []
    places = _whole(concurrency, working)
    divides = working < 2 or rate < working
    rates = [rate / working] * working if divides else list(map(float, _whole(int(rate), working)))
    return [*map(Share, rates, places), *[NOTHING] * (sharers - working)]


def _whole(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]
