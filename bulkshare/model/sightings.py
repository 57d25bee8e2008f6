"""What runs have recorded about pairs over time: the material of the answers about who can use what."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from bulkshare.model.clouds import Account
    from bulkshare.model.pairs import Result, Want


class RunRef(NamedTuple):
    """A run as an answer names it. `ended_at`: when it was last known to work; None: it may be at work."""

    id: int
    key: str
    account: Account
    started_at: datetime
    ended_at: datetime | None = None
    sandbox: bool = False


class Sighting(NamedTuple):
    """What a run, or several in a row, recorded about a pair: alike from `at` to `last_at`, `times` times.

    answered: whether there is an HTTP status; an ALREADY without one says that every project can use the image.
    want: only REMOVE and ADDED, and of a pending pair ALREADY_MEMBER.
    status, created_at: of the member, from the cloud.
    run, last_run: the first and the last run; None: the cloud was asked just now.
    """

    image_id: str
    member_id: str
    result: Result
    want: Want
    answered: bool
    status: str | None
    created_at: datetime | None
    reason: str
    run: RunRef | None
    at: datetime
    last_run: RunRef | None
    last_at: datetime
    times: int = 1
