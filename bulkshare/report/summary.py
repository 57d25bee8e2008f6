"""What one invocation did for a run, and the causes of what went wrong. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bulkshare.model import Outcome, Run

NOT_AS_PLANNED = frozenset(Result) - AS_PLANNED
SETTLED_BADLY = NOT_AS_PLANNED - {Result.PENDING}
UUID_LIKE = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason why pairs are not as planned, with the IDs taken out of it, and the first pair it befell."""

    result: Result
    reason: str
    count: int
    image_id: str
    member_id: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What one invocation did for a run. The counts are of all the run's pairs, the effort is this invocation's."""

    run: str | None  # None for a dry run, which the ledger does not keep
    plan: str
    totals: Mapping[Result, int]
    requests: int
    retries: int
    seconds: float
    causes: tuple[Cause, ...] = ()

    @property
    def planned(self) -> int:
        """How many pairs the run has."""
        return sum(self.totals.values())

    @property
    def as_planned(self) -> bool:
        """Whether every pair is what the plan says."""
        return not any(self.totals.get(result) for result in NOT_AS_PLANNED)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a dry run learned: pairs that would be sent, by image, and images whose members could not be listed."""

    to_send: Mapping[str, int]
    refused: Mapping[str, str]


def summary_of(run: Run, causes: tuple[Cause, ...] = ()) -> Summary:
    """Return the summary of a run as the ledger has it, with the effort of all its invocations."""
    return Summary(run.key, run.plan, run.totals, run.requests, run.retries, run.seconds, causes)


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return the summary as one JSON object: names as in the documentation of --json, seconds to the millisecond."""
    return {
        "run": summary.run,
        "plan": summary.plan,
        "planned": summary.planned,
        **{result.value: summary.totals.get(result, 0) for result in Result},
        "requests": summary.requests,
        "retries": summary.retries,
        "seconds": round(summary.seconds, 3),
    }


def causes_of(outcomes: Iterable[Outcome]) -> tuple[Cause, ...]:
    """Group outcomes by result and reason, the most frequent first; IDs in reasons don't keep them apart."""
    counts: Counter[tuple[Result, str]] = Counter()
    first: dict[tuple[Result, str], Outcome] = {}
    for outcome in outcomes:
        key = outcome.result, _without_ids(outcome)
        counts[key] += 1
        first.setdefault(key, outcome)
    return tuple(
        Cause(result, reason, count, first[result, reason].image_id, first[result, reason].member_id)
        for (result, reason), count in counts.most_common()
    )


def _without_ids(outcome: Outcome) -> str:
    reason = outcome.reason
    for word, instead in ((outcome.member_id, "<project>"), (outcome.image_id, "<image>")):
        if word in reason:
            reason = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", instead, reason)
    return UUID_LIKE.sub("<id>", reason)
