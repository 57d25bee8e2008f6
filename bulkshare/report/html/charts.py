"""Requests over time and response times of a run's invocations, as SVG shapes. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkshare.report.html.pairs import ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bulkshare.model import Result, Telemetry

WIDTH, HEIGHT = 340, 120  # of a chart's drawing area, in pixels
GAP = 14  # between two invocations
TICK_PIXELS = 64  # least distance of labels on the time axis
LABEL_PIXELS = 46  # least distance of labels below bars
LEAST_SHARE = 0.6  # per cent: still visible at about 1,000 pixels
MOST_INVOCATIONS = 20  # drawn; the last ones
STEPS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Tick:
    """A grid line or a mark on the time axis, with its label."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Invocations side by side. Paths are in a drawing area of `WIDTH` x `HEIGHT`.

    answered, troubled: areas, in requests per second.
    allowed: a line, in requests in flight.
    starts: where invocations begin.
    times: labels of the time axis, counted from the start of each invocation.
    """

    answered: str
    troubled: str
    allowed: str
    rate_ticks: tuple[Tick, ...]
    allowed_ticks: tuple[Tick, ...]
    times: tuple[Tick, ...]
    starts: tuple[Tick, ...]
    left_out: int  # earlier invocations
    requests: int
    trouble: int
    most_rate: float
    least_allowed: int
    most_allowed: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the histogram: position and size in pixels, number of responses, upper bound of their time as text.

    labelled: whether there is room for that below the bar.
    """

    x: float
    width: float
    height: float
    count: int
    bound: str
    labelled: bool = True


@dataclass(frozen=True, slots=True)
class Latency:
    """The distribution of response times; `shares` has the median and the 95th and 99th percentiles as text."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    shares: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """A segment of the bar of all pairs, in per cent of its length."""

    result: Result
    x: float
    width: float


def shares_of(totals: Mapping[Result, int]) -> list[Share]:
    """Return the segments of the bar, the worst result first; each is wide enough to be seen."""
    counts = [(result, totals[result]) for result in ORDER if totals.get(result)]
    whole = sum(count for _, count in counts)
    seen = [max(LEAST_SHARE, 100 * count / whole) for _, count in counts]
    shares, x = [], 0.0
    for (result, _), share in zip(counts, seen, strict=True):
        width = share * 100 / sum(seen)
        shares.append(Share(result, round(x, 2), round(width, 2)))
        x += width
    return shares


def timeline_of(telemetry: Sequence[Telemetry]) -> Timeline | None:
    """Return the picture of the last invocations, None without telemetry."""
    shown = [one for one in telemetry if one.requests][-MOST_INVOCATIONS:]
    if not shown:
        return None
    seconds = sum(len(one.requests) * one.interval_seconds for one in shown)
    per_second = (WIDTH - GAP * (len(shown) - 1)) / seconds
    most_rate = max(max(one.requests) / one.interval_seconds for one in shown)
    most_allowed = max(max(one.allowed) for one in shown)
    rate_ticks, allowed_ticks = _ticks(most_rate), _ticks(most_allowed)
    rate_y, allowed_y = _scale(rate_ticks[-1].at), _scale(allowed_ticks[-1].at)
    answered, troubled, allowed = [], [], []
    times: list[Tick] = []
    starts: list[Tick] = []
    step = next((step for step in STEPS_SECONDS if step * per_second >= TICK_PIXELS), STEPS_SECONDS[-1])
    x = 0.0
    for one in shown:
        width = one.interval_seconds * per_second
        answered.append(_area(x, width, (rate_y(n / one.interval_seconds) for n in one.requests)))
        if any(one.troubled):
            troubled.append(_area(x, width, (rate_y(n / one.interval_seconds) for n in one.troubled)))
        allowed.append("M" + _step_line(x, width, map(allowed_y, one.allowed)))
        length = len(one.requests) * one.interval_seconds
        starts.append(Tick(round(x, 1), f"{one.began_at:%Y-%m-%d %H:%M:%S}"))
        room = length if one is shown[-1] else max(0.0, length - TICK_PIXELS / 2 / per_second)
        times += [Tick(round(x + t * per_second, 1), _time(t)) for t in range(0, math.floor(room) + 1, step)]
        x += length * per_second + GAP
    return Timeline(
        answered="".join(answered),
        troubled="".join(troubled),
        allowed="".join(allowed),
        rate_ticks=tuple(Tick(rate_y(tick.at), tick.text) for tick in rate_ticks),
        allowed_ticks=tuple(Tick(allowed_y(tick.at), tick.text) for tick in allowed_ticks),
        times=tuple(times),
        starts=tuple(starts),
        left_out=len(telemetry) - len(shown),
        requests=sum(sum(one.requests) for one in shown),
        trouble=sum(sum(one.troubled) for one in shown),
        most_rate=most_rate,
        least_allowed=min(min(one.allowed) for one in shown),
        most_allowed=most_allowed,
    )


def latency_of(telemetry: Iterable[Telemetry]) -> Latency | None:
    """Return the distribution over all invocations, None without responses."""
    counts: Counter[float] = Counter()
    for one in telemetry:
        counts.update(one.latency)
    counts = +counts
    if not counts:
        return None
    bounds = _bounds_between(counts)
    most = max(counts.values())
    ticks = _ticks(most)
    width = min(WIDTH / len(bounds), 64.0)
    every = math.ceil(LABEL_PIXELS / width)  # labels of narrow bars would overlap
    return Latency(
        bars=tuple(
            Bar(round(i * width, 1), round(width - 2, 1), round(HEIGHT - _scale(ticks[-1].at)(counts[bound]), 1),
                counts[bound], time_word(bound), labelled=i % every == 0)
            for i, bound in enumerate(bounds)
        ),
        ticks=tuple(Tick(_scale(ticks[-1].at)(tick.at), tick.text) for tick in ticks),
        shares=tuple((name, time_word(_quantile(counts, share))) for name, share in
                     (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99))),
    )  # fmt: skip


def statuses_of(telemetry: Iterable[Telemetry]) -> list[tuple[str, int]]:
    """Return the number of requests by HTTP status or "no answer", the most frequent first."""
    counts: Counter[str] = Counter()
    for one in telemetry:
        counts.update(one.statuses)
    return counts.most_common()


def time_word(seconds: float) -> str:
    """Return an upper bound of a time as text."""
    if math.isinf(seconds):
        return "longer"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.3g} s"


def _time(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return f"{seconds} s" if seconds else "0"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _bounds_between(counts: Mapping[float, int]) -> list[float]:
    """Return all bounds from the least to the greatest; gaps are filled by doubling."""
    known = sorted(bound for bound in counts if math.isfinite(bound))
    bounds = known[:1]
    while bounds and bounds[-1] < known[-1]:
        double = bounds[-1] * 2
        bounds.append(min((bound for bound in known if bound > bounds[-1] and bound <= double * 1.001), default=double))
    return bounds + [bound for bound in counts if math.isinf(bound)]


def _quantile(counts: Mapping[float, int], share: float) -> float:
    left = share * sum(counts.values())
    for bound in sorted(counts):
        left -= counts[bound]
        if left <= 0:
            return bound
    return math.inf


def _ticks(most: float) -> list[Tick]:
    """Return two to five round values from 0 to at least `most`."""
    step = next(
        step for power in range(-1, 12) for digit in (1, 2, 5) if (step := digit * 10.0**power) * 4 >= max(most, 0.4)
    )
    return [Tick(i * step, f"{round(i * step, 1):,g}") for i in range(max(1, math.ceil(most / step - 1e-9)) + 1)]


def _scale(most: float) -> Callable[[float], float]:
    return lambda value: round(HEIGHT * (1 - value / most), 1)


def _step_line(x: float, width: float, heights: Iterable[float]) -> str:
    """Return a step line as an SVG path without the first command; equal neighbours are merged."""
    parts: list[str] = []
    last: float | None = None
    end = x
    for height in heights:
        if last is None:
            parts.append(f"{end:.1f} {height}")
        elif height != last:
            parts.append(f"H{end:.1f}V{height}")
        last = height
        end += width
    parts.append(f"H{end:.1f}")
    return "".join(parts)


def _area(x: float, width: float, heights: Iterable[float]) -> str:
    return f"M{x:.1f} {HEIGHT}L{_step_line(x, width, heights)}V{HEIGHT}z"
