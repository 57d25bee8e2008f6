"""One request, its response and what the response means."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkshare.model.clouds import Image, Member
    from bulkshare.model.pairs import Job, Result


# Named tuples because every pair needs several of each, and a frozen dataclass takes three times as long to construct.


class Request(NamedTuple):
    """An HTTP request to the image endpoint.

    path: starts with /v2/ and is quoted.
    body_bound: how many bytes of the response body are read at most.
    project: the project to scope the token to; None: the run's own.
    token: added by the identity layer; never shown.
    headers: the same, for requests that are signed instead.
    """

    method: str
    path: str
    body: bytes | None = None
    body_bound: int = 1 << 20
    content_type: str = "application/json"
    project: str | None = None
    token: str | None = None
    headers: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        """Leave out what must not be shown."""
        return f"Request({self.method} {self.path}, {self.body!r}, project={self.project!r})"

    def with_token(self, token: str) -> Request:
        """Return the request with a token; in half the time that `_replace` takes."""
        method, path, body, body_bound, content_type, project, _, headers = self
        return Request(method, path, body, body_bound, content_type, project, token, headers)


class Response(NamedTuple):
    """An HTTP response. Headers are found by names in lower case. `cut`: the body was longer than its bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


class FaultKind(Enum):
    """Why a request got no response. What matters is whether the server may have acted on it."""

    UNSENT = "unsent"  # connection refused, name not resolved, no route: the server never saw it
    TIMEOUT = "timeout"  # sent at least in part; no response in time
    LOST = "lost"  # sent at least in part; the connection closed, or the response was not HTTP
    STOPPED = "stopped"  # the run was stopped before the request left


class Fault(NamedTuple):
    """A network error as a value. `detail` is for the user and contains no secrets."""

    kind: FaultKind
    detail: str


Reply = Response | Fault


class Step(Enum):
    """A request to the image API."""

    ADD = "add"  # POST the member
    GET_MEMBER = "ask"  # GET it
    LIST = "list"  # GET all of an image's members
    ACCEPT = "accept"  # PUT the member's status
    DECLINE = "decline"  # PUT the status rejected
    RESET = "reset"  # PUT the status pending
    REMOVE = "remove"  # DELETE the member
    SET_SHARED = "open"  # PATCH the image's visibility to `shared`
    FIND = "find"  # GET images
    BATCH = "batch"  # change the members of several images at once
    JOB = "job"  # GET the job of a batch
    QUOTA = "quota"  # GET how many members an image may have

    __hash__ = object.__hash__  # that of `Enum` is a call in Python, several times for every pair


class VerdictKind(Enum):
    """What an answer means; `image_api.glance` has the table."""

    SHARED = "shared"  # this request added the member
    PRESENT = "present"  # it is a member: a GET found it, or a 409 implies it
    ACCEPTED = "accepted"  # the membership is accepted
    DECLINED = "declined"  # the membership's status is rejected
    RESET = "reset"  # the membership's status is pending again
    REMOVED = "removed"  # this request removed the member
    SET_SHARED = "opened"  # the image is now `shared`
    FOUND = "found"  # a page of images
    ABSENT = "absent"  # a GET did not find it
    LISTED = "listed"  # the image's members were listed
    STARTED = "started"  # a job was started for a batch of pairs
    RUNNING = "running"  # the job has not ended
    ENDED = "ended"  # the job has ended, which says nothing about its pairs
    UNSUPPORTED = "unsupported"  # the service has no batches
    REJECTED = "rejected"  # a final refusal
    OVER_QUOTA = "over quota"  # 413: final, unless it is a member already; GET the member
    UNCLEAR = "unclear"  # an answer that makes no sense: GET the member
    LOST = "lost"  # no answer, and the server may still act: wait, then GET the member
    TRANSIENT = "transient"  # try again later; `maybe_done` says whether the server may have acted
    THROTTLED = "throttled"  # slow down; the server did not act
    NOT_SENT = "not sent"  # the run was stopped first: no attempt, and nothing to conclude

    __hash__ = object.__hash__  # as in `Step`


# These are inconclusive: the request is sent again.
RETRYABLE = frozenset({VerdictKind.TRANSIENT, VerdictKind.THROTTLED, VerdictKind.LOST, VerdictKind.UNCLEAR})
# These say that the endpoint as a whole is down, overloaded or unreachable.
ENDPOINT_FAILURES = frozenset({VerdictKind.TRANSIENT, VerdictKind.THROTTLED, VerdictKind.LOST})


class Scope(Enum):
    """What an answer applies to."""

    PAIR = "pair"
    IMAGE = "image"
    RUN = "run"  # every pair would get it


class Verdict(NamedTuple):
    """The meaning of one reply.

    reason: one clean line for the user.
    scope: what the answer applies to.
    retry_after: the wait that the server asked for, in seconds.
    maybe_done: the server may have carried out the request.
    members, images, job_id, quota: those in the answer.
    next_path: the path of the next page of images or members; None: this was the last.
    """

    kind: VerdictKind
    reason: str = ""
    scope: Scope = Scope.PAIR
    retry_after: float | None = None
    maybe_done: bool = False
    members: tuple[Member, ...] = ()
    images: tuple[Image, ...] = ()
    next_path: str | None = None
    job_id: str = ""
    quota: int | None = None
    http_status: int | None = None
    request_id: str | None = None


class Attempt(NamedTuple):
    """A pair in progress: the request to send next, and what is known about the pair so far.

    step: the request to send next.
    posts: POSTs answered.
    tries: PUTs or DELETEs answered.
    free_attempts: those of `posts`, or of `tries`, whose failure says nothing about this pair.
    gets: GETs answered since the last POST, PUT or DELETE.
    lost: an answer after which the server may have carried out the request.
    over_quota: the 413 that the GET of the member is to resolve.
    membership: SHARED or ALREADY once the project is a member and only the acceptance remains.
    why: the reason recorded with `membership`.
    member: the member as last seen.
    """

    job: Job
    step: Step = Step.ADD
    posts: int = 0
    tries: int = 0
    free_attempts: int = 0
    gets: int = 0
    lost: Verdict | None = None
    over_quota: Verdict | None = None
    membership: Result | None = None
    why: str = ""
    member: Member | None = None
