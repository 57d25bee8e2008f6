"""Projects and domains: filters, pagination, single ones, and visibility rules."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.cloud import ACCEPTOR, OWNER
from tests.contract.client import identity_refusal

if TYPE_CHECKING:
    from tests.cloud import CloudUnderTest, Tenant, Tenants
    from tests.contract.client import Client

MINE = "name__startswith=customer-"  # the projects of `tests.tenants`, and no others


@pytest.fixture(scope="session")
def tenants(cloud: CloudUnderTest) -> Tenants:
    """Return the tenants of each cloud in turn."""
    return cloud.tenants


def not_authorized(action: str) -> tuple[int, str]:
    """Return the refusal of a policy."""
    return 403, f"You are not authorized to perform the requested action: identity:{action}."


def is_gold(tenant: Tenant) -> bool:
    """Whether a tenant has the tag."""
    return "gold" in tenant.tags


class TestFilter:
    """GET /v3/projects?... by an admin."""

    async def names(self, client: Client, query: str) -> list[str]:
        """Return the names of the projects found, sorted."""
        answer = await client.ask("GET", f"/v3/projects?{query}", user="admin")
        assert answer.status == 200, answer
        return sorted(project["name"] for project in answer.json()["projects"])

    async def test_by_domain(self, client: Client, tenants: Tenants) -> None:
        """By the domain's ID; an unknown one has no projects."""
        wanted = [tenant.name for tenant in tenants.all if tenant.domain_id == tenants.customers_id]
        assert await self.names(client, f"domain_id={tenants.customers_id}") == wanted
        assert await self.names(client, f"domain_id={tenants.customers_id}&name=customer-12") == ["customer-12"]
        assert await self.names(client, f"domain_id={tenants.customers_id}&name=customer-02") == []
        assert await self.names(client, "domain_id=nope") == []

    @pytest.mark.parametrize(
        ("filters", "wanted"),
        [
            ("enabled=true", lambda tenant: tenant.enabled),
            ("enabled=True", lambda tenant: tenant.enabled),
            ("enabled=", lambda tenant: tenant.enabled),
            ("enabled=false", lambda tenant: not tenant.enabled),
            ("enabled=0", lambda tenant: not tenant.enabled),
            ("is_domain=false", lambda _: True),
            ("nonsense=1", lambda _: True),
        ],
    )
    async def test_enabled(self, client: Client, tenants: Tenants, filters: str, wanted: object) -> None:
        """Disabled projects are listed by default, and an unknown filter has no effect."""
        assert callable(wanted)
        found = await self.names(client, f"{MINE}&{filters}")
        assert found == [tenant.name for tenant in tenants.all if wanted(tenant)]

    @pytest.mark.parametrize(
        ("filters", "wanted"),
        [
            ("tags=gold", is_gold),
            ("tags=gold,eu", lambda tenant: {"gold", "eu"} <= set(tenant.tags)),
            ("tags=gold&tags=eu", is_gold),
            ("tags=", lambda _: False),
            ("tags=Gold", lambda _: False),
        ],
    )
    async def test_tags(self, client: Client, tenants: Tenants, filters: str, wanted: object) -> None:
        """By all, any, not all or none of several tags; the first of a repeated filter counts."""
        assert callable(wanted)
        found = await self.names(client, f"{MINE}&{filters}")
        assert found == [tenant.name for tenant in tenants.all if wanted(tenant)]

    @pytest.mark.parametrize(
        ("filters", "wanted"),
        [
            ("name=customer-03", ["customer-03"]),
            ("name=CUSTOMER-03", []),
            ("name=customer-0", []),
            ("name=customer-03&name=customer-04", []),
        ],
    )
    async def test_name(self, client: Client, tenants: Tenants, filters: str, wanted: list[str]) -> None:
        """By the whole name; several filters all have to match."""
        assert tenants.all
        assert await self.names(client, filters) == wanted

    async def test_parent(self, client: Client, tenants: Tenants) -> None:
        """By the parent, which may be a domain, but not `default`, whose ID does not have the required form."""
        assert await self.names(client, f"parent_id={tenants.named('customer-10').id}") == ["customer-11"]
        below = await self.names(client, f"parent_id={tenants.customers_id}")
        assert len(below) == 22
        assert "customer-11" not in below
        refused = await client.ask("GET", "/v3/projects?parent_id=default", user="admin")
        message = "Invalid input for field/attribute parent_id. Value: default. 'default' is not a 'uuid'"
        assert identity_refusal(refused) == (400, message)

    async def test_domains(self, client: Client, tenants: Tenants) -> None:
        """Domains are projects, too, but listed only on request."""
        answer = await client.ask("GET", "/v3/projects?is_domain=true", user="admin")
        found = {project["id"]: project for project in answer.json()["projects"]}
        assert {tenants.customers_id, "default"} <= found.keys()
        assert all(project["is_domain"] and project["domain_id"] is None for project in found.values())

    @pytest.mark.parametrize("name", ["name", "domain_id"])
    async def test_empty(self, client: Client, name: str) -> None:
        """A filter needs a value."""
        refused = await client.ask("GET", f"/v3/projects?{name}=", user="admin")
        message = f"Invalid input for field/attribute {name}. Value: . '' should be non-empty"
        assert identity_refusal(refused) == (400, message)


class TestPages:
    """GET /v3/projects?limit=..."""

    async def pages(self, cloud: CloudUnderTest, client: Client, query: dict[str, str]) -> list[list[str]]:
        """Follow `next`; checks that it keeps the query. Return the IDs on each page."""
        pages, address = list[list[str]](), f"{cloud.auth_url}/projects?{urlencode(query)}"
        while address:
            path = address.removeprefix(cloud.auth_url.removesuffix("/v3"))
            body = (await client.ask("GET", path, user="admin")).json()
            pages.append([project["id"] for project in body["projects"]])
            address = body["links"]["next"] or ""
            assert body.get("truncated", False) == bool(address)
            if address:
                parts = urlsplit(address)
                assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{cloud.auth_url}/projects"
                kept = dict(parse_qsl(parts.query))
                assert kept == {**query, "marker": kept["marker"]}
        return pages

    @pytest.mark.parametrize("limit", [5, 23, 50])
    async def test_following(self, cloud: CloudUnderTest, client: Client, tenants: Tenants, limit: int) -> None:
        """`next` keeps the filters, and is on every full page, so that the last page may be empty."""
        query = {"domain_id": tenants.customers_id, "limit": str(limit)}
        pages = await self.pages(cloud, client, query)
        wanted = sorted(tenant.id for tenant in tenants.all if tenant.domain_id == tenants.customers_id)
        assert len(wanted) == 23
        assert [project_id for page in pages for project_id in page] == wanted
        assert [len(page) for page in pages] == [*[limit] * (23 // limit), 23 % limit]

    async def test_short_pages(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """A short page need not be the last: the real service applies the limit before filters on parts of names."""
        pages = await self.pages(cloud, client, {"name__startswith": "customer-", "limit": "10"})
        assert [project_id for page in pages for project_id in page] == sorted(tenant.id for tenant in tenants.all)

    async def test_without_limit(self, client: Client, tenants: Tenants) -> None:
        """Without a limit there are no pages."""
        body = (await client.ask("GET", f"/v3/projects?{MINE}", user="admin")).json()
        assert (len(body["projects"]), body["links"]["next"]) == (len(tenants.all), None)
        assert "truncated" not in body

    async def test_unknown_marker(self, client: Client) -> None:
        """The project of a marker has to exist."""
        refused = await client.ask("GET", "/v3/projects?limit=2&marker=nope", user="admin")
        assert identity_refusal(refused) == (404, "Marker nope could not be found.")


class TestShow:
    """GET /v3/projects/{project}."""

    async def test_fields(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """A project has all documented fields."""
        child, parent = tenants.named("customer-11"), tenants.named("customer-10")
        project = (await client.ask("GET", f"/v3/projects/{child.id}", user="admin")).json()["project"]
        assert sorted(project.pop("tags")) == sorted(child.tags)
        assert project == {
            "id": child.id,
            "name": child.name,
            "domain_id": tenants.customers_id,
            "description": "",
            "enabled": True,
            "parent_id": parent.id,
            "is_domain": False,
            "options": {},
            "links": {"self": f"{cloud.auth_url}/projects/{child.id}"},
        }

    async def test_closed(self, client: Client, tenants: Tenants) -> None:
        """A disabled project is shown."""
        project = (await client.ask("GET", f"/v3/projects/{tenants.closed()[0].id}", user="admin")).json()["project"]
        assert project["enabled"] is False

    async def test_domain(self, client: Client, tenants: Tenants) -> None:
        """A domain is shown as a project, too."""
        project = (await client.ask("GET", f"/v3/projects/{tenants.customers_id}", user="admin")).json()["project"]
        assert (project["name"], project["is_domain"], project["parent_id"]) == ("customers", True, None)

    async def test_another_project(self, client: Client, tenants: Tenants) -> None:
        """Without the role admin only the token's own project is shown, not others in which the user has a role."""
        tenant = tenants.open("member")[0]
        for project_id in (tenant.id, "nope"):
            answer = await client.ask("GET", f"/v3/projects/{project_id}", user=ACCEPTOR.name)
            assert identity_refusal(answer) == not_authorized("get_project")


class TestDomains:
    """GET /v3/domains."""

    @pytest.mark.parametrize(("name", "found"), [("customers", True), ("Customers", False), ("nope", False)])
    async def test_by_name(self, client: Client, tenants: Tenants, name: str, *, found: bool) -> None:
        """An admin finds a domain by its whole name."""
        domains = (await client.ask("GET", f"/v3/domains?name={name}", user="admin")).json()["domains"]
        assert [domain["id"] for domain in domains] == [tenants.customers_id] * found

    async def test_one(self, client: Client, tenants: Tenants) -> None:
        """An admin sees any domain by its ID; a project's ID is not one."""
        answer = await client.ask("GET", f"/v3/domains/{tenants.customers_id}", user="admin")
        assert (answer.status, answer.json()["domain"]["name"]) == (200, "customers")
        for unknown in ("nope", tenants.all[0].id):
            answer = await client.ask("GET", f"/v3/domains/{unknown}", user="admin")
            assert identity_refusal(answer) == (404, f"Could not find domain: {unknown}.")

    async def test_not_an_admin(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """Other users see only the domain of their token's project, and only by its ID."""
        assert tenants.all
        assert (await client.ask("GET", "/v3/domains/default", user=OWNER.name)).status == 200
        for path, action in (
            ("?name=customers", "list_domains"),
            ("", "list_domains"),
            (f"/{tenants.customers_id}", "get_domain"),
            ("/nope", "get_domain"),
        ):
            answer = await client.ask("GET", f"/v3/domains{path}", user=OWNER.name)
            assert identity_refusal(answer) == not_authorized(action)
        theirs = cloud.token(ACCEPTOR.name, tenants.named("customer-12").id)
        assert (await client.ask("GET", f"/v3/domains/{tenants.customers_id}", token=theirs)).status == 200


class TestMine:
    """GET /v3/auth/projects."""

    @pytest.mark.parametrize("query", ["", "?limit=2", "?name=customer-01", "?tags=gold"])
    async def test_all_with_a_role(self, client: Client, tenants: Tenants, query: str) -> None:
        """All in which the user has a role, disabled ones included, in order of IDs; without filters and pages."""
        body = (await client.ask("GET", f"/v3/auth/projects{query}", user=ACCEPTOR.name)).json()
        wanted = [tenant.id for tenant in tenants.all if tenant.role is not None]
        assert len(wanted) == 28
        assert [project["id"] for project in body["projects"]] == sorted([*wanted, tenants.images_project_id])
        assert (body["links"]["next"], "truncated" in body) == (None, False)

    async def test_all_of_the_cloud(self, client: Client, tenants: Tenants) -> None:
        """Without the role admin all projects can't be listed, with any filter."""
        for query in ("", f"?domain_id={tenants.customers_id}", "?name=customer-01"):
            answer = await client.ask("GET", f"/v3/projects{query}", user=ACCEPTOR.name)
            assert identity_refusal(answer) == not_authorized("list_projects")
