"""What the sandbox's cloud is made of: domains, projects, users, tokens, images and members, as plain records.

Knows no HTTP, no policy, and not the cloud that holds them. Every user's password is `PASSWORD`: the server listens on
loopback only and holds nothing worth stealing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

PASSWORD = "sandbox"  # noqa: S105  # public on purpose; see the module's docstring
REGION = "RegionOne"
DOMAIN_ID, DOMAIN_NAME = "default", "Default"
# Keystone's bootstrap makes each of these roles imply the ones after it.
ROLES = ("admin", "manager", "member", "reader")
GLANCE_MEMBER_QUOTA = 128  # image_member_quota in glance-api.conf, its default
TOKEN_LIFETIME = timedelta(hours=1)  # [token] expiration in keystone.conf, its default
VISIBILITIES = ("community", "public", "private", "shared")
MEMBER_STATUSES = ("pending", "accepted", "rejected")
_NAMES = uuid.UUID("5d1f7f0e-6a1c-5b57-9d0b-1c2b7a3f4e60")  # any constant: makes IDs the same on every start


def stable_uuid(name: str) -> uuid.UUID:
    """Return the same UUID for the same name, on every start and machine."""
    return uuid.uuid5(_NAMES, name)


class ProjectSeed(NamedTuple):
    """A project to begin with. `domain` is a name, and `parent` the name of a project of that domain seeded before.

    Without an ID it gets one that depends on domain and name only.
    """

    name: str
    domain: str = DOMAIN_NAME
    tags: tuple[str, ...] = ()
    enabled: bool = True
    parent: str | None = None
    description: str = ""
    project_id: str | None = None


class ImageSeed(NamedTuple):
    """An image to begin with, of the admin's project. Without an ID it gets one that depends on its name only."""

    name: str
    tags: tuple[str, ...] = ()
    properties: Mapping[str, str] = {}
    visibility: str = "shared"
    status: str = "active"
    created_at: datetime | None = None  # aware UTC; None: now
    os_hidden: bool = False
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """What names of projects and users are unique in."""

    id: str
    name: str
    description: str = ""


@dataclass(slots=True, eq=False)
class Project:
    """A project. `parent_id` is a project's or the domain's ID."""

    id: str
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    parent_id: str = DOMAIN_ID
    domain_id: str = DOMAIN_ID


@dataclass(slots=True, eq=False)
class User:
    """A user of the default domain. `roles` has, by project ID, every role held there, implied ones included."""

    id: str
    name: str
    password: str = PASSWORD
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApplicationCredential:
    """A secret that stands for a user in one project."""

    id: str
    name: str
    secret: str
    user: User
    project: Project


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says; without a project it is unscoped and has no roles."""

    id: str
    user: User
    project: Project | None
    roles: tuple[str, ...]
    methods: tuple[str, ...]
    audit_ids: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime

    @property
    def is_admin(self) -> bool:
        """Whether the admin role is among the roles; OpenStack knows no narrower admin by default."""
        return "admin" in self.roles

    @property
    def project_id(self) -> str | None:
        """The ID of the project the token is for."""
        return self.project.id if self.project else None


@dataclass(slots=True, eq=False)
class MemberRow:
    """An image's member. `copies` is 0 for a deleted row, which Glance uses again, and 2 where two POSTs raced."""

    member_id: str
    created_at: datetime
    updated_at: datetime
    status: str = "pending"
    copies: int = 1


@dataclass(slots=True, eq=False)
class Image:
    """An image: all but its data, of which it has the size in bytes and the checksums."""

    id: str
    name: str | None
    owner: str | None
    created_at: datetime
    updated_at: datetime
    visibility: str = "shared"
    status: str = "active"
    tags: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)
    disk_format: str | None = "raw"
    container_format: str | None = "bare"
    protected: bool = False
    os_hidden: bool = False
    min_disk: int = 0
    min_ram: int = 0
    size: int | None = None
    checksum: str | None = None  # MD5
    sha512: str | None = None
    rows: dict[str, MemberRow] = field(default_factory=dict)
    member_count: int = 0  # of live rows, copies counted: what the quota counts

    def member(self, member_id: str | None) -> MemberRow | None:
        """Return the live row of a member."""
        row = self.rows.get(member_id) if member_id is not None else None
        return row if row is not None and row.copies else None

    def insert(self, member_id: str, now: datetime) -> MemberRow:
        """Add a live row, in status pending; a deleted one is used again, with the time it was made."""
        self.member_count += 1
        row = self.rows.get(member_id)
        if row is None:
            row = self.rows[member_id] = MemberRow(member_id, now, now)
        else:
            row.copies += 1
            row.status, row.updated_at = "pending", now
        return row

    def remove(self, row: MemberRow) -> None:
        """Delete one copy of a live row."""
        row.copies -= 1
        self.member_count -= 1
