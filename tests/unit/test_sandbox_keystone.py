"""The sandbox's identity service, asked without a socket; every expectation here was seen on a real Keystone 30."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from bulkshare.sandbox import Cloud
from bulkshare.sandbox.keystone import Keystone
from bulkshare.sandbox.records import PASSWORD, REGION, TOKEN_LIFETIME
from bulkshare.sandbox.wire import Answer, Ask

START = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
DOMAIN = {"id": "default"}
AUTH_URL = "http://identity/v3"


class World:
    """A cloud with an admin, and alice who is a member of one project and a reader of another."""

    def __init__(self) -> None:
        self.now = START
        self.cloud = cloud = Cloud(clock=lambda: self.now)
        self.ours = cloud.add_project("ours", tags=["tenant", "eu"])
        self.theirs = cloud.add_project("theirs", tags=["tenant"])
        self.alice = cloud.add_user("alice", {self.ours.id: "member", self.theirs.id: "reader"})
        self.secret = cloud.add_application_credential("night", self.alice, self.ours, "s3cret")
        self.keystone = Keystone(cloud, auth_url=AUTH_URL, endpoint="http://image", pause=self.pause)

    async def pause(self) -> None:
        """Take no time."""

    async def ask(self, method: str, path: str, *, token: str | None = None, subject: str | None = None) -> Answer:
        """Ask with a token, and about one."""
        parts = urlsplit(path)
        given = {"X-Auth-Token": token, "X-Subject-Token": subject}
        headers = {name: value for name, value in given.items() if value is not None}
        return await self.keystone.answer(Ask(method, parts.path, tuple(parse_qsl(parts.query)), headers))

    async def log_in(self, body: Any, query: str = "", kind: str = "application/json; charset=utf-8") -> Answer:
        """Log in; a body of bytes is sent as it is."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        ask = Ask("POST", "/v3/auth/tokens", tuple(parse_qsl(query)), {"Content-Type": kind}, sent)
        return await self.keystone.answer(ask)

    async def token(self, name: str, project_id: str) -> str:
        """Return a token of a user for a project."""
        answer = await self.log_in(by_password({"name": name, "domain": DOMAIN}, {"project": {"id": project_id}}))
        return answer.headers["X-Subject-Token"]

    async def admin(self) -> str:
        """Return a token of the admin."""
        return await self.token("admin", self.cloud.admin_project.id)


@pytest.fixture
def world() -> World:
    """Return a fresh world."""
    return World()


def by_password(user: dict[str, Any], scope: Any = None, password: str = PASSWORD) -> dict[str, Any]:
    """Return the body of a log-in by password."""
    identity = {"methods": ["password"], "password": {"user": {**user, "password": password}}}
    return {"auth": {"identity": identity, **({} if scope is None else {"scope": scope})}}


def by(method: str, proof: Any, scope: Any = None) -> dict[str, Any]:
    """Return the body of a log-in by another method."""
    return {"auth": {"identity": {"methods": [method], method: proof}, **({} if scope is None else {"scope": scope})}}


def message(answer: Answer) -> str:
    """Return the sentence of a refusal, whose shape is checked."""
    error = json.loads(answer.body)["error"]
    assert set(error) == {"code", "message", "title"}
    assert error["code"] == answer.status
    assert ("WWW-Authenticate" in answer.headers) == (answer.status == 401)
    return str(error["message"])


async def test_a_token_says_who_where_and_with_which_services(world: World) -> None:
    """The token of a log-in by password for a project, as every client reads it."""
    answer = await world.log_in(by_password({"name": "alice", "domain": DOMAIN}, {"project": {"id": world.ours.id}}))
    assert answer.status == 201
    assert len(answer.headers["X-Subject-Token"]) >= 32
    assert answer.headers["Vary"] == "X-Auth-Token"
    token = json.loads(answer.body)["token"]
    domain = {"id": "default", "name": "Default"}
    assert token["methods"] == ["password"]
    assert token["user"] == {"domain": domain, "id": world.alice.id, "name": "alice", "password_expires_at": None}
    assert token["project"] == {"domain": domain, "id": world.ours.id, "name": "ours"}
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]
    assert (token["issued_at"], token["expires_at"]) == ("2026-01-02T03:04:05.000000Z", "2026-01-02T04:04:05.000000Z")
    assert {
        (service["type"], endpoint["interface"], endpoint["region_id"], endpoint["url"])
        for service in token["catalog"]
        for endpoint in service["endpoints"]
    } == {
        (kind, interface, REGION, url)
        for kind, url in (("identity", AUTH_URL), ("image", "http://image"))
        for interface in ("public", "internal", "admin")
    }


@pytest.mark.parametrize(
    ("user", "scope"),
    [
        ({"name": "alice", "domain": {"name": "Default"}}, {"project": {"name": "ours", "domain": DOMAIN}}),
        ({"name": "alice", "domain": DOMAIN}, {"project": {"name": "ours", "domain": {"name": "Default"}}}),
    ],
)
async def test_names_do_as_well_as_ids(world: World, user: dict[str, Any], scope: Any) -> None:
    """A name goes with a domain; the user's ID without."""
    for who in (user, {"id": world.alice.id}):
        answer = await world.log_in(by_password(who, scope))
        assert json.loads(answer.body)["token"]["project"]["id"] == world.ours.id


@pytest.mark.parametrize("scope", [None, "unscoped"])
async def test_an_unscoped_token_has_no_roles(world: World, scope: Any) -> None:
    """It proves who one is, and serves to get another."""
    answer = await world.log_in(by_password({"id": world.alice.id}, scope))
    assert {"project", "roles", "catalog"}.isdisjoint(json.loads(answer.body)["token"])
    proof = {"id": answer.headers["X-Subject-Token"]}
    scoped = json.loads((await world.log_in(by("token", proof, {"project": {"id": world.ours.id}}))).body)["token"]
    assert (scoped["methods"], scoped["project"]["id"]) == (["password", "token"], world.ours.id)


async def test_a_token_made_of_another_ends_with_it(world: World) -> None:
    """A log-in by token wins no time."""
    first = await world.token("alice", world.ours.id)
    world.now += TOKEN_LIFETIME / 2
    answer = await world.log_in(by("token", {"id": first}, {"project": {"id": world.theirs.id}}))
    assert json.loads(answer.body)["token"]["expires_at"] == "2026-01-02T04:04:05.000000Z"
    world.now = START + TOKEN_LIFETIME
    assert (await world.log_in(by("token", {"id": first}))).status == 404


async def test_nocatalog_leaves_the_catalog_out(world: World) -> None:
    """The parameter's presence counts."""
    body = by_password({"id": world.alice.id}, {"project": {"id": world.ours.id}})
    world.keystone = Keystone(world.cloud, auth_url=AUTH_URL, endpoint="http://image", pause=world.pause)
    assert "catalog" in json.loads((await world.log_in(body)).body)["token"]
    assert "catalog" not in json.loads((await world.log_in(body, "nocatalog=1")).body)["token"]


async def test_an_application_credential_knows_its_project(world: World) -> None:
    """By its ID, or by its name and the user."""
    for proof in (
        {"id": world.secret.id},
        {"name": "night", "user": {"id": world.alice.id}},
        {"name": "night", "user": {"name": "alice", "domain": DOMAIN}},
    ):
        answer = await world.log_in(by("application_credential", {**proof, "secret": "s3cret"}))
        token = json.loads(answer.body)["token"]
        assert (token["methods"], token["project"]["id"]) == (["application_credential"], world.ours.id)


UNAUTHORIZED = "The request you have made requires authentication."
ALICE = {"name": "alice", "domain": DOMAIN}
NO_SCOPES = "Error authenticating with application credential: Application credentials cannot request a scope."


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (by_password(ALICE, password="wrong"), 401, UNAUTHORIZED),
        (by_password({"name": "nobody", "domain": DOMAIN}), 401, UNAUTHORIZED),
        (by_password({"id": "f" * 32}), 401, UNAUTHORIZED),
        (by_password({"name": "alice", "domain": {"id": "x"}}), 401, UNAUTHORIZED),
        (by_password(ALICE, {"project": {"id": "f" * 32}}), 401, UNAUTHORIZED),
        (by_password(ALICE, {"project": {"name": "admin", "domain": DOMAIN}}), 401, UNAUTHORIZED),
        (by_password(ALICE, {"system": {"all": True}}), 401, UNAUTHORIZED),
        (by_password(ALICE, {"domain": DOMAIN}), 401, UNAUTHORIZED),
        (by("password", {"user": ALICE}), 401, UNAUTHORIZED),
        (by("magic", {}), 401, "Attempted to authenticate with an unsupported method."),
        ({"auth": {"identity": {"methods": []}}}, 401, UNAUTHORIZED),
        (by("application_credential", {"id": "x", "secret": "y"}), 404, "Could not find Application Credential: x."),
        (by("application_credential", {"name": "x", "user": ALICE, "secret": "y"}), 401, UNAUTHORIZED),
        (by("application_credential", {"name": "night", "user": ALICE, "secret": "y"}), 401, UNAUTHORIZED),
        (by("application_credential", {"id": "x"}, {"project": {"id": "x"}}), 401, NO_SCOPES),
        (by("token", {"id": "nonsense"}), 404, "Could not recognize Fernet token"),
        (by("token", {"id": ["nonsense"]}), 404, "Could not recognize Fernet token"),
        (by_password({"name": "alice"}), 400, "Expecting to find domain in user. "),
        (by_password(ALICE, {"project": {"name": "ours"}}), 400, "Expecting to find domain in project. "),
        ({"auth": {"identity": {"methods": ["password"]}}}, 400, "Expecting to find password in identity. "),
        ({"auth": {}}, 400, "Expecting to find identity in auth. "),
        ({}, 400, "Expecting to find auth in request body. "),
        (b"", 400, "Expecting to find auth in request body. "),
        (b"{", 400, "Expecting to find valid JSON in request body. "),
        (b"[]", 400, "Expecting to find valid JSON in request body. "),
        (b"[" * 100_000, 400, "Expecting to find valid JSON in request body. "),
    ],
)
async def test_log_ins_that_are_refused(world: World, body: Any, status: int, sentence: str) -> None:
    """A refusal does not tell a wrong password from an unknown user."""
    answer = await world.log_in(body)
    assert answer.status == status
    assert message(answer).startswith(sentence)
    assert not world.cloud.tokens


async def test_a_log_in_is_json(world: World) -> None:
    """Another content type is refused."""
    answer = await world.log_in(by_password(ALICE), kind="text/plain")
    assert message(answer).startswith("Expecting to find application/json in Content-Type header. ")


async def test_tokens_are_asked_about_and_revoked(world: World) -> None:
    """One's own by oneself, anybody's by an admin; a revoked one is unknown."""
    alice, admin = await world.token("alice", world.ours.id), await world.admin()
    for token, subject, status in (
        (alice, alice, 200),
        (admin, alice, 200),
        (alice, admin, 403),
        (alice, None, 403),
        (alice, "nonsense", 404),
        (admin, None, 404),
        (None, alice, 401),
        ("nonsense", alice, 401),
    ):
        answer = await world.ask("GET", "/v3/auth/tokens", token=token, subject=subject)
        assert answer.status == status
        assert answer.headers.get("X-Subject-Token") == (subject if status == 200 else None)
    assert (await world.ask("HEAD", "/v3/auth/tokens", token=alice, subject=alice)).status == 200
    assert (await world.ask("DELETE", "/v3/auth/tokens", token=alice, subject=admin)).status == 403
    assert (await world.ask("DELETE", "/v3/auth/tokens", token=alice, subject=alice)).status == 204
    assert (await world.ask("GET", "/v3/auth/tokens", token=admin, subject=alice)).status == 404


async def test_all_tokens_end_when_the_cloud_says_so(world: World) -> None:
    """What a test of a renewal needs."""
    alice = await world.token("alice", world.ours.id)
    world.cloud.revoke_tokens()
    assert (await world.ask("GET", "/v3/projects", token=alice)).status == 401


async def test_who_may_read_what(world: World) -> None:
    """Everybody oneself and the own project; the rest is for an admin, and to others it does not say what exists."""
    alice, admin = await world.token("alice", world.ours.id), await world.admin()
    for path, to_alice, to_admin in (
        ("/v3/projects", 403, 200),
        (f"/v3/projects/{world.ours.id}", 200, 200),
        (f"/v3/projects/{world.theirs.id}", 403, 200),
        ("/v3/projects/nonsense", 403, 404),
        ("/v3/users", 403, 200),
        (f"/v3/users/{world.alice.id}", 200, 200),
        (f"/v3/users/{world.alice.id}/projects", 200, 200),
        (f"/v3/users/{world.cloud.admin.id}/projects", 403, 200),
        ("/v3/users/nonsense/projects", 403, 404),
        ("/v3/domains", 403, 200),
        ("/v3/domains/default", 200, 200),
        ("/v3/domains/nonsense", 403, 404),
        ("/v3/auth/projects", 200, 200),
        ("/v3/auth/domains", 200, 200),
        ("/v3/auth/catalog", 200, 200),
    ):
        statuses = [(await world.ask("GET", path, token=token)).status for token in (alice, admin, None)]
        assert statuses == [to_alice, to_admin, 401], path


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {"admin", "ours", "theirs", "closed"}),
        ("name=ours", {"ours"}),
        ("domain_id=default&name=ours", {"ours"}),
        ("domain_id=x", set()),
        ("enabled=false", {"closed"}),
        ("enabled=True", {"admin", "ours", "theirs"}),
        ("tags=tenant", {"ours", "theirs"}),
        ("tags=tenant,eu", {"ours"}),
        ("parent_id=" + "0" * 32, set()),
        ("nonsense=1", {"admin", "ours", "theirs", "closed"}),
    ],
)
async def test_projects_are_filtered(world: World, query: str, wanted: set[str]) -> None:
    """An unknown filter filters nothing."""
    world.cloud.add_project("closed").enabled = False
    answer = await world.ask("GET", f"/v3/projects?{query}", token=await world.admin())
    assert {project["name"] for project in json.loads(answer.body)["projects"]} == wanted


async def test_a_project_shows_all_its_fields(world: World) -> None:
    """As clients expect them."""
    answer = await world.ask("GET", f"/v3/projects/{world.ours.id}", token=await world.admin())
    assert json.loads(answer.body)["project"] == {
        "id": world.ours.id,
        "name": "ours",
        "domain_id": "default",
        "description": "",
        "enabled": True,
        "parent_id": "default",
        "is_domain": False,
        "tags": ["tenant", "eu"],
        "options": {},
        "links": {"self": f"{AUTH_URL}/projects/{world.ours.id}"},
    }


async def test_a_parent_is_a_uuid(world: World) -> None:
    """The domain's ID is none."""
    answer = await world.ask("GET", "/v3/projects?parent_id=default", token=await world.admin())
    problem = "Value: default. 'default' is not a 'uuid'"
    assert message(answer) == f"Invalid input for field/attribute parent_id. {problem}"


async def test_project_pages_lead_on(world: World) -> None:
    """With a limit, `next` is a whole address, until there is no more."""
    admin, address, found = await world.admin(), f"{AUTH_URL}/projects?limit=2", list[str]()
    while address:
        body = json.loads((await world.ask("GET", address.removeprefix("http://identity"), token=admin)).body)
        assert body["links"]["self"] == address
        assert ("truncated" in body) == (body["links"]["next"] is not None)
        found += [project["id"] for project in body["projects"]]
        address = body["links"]["next"]
    assert found == sorted(world.cloud.projects)


async def test_users_and_domains_are_found_by_name(world: World) -> None:
    """A client looks for an ID so."""
    admin = await world.admin()
    for path, key, wanted in (
        ("/v3/users?name=alice", "users", ["alice"]),
        ("/v3/users?name=nobody", "users", []),
        ("/v3/domains?name=Default", "domains", ["Default"]),
        ("/v3/domains?name=x", "domains", []),
    ):
        body = json.loads((await world.ask("GET", path, token=admin)).body)
        assert [item["name"] for item in body[key]] == wanted


async def test_versions(world: World) -> None:
    """Discovery needs no token, and a slash at the end is no other path."""
    root = await world.ask("GET", "/")
    assert (root.status, root.headers["Location"]) == (300, f"{AUTH_URL}/")
    values = json.loads(root.body)["versions"]["values"]
    for path in ("/v3", "/v3/"):
        answer = await world.ask("GET", path)
        assert (answer.status, json.loads(answer.body)["version"]) == (200, values[0])
    assert values[0]["links"] == [{"rel": "self", "href": f"{AUTH_URL}/"}]


async def test_paths_and_methods_that_are_not_there(world: World) -> None:
    """Unknown paths are 404 without a token already; methods 405 with Allow."""
    for path in ("/v2.0", "/v3/nonsense", "/v3/projects/a/b"):
        assert (await world.ask("GET", path)).status == 404
    answer = await world.ask("PUT", "/v3/projects")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_tokens_are_not_guessed(world: World) -> None:
    """Each is new, although all else in the sandbox is the same on every start."""
    tokens = {await world.token("alice", world.ours.id) for _ in range(50)}
    assert len(tokens) == 50
    assert timedelta(hours=1) == TOKEN_LIFETIME
