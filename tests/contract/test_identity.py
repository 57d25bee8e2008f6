"""Log-in, catalog and projects: the part of Identity v3 that bulkshare and other clients use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud import ALICE, REGION, USERS, User, password_log_in
from tests.contract.client import NO_TOKEN, identity_refusal

if TYPE_CHECKING:
    from tests.cloud import Answer, CloudUnderTest
    from tests.contract.client import Client

TOKENS = "/v3/auth/tokens"
UNAUTHORIZED = (401, "The request you have made requires authentication.")


async def log_in(client: Client, body: dict[str, Any]) -> Answer:
    """POST a log-in."""
    return await client.ask("POST", TOKENS, token=NO_TOKEN, body=body)


def scoped(identity: dict[str, Any], project_id: str) -> dict[str, Any]:
    """Return the body of a log-in scoped to a project."""
    return {"auth": {"identity": identity, "scope": {"project": {"id": project_id}}}}


def unscoped(user: User) -> dict[str, Any]:
    """Return the body of a log-in by password without a project."""
    body = password_log_in(user)
    del body["auth"]["scope"]
    return body


def by_application_credential(credential_id: str, secret: str) -> dict[str, Any]:
    """Return the body of a log-in by application credential."""
    proof = {"id": credential_id, "secret": secret}
    return {"auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}}}


class TestLogIn:
    """POST /v3/auth/tokens."""

    @pytest.mark.parametrize("user", USERS.values(), ids=USERS)
    async def test_password(self, cloud: CloudUnderTest, client: Client, user: User) -> None:
        """A password gets a token in a header; the body has its user, project, roles and lifetime."""
        answer = await log_in(client, password_log_in(user))
        assert answer.status == 201
        assert answer.headers["x-subject-token"]
        token = answer.json()["token"]
        domain = {"id": "default", "name": "Default"}
        assert token["methods"] == ["password"]
        assert (token["user"]["name"], token["user"]["domain"]) == (user.name, domain)
        assert token["project"] == {"domain": domain, "id": cloud.project_id(user.name), "name": user.project}
        assert user.role in {role["name"] for role in token["roles"]}
        assert token["issued_at"] < token["expires_at"]
        assert token["expires_at"].endswith("Z")

    async def test_roles_imply_others(self, client: Client) -> None:
        """A member is a reader, too."""
        token = (await log_in(client, password_log_in(ALICE))).json()["token"]
        assert {role["name"] for role in token["roles"]} == {"member", "reader"}

    async def test_project_by_id(self, cloud: CloudUnderTest, client: Client) -> None:
        """The project may be named by its ID."""
        identity = password_log_in(ALICE)["auth"]["identity"]
        answer = await log_in(client, scoped(identity, cloud.project_id("alice")))
        assert (answer.status, answer.json()["token"]["project"]["name"]) == (201, ALICE.project)

    async def test_catalog(self, cloud: CloudUnderTest, client: Client) -> None:
        """The catalog has both services with all interfaces; the image endpoint has no version."""
        catalog = (await log_in(client, password_log_in(ALICE))).json()["token"]["catalog"]
        found = {
            (service["type"], service["name"], endpoint["interface"]): endpoint["url"]
            for service in catalog
            for endpoint in service["endpoints"]
            if endpoint["region_id"] == endpoint["region"] == REGION
        }
        assert found == {
            (kind, name, interface): url
            for kind, name, url in (("identity", "keystone", cloud.auth_url), ("image", "glance", cloud.endpoint))
            for interface in ("public", "internal", "admin")
        }

    @pytest.mark.parametrize(
        "user",
        [
            ALICE._replace(password="wrong"),
            ALICE._replace(name="unknown"),
            ALICE._replace(project="no-such-project"),
            ALICE._replace(project="tenant-02"),
        ],
        ids=["password", "user", "unknown project", "another's project"],
    )
    async def test_refused(self, cloud: CloudUnderTest, client: Client, user: User) -> None:
        """Any wrong part gets the same answer."""
        answer = await log_in(client, password_log_in(user))
        assert identity_refusal(answer) == UNAUTHORIZED
        assert answer.headers["www-authenticate"] == f'Keystone uri="{cloud.auth_url}"'

    async def test_unscoped(self, cloud: CloudUnderTest, client: Client) -> None:
        """A token without a project has no catalog, and can only be used to list and choose projects."""
        answer = await log_in(client, unscoped(ALICE))
        token = answer.headers["x-subject-token"]
        assert answer.status == 201
        assert answer.json()["token"].keys() == {"methods", "user", "audit_ids", "expires_at", "issued_at"}
        assert (await client.ask("GET", "/v2/images", token=token)).status == 403
        projects = (await client.ask("GET", "/v3/auth/projects", token=token)).json()["projects"]
        assert [project["id"] for project in projects] == [cloud.project_id("alice")]

    async def test_token_for_token(self, cloud: CloudUnderTest, client: Client) -> None:
        """A token, scoped or not, can be exchanged for one of a project, which expires with the first."""
        first = await log_in(client, unscoped(ALICE))
        identity = {"methods": ["token"], "token": {"id": first.headers["x-subject-token"]}}
        second = await log_in(client, scoped(identity, cloud.project_id("alice")))
        assert second.status == 201
        assert sorted(second.json()["token"]["methods"]) == ["password", "token"]
        assert second.json()["token"]["expires_at"] == first.json()["token"]["expires_at"]
        assert (await client.ask("GET", "/v2/images", token=second.headers["x-subject-token"])).status == 200

    async def test_bad_token_for_token(self, cloud: CloudUnderTest, client: Client) -> None:
        """An invalid token can't be exchanged."""
        identity = {"methods": ["token"], "token": {"id": "bogus"}}
        assert (await log_in(client, scoped(identity, cloud.project_id("alice")))).status == 404

    async def test_application_credential(self, cloud: CloudUnderTest, client: Client) -> None:
        """An application credential gets a token for its user's project, valid at the image service."""
        credential_id = cloud.create_application_credential("alice", "secret")
        answer = await log_in(client, by_application_credential(credential_id, "secret"))
        token = answer.json()["token"]
        assert (answer.status, token["methods"]) == (201, ["application_credential"])
        assert (token["user"]["name"], token["project"]["id"]) == ("alice", cloud.project_id("alice"))
        assert (await client.ask("GET", "/v2/images", token=answer.headers["x-subject-token"])).status == 200

    async def test_bad_application_credential(self, cloud: CloudUnderTest, client: Client) -> None:
        """A wrong secret is refused like a wrong password; an unknown ID is not found."""
        credential_id = cloud.create_application_credential("alice", "secret")
        assert identity_refusal(await log_in(client, by_application_credential(credential_id, "wrong"))) == UNAUTHORIZED
        unknown = await log_in(client, by_application_credential("nope", "secret"))
        assert identity_refusal(unknown) == (404, "Could not find Application Credential: nope.")

    async def test_empty_body(self, client: Client) -> None:
        """A log-in without an identity is refused."""
        assert (await log_in(client, {})).status == 400


class TestToken:
    """GET and DELETE /v3/auth/tokens."""

    async def test_validate(self, cloud: CloudUnderTest, client: Client) -> None:
        """A token can validate itself."""
        answer = await client.ask("GET", TOKENS, headers={"X-Subject-Token": cloud.token("alice")})
        assert (answer.status, answer.json()["token"]["user"]["name"]) == (200, "alice")

    async def test_unknown(self, client: Client) -> None:
        """An invalid token is not found."""
        assert (await client.ask("GET", TOKENS, headers={"X-Subject-Token": "bogus"})).status == 404

    async def test_revoke(self, client: Client) -> None:
        """A revoked token is refused by both services; Glance has not seen it before, so it has nothing cached."""
        token = (await log_in(client, password_log_in(ALICE))).headers["x-subject-token"]
        revoked = await client.ask("DELETE", TOKENS, token=token, headers={"X-Subject-Token": token})
        assert (revoked.status, revoked.body) == (204, b"")
        assert identity_refusal(await client.ask("GET", "/v3/auth/projects", token=token)) == UNAUTHORIZED
        assert (await client.ask("GET", "/v2/images", token=token)).status == 401


class TestProjects:
    """The listings of projects."""

    async def test_all(self, cloud: CloudUnderTest, client: Client) -> None:
        """An admin lists every project."""
        made = cloud.create_project("listed")
        answer = await client.ask("GET", "/v3/projects", user="admin")
        projects = {project["id"]: project for project in answer.json()["projects"]}
        assert answer.status == 200
        assert {made, *map(cloud.project_id, USERS)} <= projects.keys()
        found = {key: projects[made][key] for key in ("id", "name", "domain_id", "enabled", "is_domain", "tags")}
        assert found == {
            "id": made,
            "name": "listed",
            "domain_id": "default",
            "enabled": True,
            "is_domain": False,
            "tags": [],
        }

    async def test_by_name(self, cloud: CloudUnderTest, client: Client) -> None:
        """An admin finds a project by its name."""
        projects = (await client.ask("GET", "/v3/projects?name=tenant-02", user="admin")).json()["projects"]
        assert [project["id"] for project in projects] == [cloud.project_id("bob")]

    async def test_all_need_admin(self, client: Client) -> None:
        """Others can't list every project."""
        message = "You are not authorized to perform the requested action: identity:list_projects."
        assert identity_refusal(await client.ask("GET", "/v3/projects")) == (403, message)

    async def test_one(self, cloud: CloudUnderTest, client: Client) -> None:
        """A user sees their own project, an admin any."""
        mine = cloud.project_id("alice")
        for user in ("alice", "admin"):
            answer = await client.ask("GET", f"/v3/projects/{mine}", user=user)
            assert (answer.status, answer.json()["project"]["name"]) == (200, ALICE.project)

    async def test_unknown(self, client: Client) -> None:
        """An unknown project is not found."""
        answer = await client.ask("GET", "/v3/projects/nope", user="admin")
        assert identity_refusal(answer) == (404, "Could not find project: nope.")

    async def test_mine(self, cloud: CloudUnderTest, client: Client) -> None:
        """Any user can list the projects that they can log in to."""
        projects = (await client.ask("GET", "/v3/auth/projects", user="bob")).json()["projects"]
        assert [project["id"] for project in projects] == [cloud.project_id("bob")]

    @pytest.mark.parametrize("token", [NO_TOKEN, "bogus"])
    async def test_without_a_valid_token(self, client: Client, token: str) -> None:
        """Without a valid token the request is refused."""
        assert identity_refusal(await client.ask("GET", "/v3/projects", token=token)) == UNAUTHORIZED


class TestVersions:
    """The version documents, which need no token."""

    @pytest.mark.parametrize("path", ["/v3", "/v3/"])
    async def test_identity_version(self, cloud: CloudUnderTest, client: Client, path: str) -> None:
        """The versioned address describes itself, with and without a trailing slash."""
        answer = await client.ask("GET", path, token=NO_TOKEN)
        assert answer.status == 200
        assert answer.json()["version"]["links"] == [{"rel": "self", "href": f"{cloud.auth_url}/"}]

    @pytest.mark.parametrize(("path", "status"), [("/", 300), ("/versions", 200)])
    async def test_image(self, cloud: CloudUnderTest, client: Client, path: str, status: int) -> None:
        """The image service's root lists the minor versions of 2, all at one address, one of them current."""
        answer = await client.ask("GET", path, token=NO_TOKEN)
        versions = answer.json()["versions"]
        assert answer.status == status
        assert {version["id"].partition(".")[0] for version in versions} == {"v2"}
        assert [version["status"] for version in versions].count("CURRENT") == 1
        links = [version["links"] for version in versions]
        assert links == [[{"rel": "self", "href": f"{cloud.endpoint}/v2/"}]] * len(versions)
