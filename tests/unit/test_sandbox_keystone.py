"""The sandbox's identity service: log-ins, tokens and versions, as seen on a real Keystone 30."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from bulkshare.sandbox.cloud import REGION, TOKEN_LIFETIME
from bulkshare.sandbox.keystone import Keystone
from tests.sandbox_keystone import AUTH_URL, DOMAIN, START, SandboxKeystone, by, by_password, message


@pytest.fixture
def sandbox() -> SandboxKeystone:
    """Return a new sandbox."""
    return SandboxKeystone()


async def test_a_token_has_user_project_roles_and_catalog(sandbox: SandboxKeystone) -> None:
    """The token of a log-in by password for a project, with the fields that clients read."""
    answer = await sandbox.log_in(
        by_password({"name": "alice", "domain": DOMAIN}, {"project": {"id": sandbox.ours.id}})
    )
    assert answer.status == 201
    assert len(answer.headers["X-Subject-Token"]) >= 32
    assert answer.headers["Vary"] == "X-Auth-Token"
    token = json.loads(answer.body)["token"]
    domain = {"id": "default", "name": "Default"}
    assert token["methods"] == ["password"]
    assert token["user"] == {"domain": domain, "id": sandbox.alice.id, "name": "alice", "password_expires_at": None}
    assert token["project"] == {"domain": domain, "id": sandbox.ours.id, "name": "ours"}
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
async def test_names_work_as_well_as_ids(sandbox: SandboxKeystone, user: dict[str, Any], scope: Any) -> None:
    """A name needs a domain, the user's ID does not."""
    for who in (user, {"id": sandbox.alice.id}):
        answer = await sandbox.log_in(by_password(who, scope))
        assert json.loads(answer.body)["token"]["project"]["id"] == sandbox.ours.id


@pytest.mark.parametrize("scope", [None, "unscoped"])
async def test_an_unscoped_token_has_no_roles(sandbox: SandboxKeystone, scope: Any) -> None:
    """It identifies the user, and can be exchanged for a scoped one."""
    answer = await sandbox.log_in(by_password({"id": sandbox.alice.id}, scope))
    assert {"project", "roles", "catalog"}.isdisjoint(json.loads(answer.body)["token"])
    proof = {"id": answer.headers["X-Subject-Token"]}
    scoped = json.loads((await sandbox.log_in(by("token", proof, {"project": {"id": sandbox.ours.id}}))).body)["token"]
    assert (scoped["methods"], scoped["project"]["id"]) == (["password", "token"], sandbox.ours.id)


async def test_an_exchanged_token_expires_with_the_first(sandbox: SandboxKeystone) -> None:
    """A log-in by token does not extend the lifetime."""
    first = await sandbox.token("alice", sandbox.ours.id)
    sandbox.now += TOKEN_LIFETIME / 2
    answer = await sandbox.log_in(by("token", {"id": first}, {"project": {"id": sandbox.theirs.id}}))
    assert json.loads(answer.body)["token"]["expires_at"] == "2026-01-02T04:04:05.000000Z"
    sandbox.now = START + TOKEN_LIFETIME
    assert (await sandbox.log_in(by("token", {"id": first}))).status == 404


async def test_nocatalog_leaves_the_catalog_out(sandbox: SandboxKeystone) -> None:
    """The presence of the parameter counts, whatever its value."""
    body = by_password({"id": sandbox.alice.id}, {"project": {"id": sandbox.ours.id}})
    sandbox.keystone = Keystone(sandbox.cloud, auth_url=AUTH_URL, endpoint="http://image", pause=sandbox.pause)
    assert "catalog" in json.loads((await sandbox.log_in(body)).body)["token"]
    assert "catalog" not in json.loads((await sandbox.log_in(body, "nocatalog=1")).body)["token"]


async def test_an_application_credential_has_its_project(sandbox: SandboxKeystone) -> None:
    """By its ID, or by its name and the user."""
    for proof in (
        {"id": sandbox.secret.id},
        {"name": "night", "user": {"id": sandbox.alice.id}},
        {"name": "night", "user": {"name": "alice", "domain": DOMAIN}},
    ):
        answer = await sandbox.log_in(by("application_credential", {**proof, "secret": "s3cret"}))
        token = json.loads(answer.body)["token"]
        assert (token["methods"], token["project"]["id"]) == (["application_credential"], sandbox.ours.id)


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
async def test_log_ins_that_are_refused(sandbox: SandboxKeystone, body: Any, status: int, sentence: str) -> None:
    """A wrong password and an unknown user get the same refusal."""
    answer = await sandbox.log_in(body)
    assert answer.status == status
    assert message(answer).startswith(sentence)
    assert not sandbox.cloud.tokens


async def test_a_log_in_is_json(sandbox: SandboxKeystone) -> None:
    """Another content type is refused."""
    answer = await sandbox.log_in(by_password(ALICE), kind="text/plain")
    assert message(answer).startswith("Expecting to find application/json in Content-Type header. ")


async def test_tokens_are_validated_and_revoked(sandbox: SandboxKeystone) -> None:
    """Users can do so with their own token, an admin with any; a revoked one is unknown."""
    alice, admin = await sandbox.token("alice", sandbox.ours.id), await sandbox.admin()
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
        answer = await sandbox.ask("GET", "/v3/auth/tokens", token=token, subject=subject)
        assert answer.status == status
        assert answer.headers.get("X-Subject-Token") == (subject if status == 200 else None)
    assert (await sandbox.ask("HEAD", "/v3/auth/tokens", token=alice, subject=alice)).status == 200
    assert (await sandbox.ask("DELETE", "/v3/auth/tokens", token=alice, subject=admin)).status == 403
    assert (await sandbox.ask("DELETE", "/v3/auth/tokens", token=alice, subject=alice)).status == 204
    assert (await sandbox.ask("GET", "/v3/auth/tokens", token=admin, subject=alice)).status == 404


async def test_all_tokens_can_be_expired(sandbox: SandboxKeystone) -> None:
    """Tests of the renewal need it."""
    alice = await sandbox.token("alice", sandbox.ours.id)
    sandbox.cloud.revoke_tokens()
    assert (await sandbox.ask("GET", "/v3/projects", token=alice)).status == 401


async def test_a_disabled_project_invalidates_its_tokens(sandbox: SandboxKeystone) -> None:
    """Existing tokens are invalid, and new ones are refused."""
    alice = await sandbox.token("alice", sandbox.ours.id)
    sandbox.ours.enabled = False
    assert (await sandbox.ask("GET", "/v3/auth/projects", token=alice)).status == 401
    answer = await sandbox.log_in(by_password({"id": sandbox.alice.id}, {"project": {"id": sandbox.ours.id}}))
    assert message(answer) == UNAUTHORIZED


async def test_versions(sandbox: SandboxKeystone) -> None:
    """Discovery needs no token, and a trailing slash makes no difference."""
    root = await sandbox.ask("GET", "/")
    assert (root.status, root.headers["Location"]) == (300, f"{AUTH_URL}/")
    values = json.loads(root.body)["versions"]["values"]
    for path in ("/v3", "/v3/"):
        answer = await sandbox.ask("GET", path)
        assert (answer.status, json.loads(answer.body)["version"]) == (200, values[0])
    assert values[0]["links"] == [{"rel": "self", "href": f"{AUTH_URL}/"}]


async def test_unknown_paths_and_methods(sandbox: SandboxKeystone) -> None:
    """Unknown paths are a 404 even without a token, methods a 405 with Allow."""
    for path in ("/v2.0", "/v3/nonsense", "/v3/projects/a/b"):
        assert (await sandbox.ask("GET", path)).status == 404
    answer = await sandbox.ask("PUT", "/v3/projects")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_tokens_are_random(sandbox: SandboxKeystone) -> None:
    """Each is different, although everything else is the same on every start."""
    tokens = {await sandbox.token("alice", sandbox.ours.id) for _ in range(50)}
    assert len(tokens) == 50
    assert timedelta(hours=1) == TOKEN_LIFETIME
