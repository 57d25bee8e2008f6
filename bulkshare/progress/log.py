"""Log lines of what happens in a run. Must not know where they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bulkshare.model import Job, Result, VerdictKind
from bulkshare.progress.tracker import is_bad

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bulkshare.model import Outcome, Step, Verdict
    from bulkshare.progress.tracker import Tracker

WRITING = frozenset({"opening", "removing", "sharing"})  # the phases that change something
MOST_TOLD = 20  # members of an image on one line; at debug each has a line
LINE_EVERY_SECONDS = 10.0  # between two progress lines


class Writer(Protocol):
    """What a log is to this module."""

    def debug(self, event: str, **fields: object) -> object:
        """Log a detail."""
        ...

    def info(self, event: str, **fields: object) -> object:
        """Log news."""
        ...

    def warning(self, event: str, **fields: object) -> object:
        """Log trouble."""
        ...


class Log:
    """Writes what happens to the log: phases and a line now and then at info, trouble at warning."""

    def __init__(
        self,
        tracker: Tracker,
        log: Writer,
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
        write = self._log.info if total and name in WRITING else self._log.debug
        write(name, total=total)

    def retrying(self, job: Job | str, verdict: Verdict, delay_seconds: float) -> None:
        """See `ports.Observer`."""
        image_id, member_id = (job.image_id, job.member_id) if isinstance(job, Job) else (job, None)
        self._log.info(
            "retry",
            **_known(image_id=image_id, member_id=member_id),
            reason=verdict.reason,
            delay_seconds=round(delay_seconds, 2),
        )

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Observer`."""
        for outcome in outcomes:
            if is_bad(outcome.result):
                self._log.warning(outcome.result.value, **_fields_of(outcome))
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
                **_known(pace=self._pace(), seconds_left=None if left is None else round(left)),
            )

    def settled_rest(self, image_id: str, count: int, result: Result, reason: str) -> None:
        """See `ports.Observer`."""
        self._log.warning(result.value, image_id=image_id, pairs=count, reason=reason)

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        if verdict.kind is not VerdictKind.LISTED:
            self._log.warning("members not listed", image_id=image_id, reason=verdict.reason)

    def extra(self, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Observer`: what will be removed is told before it is."""
        self._log.info("to be removed", image_id=image_id, pairs=len(member_ids), members=list(member_ids[:MOST_TOLD]))

    def opened(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        if verdict.kind is VerdictKind.SET_SHARED:
            self._log.info("made shared", image_id=image_id)
        else:
            self._log.warning("not made shared", image_id=image_id, **_known(reason=verdict.reason))


class DetailedLog(Log):
    """Writes every answer and every outcome as well, at debug."""

    def answered(self, step: Step, image_id: str, member_id: str | None, verdict: Verdict, seconds: float) -> None:
        """See `ports.Observer`."""
        self._log.debug(
            "answer",
            step=step.value,
            **_known(image_id=image_id, member_id=member_id),
            verdict=verdict.kind.value,
            **_known(http_status=verdict.http_status, request_id=verdict.request_id, reason=verdict.reason),
            seconds=round(seconds, 4),
        )

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Observer`."""
        for outcome in outcomes:
            if not is_bad(outcome.result):
                self._log.debug(outcome.result.value, **_fields_of(outcome))
        super().settled(outcomes)

    def extra(self, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Observer`."""
        super().extra(image_id, member_ids)
        for member_id in member_ids:
            self._log.debug("to be removed", image_id=image_id, member_id=member_id)


def _fields_of(outcome: Outcome) -> dict[str, object]:
    return {"image_id": outcome.image_id, "member_id": outcome.member_id} | _known(
        http_status=outcome.http_status, request_id=outcome.request_id, reason=outcome.reason
    )


def _known(**fields: object) -> dict[str, object]:
    """Return the fields that have something to say."""
    return {name: value for name, value in fields.items() if value not in {None, ""}}
