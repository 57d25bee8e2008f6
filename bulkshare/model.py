"""The values that travel between the floors: frozen, without behaviour beyond reading themselves.

Plan -> `Job` -> `Request` -> `Reply` -> `Verdict` -> `Outcome`. Nothing here knows HTTP libraries, SQL or asyncio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntFlag, StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from datetime import datetime


class Problem(NamedTuple):
    """One thing wrong with an input: where (`file:line:column`, 1-based, as far as known), what, and what to do."""

    file: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.message}"


class Want(IntFlag):
    """What is to become of a pair, and on which way. The numbers are in ledgers of users: append, never renumber."""

    MEMBER = 0  # the project is to be a member of the image
    ACCEPTED = 1  # and the membership is to be accepted, so that the image shows in the project's lists
    FORCED = 2  # also where the project has rejected it
    AS_PROJECT = 4  # acceptance is declared with a token of the member project, not with our own
    OPENED = 8  # a private image is made `shared` first
    GONE = 16  # the project is not to be a member any more
    LISTED = 32  # a listing found the project to be a member: only its acceptance is left to do


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


class Member(NamedTuple):
    """A member of an image as the cloud tells it; a field the cloud left out or garbled is None."""

    image_id: str
    member_id: str
    status: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    schema: str | None = None


class Image(NamedTuple):
    """An image as the cloud tells it; a field the cloud left out or garbled is None. `properties` has all its texts."""

    id: str
    name: str | None = None
    status: str | None = None
    visibility: str | None = None
    owner: str | None = None
    created_at: datetime | None = None
    tags: frozenset[str] = frozenset()
    properties: Mapping[str, str] = {}


class Project(NamedTuple):
    """A project as the identity service tells it."""

    id: str
    name: str
    domain_id: str = ""
    parent_id: str = ""
    enabled: bool = True
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Request:
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
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
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


@dataclass(frozen=True, slots=True)
class Fault:
    """A network error as a value. `detail` is for the user and holds no secret."""

    kind: FaultKind
    detail: str


Reply = Response | Fault


class Step(Enum):
    """What is asked of the cloud."""

    ADD = "add"  # POST the member
    ASK = "ask"  # GET it
    LIST = "list"  # GET all of an image's members
    ACCEPT = "accept"  # PUT the member's status
    REMOVE = "remove"  # DELETE the member
    OPEN = "open"  # PATCH the image's visibility to `shared`
    FIND = "find"  # GET images


class Kind(Enum):
    """What an answer means. The table of answers is in `glance`."""

    SHARED = "shared"  # the member was added by this very request
    PRESENT = "present"  # the member is there (a GET found it, or 409 said so)
    ACCEPTED = "accepted"  # the membership is accepted
    REMOVED = "removed"  # the member was removed by this very request
    OPENED = "opened"  # the image is `shared` now
    FOUND = "found"  # a page of images
    ABSENT = "absent"  # a GET did not find it
    LISTED = "listed"  # the image's members were listed
    REJECTED = "rejected"  # a definite no
    OVER_QUOTA = "over quota"  # 413: a definite no, unless the member is there already; ask
    UNCLEAR = "unclear"  # an answer that can't be believed; ask
    LOST = "lost"  # no answer, and the server may have acted: wait, then ask
    TRANSIENT = "transient"  # try again later; `maybe_done` tells whether the server may have acted
    THROTTLED = "throttled"  # the endpoint wants us slower; it did not act


class Scope(Enum):
    """How far an answer reaches."""

    PAIR = "pair"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of one reply.

    `reason` is one clean line for the user. `retry_after` is in seconds. `members` and `images` have what the answer
    told; `next_path` is the path of the following page of images, None where this was the last.
    """

    kind: Kind
    reason: str = ""
    scope: Scope = Scope.PAIR
    retry_after: float | None = None
    maybe_done: bool = False
    members: tuple[Member, ...] = ()
    images: tuple[Image, ...] = ()
    next_path: str | None = None
    http_status: int | None = None
    request_id: str | None = None


class Case(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Outcome:
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


@dataclass(frozen=True, slots=True)
class Account:
    """As whom, and where, a run acts. `endpoint` is the image endpoint without /v2 and trailing slash."""

    cloud: str  # the clouds.yaml entry, "environment" or "sandbox"
    region: str
    endpoint: str
    user: str
    project: str
    project_id: str
    admin: bool = False  # whether the token has the role `admin`; the ledger does not keep it


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the image endpoint (as in `Account`): all that a transport needs, and nothing of who we are."""

    endpoint: str
    verify: bool = True
    cacert: str | None = None  # file or folder of certificate authorities; None: the system's
    cert: str | None = None  # the client certificate
    key: str | None = None  # its key; None: in the same file
    proxy: str | None = field(default=None, repr=False)  # a URL that may hold a password


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard the cloud may be worked: requests in flight, a second, in flight for an image; members of an image."""

    concurrency: int = 16
    rate: float = 50.0
    per_image: int = 4
    members_per_image: int = 128  # Glance's image_member_quota; 0: no quota


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a POST is tried, and the base and the cap of the exponential wait between tries, in seconds."""

    attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run was told to work: what it takes to go on with it where its plan is not at hand."""

    cloud: str | None = None  # the clouds.yaml entry as configured; None: the OS_* variables
    region: str | None = None  # as the plan names it
    sandbox: bool = False  # on a cloud that ended with the run
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class RunState(StrEnum):
    """Where a run stands. A killed run stays RUNNING: its lock is free, so the next one can tell."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"  # stopped early in good order; the rest is pending
    FINISHED = "finished"  # no pair is pending


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a plan, as the ledger keeps it.

    `key` is the name users see. `fingerprint` is the plan's set of pairs as a hash: a run may be continued only by
    the same plan against the same account. `requests`, `retries` and `seconds` sum over its continuations. `enqueued`
    says that all its pairs are in the ledger: without that only its plan knows what they are.
    """

    id: int
    key: str
    plan: str
    fingerprint: str
    account: Account
    state: RunState
    started_at: datetime
    finished_at: datetime | None = None
    host: str = ""
    pid: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    totals: Mapping[Result, int] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    enqueued: bool = False


@dataclass(frozen=True, slots=True)
class Telemetry:
    """How one invocation of a run went over time, in intervals of equal length since `began_at`.

    The tuples are of one length: requests answered, those of them that were trouble (throttled, 5xx, no answer), and
    how many requests the pace allowed in flight at the end of the interval. `latency` counts answers by the upper
    bound of their time in seconds (inf: beyond the last), `statuses` by HTTP status, or the kind of fault.
    """

    began_at: datetime
    interval_seconds: float
    requests: tuple[int, ...] = ()
    troubled: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    latency: Mapping[float, int] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageSelector:
    """Images that are meant by what they are. None and empty: of no matter.

    `name` may be a glob (* ? [...]). `owner` is "self" (our project), "any" or a project ID. `latest` keeps the newest
    so many, for each value of the property `per` where that is given. `place` is where it stands: file:line:column.
    """

    name: str | None = None
    tags: frozenset[str] = frozenset()
    properties: tuple[tuple[str, str], ...] = ()
    owner: str = "self"
    status: str = "active"
    newer_than_seconds: float | None = None
    latest: int | None = None
    per: str | None = None
    allow_empty: bool = False
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ProjectSelector:
    """Projects that are meant by what they are. None and empty: of no matter.

    `name` may be a glob; one that is not has to fit one project alone. `domain` is a name or an ID, `parent` an ID.
    """

    name: str | None = None
    domain: str | None = None
    tags: frozenset[str] = frozenset()
    enabled: bool | None = True
    parent: str | None = None
    allow_empty: bool = False
    place: str = field(default="", compare=False)


class CheckProjects(StrEnum):
    """Whether project IDs are looked up at the identity service before anything is sent."""

    AUTO = "auto"  # where the credentials may
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a plan's `share`: all its images with all its projects, less `excluded`. IDs may repeat.

    Selectors stand among the IDs until the cloud has been asked (`selection.resolved`). With `prune`, members of its
    images that the plan does not name are removed, but for those in `keep`. With `fill`, as many members are added as
    the image's quota has room for; without it none where not all fit. `cloud` limits the entry to one of the plan's.
    """

    images: tuple[str | ImageSelector, ...]
    projects: tuple[str | ProjectSelector, ...]
    excluded: frozenset[str | ProjectSelector] = frozenset()
    want: Want = Want.MEMBER
    accept_as_project: bool | None = None  # None: only where our own token has no admin role
    prune: bool = False
    keep: frozenset[str | ProjectSelector] = frozenset()
    fill: bool = False
    cloud: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan with its groups and files resolved. `clouds` is empty and `region` None where it names none.

    Each cloud is a clouds.yaml entry, and gets the entries that name it or none.
    """

    name: str
    entries: tuple[Entry, ...]
    clouds: tuple[str, ...] = ()
    region: str | None = None
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    check_projects: CheckProjects = CheckProjects.AUTO
