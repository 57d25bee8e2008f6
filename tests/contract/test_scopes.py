"""One user in many projects: which log-ins get a token for which project, and what it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud import ACCEPTOR, OWNER, password_log_in
from tests.contract.client import NO_TOKEN, identity_refusal, members_path, refusal
from tests.contract.refusals import not_a_member, not_authorized

if TYPE_CHECKING:
    from tests.cloud import Answer, CloudUnderTest, Tenants
    from tests.contract.client import Client

TOKENS = "/v3/auth/tokens"
UNAUTHORIZED = (401, "The request you have made requires authentication.")
# Tenants by the name that the test cases below give them.
GRANTS = {"member": "customer-12", "reader": "customer-22", "none": "customer-27", "closed": "customer-closed-0"}


@pytest.fixture(scope="session")
def tenants(cloud: CloudUnderTest) -> Tenants:
    """Return the tenants of each cloud in turn."""
    return cloud.tenants


async def log_in(client: Client, body: dict[str, Any]) -> Answer:
    """POST a log-in."""
    return await client.ask("POST", TOKENS, token=NO_TOKEN, body=body)


async def rescope(client: Client, token: str, scope: object) -> Answer:
    """POST a log-in by a token."""
    identity = {"methods": ["token"], "token": {"id": token}}
    return await log_in(client, {"auth": {"identity": identity, "scope": scope}})


def in_project(project_id: str) -> dict[str, Any]:
    """Return the scope of a project."""
    return {"project": {"id": project_id}}


class TestPassword:
    """A password, and a project that isn't the user's own."""

    @pytest.mark.parametrize(("grant", "roles"), [("member", {"member", "reader"}), ("reader", {"reader"})])
    async def test_granted(self, client: Client, tenants: Tenants, grant: str, roles: set[str]) -> None:
        """A token for any project in which the user has a role; it has the role and the project's domain."""
        tenant = tenants.named(GRANTS[grant])
        token = (await log_in(client, password_log_in(ACCEPTOR, tenant.id))).json()["token"]
        assert {role["name"] for role in token["roles"]} == roles
        domain = {"id": tenants.customers_id, "name": "customers"}
        assert token["project"] == {"id": tenant.id, "name": tenant.name, "domain": domain}
        assert token["user"]["domain"] == {"id": "default", "name": "Default"}

    @pytest.mark.parametrize("domain", [{"name": "customers"}, {"id": "?"}])
    async def test_by_name(self, client: Client, tenants: Tenants, domain: dict[str, str]) -> None:
        """A project's name goes with its domain's name or ID."""
        identity = password_log_in(ACCEPTOR)["auth"]["identity"]
        domain = {key: value.replace("?", tenants.customers_id) for key, value in domain.items()}
        for where, status in ((domain, 201), ({"name": "Default"}, 401), ({"name": "nope"}, 401)):
            scope = {"project": {"name": "customer-12", "domain": where}}
            assert (await log_in(client, {"auth": {"identity": identity, "scope": scope}})).status == status

    @pytest.mark.parametrize("grant", ["none", "closed"])
    async def test_refused(self, client: Client, tenants: Tenants, grant: str) -> None:
        """A project without a role is refused, and so is a disabled one, even with a role."""
        answer = await log_in(client, password_log_in(ACCEPTOR, tenants.named(GRANTS[grant]).id))
        assert identity_refusal(answer) == UNAUTHORIZED

    async def test_domain_is_no_project(self, client: Client, tenants: Tenants) -> None:
        """A domain's ID is refused as well."""
        answer = await log_in(client, password_log_in(ACCEPTOR, tenants.customers_id))
        assert identity_refusal(answer) == UNAUTHORIZED


class TestToken:
    """A token exchanged for one of another project."""

    @pytest.mark.parametrize(("grant", "status"), [("member", 201), ("reader", 201), ("none", 401), ("closed", 401)])
    async def test_rescoped(
        self, cloud: CloudUnderTest, client: Client, tenants: Tenants, grant: str, status: int
    ) -> None:
        """The same projects are granted as to a password."""
        tenant = tenants.named(GRANTS[grant])
        answer = await rescope(client, cloud.token(ACCEPTOR.name), in_project(tenant.id))
        assert answer.status == status
        if status == 201:
            token = answer.json()["token"]
            assert (token["project"]["id"], sorted(token["methods"])) == (tenant.id, ["password", "token"])

    async def test_again(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """An exchanged token can be exchanged again; all expire together."""
        first = await rescope(client, cloud.token(ACCEPTOR.name), in_project(tenants.named(GRANTS["member"]).id))
        token = first.headers["x-subject-token"]
        second = await rescope(client, token, in_project(tenants.named(GRANTS["reader"]).id))
        assert second.status == 201
        assert second.json()["token"]["expires_at"] == first.json()["token"]["expires_at"]

    async def test_of_an_application_credential(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """An application credential's token can't be exchanged, not even for the same project."""
        proof = {"id": cloud.create_application_credential("alice", "secret"), "secret": "secret"}
        identity = {"methods": ["application_credential"], "application_credential": proof}
        answer = await log_in(client, {"auth": {"identity": identity}})
        token = answer.headers["x-subject-token"]
        message = (
            "You are not authorized to perform the requested action: "
            "Using a delegated token to create another token is not allowed.."
        )
        for project_id in (cloud.project_id("alice"), tenants.named(GRANTS["member"]).id):
            assert identity_refusal(await rescope(client, token, in_project(project_id))) == (403, message)
        scoped = await log_in(client, {"auth": {"identity": identity, "scope": in_project(cloud.project_id("alice"))}})
        message = "Error authenticating with application credential: Application credentials cannot request a scope."
        assert (scoped.status, scoped.json()["error"]["message"]) == (401, message)


class TestAcceptance:
    """PUT of a member's status with a token for the member project."""

    async def test_as_the_project(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """One user shares an image from one project and accepts it in another, which then lists it."""
        tenant = tenants.named(GRANTS["member"])
        image_id = cloud.create_image(owner=OWNER.name)
        assert (await client.add(image_id, tenant.id, user=ACCEPTOR.name)).json()["status"] == "pending"
        theirs, body = cloud.token(ACCEPTOR.name, tenant.id), {"status": "accepted"}
        answer = await client.ask("PUT", members_path(image_id, tenant.id), token=theirs, body=body)
        assert (answer.status, answer.json()["status"]) == (200, "accepted")
        images = (await client.ask("GET", f"/v2/images?id={image_id}", token=theirs)).json()["images"]
        assert [image["id"] for image in images] == [image_id]

    @pytest.mark.parametrize("status", ["accepted", "rejected", "bogus"])
    async def test_as_its_reader(self, cloud: CloudUnderTest, client: Client, tenants: Tenants, status: str) -> None:
        """A reader of the member project sees the member and can't set its status."""
        tenant = tenants.named(GRANTS["reader"])
        image_id = cloud.create_image(owner=OWNER.name)
        cloud.add_member(image_id, tenant.id)
        theirs, path = cloud.token(ACCEPTOR.name, tenant.id), members_path(image_id, tenant.id)
        assert (await client.ask("GET", path, token=theirs)).json()["status"] == "pending"
        answer = await client.ask("PUT", path, token=theirs, body={"status": status})
        assert refusal(answer) == not_authorized("modify_member")

    async def test_for_another_project(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """To a member, other members are not found; to a stranger, not even the image is."""
        first, second, stranger = (tenants.named(f"customer-{number}") for number in (12, 13, 14))
        image_id = cloud.create_image(owner=OWNER.name)
        for tenant in (first, second):
            cloud.add_member(image_id, tenant.id)
        path, body = members_path(image_id, second.id), {"status": "accepted"}
        answer = await client.ask("PUT", path, token=cloud.token(ACCEPTOR.name, first.id), body=body)
        assert refusal(answer) == not_a_member(second.id, image_id)
        answer = await client.ask("PUT", path, token=cloud.token(ACCEPTOR.name, stranger.id), body=body)
        assert refusal(answer) == (404, f"Image {image_id} not found.")

    async def test_rejected(self, cloud: CloudUnderTest, client: Client, tenants: Tenants) -> None:
        """A rejection hides the image from the list; the admin can undo it, the owner can't, and a POST is a 409."""
        tenant = tenants.named(GRANTS["member"])
        image_id = cloud.create_image(owner=OWNER.name)
        cloud.add_member(image_id, tenant.id)
        theirs, path = cloud.token(ACCEPTOR.name, tenant.id), members_path(image_id, tenant.id)
        await client.ask("PUT", path, token=theirs, body={"status": "rejected"})
        assert (await client.ask("GET", f"/v2/images?id={image_id}", token=theirs)).json()["images"] == []
        assert (await client.add(image_id, tenant.id, user=OWNER.name)).status == 409
        owner = await client.set_status(image_id, tenant.id, "accepted", user=OWNER.name)
        assert refusal(owner) == not_authorized("modify_member")
        assert (await client.set_status(image_id, tenant.id, "accepted", user="admin")).status == 200
        images = (await client.ask("GET", f"/v2/images?id={image_id}", token=theirs)).json()["images"]
        assert [image["id"] for image in images] == [image_id]

    @pytest.mark.parametrize("again", ["pending", "accepted"])
    async def test_same_status(self, cloud: CloudUnderTest, client: Client, tenants: Tenants, again: str) -> None:
        """Setting the current status again succeeds."""
        tenant = tenants.named(GRANTS["member"])
        image_id = cloud.create_image(owner=OWNER.name)
        cloud.add_member(image_id, tenant.id)
        for _ in range(2):
            assert (await client.set_status(image_id, tenant.id, again, user="admin")).json()["status"] == again
