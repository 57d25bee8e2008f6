"""A cloud's tenants, as plain data, for tests that share images with many: thirty enabled ones and three disabled ones.

The user `owner` has the role member in the project that owns the images, `Tenants.images_project_id`. So has
`acceptor`, who also has the role that each tenant names: `member` in 20, `reader` in 5, none in 5, and `member` in the
disabled ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.users import User

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest

IMAGES_PROJECT = "image-factory"
CUSTOMERS = "customers"  # a domain of their own; the others are in Default
OWNER = User("owner", "ownerpw", IMAGES_PROJECT, "member")
ACCEPTOR = User("acceptor", "acceptorpw", IMAGES_PROJECT, "member")


class Tenant(NamedTuple):
    """A project that images are shared with.

    role: the acceptor's role in it.
    parent: the name of an earlier tenant.
    """

    name: str
    domain: str
    tags: tuple[str, ...] = ()
    role: str | None = None
    parent: str | None = None
    enabled: bool = True
    id: str = ""
    domain_id: str = ""


def _tenant(number: int) -> Tenant:
    return Tenant(
        name=f"customer-{number:02}",
        domain="Default" if number < 10 else CUSTOMERS,
        tags=("tenant", "eu" if number % 2 else "us", *(("gold",) if number % 5 == 0 else ())),
        role="member" if number < 20 else "reader" if number < 25 else None,
        parent="customer-10" if number == 11 else None,
    )


# Ten in the domain Default, twenty in `customers`; customer-11 is the child of customer-10.
TENANTS = (
    *(_tenant(number) for number in range(30)),
    *(Tenant(f"customer-closed-{n}", CUSTOMERS, ("tenant", "eu"), "member", enabled=False) for n in range(3)),
)


class Tenants(NamedTuple):
    """`TENANTS` as created in a cloud, with their IDs."""

    images_project_id: str
    customers_id: str
    all: tuple[Tenant, ...]

    def open(self, role: str | None = "any") -> list[Tenant]:
        """Return the enabled tenants, or those in which the acceptor has the role (None: no role)."""
        return [tenant for tenant in self.all if tenant.enabled and role in {"any", tenant.role}]

    def closed(self) -> list[Tenant]:
        """Return the three disabled tenants."""
        return [tenant for tenant in self.all if not tenant.enabled]

    def named(self, name: str) -> Tenant:
        """Return the tenant of that name."""
        return next(tenant for tenant in self.all if tenant.name == name)


def create_tenants(cloud: CloudUnderTest) -> Tenants:
    """Create the tenants and both users in a cloud that has neither."""
    domains = {"Default": "default", CUSTOMERS: cloud.create_domain(CUSTOMERS)}
    images_project_id = cloud.create_project(IMAGES_PROJECT)
    built: dict[str, Tenant] = {}
    for tenant in TENANTS:
        project_id = cloud.create_project(
            tenant.name,
            domain_id=domains[tenant.domain],
            parent_id=built[tenant.parent].id if tenant.parent else None,
            tags=tenant.tags,
            enabled=tenant.enabled,
        )
        built[tenant.name] = tenant._replace(id=project_id, domain_id=domains[tenant.domain])
    roles = {tenant.id: tenant.role for tenant in built.values() if tenant.role is not None}
    cloud.create_user(OWNER, {images_project_id: OWNER.role})
    cloud.create_user(ACCEPTOR, {images_project_id: ACCEPTOR.role, **roles})
    return Tenants(images_project_id, domains[CUSTOMERS], tuple(built.values()))
