"""What one invocation did for a run, and the causes of its failures. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bulkshare.model import Outcome, Run

NOT_AS_PLANNED = frozenset(Result) - AS_PLANNED
SETTLED_BADLY = NOT_AS_PLANNED - {Result.PENDING}
# "of image ID" is a text of our own: another image, which is the cause.
UUID_LIKE = re.compile(r"(?<!of image )\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE)


Kind = Literal["image", "project"]
IMAGE, PROJECT = "<image>", "<project>"  # stand for a pair's own IDs in a reason
# Reasons that say what they are about: a project that is unknown or in which no one may act; an image as a whole.
ABOUT_THE_PROJECT = re.compile(r"no such project\b|\bnot accepted\b")
ABOUT_THE_IMAGE = re.compile(r"^the image\b|quota|limit exceeded|prune limit|needs [\d,]+, has", re.IGNORECASE)


class AtFault(NamedTuple):
    """An image or a project to which `pairs` of a cause's pairs are put down; `other_id` is in the first of them."""

    kind: Kind
    id: str
    pairs: int
    other_id: str


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason why pairs are not as planned, without the IDs in it.

    results, images: the affected pairs by result and by image ID, in the order of the ledger.
    at_fault: what the pairs have in common, the most frequent first: each pair counts once.
    """

    reason: str
    results: Mapping[Result, int]
    images: Mapping[str, int]
    at_fault: tuple[AtFault, ...] = ()

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
    """What one invocation did for a run. The counts are of all the run's pairs, the rest is this invocation's.

    names: those of images and projects by ID, at least for what is at fault, as far as they are known.
    opened, awaiting_acceptance: see `Run`.
    batches, batched_pairs: of the requests those that were batches, and the pairs in them.
    """

    run: str | None  # None for the sum of several
    plan: str
    totals: Mapping[Result, int]
    requests: int
    retries: int
    seconds: float
    causes: tuple[Cause, ...] = ()
    cloud: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    opened: int = 0
    awaiting_acceptance: int = 0
    batches: int = 0
    batched_pairs: int = 0

    @property
    def planned(self) -> int:
        """How many pairs the run has."""
        return sum(self.totals.values())

    @property
    def as_planned(self) -> bool:
        """Whether every pair is as the plan wants it."""
        return not any(self.totals.get(result) for result in NOT_AS_PLANNED)


def summary_of(
    run: Run,
    *,
    requests: int = 0,
    retries: int = 0,
    seconds: float = 0.0,
    causes: tuple[Cause, ...] = (),
    names: Mapping[str, str] | None = None,
    batches: int = 0,
    batched_pairs: int = 0,
) -> Summary:
    """Return the summary of a run as the ledger has it, with what one invocation took."""
    return Summary(
        run=run.key,
        plan=run.plan,
        totals=run.totals,
        requests=requests,
        retries=retries,
        seconds=seconds,
        causes=causes,
        cloud=run.account.cloud,
        names=names or {},
        opened=run.opened,
        awaiting_acceptance=run.awaiting_acceptance,
        batches=batches,
        batched_pairs=batched_pairs,
    )


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
        names={known_id: name for summary in summaries for known_id, name in summary.names.items()},
        opened=sum(summary.opened for summary in summaries),
        awaiting_acceptance=sum(summary.awaiting_acceptance for summary in summaries),
        batches=sum(summary.batches for summary in summaries),
        batched_pairs=sum(summary.batched_pairs for summary in summaries),
    )


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return the summary as one JSON object: names as in the documentation of --json, seconds to the millisecond."""
    return {
        "run": summary.run,
        "plan": summary.plan,
        "cloud": summary.cloud,
        "planned": summary.planned,
        **{result.value: summary.totals.get(result, 0) for result in Result},
        "opened": summary.opened,
        "awaiting_acceptance": summary.awaiting_acceptance,
        "requests": summary.requests,
        "batches": summary.batches,
        "batched_pairs": summary.batched_pairs,
        "retries": summary.retries,
        "seconds": round(summary.seconds, 3),
        "causes": [cause_document(cause, summary.names) for cause in summary.causes],
    }


def cause_document(cause: Cause, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a cause as one JSON object; `results`, `images` and `at_fault` count pairs."""
    known = names or {}
    return {
        "reason": cause.reason,
        "pairs": cause.count,
        "results": {result.value: count for result, count in cause.results.items()},
        "images": dict(cause.images),
        "at_fault": [
            {"kind": fault.kind, "id": fault.id, "name": known.get(fault.id), "pairs": fault.pairs}
            for fault in cause.at_fault
        ],
    }


def causes_of(outcomes: Iterable[Outcome]) -> tuple[Cause, ...]:
    """Group outcomes by reason, the most frequent first.

    Reasons that differ only in IDs are one cause. So are results: if an image takes no members, one pair is rejected
    and the others are skipped.
    """
    grouped: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        grouped[without_ids(outcome)].append(outcome)
    causes = (
        Cause(
            reason,
            Counter(outcome.result for outcome in alike),
            Counter(outcome.image_id for outcome in alike),
            _at_fault(reason, alike),
        )
        for reason, alike in grouped.items()
    )
    return tuple(sorted(causes, key=lambda cause: -cause.count))


def _at_fault(reason: str, outcomes: Sequence[Outcome]) -> tuple[AtFault, ...]:
    """Put each pair down to its image or its project, the most frequent first.

    The reason may say which of them it is about, and so does a rejected pair for which others of its image were
    skipped. Otherwise it is the one that more of the pairs share: a project that is refused by five images, or an
    image that takes none of its projects.
    """
    about: Kind | None = None
    if ABOUT_THE_PROJECT.search(reason) or (PROJECT in reason and IMAGE not in reason):
        about = "project"
    elif ABOUT_THE_IMAGE.search(reason) or (IMAGE in reason and PROJECT not in reason):
        about = "image"
    images = Counter(outcome.image_id for outcome in outcomes)
    projects = Counter(outcome.member_id for outcome in outcomes)
    rejected, skipped = (
        {outcome.image_id for outcome in outcomes if outcome.result is result}
        for result in (Result.REJECTED, Result.SKIPPED)
    )
    closed = rejected & skipped
    counts: Counter[tuple[Kind, str]] = Counter()
    others: dict[tuple[Kind, str], str] = {}
    for image_id, member_id, *_ in outcomes:
        more = projects[member_id] > images[image_id] and image_id not in closed
        kind = about or ("project" if more else "image")
        known_id, other_id = (member_id, image_id) if kind == "project" else (image_id, member_id)
        counts[kind, known_id] += 1
        others.setdefault((kind, known_id), other_id)
    return tuple(
        AtFault(kind, known_id, pairs, others[kind, known_id]) for (kind, known_id), pairs in counts.most_common()
    )


def without_ids(outcome: Outcome) -> str:
    """Return the reason of an outcome with what stands for the IDs in it, so that equal reasons are equal texts."""
    reason = _replaced(outcome.reason, outcome.member_id, PROJECT)
    return _without_image(reason, outcome.image_id)


@lru_cache(1000)  # an image's pairs mostly have the same reason
def _without_image(reason: str, image_id: str) -> str:
    return UUID_LIKE.sub("<id>", _replaced(reason, image_id, IMAGE))


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
