"""What is wanted of an image and a project, and what became of it."""

from __future__ import annotations

from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from datetime import datetime


class Want(IntFlag):
    """What is to become of a pair, and on which way. The numbers are in ledgers of users: append, never renumber."""

    MEMBER = 0  # the project is to be a member of the image
    ACCEPTED = 1  # and the membership is to be accepted, so that the image shows in the project's lists
    FORCED = 2  # also where the project has rejected it
    AS_PROJECT = 4  # acceptance is declared with a token of the member project, not with our own
    SET_SHARED = 8  # a private image is made `shared` first
    REMOVE = 16  # the project is not to be a member any more
    ALREADY_MEMBER = 32  # a listing found the project to be a member: only its acceptance is left to do


class Job(NamedTuple):
    """One pair to bring about. Image and member are its identity; there is one want for a pair."""

    image_id: str
    member_id: str
    want: Want = Want.MEMBER


class Block(NamedTuple):
    """Pairs of one image that want the same: how jobs are handed over in bulk."""

    image_id: str
    member_ids: Sequence[str]
    want: Want = Want.MEMBER


class Backlog(NamedTuple):
    """An image with pending pairs: how many, and all that any of them wants."""

    image_id: str
    pairs: int
    want: Want = Want.MEMBER


class Orders(NamedTuple):
    """What a plan says about an image as a whole; see `Entry`. `kept` are the members that pruning leaves alone."""

    prune: bool = False
    fill: bool = False
    kept: Container[str] = frozenset()


class Result(StrEnum):
    """What became of a pair; the words are the ledger's and the user's."""

    SHARED = "shared"  # this run added it
    ALREADY = "already"  # it was a member
    REJECTED = "rejected"  # the cloud said no
    FAILED = "failed"  # attempts used up
    SKIPPED = "skipped"  # not tried
    PENDING = "pending"  # not finished
    REMOVED = "removed"  # this run removed it
    ABSENT = "absent"  # to be removed, and it was no member


AS_PLANNED = frozenset({Result.SHARED, Result.ALREADY, Result.REMOVED, Result.ABSENT})


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
