"""The data of the sandbox's cloud, in memory: domains, projects, users, tokens, images and members; and an example.

Knows no HTTP and no policy; the services decide who may do what. Tokens are random, everything else is the same on
every start. Every user's password is `PASSWORD`: the server listens on loopback only and holds nothing of value.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


PASSWORD = "sandbox"  # noqa: S105  # public on purpose; see the module's docstring
ACCESS_KEY, SECRET_KEY = "SANDBOXACCESSKEY0001", "sandbox"  # of the admin
REGION = "RegionOne"
DOMAIN_ID, DOMAIN_NAME = "default", "Default"
# Keystone's bootstrap makes each role imply the following ones.
ROLES = ("admin", "manager", "member", "reader")
GLANCE_MEMBER_QUOTA = 128  # image_member_quota in glance-api.conf, its default
TOKEN_LIFETIME = timedelta(hours=1)  # [token] expiration in keystone.conf, its default
VISIBILITIES = ("community", "public", "private", "shared")
MEMBER_STATUSES = ("pending", "accepted", "rejected")
_NAMES = uuid.UUID("5d1f7f0e-6a1c-5b57-9d0b-1c2b7a3f4e60")  # any constant, so that IDs are the same on every start


def stable_uuid(name: str) -> uuid.UUID:
    """Return a UUID that depends on the name only."""
    return uuid.uuid5(_NAMES, name)


class ProjectSeed(NamedTuple):
    """An initial project. `domain` is a name, `parent` the name of an earlier project in that domain.

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
    """An initial image of the admin's project. Without an ID it gets one that depends on its name only."""

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
    """The namespace of projects and users."""

    id: str
    name: str
    description: str = ""


@dataclass(slots=True, eq=False)
class Project:
    """A project. `parent_id` is the ID of a project or the domain."""

    id: str
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    parent_id: str = DOMAIN_ID
    domain_id: str = DOMAIN_ID


@dataclass(slots=True, eq=False)
class User:
    """A user. `roles` are those in each project, by ID, implied ones included.

    passcodes: of a second factor, each of which is valid once; None: a password is enough.
    """

    id: str
    name: str
    password: str = PASSWORD
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    domain_id: str = DOMAIN_ID
    passcodes: set[str] | None = None


@dataclass(frozen=True, slots=True)
class ApplicationCredential:
    """A secret that acts for a user in one project."""

    id: str
    name: str
    secret: str
    user: User
    project: Project


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An access key of a user; with a security token it is temporary. `project` is used if a request names none."""

    access: str
    secret: str
    user: User
    project: Project
    security_token: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token; without a project it is unscoped and has no roles."""

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
        """Whether it has the admin role, which OpenStack does not limit to a project by default."""
        return "admin" in self.roles

    @property
    def project_id(self) -> str | None:
        """The ID of the project the token is for."""
        return self.project.id if self.project else None


@dataclass(slots=True, eq=False)
class MemberRow:
    """An image's member. `copies` is 0 for a deleted row, which Glance reuses, and 2 after two racing POSTs."""

    member_id: str
    created_at: datetime
    updated_at: datetime
    status: str = "pending"
    copies: int = 1


@dataclass(slots=True, eq=False)
class Image:
    """An image without its data, of which only size in bytes and checksums are kept."""

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
    member_count: int = 0  # live rows, copies included, as the quota counts them

    def member(self, member_id: str | None) -> MemberRow | None:
        """Return the live row of a member."""
        row = self.rows.get(member_id) if member_id is not None else None
        return row if row is not None and row.copies else None

    def insert(self, member_id: str, now: datetime) -> MemberRow:
        """Add a live row with status pending; a deleted one is reused, with its creation time."""
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


CUSTOMERS = "customers"  # the domain of the customers' projects


class _Series(NamedTuple):
    """Periodic builds of an image. `ages_days` are the ages of the builds, newest first."""

    name: str
    os_distro: str
    os_version: str
    ages_days: tuple[int, ...]
    tags: tuple[str, ...] = ("golden",)
    architecture: str = "x86_64"


SERIES = (
    _Series("ubuntu-24.04", "ubuntu", "24.04", (3, 10, 17, 24)),
    _Series("ubuntu-22.04", "ubuntu", "22.04", (3, 10, 17)),
    _Series("debian-12", "debian", "12", (5, 19, 33)),
    _Series("debian-13", "debian", "13", (5, 19)),
    _Series("windows-2025", "windows", "2025", (12, 40), ("golden", "licensed")),
)
TEAMS = ("team-a", "team-b", "team-c", "team-d", "team-e", "team-f")


def example_images(now: datetime) -> list[ImageSeed]:
    """Return the images at `now`. The name of a build ends with its date, as in 20261101."""
    golden = [
        ImageSeed(
            name=f"{series.name}-{now - timedelta(days=age_days):%Y%m%d}",
            tags=series.tags,
            properties={
                "os_distro": series.os_distro,
                "os_version": series.os_version,
                "architecture": series.architecture,
            },
            created_at=now - timedelta(days=age_days),
            image_id=_image_id(f"{series.name} {number}"),
        )
        for series in SERIES
        for number, age_days in enumerate(series.ages_days)
    ]
    last_year = now - timedelta(days=365)
    debian = {"os_distro": "debian", "os_version": "13"}
    return [
        *golden,
        # What a plan may stumble over: a private image, one still being built, one withdrawn.
        ImageSeed("debian-13-candidate", ("candidate",), debian, "private", image_id=_image_id("candidate")),
        ImageSeed("debian-13-building", ("golden",), debian, status="queued", image_id=_image_id("building")),
        ImageSeed(
            f"debian-11-{last_year:%Y%m%d}",
            ("golden", "withdrawn"),
            {"os_distro": "debian", "os_version": "11"},
            created_at=last_year,
            os_hidden=True,
            image_id=_image_id("withdrawn"),
        ),
        ImageSeed("rescue", ("tools",), {}, "public", created_at=last_year, image_id=_image_id("rescue")),
    ]


def example_projects() -> list[ProjectSeed]:
    """Return the projects: customers' teams, one with a child, some disabled; and the provider's own."""
    return [
        *(ProjectSeed(name, CUSTOMERS, ("tenant", "eu" if number % 2 else "us")) for number, name in enumerate(TEAMS)),
        ProjectSeed("team-a-staging", CUSTOMERS, ("tenant", "staging"), parent="team-a"),
        ProjectSeed("team-gone", CUSTOMERS, ("tenant", "eu"), enabled=False),
        ProjectSeed("team-unpaid", CUSTOMERS, ("tenant", "us"), enabled=False),
        ProjectSeed("ci", tags=("internal",), description="Builds the images."),
        ProjectSeed("monitoring", tags=("internal",)),
    ]


def _rename(kind: str, items: Mapping[str, Image] | Mapping[str, Project], names: Mapping[str, str]) -> None:
    used = {item.name for item in items.values()}
    nameless = [(known_id, item) for known_id, item in items.items() if item.name == known_id]
    for number, (known_id, item) in enumerate(nameless, 1):
        wanted = (names.get(known_id), f"{kind}-{number:03}")
        item.name = next((name for name in wanted if name and name not in used), known_id)
        used.add(item.name)


def _image_id(name: str) -> str:
    return str(stable_uuid(f"example image {name}"))


class Cloud:
    """A cloud with an admin in their own project, and whatever is added to it.

    member_quota: how many members an image may have; negative for no limit.
    token_lifetime: of new tokens.
    clock: returns aware UTC times.
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
        self.domains = {DOMAIN_ID: Domain(DOMAIN_ID, DOMAIN_NAME, "The default domain")}
        self.projects: dict[str, Project] = {}
        self.users: dict[str, User] = {}
        self.application_credentials: dict[str, ApplicationCredential] = {}
        self.key_pairs: dict[str, KeyPair] = {}
        self.agencies: dict[tuple[str, str], User] = {}  # by domain ID and name
        self.tokens: dict[str, Token] = {}
        self.images: dict[str, Image] = {}
        self.deleted_images: set[str] = set()  # their IDs are never reused
        self.admin_project = self.add_project("admin", description="Owns the sandbox's images.")
        self.admin = self.add_user("admin", {self.admin_project.id: "admin"})
        self.add_key_pair(ACCESS_KEY, SECRET_KEY, self.admin, self.admin_project)

    @classmethod
    def seeded(
        cls,
        images: Iterable[str | ImageSeed],
        projects: Iterable[str | ProjectSeed],
        *,
        member_quota: int = GLANCE_MEMBER_QUOTA,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Return a cloud with these projects, and these images owned by the admin's project.

        A string is both ID and name; such an image is shared and active. Of repeated mentions the first counts.
        """
        cloud = cls(member_quota=member_quota, clock=clock)
        for project in projects:
            if not isinstance(project, str):
                cloud.seed_project(project)
            elif project not in cloud.projects:
                cloud.add_project(project, project_id=project)
        for image in images:
            if not isinstance(image, str):
                cloud.seed_image(image)
            elif image not in cloud.images:
                cloud.add_image(image, image_id=image)
        return cloud

    @classmethod
    def example(
        cls,
        images: Iterable[str] = (),
        projects: Iterable[str] = (),
        *,
        member_quota: int = GLANCE_MEMBER_QUOTA,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Return an example cloud, a small provider of golden images, plus images and projects with the given IDs.

        There are several builds of each image, tagged `golden`. The newest is always a few days old, so that selectors
        by age and by `latest` match whenever they are tried. IDs are the same on every start.
        """
        return cls.seeded(
            [*example_images(clock()), *images],
            [*example_projects(), *projects],
            member_quota=member_quota,
            clock=clock,
        )

    @classmethod
    def sample(cls, images: int, projects: int, *, member_quota: int = GLANCE_MEMBER_QUOTA) -> Self:
        """Return a cloud with image-001... and project-001..., with the same IDs on every start."""
        cloud = cls(member_quota=member_quota)
        for number in range(1, projects + 1):
            cloud.add_project(f"project-{number:03}", tags=("tenant",))
        for number in range(1, images + 1):
            cloud.add_image(f"image-{number:03}", image_id=str(stable_uuid(f"image-{number:03}")), tags=("golden",))
        return cloud

    def rename(self, names: Mapping[str, str]) -> None:
        """Give the images and projects that are named as their IDs another name: from `names`, or image-001 and so on.

        `names` are by ID. A name that another project has is not taken, since Keystone would refuse it.
        """
        for kind, items in (("image", self.images), ("project", self.projects)):
            _rename(kind, items, names)

    def add_domain(self, name: str) -> Domain:
        """Add a domain, or return the existing one; its ID depends on its name only."""
        found = next((domain for domain in self.domains.values() if domain.name == name), None)
        if found is None:
            found = Domain(stable_uuid(f"domain {name}").hex, name)
            self.domains[found.id] = found
        return found

    def add_project(
        self,
        name: str,
        *,
        project_id: str | None = None,
        description: str = "",
        tags: Iterable[str] = (),
        domain: Domain | None = None,
        parent: Project | None = None,
        enabled: bool = True,
    ) -> Project:
        """Add a project; without an ID it gets one that depends on domain and name only.

        A parent must be in the same domain.
        """
        domain_id = domain.id if domain else DOMAIN_ID
        known_as = f"project {name}" if domain_id == DOMAIN_ID else f"project {domain_id} {name}"
        project = Project(
            id=project_id or stable_uuid(known_as).hex,
            name=name,
            description=description,
            enabled=enabled,
            tags=tuple(tags),
            parent_id=parent.id if parent else domain_id,
            domain_id=domain_id,
        )
        self.projects[project.id] = project
        return project

    def seed_project(self, seed: ProjectSeed) -> Project:
        """Add a project, and its domain if missing; return an existing one with this ID or name instead.

        Raises `ValueError` if the parent is missing.
        """
        domain = self.add_domain(seed.domain)
        within = {project.name: project for project in self.projects.values() if project.domain_id == domain.id}
        known = self.projects.get(seed.project_id) if seed.project_id else within.get(seed.name)
        if known is not None:
            return known
        if seed.parent is not None and seed.parent not in within:
            raise ValueError(f"project {seed.name}: there is no project {seed.parent} in domain {seed.domain}")
        return self.add_project(
            seed.name,
            project_id=seed.project_id,
            description=seed.description,
            tags=seed.tags,
            domain=domain,
            parent=within[seed.parent] if seed.parent is not None else None,
            enabled=seed.enabled,
        )

    def add_user(self, name: str, roles: Mapping[str, str] | None = None, *, password: str = PASSWORD) -> User:
        """Add a user with one of `ROLES`, and those it implies, in each of these projects, by ID."""
        user = User(stable_uuid(f"user {name}").hex, name, password)
        for project_id, role in (roles or {}).items():
            user.roles[project_id] = ROLES[ROLES.index(role) :]
        self.users[user.id] = user
        return user

    def add_application_credential(self, name: str, user: User, project: Project, secret: str) -> ApplicationCredential:
        """Add an application credential; its ID depends on the names of the user and itself only."""
        known_as = stable_uuid(f"application credential {user.name} {name}").hex
        credential = ApplicationCredential(known_as, name, secret, user, project)
        self.application_credentials[known_as] = credential
        return credential

    def add_key_pair(
        self, access: str, secret: str, user: User, project: Project, *, security_token: str | None = None
    ) -> KeyPair:
        """Add an access key of a user."""
        self.key_pairs[access] = KeyPair(access, secret, user, project, security_token)
        return self.key_pairs[access]

    def add_agency(self, name: str, domain: Domain, roles: Mapping[str, str]) -> User:
        """Let users of other domains act in this one, with one of `ROLES` in each of these projects, by ID.

        Return the user that a client acts as once it has assumed the agency.
        """
        known_as = f"{domain.name}/{name}"
        held = {project_id: ROLES[ROLES.index(role) :] for project_id, role in roles.items()}
        user = User(stable_uuid(f"agency {known_as}").hex, known_as, "", held, domain.id)
        self.agencies[domain.id, name] = user
        return user

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
        created_at: datetime | None = None,
    ) -> Image:
        """Add an image; the default owner is the admin's project, the default ID is random."""
        made = created_at or self.clock()
        image = Image(
            id=image_id or str(uuid.uuid4()),
            name=name,
            owner=owner or self.admin_project.id,
            created_at=made,
            updated_at=made,
            visibility=visibility,
            status=status,
            tags=tuple(dict.fromkeys(tags)),
            properties=dict(properties or {}),
        )
        self.images[image.id] = image
        return image

    def seed_image(self, seed: ImageSeed) -> Image:
        """Add an image of the admin's project; return an existing one with this ID instead."""
        image_id = seed.image_id or str(stable_uuid(f"image {seed.name}"))
        if image_id in self.images:
            return self.images[image_id]
        image = self.add_image(
            seed.name,
            image_id=image_id,
            visibility=seed.visibility,
            status=seed.status,
            tags=seed.tags,
            properties=seed.properties,
            created_at=seed.created_at,
        )
        image.os_hidden = seed.os_hidden
        return image

    def delete_image(self, image_id: str) -> None:
        """Delete an image with its members."""
        del self.images[image_id]
        self.deleted_images.add(image_id)

    def issue_token(self, user: User, project: Project | None, method: str, parent: Token | None = None) -> Token:
        """Issue a token for a project in which the user has roles, or an unscoped one; it expires with its parent."""
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
        """Return a token unless it is unknown, revoked or expired, or its project is disabled."""
        token = self.tokens.get(token_id) if token_id else None
        if token is None or self.clock() >= token.expires_at or (token.project and not token.project.enabled):
            return None
        return token

    def revoke_tokens(self) -> None:
        """Revoke all tokens, so that each client's next request gets a 401."""
        self.tokens.clear()
