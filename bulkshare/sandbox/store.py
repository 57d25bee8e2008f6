"""The sandbox's cloud itself: who and what there is, in memory.

Knows no HTTP and no policy: the two services decide who may do what, this holds what is. Nothing is written to disk;
the cloud ends with its process. Tokens are random, all else is the same on every start.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from bulkshare.sandbox.example import example_images, example_projects
from bulkshare.sandbox.records import (
    DOMAIN_ID,
    DOMAIN_NAME,
    GLANCE_MEMBER_QUOTA,
    PASSWORD,
    ROLES,
    TOKEN_LIFETIME,
    ApplicationCredential,
    Domain,
    Image,
    Project,
    Token,
    User,
    stable_uuid,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta

    from bulkshare.sandbox.records import ImageSeed, ProjectSeed


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
        self.domains = {DOMAIN_ID: Domain(DOMAIN_ID, DOMAIN_NAME, "The default domain")}
        self.projects: dict[str, Project] = {}
        self.users: dict[str, User] = {}
        self.application_credentials: dict[str, ApplicationCredential] = {}
        self.tokens: dict[str, Token] = {}
        self.images: dict[str, Image] = {}
        self.deleted_images: set[str] = set()  # their IDs are never used again
        self.admin_project = self.add_project("admin", description="Owns the sandbox's images.")
        self.admin = self.add_user("admin", {self.admin_project.id: "admin"})

    @classmethod
    def seeded(
        cls,
        images: Iterable[str | ImageSeed],
        projects: Iterable[str | ProjectSeed],
        *,
        member_quota: int = GLANCE_MEMBER_QUOTA,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Return a cloud that has these images, which are the admin's, and projects.

        A text is an ID, and the name, too; such an image is shared and active. What is named twice is there once, as
        its first mention has it.
        """
        cloud = cls(member_quota=member_quota, clock=clock)
        for project in projects:
            if not isinstance(project, str):
                cloud.plant_project(project)
            elif project not in cloud.projects:
                cloud.add_project(project, project_id=project)
        for image in images:
            if not isinstance(image, str):
                cloud.plant_image(image)
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
        """Return the cloud of `example`, a small provider of golden images, that also has images and projects of IDs.

        IDs are the same on every start; the images' names and times follow the clock.
        """
        return cls.seeded(
            [*example_images(clock()), *images],
            [*example_projects(), *projects],
            member_quota=member_quota,
            clock=clock,
        )

    @classmethod
    def sample(cls, images: int, projects: int, *, member_quota: int = GLANCE_MEMBER_QUOTA) -> Self:
        """Return a cloud with image-001... and project-001..., whose IDs are the same on every start."""
        cloud = cls(member_quota=member_quota)
        for number in range(1, projects + 1):
            cloud.add_project(f"project-{number:03}", tags=("tenant",))
        for number in range(1, images + 1):
            cloud.add_image(f"image-{number:03}", image_id=str(stable_uuid(f"image-{number:03}")), tags=("golden",))
        return cloud

    def add_domain(self, name: str) -> Domain:
        """Add a domain, or return the one of that name; its ID depends on its name only."""
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

        A parent has to be of the same domain.
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

    def plant_project(self, seed: ProjectSeed) -> Project:
        """Add a project, and its domain where that is missing, unless one of its ID is there; return what is there.

        Raises `ValueError` where the parent is missing.
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
        created_at: datetime | None = None,
    ) -> Image:
        """Add an image; without an owner it is the admin's project's, without an ID it gets a random one."""
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

    def plant_image(self, seed: ImageSeed) -> Image:
        """Add an image of the admin's unless one of its ID is there; return what is there."""
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
        """Delete an image, and with it its members."""
        del self.images[image_id]
        self.deleted_images.add(image_id)

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
        """Return the token of that ID unless it is unknown, revoked or expired, or its project was closed."""
        token = self.tokens.get(token_id) if token_id else None
        if token is None or self.clock() >= token.expires_at or (token.project and not token.project.enabled):
            return None
        return token

    def revoke_tokens(self) -> None:
        """Revoke every token at once: each client's next request is answered 401."""
        self.tokens.clear()
