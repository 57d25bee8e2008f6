"""A plan as it was written: what is meant, and how hard to work for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bulkshare.model.pairs import Want
from bulkshare.model.retry import RetryPolicy


class Problem(NamedTuple):
    """One thing wrong with an input: where (`file:line:column`, 1-based, as far as known), what, and what to do."""

    file: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard the cloud may be worked: requests in flight, a second, in flight for an image; members of an image."""

    concurrency: int = 16
    rate: float = 50.0
    per_image: int = 4
    members_per_image: int = 128  # Glance's image_member_quota; 0: no quota


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
