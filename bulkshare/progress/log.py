"""Log lines about a run, written to any structured log."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Protocol

from bulkshare.model import Result, VerdictKind
from bulkshare.model.events import (
    AlikeSettled,
    Answered,
    BatchesUnsupported,
    ImageSetShared,
    MembersListed,
    PairsSettled,
    PhaseStarted,
    RemovalsAhead,
    RestSettled,
    RetryScheduled,
)
from bulkshare.progress.tracker import is_bad
from bulkshare.report.summary import without_ids
from bulkshare.report.text import by_name, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bulkshare.model import Outcome
    from bulkshare.model.events import Event
    from bulkshare.progress.tracker import Tracker

WRITING = frozenset({"opening", "removing", "sharing"})  # the phases that change the cloud
MOST_LISTED = 20  # members of an image on one line; at debug each has its own
LINE_EVERY_SECONDS = 10.0  # between two progress lines


class StructuredLog(Protocol):
    """A structured log."""

    def debug(self, event: str, **fields: object) -> object:
        """Log a detail."""
        ...

    def info(self, event: str, **fields: object) -> object:
        """Log an event."""
        ...

    def warning(self, event: str, **fields: object) -> object:
        """Log a problem."""
        ...


class Log:
    """Logs phases and an occasional progress line at info, problems at warning.

    A reason is logged once for each image. What else has it, and retries, are details: at debug. `names` are those of
    images and projects by ID, as far as they are known.
    """

    def __init__(
        self,
        tracker: Tracker,
        log: StructuredLog,
        clock: Callable[[], float],
        pace: Callable[[], str] = str,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._names = {} if names is None else names  # they may grow
        self._tracker = tracker
        self._pace = pace
        self._log = log
        self._clock = clock
        self._last_line = clock()
        self._told: set[tuple[str, str]] = set()  # image IDs with the reasons that were logged

    def notify(self, event: Event) -> None:  # noqa: C901  one case per event
        """See `ports.Observer`."""
        if isinstance(event, Answered):  # by far the most frequent
            return
        match event:
            case PairsSettled(outcomes):
                self._log_settled(outcomes)
            case AlikeSettled(groups):
                self._log_settled(
                    [each for alike in groups if is_bad(alike.outcome.result) for each in alike.outcomes()]
                )
            case RetryScheduled(image_id, member_id, verdict, delay_seconds):
                known = _known(image_id=image_id, member_id=member_id)
                self._log.debug("retry", **known, reason=verdict.reason, delay_seconds=round(delay_seconds, 2))
            case RestSettled(image_id, count, result, reason):
                self._warn(result.value, (image_id, reason), image_id=image_id, pairs=count, reason=reason)
            case BatchesUnsupported(reason):
                self._log.warning("no batches here; pairs are sent one by one", reason=reason)
            case PhaseStarted(name, total):
                write = self._log.info if total and name in WRITING else self._log.debug
                write(name, total=total)
            case MembersListed(image_id, verdict) if verdict.kind is not VerdictKind.LISTED:
                known = {"image_id": image_id, "reason": verdict.reason}
                self._warn("members not listed", (image_id, verdict.reason), **known)
            case RemovalsAhead(image_id, member_ids):
                members = [
                    named(member_id, self._names) for member_id in by_name(member_ids, self._names)[:MOST_LISTED]
                ]
                self._log.info("to be removed", image_id=image_id, pairs=len(member_ids), members=members)
            case ImageSetShared(image_id, verdict) if verdict.kind is VerdictKind.SET_SHARED:
                self._log.info("made shared", image_id=image_id)
            case ImageSetShared(image_id, verdict):
                known = {"image_id": image_id} | _known(reason=verdict.reason)
                self._warn("not made shared", (image_id, verdict.reason), **known)

    def _warn(self, event: str, about: tuple[str, str], **fields: object) -> None:
        """Log a problem: an image's ID and the reason are news once."""
        write = self._log.debug if about in self._told else self._log.warning
        self._told.add(about)
        write(event, **fields)

    def _log_settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if is_bad(outcome.result):
                about = outcome.image_id, without_ids(outcome)
                self._warn(outcome.result.value, about, **_fields_of(outcome))
        now = self._clock()
        if now - self._last_line < LINE_EVERY_SECONDS:
            return
        self._last_line = now
        tracker = self._tracker
        left = tracker.seconds_left()
        self._log.info(
            "progress",
            done=tracker.done,
            planned=tracker.planned,
            **{result.value: tracker.totals[result] for result in Result if tracker.totals[result]},
            **({"opened": tracker.opened} if tracker.opened else {}),
            retries=tracker.retries,
            per_second=round(tracker.rate(), 1),
            **_known(pace=self._pace(), seconds_left=None if left is None else round(left)),
        )


class DetailedLog(Log):
    """Also writes every answer, outcome and removal, at debug."""

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if isinstance(event, Answered):
            step, image_id, member_id, verdict, seconds = event
            self._log.debug(
                "answer",
                step=step.value,
                **_known(image_id=image_id, member_id=member_id),
                verdict=verdict.kind.value,
                **_known(http_status=verdict.http_status, request_id=verdict.request_id, reason=verdict.reason),
                seconds=round(seconds, 4),
            )
            return
        outcomes: Iterable[Outcome] = event.outcomes if isinstance(event, PairsSettled) else ()
        if isinstance(event, AlikeSettled):
            outcomes = chain.from_iterable(alike.outcomes() for alike in event.groups)
        for outcome in outcomes:
            if not is_bad(outcome.result):
                self._log.debug(outcome.result.value, **_fields_of(outcome))
        super().notify(event)
        if isinstance(event, RemovalsAhead):
            for member_id in event.member_ids:
                self._log.debug("to be removed", image_id=event.image_id, member_id=member_id)


def _fields_of(outcome: Outcome) -> dict[str, object]:
    return {"image_id": outcome.image_id, "member_id": outcome.member_id} | _known(
        http_status=outcome.http_status, request_id=outcome.request_id, reason=outcome.reason
    )


def _known(**fields: object) -> dict[str, object]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value not in {None, ""}}
