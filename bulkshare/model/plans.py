"""A plan as written: which images to share with which projects, and how fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bulkshare.model.pairs import PruneLimit, Want
from bulkshare.model.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkshare.model.notify import Notify

Item_co = TypeVar("Item_co", covariant=True)


class Problem(NamedTuple):
    """One thing wrong with an input: where (`file:line:column`, 1-based, as far as known), what, and what to do."""

    file: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.message}"


MOST_CONCURRENCY = 1000
LEAST_RATE, MOST_RATE = 0.001, 1_000_000.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much load a run may put on the cloud, and how many members the cloud lets an image have."""

    concurrency: int = 16  # requests in flight
    rate: float = 50.0  # requests per second
    per_image: int = 4  # requests in flight per image
    members_per_image: int | None = None  # None: unknown, the cloud's refusal decides; 0: no limit
    batch: int = 100  # pairs in one request, where the cloud has batches: as many as its console's dialog takes
    jobs: int = 10  # of batches, at once


@dataclass(frozen=True, slots=True)
class ImageSelector:
    """Images chosen by their attributes. None and empty values match everything.

    `name` may be a glob (* ? [...]). `owner` is "self" (our project), "any" or a project ID. `skip_latest` leaves out
    that many of the newest images, whatever their age; `latest` keeps that many of the newest that are left. Both count
    per value of the property `per` if given. `place` is its position: file:line:column.
    """

    name: str | None = None
    tags: frozenset[str] = frozenset()
    properties: tuple[tuple[str, str], ...] = ()
    owner: str = "self"
    status: str = "active"
    newer_than_seconds: float | None = None
    older_than_seconds: float | None = None
    latest: int | None = None
    skip_latest: int | None = None
    per: str | None = None
    allow_empty: bool = False
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ProjectSelector:
    """Projects chosen by their attributes. None and empty values match everything.

    `name` may be a glob; a plain name must match exactly one project. `domain` is a name or an ID, `parent` an ID.
    """

    name: str | None = None
    domain: str | None = None
    tags: frozenset[str] = frozenset()
    enabled: bool | None = True
    parent: str | None = None
    allow_empty: bool = False
    place: str = field(default="", compare=False)


class Api(StrEnum):
    """How members are changed."""

    AUTO = "auto"  # in batches on Huawei Cloud, where the native writes are historical; else native
    NATIVE = "native"  # a request for each pair: the OpenStack Image API
    BATCH = "batch"  # many pairs in a request: the API of Huawei Cloud's and Open Telekom Cloud's image service


class CheckProjects(StrEnum):
    """Whether project IDs are looked up in the identity service before anything is sent."""

    AUTO = "auto"  # if the credentials allow it
    ALWAYS = "always"
    NEVER = "never"


class IdList(tuple[Item_co, ...]):  # noqa: SLOT001  a tuple subclass can't have slots, and the hash is cached
    """IDs and selectors, in order, with duplicates: a tuple that is cheap to use as a dict key.

    A thousand entries may share one list of a million IDs, and whatever is computed from a list is cached by it. So
    the hash is computed once, as a frozenset's is, and looking up the same object again compares no items.
    """

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a plan's `share`: all its images with all its projects, except `excluded`. IDs may repeat.

    An entry without projects prunes: no one is to have its images but whom other entries name.

    The lists contain selectors until the cloud has been asked (`plan.selectors.resolved`). With `prune`, members of its
    images that the plan does not name are removed, except those in `keep`. With `fill`, as many members are added as
    the image's quota has room for; without it none are added if not all fit. With `make_shared`, a private image is
    made shared first. `cloud` limits the entry to one cloud.
    `prune_limit` takes the place of the plan's.
    """

    images: tuple[str | ImageSelector, ...]
    projects: tuple[str | ProjectSelector, ...]
    excluded: frozenset[str | ProjectSelector] = frozenset()
    want: Want = Want.MEMBER
    accept_as_project: bool | None = None  # None: only if our own token lacks the admin role
    prune: bool = False
    keep: frozenset[str | ProjectSelector] = frozenset()
    fill: bool = False
    make_shared: bool = False
    cloud: str | None = None
    prune_limit: PruneLimit | None = None

    def __post_init__(self) -> None:
        for name in ("images", "projects"):
            items = getattr(self, name)
            if not isinstance(items, IdList):
                object.__setattr__(self, name, IdList(items))


@dataclass(frozen=True, slots=True)
class Receive:
    """Images that other projects share with ours, and how to answer. The first one that an image matches decides.

    images: IDs, whatever their member status, and selectors; none: all.
    owners: the projects that share them; none: any.
    declined: set the status to rejected, not to accepted.
    hidden: take those that have been accepted; otherwise those that are pending.
    cloud: limits it to one cloud.
    """

    images: tuple[str | ImageSelector, ...] = ()
    owners: tuple[str | ProjectSelector, ...] = ()
    declined: bool = False
    hidden: bool = False
    cloud: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan with its groups and files resolved. `clouds` is empty and `region` None if the plan names none.

    Each cloud is a clouds.yaml entry. It gets the entries that name it and those that name no cloud. `prune_limit` is
    for entries without one of their own; None: the default. If it is `strict`, public and community images are not as
    planned, although every project can use them. `receive` is what others share with us; once that is resolved, it is
    empty, and `entries` has those memberships. `names` has the names that stand beside IDs in the plan and its lists,
    by ID. `notify` says who is notified when a run ends.
    """

    name: str
    entries: tuple[Entry, ...]
    clouds: tuple[str, ...] = ()
    region: str | None = None
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    check_projects: CheckProjects = CheckProjects.AUTO
    api: Api = Api.AUTO
    prune_limit: PruneLimit | None = None
    strict: bool = False
    receive: tuple[Receive, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict, compare=False)
    notify: Notify | None = None
