from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from keystoneauth1.token_endpoint import Token

from bulkshare.cloud import CloudEntry, CloudIdentity
from bulkshare.errors import DirectoryError, UsageError
from bulkshare.model import Project, ProjectSelector
from tests.fake_keystone import Clock, FakeKeystone, identity_of, message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bulkshare.cloud.projects import KeystoneDirectory

pytestmark = pytest.mark.usefixtures("own_configuration")

DOMAINS = {"d": "D", "default": "Default", "e5": "Engineering"}
TEAM = "0" * 31 + "a"  # the parent of the dev projects


def project(name: str, **more: object) -> dict[str, Any]:
    """A project as Keystone shows it; its ID is the name's."""
    fields = {"domain_id": "default", "parent_id": "default", "enabled": True, "tags": [], "is_domain": False}
    return {"id": f"id-{name}", "name": name, **fields, **more}


PROJECTS = [
    project("dev-1", parent_id=TEAM, tags=["blue", "gold"]),
    project("dev-2", parent_id=TEAM, tags=["gold"]),
    project("ops", enabled=False),
    project("dev-3", domain_id="e5", parent_id="e5"),
]


@dataclass
class FakeDirectory:
    """Keystone's lists, as a real Keystone 30 answers. `own` is the list for users who may not list all projects."""

    answers: list[web.Response] = field(default_factory=list)  # are given first
    own: list[str] | None = None
    forbidden: set[str] = field(default_factory=set)  # projects that can't be read
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    page: int = 100
    origin: str = "http://elsewhere.example/v3"  # of the links; real ones are often behind a proxy that changes names

    def read(self, request: web.BaseRequest) -> web.Response:
        """Answer a GET."""
        self.asked.append(request.path_qs)
        self.tokens.append(request.headers.get("X-Auth-Token"))
        if self.answers:
            return self.answers.pop(0)
        match request.path.split("/")[2:]:
            case ["projects"] if self.own is None:
                return self._listed("projects", request, _filtered(PROJECTS, request.query))
            case ["projects", wanted] if self.own is None and wanted not in self.forbidden:
                return _one("project", wanted, [*PROJECTS, project("domain", is_domain=True)])
            case ["auth", "projects"]:
                return self._listed(
                    "projects", request, [each for each in PROJECTS if each["name"] in (self.own or [])]
                )
            case ["domains"] if self.own is None:
                domains = [{"id": key, "name": name} for key, name in DOMAINS.items()]
                return self._listed("domains", request, _filtered(domains, request.query))
            case ["domains", wanted] if self.own is None or wanted == "d":
                return _one("domain", wanted, [{"id": key} for key in DOMAINS])
        return refusal(403, f"not authorized: {request.path}")

    def _listed(self, kind: str, request: web.BaseRequest, items: list[dict[str, Any]]) -> web.Response:
        query = dict(request.query)
        start = int(query.pop("marker", "0"))
        following = urlencode({**query, "marker": start + self.page})
        link = f"{self.origin}/{kind}?{following}" if start + self.page < len(items) else None
        return web.json_response({kind: items[start : start + self.page], "links": {"next": link}})


def _filtered(items: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    def fits(item: dict[str, Any]) -> bool:
        return all(
            set(value.split(",")) <= set(item["tags"])
            if key == "tags"
            else str(item[key]).lower() == value.lower()  # as MySQL compares
            for key, value in query.items()
            if key != "marker"
        )

    return [item for item in items if fits(item)]


def _one(kind: str, wanted: str, items: list[dict[str, Any]]) -> web.Response:
    found = [item for item in items if item["id"].lower() == wanted.lower()]
    return web.json_response({kind: found[0]}) if found else refusal(404, f"Could not find {kind}: {wanted}.")


def refusal(status: int, message: str) -> web.Response:
    """A refusal in Keystone's words."""
    return web.json_response({"error": {"code": status, "message": message}}, status=status)


@pytest.fixture
def fake(keystone: FakeKeystone) -> FakeDirectory:
    """The lists of the fake identity service."""
    fake = FakeDirectory()
    keystone.reads = fake.read
    return fake


@pytest.fixture
async def directory(keystone: FakeKeystone, fake: FakeDirectory) -> KeystoneDirectory:
    """Return the directory of a user in domain D."""
    assert not fake.asked
    identity = identity_of(keystone)
    await identity.token()
    return identity.directory()


async def names(directory: KeystoneDirectory, **selector: Any) -> list[str]:
    """Return the names of the projects that fit."""
    return [found.name for found in await directory.projects(ProjectSelector(**selector))]


async def test_projects_are_read(directory: KeystoneDirectory) -> None:
    """They have every field that selectors use."""
    found = await directory.projects(ProjectSelector(tags=frozenset({"blue"})))
    assert found == [Project("id-dev-1", "dev-1", "default", TEAM, enabled=True, tags=frozenset({"blue", "gold"}))]


@pytest.mark.parametrize(
    ("selector", "found", "asked"),
    [
        ({}, ["dev-1", "dev-2", "dev-3"], "/v3/projects?enabled=true"),
        ({"enabled": None}, ["dev-1", "dev-2", "ops", "dev-3"], "/v3/projects"),
        ({"enabled": False}, ["ops"], "/v3/projects?enabled=false"),
        ({"name": "dev-2"}, ["dev-2"], "/v3/projects?name=dev-2&enabled=true"),
        ({"name": "DEV-2"}, [], "/v3/projects?name=DEV-2&enabled=true"),
        ({"name": "dev-[12]"}, ["dev-1", "dev-2", "dev-3"], "/v3/projects?enabled=true"),
        ({"tags": frozenset({"gold", "blue"})}, ["dev-1"], "/v3/projects?enabled=true&tags=blue%2Cgold"),
        ({"parent": TEAM}, ["dev-1", "dev-2"], f"/v3/projects?parent_id={TEAM}&enabled=true"),
        ({"parent": "e5"}, ["dev-3"], "/v3/projects?enabled=true"),
    ],
)
async def test_the_identity_service_filters(
    directory: KeystoneDirectory, fake: FakeDirectory, selector: dict[str, Any], found: list[str], asked: str
) -> None:
    """As far as it can: it has no globs, answers 400 to a parent without a UUID, and is case-sensitive."""
    assert await names(directory, **selector) == found
    assert fake.asked == [asked]
    assert fake.tokens == ["token-1"]


@pytest.mark.parametrize(("domain", "asks"), [("Engineering", 1), ("e5", 2)])
async def test_a_domain_is_a_name_or_an_id(
    directory: KeystoneDirectory, fake: FakeDirectory, domain: str, asks: int
) -> None:
    """The name is looked up first."""
    assert await names(directory, domain=domain) == ["dev-3"]
    assert fake.asked[0] == f"/v3/domains?name={domain}"
    assert fake.asked[asks:] == ["/v3/projects?domain_id=e5&enabled=true"]


@pytest.mark.parametrize(
    ("domain", "words"),
    [("Enginering", "did you mean 'Engineering'?"), ("a/b\x1b", "known: D, Default, Engineering")],
)
async def test_an_unknown_domain_is_reported_with_similar_ones(
    directory: KeystoneDirectory, domain: str, words: str
) -> None:
    """It is a problem of the plan."""
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        await directory.projects(ProjectSelector(domain=domain))
    assert message_of(error)


async def test_pages_are_followed_on_the_same_host(directory: KeystoneDirectory, fake: FakeDirectory) -> None:
    """Only the query of a link is used: a link to another host gets no token."""
    fake.page = 1
    assert await names(directory) == ["dev-1", "dev-2", "dev-3"]
    assert fake.asked == ["/v3/projects?enabled=true"] + [f"/v3/projects?enabled=true&marker={n}" for n in (1, 2)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"projects": [], "links": {"next": "http://x/v3/projects?enabled=true"}}, "never ends"),
        ({"projects": [project("a")], "links": {}, "truncated": True}, "truncates its list at /projects after 1"),
        ({"projects": None}, "unexpected answer"),
        ({"projects": ["a"]}, "unexpected answer"),
        ({"projects": [{"id": "../x", "name": "a"}]}, "usable ID"),
        ([], "unexpected answer"),
    ],
)
async def test_an_invalid_or_incomplete_list_is_refused(
    directory: KeystoneDirectory, fake: FakeDirectory, answer: object, words: str
) -> None:
    """Half a list would make members of the other half look superfluous."""
    fake.answers = [web.json_response(answer)]
    with pytest.raises(DirectoryError, match=words) as error:
        await directory.projects(ProjectSelector())
    assert message_of(error)


async def test_without_permission_the_users_own_projects_are_listed(
    directory: KeystoneDirectory, fake: FakeDirectory
) -> None:
    """They are filtered by the client, because that list has no filters."""
    fake.own = ["dev-1", "ops", "dev-3"]
    assert await names(directory) == ["dev-1", "dev-3"]
    assert await names(directory, name="dev-1", tags=frozenset({"gold"}), parent=TEAM) == ["dev-1"]
    assert await names(directory, domain="e5") == ["dev-3"]
    assert await names(directory, domain="D") == await names(directory, domain="d") == []
    with pytest.raises(DirectoryError, match=r"may not look up domain 'Default'.*not authorized") as error:
        await directory.projects(ProjectSelector(domain="Default"))
    assert message_of(error)


async def test_without_any_permission_the_refusal_is_reported(
    directory: KeystoneDirectory, fake: FakeDirectory
) -> None:
    """The message is the identity service's."""
    fake.answers = [refusal(403, "no identity:list_projects"), refusal(403, "no")]
    with pytest.raises(DirectoryError, match=r"may not list projects: no identity:list_projects") as error:
        await directory.projects(ProjectSelector())
    assert message_of(error)


async def known(directory: KeystoneDirectory, ids: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return which IDs are projects, and which could not be checked; nothing but a refusal has a reason."""
    found = await directory.known(ids)
    assert bool(found.reason) == bool(found.unchecked)
    assert found.known <= found.names.keys()
    return found.known, found.unchecked


async def test_known_projects(directory: KeystoneDirectory, fake: FakeDirectory) -> None:
    """Each is looked up; a domain is not a project, case counts, and an impossible ID is not looked up."""
    asked = {"id-ops", "id-dev-1", "nobody", "ID-ops", "id-domain", "..", "a/b", "", "a b", "x" * 65}
    assert await known(directory, asked) == (frozenset({"id-ops", "id-dev-1"}), frozenset())
    assert sorted(fake.asked) == [
        f"/v3/projects/{each}" for each in ("ID-ops", "id-dev-1", "id-domain", "id-ops", "nobody")
    ]
    assert await known(directory, []) == (frozenset(), frozenset())


async def test_many_projects_are_known_by_one_list(directory: KeystoneDirectory, fake: FakeDirectory) -> None:
    """Missing ones are looked up: some clouds list less than can be read."""
    many = {each["id"] for each in PROJECTS} | {f"nobody-{number}" for number in range(60)}
    assert await known(directory, many) == (frozenset(each["id"] for each in PROJECTS), frozenset())
    assert fake.asked[0] == "/v3/projects"
    assert len(fake.asked) == 61
    fake.asked.clear()
    fake.answers = [refusal(403, "no list")]
    assert await known(directory, many) == (frozenset(each["id"] for each in PROJECTS), frozenset())
    assert len(fake.asked) == 65


async def test_a_disabled_project_gives_no_token(directory: KeystoneDirectory, fake: FakeDirectory) -> None:
    """Keystone lists it among the user's own all the same."""
    fake.own = ["dev-1", "ops"]
    assert await directory.own() == {"id-dev-1"}


async def test_a_user_who_may_not_look_up_projects_knows_their_own(
    directory: KeystoneDirectory, fake: FakeDirectory
) -> None:
    """The rest are unchecked; 50 refusals are enough, however many IDs there are."""
    fake.own = ["ops"]
    many = {"id-ops", *(f"id-{number}" for number in range(1000))}
    found = await directory.known(many)
    assert found.known == {"id-ops"}
    assert found.unchecked == many - {"id-ops"}
    assert found.reason.startswith("may not look up projects: not authorized")
    assert len(fake.asked) < 100
    fake.asked.clear()
    found = await directory.known(["id-ops", "nobody"])
    assert found[:2] == (frozenset({"id-ops"}), frozenset({"nobody"}))


async def test_an_id_that_may_not_be_read_leaves_the_rest_checked(
    directory: KeystoneDirectory, fake: FakeDirectory
) -> None:
    """It alone is unchecked, also if the service does not list the user's own projects."""
    fake.forbidden = {"id-dev-3", "x"}
    found = await directory.known(["id-ops", "id-dev-3", "nobody", "x"])
    assert found[:2] == (frozenset({"id-ops"}), frozenset({"id-dev-3", "x"}))


async def test_what_a_truncated_list_lacks_is_looked_up(directory: KeystoneDirectory, fake: FakeDirectory) -> None:
    """Keystone's list_limit says so in the list."""
    fake.answers = [web.json_response({"projects": PROJECTS[:1], "links": {"next": None}, "truncated": True})]
    many = {each["id"] for each in PROJECTS} | {f"nobody-{number}" for number in range(60)}
    assert await known(directory, many) == (frozenset(each["id"] for each in PROJECTS), frozenset())
    assert len(fake.asked) == 64


async def test_a_large_list_that_is_truncated_leaves_the_rest_unchecked(
    directory: KeystoneDirectory, fake: FakeDirectory
) -> None:
    """A thousand are looked up one by one, in some seconds; 100,000 would take an hour."""
    fake.answers = [web.json_response({"projects": PROJECTS[:1], "links": {"next": None}, "truncated": True})]
    many = [f"id-{number:05}" for number in range(1500)]
    found = await directory.known([PROJECTS[0]["id"], *many])
    assert found.known == {PROJECTS[0]["id"]}
    assert found.unchecked == set(many[1000:])
    assert found.reason == "the identity service does not list them, and no more than 1,000 are looked up one by one"


async def test_names_come_with_the_projects(directory: KeystoneDirectory, fake: FakeDirectory) -> None:
    """From the list they are those of all projects, otherwise of the ones that were looked up, or of the user's own."""
    assert (await directory.known(["id-ops", "nobody"])).names == {"id-ops": "ops"}
    many = [f"nobody-{number}" for number in range(60)]
    assert (await directory.known(many)).names == {each["id"]: each["name"] for each in PROJECTS}
    fake.own, fake.forbidden = ["ops"], {"id-ops"}
    assert (await directory.known(["id-ops"])).names == {"id-ops": "ops"}


async def test_a_refused_token_is_renewed_once(directory: KeystoneDirectory, fake: FakeDirectory) -> None:
    """Once for all requests of a call."""
    fake.answers = [refusal(401, "expired")]
    assert await names(directory, name="ops", enabled=False) == ["ops"]
    assert fake.tokens == ["token-1", "token-2"]
    fake.answers = [refusal(401, "no token-2"), refusal(401, "no token-3")]
    with pytest.raises(DirectoryError, match=r"refuses the token: no \*\*\*"):
        await directory.projects(ProjectSelector())


@pytest.mark.parametrize(
    "answer",
    [web.Response(status=503), web.Response(text="<html>"), web.Response(status=429, headers={"Retry-After": "0"})],
    ids=["503", "page", "429"],
)
async def test_a_transient_error_is_retried(
    directory: KeystoneDirectory, fake: FakeDirectory, answer: web.Response
) -> None:
    """A read can be repeated."""
    fake.answers = [answer]
    assert await known(directory, ["id-ops"]) == (frozenset({"id-ops"}), frozenset())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (web.Response(status=503), "no answer from the identity service at .* .tried 1 time in 0 s"),
        (web.Response(status=404, text="<html>"), "refuses the request: Not Found"),
        (web.Response(status=302, headers={"Location": "http://x"}), "unexpected answer"),
        (refusal(400, "bad"), "refuses the request: bad"),
    ],
    ids=["503", "404 page", "redirect", "400"],
)
async def test_an_unusable_answer_is_reported(
    keystone: FakeKeystone, fake: FakeDirectory, answer: web.Response, words: str
) -> None:
    """A 404 with an HTML page does not mean that a project is unknown."""
    identity = identity_of(keystone, clock=Clock())
    await identity.token()
    fake.answers = [answer]
    with pytest.raises(DirectoryError, match=words) as error:
        await identity.directory().known(["id-ops"])
    assert message_of(error)


@pytest.mark.parametrize("end", ["", "/", "/v3", "/v3/"])
async def test_the_api_has_the_base_of_auth_url(keystone: FakeKeystone, fake: FakeDirectory, end: str) -> None:
    """Whatever auth_url ends in."""
    auth_url = keystone.url.removesuffix("/v3") + end
    plugin: Callable[..., Any] = identity_of(keystone)._entry.plugin  # type: ignore[assignment]
    identity = CloudIdentity(CloudEntry("x", "password", auth_url, plugin=plugin))  # type: ignore[arg-type]
    await identity.token()
    assert await known(identity.directory(), ["id-ops"]) == (frozenset({"id-ops"}), frozenset())
    assert fake.asked == ["/v3/projects/id-ops"]


async def test_without_an_identity_service_there_is_no_directory() -> None:
    """auth_type admin_token."""
    endpoint = "http://127.0.0.1:1"
    identity = CloudIdentity(CloudEntry("x", "admin_token", "", Token(endpoint, "t"), endpoint_override=endpoint))
    await identity.token()
    with pytest.raises(DirectoryError, match="names no identity service"):
        await identity.directory().known(["p"])
