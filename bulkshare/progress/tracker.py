"""Counts what a run reports; hands events to several observers."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Job, Result, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bulkshare.model import Image, Outcome, Step, Verdict


WINDOW_SECONDS = 5.0  # over which the achieved rate is measured
STALLED_SECONDS = 10.0  # without a settled pair, after which nobody knows how long it will take
PHASES_OF_PAIRS = frozenset({"sharing", "removing"})


class Tracker:
    """Keeps count of a run; the other observers read it. `clock` is monotonic, in seconds."""

    def __init__(self, plan: str, totals: Mapping[Result, int], clock: Callable[[], float]) -> None:
        self.plan = plan
        self.planned = sum(totals.values())
        self.totals: Counter[Result] = Counter(
            {result: count for result, count in totals.items() if result is not Result.PENDING}
        )
        self.retries = 0
        self.phase_name = ""
        self.phase_total = 0
        self.phase_done = 0
        self._clock = clock
        self._answers: deque[float] = deque()
        self._began: float | None = None
        self._settled_before = 0
        self._settled_at = -math.inf
        self._to_retry: set[tuple[str, str | None]] = set()

    @property
    def done(self) -> int:
        """How many pairs are settled."""
        return self.totals.total()

    @property
    def counts_images(self) -> bool:
        """Whether the phase's total is images; else it is pairs."""
        return self.phase_name not in PHASES_OF_PAIRS

    def rate(self) -> float:
        """Return the requests answered per second in the last few seconds."""
        now = self._clock()
        self._forget(now)
        if not self._answers:
            return 0.0
        return len(self._answers) / max(min(WINDOW_SECONDS, now - (self._began or now)), 1.0)

    def seconds_left(self) -> float | None:
        """Estimate from the pairs settled in this phase; None where there is nothing to go by.

        In an outage there is not: the pace of before says nothing of when it ends.
        """
        settled, now = self.done - self._settled_before, self._clock()
        if self._began is None or self.counts_images or settled < 5 or now - self._settled_at > STALLED_SECONDS:
            return None
        return max(self.planned - self.done, 0) * (now - self._began) / settled

    def phase(self, name: str, total: int) -> None:
        """See `ports.Observer`."""
        self.phase_name, self.phase_total, self.phase_done = name, total, 0
        self._began, self._settled_before = self._clock(), self.done

    def answered(self, step: Step, image_id: str, member_id: str | None, verdict: Verdict, seconds: float) -> None:
        """See `ports.Observer`."""
        del step, verdict, seconds
        now = self._clock()
        self._answers.append(now)
        self._forget(now)
        if self._to_retry and (image_id, member_id) in self._to_retry:
            self._to_retry.remove((image_id, member_id))
            self.retries += 1

    def retrying(self, job: Job | str, verdict: Verdict, delay_seconds: float) -> None:
        """See `ports.Observer`. It counts as a retry once it was sent: an interrupted run never gets there."""
        del verdict, delay_seconds
        self._to_retry.add((job.image_id, job.member_id) if isinstance(job, Job) else (job, None))

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Observer`."""
        self.totals.update(outcome.result for outcome in outcomes)
        self._settled_at = self._clock()

    def settled_rest(self, image_id: str, count: int, result: Result, reason: str) -> None:
        """See `ports.Observer`."""
        del image_id, reason
        self.totals[result] += count
        self._settled_at = self._clock()

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        del image_id, verdict
        self.phase_done += 1

    def extra(self, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Observer`: these pairs are to be removed, and the run has so many more."""
        del image_id
        self.planned += len(member_ids)

    def opened(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        del image_id, verdict
        self.phase_done += 1

    def progressed(self, count: int) -> None:
        """See `ports.Observer`."""
        self.phase_done += count

    def _forget(self, now: float) -> None:
        while self._answers and self._answers[0] < now - WINDOW_SECONDS:
            self._answers.popleft()


def is_bad(result: Result) -> bool:
    """Tell whether a result is one to warn of."""
    return result not in AS_PLANNED and result is not Result.PENDING


class Listings:
    """Remembers of images what a dry run has to tell: which can't be listed and why, which are private, and names."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.private: set[str] = set()
        self.names: dict[str, str] = {}

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        if verdict.kind is not VerdictKind.LISTED:
            self.refused[image_id] = verdict.reason

    def inspected(self, image: Image) -> None:
        """See `ports.Observer`."""
        if image.visibility == "private":
            self.private.add(image.id)
        if image.name:
            self.names[image.id] = image.name


class Observers:
    """Several observers as one, told in order. An observer need not care for every event."""

    def __init__(self, *observers: object) -> None:
        self.phase = _each(observers, "phase")
        self.answered = _each(observers, "answered")
        self.retrying = _each(observers, "retrying")
        self.settled = _each(observers, "settled")
        self.settled_rest = _each(observers, "settled_rest")
        self.listed = _each(observers, "listed")
        self.inspected = _each(observers, "inspected")
        self.extra = _each(observers, "extra")
        self.opened = _each(observers, "opened")
        self.progressed = _each(observers, "progressed")


def _each(observers: Sequence[object], event: str) -> Callable[..., None]:
    methods = [method for observer in observers if (method := getattr(observer, event, None)) is not None]

    def tell(*arguments: object) -> None:
        for method in methods:
            method(*arguments)

    return tell
