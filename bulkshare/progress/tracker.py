"""Observers that count and remember: progress, listings, and several observers as one."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, deque
from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Result, VerdictKind
from bulkshare.model.events import (
    AlikeSettled,
    Answered,
    AnswersCounted,
    BatchSent,
    ExtraMembersFound,
    ImagesDone,
    ImageSetShared,
    MembersListed,
    PairsReopened,
    PairsSettled,
    PhaseStarted,
    RestSettled,
    RetryScheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bulkshare.model import Heartbeat
    from bulkshare.model.events import Event
    from bulkshare.ports import Observer


WINDOW_SECONDS = 5.0  # over which the achieved rate is measured
STALLED_SECONDS = 10.0  # without a settled pair: beyond that there is no estimate
PHASES_OF_PAIRS = frozenset({"sharing", "removing"})


class Tracker:
    """Counts a run's progress; displays and logs read it, from any thread.

    plan: its name.
    totals: pairs by result at the start, of which those settled by an earlier invocation count as done.
    clock: monotonic, in seconds.
    allowed_rate: requests per second, at most.
    opened: images that an earlier invocation made shared.
    """

    def __init__(
        self,
        plan: str,
        totals: Mapping[Result, int],
        clock: Callable[[], float],
        *,
        allowed_rate: float = math.inf,
        opened: int = 0,
    ) -> None:
        self.plan = plan
        self.allowed_rate = allowed_rate
        self.planned = sum(totals.values())
        self.totals: Counter[Result] = Counter(
            {result: count for result, count in totals.items() if result is not Result.PENDING}
        )
        self.opened = opened
        self.retries = 0
        self.batches = self.batched_pairs = 0
        self.phase_name = ""
        self.phase_total = 0
        self.phase_done = 0
        self._clock = clock
        self._began = clock()
        self._answers: deque[float] = deque()
        self._phase_began: float | None = None
        self._settled_before = 0
        self._settled_at = -math.inf
        self._to_retry: set[tuple[str, str | None]] = set()

    @property
    def done(self) -> int:
        """How many pairs are settled."""
        return self.totals.total()

    @property
    def counts_images(self) -> bool:
        """Whether the phase's total is images, not pairs."""
        return self.phase_name not in PHASES_OF_PAIRS

    def elapsed_seconds(self) -> float:
        """Return the time since the work began."""
        return self._clock() - self._began

    def rate(self) -> float:
        """Return the requests per second over the last few seconds, measured by their answers.

        No more than `allowed_rate` are ever sent, but answers to requests sent before may come in a burst.
        """
        now = self._clock()
        answers = tuple(self._answers)
        recent = len(answers) - bisect_left(answers, now - WINDOW_SECONDS)
        return min(recent / max(min(WINDOW_SECONDS, now - self._began), 1.0), self.allowed_rate)

    def seconds_left(self) -> float | None:
        """Estimate the time left from the pairs settled in this phase; None without enough of them.

        None, too, in an outage: the pace before it doesn't say when it ends.
        """
        settled, now = self.done - self._settled_before, self._clock()
        if self._phase_began is None or self.counts_images or settled < 5 or now - self._settled_at > STALLED_SECONDS:
            return None
        return max(self.planned - self.done, 0) * (now - self._phase_began) / settled

    def estimate_anew(self) -> None:
        """Forget the pace so far: from now on it is another."""
        self._phase_began, self._settled_before = self._clock(), self.done

    def notify(self, event: Event) -> None:  # noqa: C901, PLR0912  one case per event
        """See `ports.Observer`."""
        if isinstance(event, Answered):  # by far the most frequent
            self._count_answer(event)
            return
        match event:
            case AnswersCounted(count):
                self._answers.extend([self._clock()] * count)
            case BatchSent(pairs):
                self.batches += 1
                self.batched_pairs += pairs
            case PairsSettled(outcomes):
                self.totals.update(outcome.result for outcome in outcomes)
                self._settled_at = self._clock()
            case AlikeSettled(groups):
                for outcome, member_ids in groups:
                    self.totals[outcome.result] += len(member_ids)
                self._settled_at = self._clock()
            case RetryScheduled(image_id, member_id):  # counts once it is sent: an interrupted run never gets there
                self._to_retry.add((image_id, member_id))
            case RestSettled(count=count, result=result):
                self.totals[result] += count
                self._settled_at = self._clock()
            case PhaseStarted(name, total):
                self.phase_name, self.phase_total, self.phase_done = name, total, 0
                self.estimate_anew()
            case MembersListed():
                self.phase_done += 1
            case ImageSetShared(verdict=verdict):
                self.phase_done += 1
                self.opened += verdict.kind is VerdictKind.SET_SHARED
            case ImagesDone(count):
                self.phase_done += count
            case PairsReopened(results=results):
                self.totals.subtract(results)
            case ExtraMembersFound(member_ids=member_ids):  # pairs that the run did not have before
                self.planned += len(member_ids)

    def _count_answer(self, event: Answered) -> None:
        now = self._clock()
        answers = self._answers
        answers.append(now)
        while answers[0] < now - WINDOW_SECONDS:
            answers.popleft()
        if self._to_retry and (event.image_id, event.member_id) in self._to_retry:
            self._to_retry.remove((event.image_id, event.member_id))
            self.retries += 1


class WatchedTracker(Tracker):
    """Shows a run that another process works on, as the heartbeats of that process tell."""

    def __init__(self, plan: str, totals: Mapping[Result, int], clock: Callable[[], float], *, opened: int = 0) -> None:
        super().__init__(plan, totals, clock, opened=opened)
        self._heartbeat: Heartbeat | None = None
        self._heard_at = clock()

    def take(self, heartbeat: Heartbeat) -> None:
        """Take over the counts of a heartbeat."""
        self.planned, self.totals = heartbeat.planned, Counter(heartbeat.totals)
        self.opened, self.retries = heartbeat.opened, heartbeat.retries
        self.batches, self.batched_pairs = heartbeat.batches, heartbeat.batched_pairs
        self.phase_name, self.phase_total = heartbeat.phase, heartbeat.phase_total
        self.phase_done = heartbeat.phase_done
        self.allowed_rate = heartbeat.allowed_rate
        self._heartbeat, self._heard_at = heartbeat, self._clock()

    def elapsed_seconds(self) -> float:
        """Return the time since the work began."""
        now = self._clock()
        return now - self._began if self._heartbeat is None else self._heartbeat.elapsed_seconds + now - self._heard_at

    def rate(self) -> float:
        """Return the requests per second over the last few seconds."""
        return self._heartbeat.rate if self._heartbeat else 0.0

    def seconds_left(self) -> float | None:
        """Return the estimate of the process that works on it; None if it has none, or wasn't heard of for long."""
        if self._heartbeat is None or self._heartbeat.seconds_left is None:
            return None
        since = self._clock() - self._heard_at
        return None if since > STALLED_SECONDS else max(self._heartbeat.seconds_left - since, 0.0)

    def notify(self, event: Event) -> None:
        """Do nothing: the heartbeats tell all."""


def is_bad(result: Result) -> bool:
    """Whether a result deserves a warning."""
    return result not in AS_PLANNED and result is not Result.PENDING


class Listings:
    """Why some images can't be listed, as a dry run reports it."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if isinstance(event, MembersListed) and event.verdict.kind is not VerdictKind.LISTED:
            self.refused[event.image_id] = event.verdict.reason


class Observers:
    """Several observers as one, notified in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.notify(event)
