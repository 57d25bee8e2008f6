"""What one invocation did for a run, and the causes of its failures. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bulkshare.model import Outcome, Run

NOT_AS_PLANNED = frozenset(Result) - AS_PLANNED
SETTLED_BADLY = NOT_AS_PLANNED - {Result.PENDING}
UUID_LIKE = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason why pairs are not as planned, without the IDs in it, and the first pair it affected.

    `results` and `images` count the affected pairs by result and by image ID, in the order of the ledger.
    """

    reason: str
    results: Mapping[Result, int]
    images: Mapping[str, int]
    image_id: str
    member_id: str

    @property
    def count(self) -> int:
        """How many pairs it affected."""
        return sum(self.results.values())

    @property
    def result(self) -> Result:
        """The result of the pairs, the worst if they differ: of a `rejected` image the other pairs are `skipped`."""
        return next(result for result in Result if result in self.results)


@dataclass(frozen=True, slots=True)
class Summary:
    """What one invocation did for a run. The counts are of all the run's pairs, the rest is this invocation's."""

    run: str | None  # None for the sum of several
    plan: str
    totals: Mapping[Result, int]
    requests: int
    retries: int
    seconds: float
    causes: tuple[Cause, ...] = ()
    cloud: str = ""

    @property
    def planned(self) -> int:
        """How many pairs the run has."""
        return sum(self.totals.values())

    @property
    def as_planned(self) -> bool:
        """Whether every pair is as the plan wants it."""
        return not any(self.totals.get(result) for result in NOT_AS_PLANNED)


def summary_of(run: Run, causes: tuple[Cause, ...] = ()) -> Summary:
    """Return the summary of a run from the ledger, with the requests and time of all its invocations."""
    return Summary(run.key, run.plan, run.totals, run.requests, run.retries, run.seconds, causes, run.account.cloud)


def merged(summaries: Sequence[Summary]) -> Summary:
    """Return the sum over a plan's clouds, at least one. They ran concurrently: the longest time counts."""
    if len(summaries) == 1:
        return summaries[0]
    totals: Counter[Result] = Counter()
    for summary in summaries:
        totals.update(summary.totals)
    return Summary(
        run=None,
        plan=summaries[0].plan,
        totals=totals,
        requests=sum(summary.requests for summary in summaries),
        retries=sum(summary.retries for summary in summaries),
        seconds=max(summary.seconds for summary in summaries),
        causes=tuple(cause for summary in summaries for cause in summary.causes),
    )


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return the summary as one JSON object: names as in the documentation of --json, seconds to the millisecond."""
    return {
        "run": summary.run,
        "plan": summary.plan,
        "cloud": summary.cloud,
        "planned": summary.planned,
        **{result.value: summary.totals.get(result, 0) for result in Result},
        "requests": summary.requests,
        "retries": summary.retries,
        "seconds": round(summary.seconds, 3),
    }


def cause_document(cause: Cause) -> dict[str, Any]:
    """Return a cause as one JSON object; `results` and `images` count pairs."""
    return {
        "reason": cause.reason,
        "pairs": cause.count,
        "results": {result.value: count for result, count in cause.results.items()},
        "images": dict(cause.images),
    }


def causes_of(outcomes: Iterable[Outcome]) -> tuple[Cause, ...]:
    """Group outcomes by reason, the most frequent first.

    Reasons that differ only in IDs are one cause. So are results: if an image takes no members, one pair is rejected
    and the others are skipped.
    """
    causes: dict[str, Cause] = {}
    results: defaultdict[str, Counter[Result]] = defaultdict(Counter)
    images: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        reason = _without_ids(outcome)
        results[reason][outcome.result] += 1
        images[reason][outcome.image_id] += 1
        if reason not in causes:
            causes[reason] = Cause(reason, results[reason], images[reason], outcome.image_id, outcome.member_id)
    return tuple(sorted(causes.values(), key=lambda cause: -cause.count))


def _without_ids(outcome: Outcome) -> str:
    reason = _replaced(outcome.reason, outcome.member_id, "<project>")
    return _without_image(reason, outcome.image_id)


@lru_cache(1000)  # an image's pairs mostly have the same reason
def _without_image(reason: str, image_id: str) -> str:
    return UUID_LIKE.sub("<id>", _replaced(reason, image_id, "<image>"))


def _replaced(text: str, known_id: str, instead: str) -> str:
    """Replace an ID unless it is part of a longer word. By hand: compiling an expression per ID takes longer."""
    at = text.find(known_id) if known_id else -1
    parts, done = [], 0
    while at >= 0:
        end = at + len(known_id)
        if _goes_on(text[at - 1 : at]) or _goes_on(text[end : end + 1]):
            at = text.find(known_id, at + 1)
        else:
            parts += [text[done:at], instead]
            done = end
            at = text.find(known_id, end)
    return "".join([*parts, text[done:]])


def _goes_on(character: str) -> bool:
    return character.isalnum() or character == "_"
