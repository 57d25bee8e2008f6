"""The sandbox's identity service: log-ins, tokens, versions; every expectation here was seen on a real Keystone 30."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from bulkshare.sandbox.cloud import REGION, TOKEN_LIFETIME
from bulkshare.sandbox.keystone import Keystone
from tests.sandbox_keystone import AUTH_URL, DOMAIN, START, SandboxKeystone, by, by_password, message


@pytest.fixture
def world() -> SandboxKeystone:
    """Return a fresh world."""
    return SandboxKeystone()


async def test_a_token_says_who_where_and_with_which_services(world: SandboxKeystone) -> None:
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
async def test_names_do_as_well_as_ids(world: SandboxKeystone, user: dict[str, Any], scope: Any) -> None:
    """A name goes with a domain; the user's ID without."""
    for who in (user, {"id": world.alice.id}):
        answer = await world.log_in(by_password(who, scope))
        assert json.loads(answer.body)["token"]["project"]["id"] == world.ours.id


@pytest.mark.parametrize("scope", [None, "unscoped"])
async def test_an_unscoped_token_has_no_roles(world: SandboxKeystone, scope: Any) -> None:
    """It proves who one is, and serves to get another."""
    answer = await world.log_in(by_password({"id": world.alice.id}, scope))
    assert {"project", "roles", "catalog"}.isdisjoint(json.loads(answer.body)["token"])
    proof = {"id": answer.headers["X-Subject-Token"]}
    scoped = json.loads((await world.log_in(by("token", proof, {"project": {"id": world.ours.id}}))).body)["token"]
    assert (scoped["methods"], scoped["project"]["id"]) == (["password", "token"], world.ours.id)


async def test_a_token_made_of_another_ends_with_it(world: SandboxKeystone) -> None:
    """A log-in by token wins no time."""
    first = await world.token("alice", world.ours.id)
    world.now += TOKEN_LIFETIME / 2
    answer = await world.log_in(by("token", {"id": first}, {"project": {"id": world.theirs.id}}))
    assert json.loads(answer.body)["token"]["expires_at"] == "2026-01-02T04:04:05.000000Z"
    world.now = START + TOKEN_LIFETIME
    assert (await world.log_in(by("token", {"id": first}))).status == 404


async def test_nocatalog_leaves_the_catalog_out(world: SandboxKeystone) -> None:
    """The parameter's presence counts."""
    body = by_password({"id": world.alice.id}, {"project": {"id": world.ours.id}})
    world.keystone = Keystone(world.cloud, auth_url=AUTH_URL, endpoint="http://image", pause=world.pause)
    assert "catalog" in json.loads((await world.log_in(body)).body)["token"]
    assert "catalog" not in json.loads((await world.log_in(body, "nocatalog=1")).body)["token"]


async def test_an_application_credential_knows_its_project(world: SandboxKeystone) -> None:
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
async def test_log_ins_that_are_refused(world: SandboxKeystone, body: Any, status: int, sentence: str) -> None:
    """A refusal does not tell a wrong password from an unknown user."""
    answer = await world.log_in(body)
    assert answer.status == status
    assert message(answer).startswith(sentence)
    assert not world.cloud.tokens


async def test_a_log_in_is_json(world: SandboxKeystone) -> None:
    """Another content type is refused."""
    answer = await world.log_in(by_password(ALICE), kind="text/plain")
    assert message(answer).startswith("Expecting to find application/json in Content-Type header. ")


async def test_tokens_are_asked_about_and_revoked(world: SandboxKeystone) -> None:
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


async def test_all_tokens_end_when_the_cloud_says_so(world: SandboxKeystone) -> None:
    """What a test of a renewal needs."""
    alice = await world.token("alice", world.ours.id)
    world.cloud.revoke_tokens()
    assert (await world.ask("GET", "/v3/projects", token=alice)).status == 401


async def test_a_closed_project_ends_its_tokens(world: SandboxKeystone) -> None:
    """Those that there are, and gives no new ones."""
    alice = await world.token("alice", world.ours.id)
    world.ours.enabled = False
    assert (await world.ask("GET", "/v3/auth/projects", token=alice)).status == 401
    answer = await world.log_in(by_password({"id": world.alice.id}, {"project": {"id": world.ours.id}}))
    assert message(answer) == UNAUTHORIZED


async def test_versions(world: SandboxKeystone) -> None:
    """Discovery needs no token, and a slash at the end is no other path."""
    root = await world.ask("GET", "/")
    assert (root.status, root.headers["Location"]) == (300, f"{AUTH_URL}/")
    values = json.loads(root.body)["versions"]["values"]
    for path in ("/v3", "/v3/"):
        answer = await world.ask("GET", path)
        assert (answer.status, json.loads(answer.body)["version"]) == (200, values[0])
    assert values[0]["links"] == [{"rel": "self", "href": f"{AUTH_URL}/"}]


async def test_paths_and_methods_that_are_not_there(world: SandboxKeystone) -> None:
    """Unknown paths are 404 without a token already; methods 405 with Allow."""
    for path in ("/v2.0", "/v3/nonsense", "/v3/projects/a/b"):
        assert (await world.ask("GET", path)).status == 404
    answer = await world.ask("PUT", "/v3/projects")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_tokens_are_not_guessed(world: SandboxKeystone) -> None:
    """Each is new, although all else in the sandbox is the same on every start."""
    tokens = {await world.token("alice", world.ours.id) for _ in range(50)}
    assert len(tokens) == 50
    assert timedelta(hours=1) == TOKEN_LIFETIME
