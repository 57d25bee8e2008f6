"""The sandbox's cloud itself: its projects, users, tokens, images and members, in memory.

Knows no HTTP and no policy: the two services decide who may do what, this holds what is. Nothing is written to disk;
the cloud ends with its process. Every user's password is `PASSWORD`: the server listens on loopback only and holds
nothing worth stealing. Tokens are random all the same.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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
    """An image, without its data."""

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


class Cloud:
    """A cloud with an admin in a project of its own, and what is added to it.

    `member_quota` is how many members an image may have, below 0 for no limit. `clock` returns aware UTC times.
    """

    def __init__(
        self,
        *,
        member_quota: int = GLANCE_MEMBER_QUOTA,
        token_lifetime: timedelta = TOKEN_LIFETIME,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.member_quota = member_quota
        self.token_lifetime = token_lifetime
        self.clock = clock
        self.projects: dict[str, Project] = {}
        self.users: dict[str, User] = {}
        self.application_credentials: dict[str, ApplicationCredential] = {}
        self.tokens: dict[str, Token] = {}
        self.images: dict[str, Image] = {}
        self.admin_project = self.add_project("admin", description="Owns the sandbox's images.")
        self.admin = self.add_user("admin", {self.admin_project.id: "admin"})

    @classmethod
    def seeded(cls, images: Iterable[str], projects: Iterable[str], *, member_quota: int = GLANCE_MEMBER_QUOTA) -> Self:
        """Return a cloud that has images and projects of these IDs; the images are shared, active and the admin's."""
        cloud = cls(member_quota=member_quota)
        for project_id in projects:
            if project_id not in cloud.projects:
                cloud.add_project(project_id, project_id=project_id)
        for image_id in images:
            if image_id not in cloud.images:
                cloud.add_image(image_id, image_id=image_id)
        return cloud

    @classmethod
    def sample(cls, images: int, projects: int, *, member_quota: int = GLANCE_MEMBER_QUOTA) -> Self:
        """Return a cloud with image-001... and project-001..., whose IDs are the same on every start."""
        cloud = cls(member_quota=member_quota)
        for number in range(1, projects + 1):
            cloud.add_project(f"project-{number:03}", tags=("tenant",))
        for number in range(1, images + 1):
            cloud.add_image(f"image-{number:03}", image_id=str(stable_uuid(f"image-{number:03}")), tags=("golden",))
        return cloud

    def add_project(
        self, name: str, *, project_id: str | None = None, description: str = "", tags: Iterable[str] = ()
    ) -> Project:
        """Add a project; without an ID it gets one that depends on its name only."""
        project = Project(project_id or stable_uuid(f"project {name}").hex, name, description, tags=tuple(tags))
        self.projects[project.id] = project
        return project

    def add_user(self, name: str, roles: Mapping[str, str] | None = None, *, password: str = PASSWORD) -> User:
        """Add a user who has, by project ID, one of `ROLES`, and with it the ones it implies."""
        user = User(stable_uuid(f"user {name}").hex, name, password)
        for project_id, role in (roles or {}).items():
            user.roles[project_id] = ROLES[ROLES.index(role) :]
        self.users[user.id] = user
        return user

    def add_application_credential(self, name: str, user: User, project: Project, secret: str) -> ApplicationCredential:
        """Add an application credential; its ID depends on the user's and its own name only."""
        known_as = stable_uuid(f"application credential {user.name} {name}").hex
        credential = ApplicationCredential(known_as, name, secret, user, project)
        self.application_credentials[known_as] = credential
        return credential

    def add_image(
        self,
        name: str | None,
        *,
        image_id: str | None = None,
        owner: str | None = None,
        visibility: str = "shared",
        status: str = "active",
        tags: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
    ) -> Image:
        """Add an image; without an owner it is the admin's project's, without an ID it gets a random one."""
        now = self.clock()
        image = Image(
            id=image_id or str(uuid.uuid4()),
            name=name,
            owner=owner or self.admin_project.id,
            created_at=now,
            updated_at=now,
            visibility=visibility,
            status=status,
            tags=tuple(dict.fromkeys(tags)),
            properties=dict(properties or {}),
        )
        self.images[image.id] = image
        return image

    def issue_token(self, user: User, project: Project | None, method: str, parent: Token | None = None) -> Token:
        """Issue a token for a project the user has roles in, or an unscoped one; one made of another ends with it."""
        now = self.clock()
        parent_methods = parent.methods if parent else ()
        token = Token(
            id=secrets.token_urlsafe(32),
            user=user,
            project=project,
            roles=user.roles[project.id] if project else (),
            methods=parent_methods if method in parent_methods else (*parent_methods, method),
            audit_ids=(secrets.token_urlsafe(16), *(parent.audit_ids[-1:] if parent else ())),
            issued_at=now,
            expires_at=parent.expires_at if parent else now + self.token_lifetime,
        )
        self.tokens[token.id] = token
        return token

    def token(self, token_id: str | None) -> Token | None:
        """Return the token of that ID unless it is unknown, revoked or expired."""
        token = self.tokens.get(token_id) if token_id else None
        return token if token is not None and self.clock() < token.expires_at else None

    def revoke_tokens(self) -> None:
        """Revoke every token at once: each client's next request is answered 401."""
        self.tokens.clear()
