"""Events for the observers of a run, sent after the fact: outcomes only once the ledger holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.model.clouds import Image
    from bulkshare.model.exchange import Step, Verdict, VerdictKind
    from bulkshare.model.pairs import Alike, Outcome, Result


class Answered(NamedTuple):  # one per request: a frozen dataclass takes three times as long to construct
    """A request was answered, or given up on, after `seconds`. `member_id` is None if it was about a whole image."""

    step: Step
    image_id: str
    member_id: str | None
    verdict: Verdict
    seconds: float


class AnswersCounted(NamedTuple):
    """So many requests of a fleet's worker were answered alike, each after about `seconds`; none was a retry.

    It stands for as many `Answered`, wherever no one wants to know more.
    """

    requests: int
    kind: VerdictKind
    http_status: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """A request will be sent again. `member_id` is None if it is about a whole image."""

    image_id: str
    member_id: str | None
    verdict: Verdict
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase starts. `total` counts pairs in "sharing" and "removing", images in all others.

    The names in order: "listing", "inspecting", "opening", "removing", "sharing", "describing". A phase with
    nothing to do is left out.
    """

    name: str
    total: int


@dataclass(frozen=True, slots=True)
class PairsSettled:
    """These outcomes are in the ledger."""

    outcomes: Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class AlikeSettled:
    """The outcomes of these pairs, found by listing members, are in the ledger."""

    groups: Sequence[Alike]


@dataclass(frozen=True, slots=True)
class BatchSent:
    """A batch of so many pairs was taken by the service, or may have been."""

    pairs: int


@dataclass(frozen=True, slots=True)
class BatchesUnsupported:
    """The cloud has no batches: pairs are sent one by one."""

    reason: str


@dataclass(frozen=True, slots=True)
class RestSettled:
    """All remaining pairs of an image, `count` of them, were settled with the same result."""

    image_id: str
    count: int
    result: Result
    reason: str


@dataclass(frozen=True, slots=True)
class MembersListed:
    """An image's members were listed, or could not be; the verdict's kind says which."""

    image_id: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ImageInspected:
    """The cloud described an image."""

    image: Image


@dataclass(frozen=True, slots=True)
class ExtraMembersFound:
    """An image has members that the plan does not name: pairs that the run did not have before."""

    image_id: str
    member_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class RemovalsAhead:
    """All of an image's members that are going to be removed: nothing forbids it, and nothing was sent yet."""

    image_id: str
    member_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PairsReopened:
    """Pairs of an image were settled with these results, and a listing shows that they are so no longer."""

    image_id: str
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class ImageSetShared:
    """A private image was made `shared`, or could not be; the verdict's kind says which."""

    image_id: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ImagesDone:
    """`count` more images of the phase are done; sent if no other event implies it."""

    count: int


Event = (
    Answered
    | AnswersCounted
    | RetryScheduled
    | PhaseStarted
    | PairsSettled
    | AlikeSettled
    | BatchSent
    | BatchesUnsupported
    | RestSettled
    | MembersListed
    | ImageInspected
    | ExtraMembersFound
    | RemovalsAhead
    | PairsReopened
    | ImageSetShared
    | ImagesDone
)
