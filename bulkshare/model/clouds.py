"""What a cloud holds (images, members, projects) and how to reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Member(NamedTuple):
    """A member of an image as the cloud reports it; a missing or malformed field is None."""

    image_id: str
    member_id: str
    status: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    schema: str | None = None


class Image(NamedTuple):
    """An image as the cloud reports it; a missing or malformed field is None. `properties`: all string attributes."""

    id: str
    name: str | None = None
    status: str | None = None
    visibility: str | None = None
    owner: str | None = None
    created_at: datetime | None = None
    tags: frozenset[str] = frozenset()
    properties: Mapping[str, str] = {}

    @property
    def usable_by_all(self) -> bool:
        """Whether every project can use the image without being a member."""
        return self.visibility in {"public", "community"}


class Project(NamedTuple):
    """A project as the identity service reports it."""

    id: str
    name: str
    domain_id: str = ""
    parent_id: str = ""
    enabled: bool = True
    tags: frozenset[str] = frozenset()


class KnownProjects(NamedTuple):
    """Which of some IDs are projects. `unchecked` ones may be or may not, for the `reason` given.

    `names` has those of all projects that were read, also of others, and `disabled` the known ones that are disabled.
    """

    known: frozenset[str]
    unchecked: frozenset[str] = frozenset()
    reason: str = ""
    names: Mapping[str, str] = {}
    disabled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Account:
    """The user, project and endpoint of a run. `endpoint` is the image endpoint without /v2 or a trailing slash."""

    cloud: str  # the clouds.yaml entry, "environment" or "sandbox"
    region: str
    endpoint: str
    user: str
    project: str
    project_id: str
    admin: bool = False  # whether the token has the role `admin`; not stored in the ledger


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the image endpoint (as in `Account`): all that a transport needs, without the credentials."""

    endpoint: str
    verify: bool = True
    cacert: str | None = None  # CA file or directory; None: the system's
    cert: str | None = None  # the client certificate
    key: str | None = None  # its key; None: in the same file
    proxy: str | None = field(default=None, repr=False)  # a URL that may hold a password
