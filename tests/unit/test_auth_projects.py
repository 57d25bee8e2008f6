from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from keystoneauth1.identity import generic, v3
from keystoneauth1.token_endpoint import Token

from bulkshare.cloud import CloudEntry, CloudIdentity
from bulkshare.cloud import auth as cloud
from bulkshare.cloud.keystone import UnansweredError
from bulkshare.cloud.projects import KeystoneDirectory
from bulkshare.errors import CredentialsRefusedError, DirectoryError, NoRoleError
from tests.fake_keystone import Clock, FakeKeystone, identity_of, message_of

pytestmark = pytest.mark.usefixtures("own_configuration")


def logins(keystone: FakeKeystone) -> list[tuple[str, str | None]]:
    """Return method and project of the log-ins so far."""
    bodies = [body["auth"] for body in keystone.bodies]
    return [(body["identity"]["methods"][0], body.get("scope", {}).get("project", {}).get("id")) for body in bodies]


@pytest.mark.parametrize(("roles", "admin"), [([], False), (["member", "Admin"], True), (["administrator"], False)])
async def test_an_account_has_the_role_admin_or_not(keystone: FakeKeystone, roles: list[str], admin: bool) -> None:  # noqa: FBT001  # a parameter
    """By the role's name, in any case."""
    keystone.roles = roles
    identity = identity_of(keystone)
    await identity.token()
    assert identity.account.admin is admin


async def test_roles_without_names_are_ignored(keystone: FakeKeystone) -> None:
    """Roles garbled by a gateway do not prevent the log-in."""
    keystone.roles = [None]  # type: ignore[list-item]  # on purpose
    identity = identity_of(keystone)
    await identity.token()
    assert not identity.account.admin


@pytest.mark.parametrize("plugin", [v3.Password, generic.Password])
async def test_a_project_gets_a_token_of_its_own(keystone: FakeKeystone, plugin: Any) -> None:
    """One log-in each, with the same password; the run's own project uses the run's token."""
    who = plugin(keystone.url, username="ann", password="hush-hush", user_domain_id="d", project_id="p1")
    identity = identity_of(keystone, plugin=who)
    assert [await identity.token(project) for project in ("q", "r", "q", "p1", None)] == [
        "token-2",
        "token-3",
        "token-2",
        "token-1",
        "token-1",
    ]
    assert logins(keystone) == [("password", "p1"), ("password", "q"), ("password", "r")]
    assert keystone.bodies[1]["auth"]["identity"] == keystone.bodies[0]["auth"]["identity"]
    assert identity.account.project_id == "p1"


async def test_a_token_as_credential_is_exchanged(keystone: FakeKeystone) -> None:
    """The exchanged token is used, not the user's."""
    identity = identity_of(keystone, plugin=v3.Token(keystone.url, "hush-token", project_id="p1"))
    assert await identity.token("q") == "token-2"
    assert logins(keystone) == [("token", "p1"), ("token", "q")]
    assert keystone.bodies[1]["auth"]["identity"]["token"]["id"] == "token-1"


async def test_an_application_credential_is_for_its_project_alone(keystone: FakeKeystone) -> None:
    """The identity service is not asked."""
    plugin = v3.ApplicationCredential(keystone.url, "hush", application_credential_id="a")
    identity = identity_of(keystone, plugin=plugin)
    with pytest.raises(NoRoleError, match="application credential") as error:
        await identity.token("q")
    assert message_of(error)
    assert await identity.refusals(["q", "r"]) == dict.fromkeys("qr", str(error.value))
    assert await identity.refusals([]) == {}
    assert len(keystone.bodies) == 1


@pytest.mark.parametrize("own", [["q"], [], None])
async def test_refusals_are_known_in_advance(
    keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch, own: list[str] | None
) -> None:
    """From the list of our own projects, without a log-in to any; if it can't be had (None), nothing is predicted."""

    async def listed(_directory: KeystoneDirectory) -> frozenset[str]:
        if own is None:
            raise DirectoryError("may not")
        return frozenset(own)

    monkeypatch.setattr(KeystoneDirectory, "own", listed)
    identity = identity_of(keystone)
    await identity.token()
    assert (await identity.refusals(["q", "r", identity.account.project_id])).keys() == (
        set() if own is None else {"q", "r"} - set(own)
    )
    assert len(keystone.bodies) == 1


async def test_one_log_in_for_each_project_and_four_at_once(keystone: FakeKeystone) -> None:
    """However many callers there are."""
    identity = identity_of(keystone)
    await identity.token()
    keystone.hold = asyncio.Event()
    projects = [f"q{number}" for number in range(10)]
    asking = asyncio.gather(*[identity.token(project) for project in projects * 3])
    while keystone.in_flight < cloud.MOST_LOG_INS:
        await asyncio.sleep(0.001)
    keystone.hold.set()
    assert len(set(await asking)) == 10
    assert keystone.most_in_flight == cloud.MOST_LOG_INS
    assert len(keystone.bodies) == 11


async def test_a_storm_of_refusals_of_a_projects_token_costs_one_renewal(keystone: FakeKeystone) -> None:
    """Other tokens are not renewed."""
    identity = identity_of(keystone)
    await identity.token("q")
    assert set(await asyncio.gather(*[identity.renew("token-2", "q") for _ in range(10)])) == {"token-3"}
    assert await identity.token("q") == "token-3"
    assert await identity.token() == "token-1"


async def test_no_role_is_remembered(keystone: FakeKeystone) -> None:
    """It is reported with user and project, requested once, and does not affect other projects."""
    keystone.closed = {"q\x1b"}
    identity = identity_of(keystone)
    for _ in range(2):
        with pytest.raises(NoRoleError, match="user ann has no role in project q,") as error:
            await identity.token("q\x1b")
        assert message_of(error)
    assert len(keystone.bodies) == 2
    assert await identity.token("r") == "token-3"
    assert await identity.renew("token-1") == "token-4"


@pytest.mark.parametrize(("status", "words"), [(403, "no role in project q: hm"), (400, "no token for project q: hm")])
async def test_other_refusals_have_the_clouds_message(keystone: FakeKeystone, status: int, words: str) -> None:
    """Without the password."""
    identity = identity_of(keystone)
    await identity.token()
    keystone.answers = [web.json_response({"error": {"message": "hm hush-hush"}}, status=status)]
    with pytest.raises(NoRoleError, match=words) as error:
        await identity.token("q")
    assert message_of(error)


@pytest.mark.parametrize("answer", [web.Response(status=503), web.Response(status=404, text="<html>moved")])
async def test_no_answer_about_a_project_may_be_one_later(keystone: FakeKeystone, answer: web.Response) -> None:
    """It is not cached, and the run's own token stays valid; an HTML page is not an answer of the identity service."""
    identity = identity_of(keystone, clock=Clock())
    await identity.token()
    keystone.answers = [answer]
    with pytest.raises(UnansweredError, match="no token for project q"):
        await identity.token("q")
    assert await identity.token() == "token-1"
    assert await identity.token("q") == "token-3"


async def test_the_tokens_kept_are_bounded(keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used one is dropped first."""
    monkeypatch.setattr(cloud, "MOST_PROJECTS", 2)
    identity = identity_of(keystone)
    for project in ("q", "r", "q", "s"):
        await identity.token(project)
    assert await identity.token("q") == "token-2"
    assert await identity.token("r") == "token-5"


async def test_a_log_in_without_an_identity_service_has_no_other_project() -> None:
    """auth_type admin_token."""
    endpoint = "http://127.0.0.1:1"
    entry = CloudEntry("x", "admin_token", "", Token(endpoint, "hush"), endpoint_override=endpoint)
    with pytest.raises(NoRoleError, match="admin_token gets no token for another project"):
        await CloudIdentity(entry).token("q")


async def test_credentials_that_are_refused_are_so_for_every_project(keystone: FakeKeystone) -> None:
    """The run ends, not just the project's pairs."""
    keystone.closed = {"p1"}
    identity = identity_of(keystone)
    for project in ("q", "r"):
        with pytest.raises(CredentialsRefusedError) as error:
            await identity.token(project)
        assert not isinstance(error.value, NoRoleError)
    assert len(keystone.bodies) == 1
