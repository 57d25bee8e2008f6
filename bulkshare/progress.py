"""What a run shows while it is at work: a live display on a terminal, log lines elsewhere. Observers, all of them.

Knows nothing of how the work is done; must never hold it up.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from bulkshare.model import AS_PLANNED, Job, Kind, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import Console
    from structlog.typing import FilteringBoundLogger

    from bulkshare.model import Outcome, Step, Verdict

WINDOW_SECONDS = 5.0  # over which the achieved rate is measured
LINE_EVERY_SECONDS = 10.0  # between two progress lines where there is no terminal


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

    @property
    def done(self) -> int:
        """How many pairs are settled."""
        return self.totals.total()

    def rate(self) -> float:
        """Return the requests answered per second in the last few seconds."""
        now = self._clock()
        self._forget(now)
        if not self._answers:
            return 0.0
        return len(self._answers) / max(min(WINDOW_SECONDS, now - (self._began or now)), 1.0)

    def seconds_left(self) -> float | None:
        """Estimate from the pairs settled in this phase; None where there is nothing to go by."""
        settled = self.done - self._settled_before
        if self._began is None or self.phase_name != "sharing" or settled < 5:
            return None
        return (self.planned - self.done) * (self._clock() - self._began) / settled

    def phase(self, name: str, total: int) -> None:
        """See `ports.Observer`."""
        self.phase_name, self.phase_total, self.phase_done = name, total, 0
        self._began, self._settled_before = self._clock(), self.done

    def answered(self, step: Step, image_id: str, member_id: str | None, verdict: Verdict, seconds: float) -> None:
        """See `ports.Observer`."""
        del step, image_id, member_id, verdict, seconds
        now = self._clock()
        self._answers.append(now)
        self._forget(now)

    def retrying(self, job: Job | str, verdict: Verdict, delay_seconds: float) -> None:
        """See `ports.Observer`."""
        del job, verdict, delay_seconds
        self.retries += 1

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Observer`."""
        self.totals.update(outcome.result for outcome in outcomes)

    def settled_rest(self, image_id: str, count: int, result: Result, reason: str) -> None:
        """See `ports.Observer`."""
        del image_id, reason
        self.totals[result] += count

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        del image_id, verdict
        self.phase_done += 1

    def _forget(self, now: float) -> None:
        while self._answers and self._answers[0] < now - WINDOW_SECONDS:
            self._answers.popleft()


class Display:
    """A live display on a terminal, as a context manager: a bar, and below it what the pairs became.

    Reads a `Tracker` a few times a second from a thread of its own, so that the work pays nothing for it.
    """

    def __init__(
        self, tracker: Tracker, console: Console, *, allowed_rate: float, pace: Callable[[], str] = str
    ) -> None:
        self._tracker = tracker
        self._pace = pace
        self._allowed_rate = allowed_rate
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            expand=True,
        )
        self._task = self._bar.add_task(tracker.plan, total=max(tracker.planned, 1), left="")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=5, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> Group:
        tracker = self._tracker
        left = tracker.seconds_left()
        phase = tracker.phase_name
        if phase in {"listing", "describing"}:
            phase += f" {tracker.phase_done:,}/{tracker.phase_total:,} images"
        self._bar.update(
            self._task,
            completed=tracker.done,
            description=tracker.plan,
            left="" if left is None else f"{clock_face(left)} left",
        )
        counts = Text("  ")
        for text, style in _counts(tracker):
            counts.append(text, style=style).append("  ")
        counts.append(f"{tracker.rate():.1f}/s of {self._allowed_rate:g}/s  {self._pace()}  {phase}", style="dim")
        return Group(self._bar, counts)


def _counts(tracker: Tracker) -> list[tuple[str, str]]:
    totals = tracker.totals
    bad = [(f"{totals[result]:,} {result.value}", "red") for result in Result if totals[result] and _is_bad(result)]
    retries = [(f"{tracker.retries:,} retries", "yellow")] if tracker.retries else []
    return (
        [(f"{totals[result]:,} {result.value}", "green") for result in sorted(AS_PLANNED, reverse=True)] + bad + retries
    )


def _is_bad(result: Result) -> bool:
    return result not in AS_PLANNED and result is not Result.PENDING


def clock_face(seconds: float) -> str:
    """Return a duration as h:mm:ss, rounded up."""
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


class Log:
    """Writes what happens to the log: phases and a line now and then at info, trouble at warning, all at debug."""

    def __init__(
        self,
        tracker: Tracker,
        log: FilteringBoundLogger,
        clock: Callable[[], float],
        pace: Callable[[], str] = str,
    ) -> None:
        self._tracker = tracker
        self._pace = pace
        self._log = log
        self._clock = clock
        self._last_line = clock()

    def phase(self, name: str, total: int) -> None:
        """See `ports.Observer`."""
        self._log.info(name, total=total)

    def answered(self, step: Step, image_id: str, member_id: str | None, verdict: Verdict, seconds: float) -> None:
        """See `ports.Observer`."""
        self._log.debug(
            "answer",
            step=step.value,
            image_id=image_id,
            member_id=member_id,
            verdict=verdict.kind.value,
            http_status=verdict.http_status,
            request_id=verdict.request_id,
            reason=verdict.reason,
            seconds=round(seconds, 4),
        )

    def retrying(self, job: Job | str, verdict: Verdict, delay_seconds: float) -> None:
        """See `ports.Observer`."""
        image_id, member_id = (job.image_id, job.member_id) if isinstance(job, Job) else (job, None)
        self._log.info(
            "retry",
            image_id=image_id,
            member_id=member_id,
            reason=verdict.reason,
            delay_seconds=round(delay_seconds, 2),
        )

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Observer`."""
        for outcome in outcomes:
            write = self._log.warning if _is_bad(outcome.result) else self._log.debug
            write(
                outcome.result.value,
                image_id=outcome.image_id,
                member_id=outcome.member_id,
                http_status=outcome.http_status,
                request_id=outcome.request_id,
                reason=outcome.reason,
            )
        now = self._clock()
        if now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            tracker = self._tracker
            left = tracker.seconds_left()
            self._log.info(
                "progress",
                done=tracker.done,
                planned=tracker.planned,
                **{result.value: tracker.totals[result] for result in Result if tracker.totals[result]},
                retries=tracker.retries,
                per_second=round(tracker.rate(), 1),
                pace=self._pace(),
                seconds_left=None if left is None else round(left),
            )

    def settled_rest(self, image_id: str, count: int, result: Result, reason: str) -> None:
        """See `ports.Observer`."""
        self._log.warning(result.value, image_id=image_id, pairs=count, reason=reason)

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        if verdict.kind is not Kind.LISTED:
            self._log.warning("members not listed", image_id=image_id, reason=verdict.reason)


class Listings:
    """Remembers the images whose members could not be listed, and why: what a dry run has to tell."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        if verdict.kind is not Kind.LISTED:
            self.refused[image_id] = verdict.reason


class Observers:
    """Several observers as one, told in order. An observer need not care for every event."""

    def __init__(self, *observers: object) -> None:
        self.phase = _each(observers, "phase")
        self.answered = _each(observers, "answered")
        self.retrying = _each(observers, "retrying")
        self.settled = _each(observers, "settled")
        self.settled_rest = _each(observers, "settled_rest")
        self.listed = _each(observers, "listed")


def _each(observers: Sequence[object], event: str) -> Callable[..., None]:
    methods = [method for observer in observers if (method := getattr(observer, event, None)) is not None]

    def tell(*arguments: object) -> None:
        for method in methods:
            method(*arguments)

    return tell
