"""One request and its answer: from what is asked to what the answer means."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkshare.model.clouds import Image, Member
    from bulkshare.model.pairs import Job, Result


# Named tuples, because several of each are made for every pair: a frozen dataclass takes three times as long to make.


class Request(NamedTuple):
    """An HTTP request below the image endpoint; `path` starts with /v2/ and is quoted already.

    Of the answer's body at most `body_bound` bytes are read. With `project`, the request is made as our user in that
    project, else in the run's own. `token` is put on by the identity layer and never shown.
    """

    method: str
    path: str
    body: bytes | None = None
    body_bound: int = 1 << 20
    content_type: str = "application/json"
    project: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        """Leave the token out."""
        return f"Request({self.method} {self.path}, {self.body!r}, project={self.project!r})"


class Response(NamedTuple):
    """An HTTP answer. Header names are lower case. `body` is read up to a bound; `cut` says it was longer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


class FaultKind(Enum):
    """How a request ended without an answer; what matters is whether the server may have acted on it."""

    UNSENT = "unsent"  # refused, unresolved, no route: the server never saw it
    TIMEOUT = "timeout"  # sent, or partly; no answer in time
    LOST = "lost"  # sent, or partly; the connection ended or the answer was no HTTP
    STOPPED = "stopped"  # the run was stopped before the request left


class Fault(NamedTuple):
    """A network error as a value. `detail` is for the user and holds no secret."""

    kind: FaultKind
    detail: str


Reply = Response | Fault


class Step(Enum):
    """What is asked of the cloud."""

    ADD = "add"  # POST the member
    GET_MEMBER = "ask"  # GET it
    LIST = "list"  # GET all of an image's members
    ACCEPT = "accept"  # PUT the member's status
    REMOVE = "remove"  # DELETE the member
    SET_SHARED = "open"  # PATCH the image's visibility to `shared`
    FIND = "find"  # GET images


class VerdictKind(Enum):
    """What an answer means. The table of answers is in `glance`."""

    SHARED = "shared"  # the member was added by this very request
    PRESENT = "present"  # the member is there (a GET found it, or 409 said so)
    ACCEPTED = "accepted"  # the membership is accepted
    REMOVED = "removed"  # the member was removed by this very request
    SET_SHARED = "opened"  # the image is `shared` now
    FOUND = "found"  # a page of images
    ABSENT = "absent"  # a GET did not find it
    LISTED = "listed"  # the image's members were listed
    REJECTED = "rejected"  # a definite no
    OVER_QUOTA = "over quota"  # 413: a definite no, unless the member is there already; ask
    UNCLEAR = "unclear"  # an answer that can't be believed; ask
    LOST = "lost"  # no answer, and the server may have acted: wait, then ask
    TRANSIENT = "transient"  # try again later; `maybe_done` tells whether the server may have acted
    THROTTLED = "throttled"  # the endpoint wants us slower; it did not act
    NOT_SENT = "not sent"  # a stop kept the request from leaving: no attempt, and nothing to conclude


# Not an answer to go by, but the next one may be: the request is sent again.
RETRYABLE = frozenset({VerdictKind.TRANSIENT, VerdictKind.THROTTLED, VerdictKind.LOST, VerdictKind.UNCLEAR})
# These say that the endpoint as a whole is down, overloaded or out of reach.
ENDPOINT_TROUBLE = frozenset({VerdictKind.TRANSIENT, VerdictKind.THROTTLED, VerdictKind.LOST})


class Scope(Enum):
    """How far an answer reaches."""

    PAIR = "pair"
    IMAGE = "image"


class Verdict(NamedTuple):
    """The meaning of one reply.

    `reason` is one clean line for the user. `retry_after` is in seconds. `members` and `images` have what the answer
    told; `next_path` is the path of the following page of images, None where this was the last.
    """

    kind: VerdictKind
    reason: str = ""
    scope: Scope = Scope.PAIR
    retry_after: float | None = None
    maybe_done: bool = False
    members: tuple[Member, ...] = ()
    images: tuple[Image, ...] = ()
    next_path: str | None = None
    http_status: int | None = None
    request_id: str | None = None


class Attempt(NamedTuple):
    """One pair on its way: the request to send next, and what is known of it so far.

    `posts` and `asks` count the requests answered (asks: since the last POST, PUT or DELETE), `tries` those PUTs or
    DELETEs; `spared` those POSTs, or tries, whose failure was not this pair's. `lost` is an answer after which the
    server may have done what it was asked; `over_quota` the 413 that made us ask. With `joined` (SHARED or ALREADY, for
    the reason `why`) the project is a member, and acceptance is what is left; `member` is what was told of it.
    """

    job: Job
    step: Step = Step.ADD
    posts: int = 0
    tries: int = 0
    spared: int = 0
    asks: int = 0
    lost: Verdict | None = None
    over_quota: Verdict | None = None
    joined: Result | None = None
    why: str = ""
    member: Member | None = None
