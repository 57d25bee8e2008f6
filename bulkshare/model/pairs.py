"""Pairs of an image and a project: what the plan wants, and what came of it."""

from __future__ import annotations

import math
import re
from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from bulkshare.model.exchange import Step


class Want(IntFlag):
    """What to do with a pair, and how. The numbers are stored in users' ledgers: append, never renumber."""

    MEMBER = 0  # make the project a member of the image
    ACCEPTED = 1  # and accept the membership, so that the image appears in the project's image list
    FORCED = 2  # even if the project has rejected it
    AS_PROJECT = 4  # accept with a token of the member project instead of our own
    SET_SHARED = 8  # only in ledgers of 0.1.0: `Orders.make_shared`, which it kept with each pair
    REMOVE = 16  # end the membership
    ALREADY_MEMBER = 32  # a listing showed the project as a member: only the acceptance remains
    ADDED = 64  # with ALREADY_MEMBER: it was this run that added the member
    RECEIVED = 128  # our own membership of another project's image: set its status, and never add or remove it
    DECLINED = 256  # with RECEIVED: set the status to rejected
    WAS_ACCEPTED = 512  # with REMOVE, DECLINED or RESET: a listing showed that the membership was accepted
    RESET = 1024  # set the status of a membership back to pending, and never add or remove it


class Job(NamedTuple):
    """One pair to process. Image and member identify it; a pair has exactly one want."""

    image_id: str
    member_id: str
    want: Want = Want.MEMBER


class Block(NamedTuple):
    """Pairs of one image with the same want; jobs are passed on in bulk as blocks."""

    image_id: str
    member_ids: Sequence[str]
    want: Want = Want.MEMBER


class Batch(NamedTuple):
    """A request about every pair of some images and some members that was sent.

    number: tells it from the run's other batches.
    step: what it does: ADD, REMOVE or ACCEPT.
    job_id: of the job that the cloud started for it; "": no answer is known.
    """

    number: int
    step: Step
    image_ids: tuple[str, ...]
    member_ids: tuple[str, ...]
    job_id: str = ""


class Backlog(NamedTuple):
    """An image with pending pairs: their number, and the union of their wants. `settled` counts its other pairs."""

    image_id: str
    pairs: int
    want: Want = Want.MEMBER
    settled: int = 0


EXACT_DIGITS = 9  # beyond these, digits of a product of floats mean nothing
PRUNE_LIMIT = re.compile(
    r"((?P<percent>\d{1,9}(\.\d{1,9})?)\s*%|(?P<fraction>\d?\.\d{1,9}))"
    r"(\s*,?\s*at\s+least\s+(?P<at_least>\d{1,9})(\s+members?)?)?"
    r"|(?P<members>\d{1,9})(\s+members?)?",
    re.ASCII,
)


class PruneLimit(NamedTuple):
    """How many of an image's members a run may remove: a share of them (0 to 1), but `at_least` so many.

    As text: "10%", "0.1", "10%, at least 1", or "5" for that number of members.
    """

    share: float = 0.1  # a mistyped plan costs no more
    at_least: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the limit that a text stands for. Raises `ValueError`, with what to write, if it is none."""
        found = PRUNE_LIMIT.fullmatch(text.strip())
        share = 0.0
        if found is not None and (number := found["percent"] or found["fraction"]):
            share = round(float(number) / (100 if found["percent"] else 1), EXACT_DIGITS)
        if found is None or share > 1:
            raise ValueError("write a percentage (10%), one with a minimum (10%, at least 1), or a number of members")
        return cls(share, int(found["members"] or found["at_least"] or 0))

    def __str__(self) -> str:
        percent = f"{round(self.share * 100, EXACT_DIGITS):.9f}".rstrip("0").rstrip(".") + "%"
        if not self.at_least:
            return percent
        return f"{percent}, at least {self.at_least}" if self.share else str(self.at_least)

    def allowed(self, members: int) -> int:
        """Return how many of an image's members may be removed; exactly the share is within it, despite rounding."""
        return max(math.floor(round(self.share * members, EXACT_DIGITS)), self.at_least)


class Orders(NamedTuple):
    """What a plan says about an image as a whole; see `Entry`. Stored in users' ledgers by field name.

    kept: members that are not extra, besides those that the run has pairs of: pruning leaves them alone.
    selected: the plan selected the image by its attributes, so that its status is not judged.
    strict: public and community images are not as planned, although every project can use them.
    prune_limits: each must allow the removals; none: they have been allowed before.
    """

    prune: bool = False
    fill: bool = False
    kept: frozenset[str] = frozenset()
    selected: bool = False
    prune_limits: tuple[PruneLimit, ...] = ()
    make_shared: bool = False
    strict: bool = False


class Result(StrEnum):
    """What came of a pair. The values are stored in ledgers and shown to users."""

    SHARED = "shared"  # this run added the member
    ACCEPTED = "accepted"  # it was a member before; this run accepted the membership
    ALREADY = "already"  # it was a member before, and nothing was left to do
    REJECTED = "rejected"  # the cloud refused
    FAILED = "failed"  # attempts used up
    SKIPPED = "skipped"  # not tried
    PENDING = "pending"  # not finished
    REMOVED = "removed"  # this run removed the member
    ABSENT = "absent"  # to be removed, but was not a member
    DECLINED = "declined"  # it was a member before; this run set the membership's status to rejected
    RESET = "reset"  # it was a member before; this run set the membership's status back to pending


AS_PLANNED = frozenset(
    {
        Result.SHARED,
        Result.ACCEPTED,
        Result.ALREADY,
        Result.REMOVED,
        Result.ABSENT,
        Result.DECLINED,
        Result.RESET,
    }
)


class Outcome(NamedTuple):
    """The ledger's row of one pair.

    `attempts` counts the POSTs sent for it. `status`, `created_at`, `updated_at` and `schema` are the cloud's own
    fields; the other times are this machine's, aware and UTC. A pending pair has only image, member and result.
    """

    image_id: str
    member_id: str
    result: Result
    http_status: int | None = None
    status: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    schema: str | None = None
    attempts: int = 0
    request_id: str | None = None
    reason: str = ""
    started_at: datetime | None = None
    settled_at: datetime | None = None
    want: Want = Want.MEMBER


class Alike(NamedTuple):
    """Pairs of one image, at least one, to which the same happened: `outcome` is that of each, but for the member."""

    outcome: Outcome
    member_ids: Sequence[str]

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each pair."""
        for member_id in self.member_ids:
            yield self.outcome._replace(member_id=member_id)
