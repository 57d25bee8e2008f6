"""Log-ins and look-ups at IAM, the identity service of Huawei Cloud and Open Telekom Cloud."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from bulkshare.cloud import CloudIdentity, entry_of, identity_from, read_entry
from bulkshare.cloud import projects as reading
from bulkshare.cloud.catalog import is_iam
from bulkshare.errors import CredentialsRefusedError, DirectoryError, UsageError
from bulkshare.model import Limits, ProjectSelector, RetryPolicy, Settings
from bulkshare.operations.endpoint import open_identity
from bulkshare.operations.listener import SilentListener
from bulkshare.sandbox import Cloud, Dialect, Sandbox
from bulkshare.sandbox.cloud import PASSWORD
from tests.fake_keystone import FakeKeystone, identity_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from bulkshare.cloud import KeyIdentity
    from bulkshare.cloud.projects import KeystoneDirectory
    from bulkshare.sandbox.cloud import Project

IAM = "https://iam.eu-de.otc.t-systems.com/v3"
pytestmark = pytest.mark.usefixtures("own_configuration")


@asynccontextmanager
async def otc() -> AsyncIterator[tuple[Sandbox, Project]]:
    """Serve a cloud on which ann, who is no admin, has a role in the project that is named as its region."""
    cloud = Cloud()
    project = cloud.add_project("eu-de")
    cloud.add_project("eu-de", domain=cloud.add_domain("another account"))
    cloud.add_user("ann", {project.id: "member"})
    async with Sandbox(cloud, dialect=Dialect.OTC) as sandbox:
        yield sandbox, project


def auth(sandbox: Sandbox, **more: object) -> dict[str, Any]:
    """Return the `auth` of ann's entry in clouds.yaml; None leaves a key out."""
    names = {"username": "ann", "password": PASSWORD, "user_domain_name": "Default", "project_name": "eu-de"}
    given = {"auth_url": sandbox.auth_url, **names, **more}
    return {key: value for key, value in given.items() if value is not None}


def identity() -> CloudIdentity:
    """Return the identity of the cloud `x` in clouds.yaml."""
    found = identity_from(read_entry("x", None), give_up_after_seconds=0.0)
    assert isinstance(found, CloudIdentity)
    return found


# Log-in


async def test_a_project_without_its_domain(write: Any) -> None:
    """It is one of the user's own account, whatever other accounts have; its name is usually the region's."""
    async with otc() as (sandbox, project):
        write({"x": {"auth": auth(sandbox)}})
        who = identity()
        assert await who.token()
        assert (who.account.project_id, who.account.endpoint) == (project.id, sandbox.endpoint)


async def test_the_sandboxs_own_entry(write: Any) -> None:
    """What `bulkshare sandbox --dialect otc` prints has no domain of the project, and works."""
    async with otc() as (sandbox, _):
        assert "project_domain_name" not in sandbox.entry()["auth"]
        write({"x": sandbox.entry()})
        who = identity()
        assert await who.token()
        assert who.account.project_id == sandbox.cloud.admin_project.id


async def test_the_vendor_profile(write: Any) -> None:
    """The SDK's profile has the address of each region; region and project may have one name."""
    names = {"username": "ann", "password": PASSWORD, "user_domain_name": "OTC-EU-DE-1", "project_name": "eu-de"}
    write({"x": {"profile": "otc", "region_name": "eu-de", "auth": names}})
    entry = read_entry("x", None)
    assert entry.auth_url == "https://iam.eu-de.otc.t-systems.com/v3"
    assert is_iam(entry.auth_url)


async def test_there_are_no_application_credentials(write: Any) -> None:
    """The sandbox has none to give; see also the advice below."""
    async with otc() as (sandbox, project):
        cloud = sandbox.cloud
        made = cloud.add_application_credential("night", cloud.admin, project, "s3cret")
        options = {"application_credential_id": made.id, "application_credential_secret": "s3cret"}
        more = {"auth_url": sandbox.auth_url, **options}
        write({"x": {"auth_type": "v3applicationcredential", "auth": more}})
        with pytest.raises(CredentialsRefusedError):
            await identity().token()


# Look-ups


@asynccontextmanager
async def directory(write: Any, **more: object) -> AsyncIterator[tuple[Sandbox, KeystoneDirectory]]:
    """Log in at a cloud with seven projects of our own account and some of others."""
    async with otc() as (sandbox, _):
        for number in range(5):
            sandbox.cloud.add_project(f"eu-de_{number}", tags=("golden",))
        for number in range(3):
            sandbox.cloud.add_project(f"theirs-{number}", domain=sandbox.cloud.add_domain("another account"))
        write({"x": {"auth": auth(sandbox, **more)}})
        who = identity()
        await who.token()
        yield sandbox, who.directory()


ADMIN = {"username": "admin", "project_name": "admin"}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 5000])
async def test_every_page_of_the_list_is_read(write: Any, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Whether the last one is full or not; there are no links."""
    monkeypatch.setattr(reading, "PER_PAGE", size)
    async with directory(write, **ADMIN) as (sandbox, found):
        selected = await found.projects(ProjectSelector(name="*"))
        assert len({project.id for project in selected}) == len(selected) == 7
        assert sandbox.requests["GET projects"] == 7 // size + 1 + (7 % size > 0)


async def test_another_accounts_projects_are_unchecked(write: Any) -> None:
    """They may well exist. The image service decides, and none of them is looked up."""
    async with directory(write, **ADMIN) as (sandbox, found):
        theirs = {each.id for each in sandbox.cloud.projects.values() if each.name.startswith("theirs")}
        ours = {each.id for each in sandbox.cloud.projects.values() if each.name.startswith("eu-de_")}
        known = await found.known(theirs | ours | {"f" * 32})
        assert [known.known, known.unchecked] == [ours, theirs | {"f" * 32}]
        assert "our own account only" in known.reason
        assert sandbox.requests["GET projects"] == 2


async def test_a_user_who_may_not_list_projects(write: Any) -> None:
    """The user's own projects are known then."""
    async with directory(write) as (sandbox, found):
        own = next(each.id for each in sandbox.cloud.projects.values() if each.name == "eu-de")
        known = await found.known({own, "f" * 32})
        assert [known.known, known.unchecked] == [{own}, {"f" * 32}]
        assert [each.name for each in await found.named("eu-de")] == ["eu-de"]


async def test_projects_have_no_tags(write: Any) -> None:
    """A selector that nothing could match is refused with the reason, and so is one that would select too much."""
    async with directory(write, **ADMIN) as (sandbox, found):
        with pytest.raises(UsageError, match=r"by tag \(golden\): this cloud's projects have no tags"):
            await found.projects(ProjectSelector(tags=frozenset({"golden"})))
        assert not sandbox.requests["GET projects"]


async def test_a_domain_is_an_account(write: Any) -> None:
    """Our own has a name; another one's projects can't be selected."""
    async with directory(write, **ADMIN) as (_, found):
        selected = await found.projects(ProjectSelector(domain="Default", name="eu-de_*"))
        assert len(selected) == 7, "a glob is applied later"
        with pytest.raises(UsageError, match=r"'another account' is not our own account \(Default\).*list their IDs"):
            await found.projects(ProjectSelector(domain="another account"))


def pages(answer: Callable[[int, int], web.Response]) -> Callable[[web.BaseRequest], web.Response]:
    """Answer lists of projects by page and size."""

    def read(request: web.BaseRequest) -> web.Response:
        query = dict(parse_qsl(request.query_string))
        return answer(int(query["page"]), int(query["per_page"]))

    return read


def listed(names: list[str], link: str | None = None) -> web.Response:
    """Return a page."""
    return web.json_response({"projects": [{"id": name, "name": name} for name in names], "links": {"next": link}})


NAMES = [f"p{number}" for number in range(10)]
SERVICES = {
    "caps the size": lambda page, size: listed(NAMES[(page - 1) * min(size, 3) :][: min(size, 3)]),
    "ignores pages": lambda _, __: listed(NAMES),
    "links": lambda page, size: listed(
        NAMES[(page - 1) * 4 :][:4], f"http://x/v3/projects?page={page + 1}&per_page={size}" if page < 3 else None
    ),
    "links in a circle": lambda page, size: listed(
        NAMES[(page - 1) * 5 :][:5], f"/v3/projects?page={page % 2 + 1}&per_page={size}"
    ),
    "overlaps": lambda page, size: listed(NAMES[max((page - 1) * 4 - 1, 0) :][: min(size, 4)]),
    "has no such page: 404": lambda page, size: listed(NAMES) if page * size == 5000 else refusal(404),
    "has no such page: 400": lambda page, size: listed(NAMES) if page * size == 5000 else refusal(400),
}


def refusal(status: int) -> web.Response:
    """Return a refusal in Keystone's words."""
    return web.json_response({"error": {"code": status, "message": "no"}}, status=status)


async def all_of(keystone: FakeKeystone) -> list[str]:
    """Return the names of all projects that IAM lists."""
    who = identity_of(keystone)
    await who.token()
    found = who.directory()
    found._is_iam = True  # the fake's host and catalog don't say so
    return [project.name for project in await found.projects(ProjectSelector())]


@pytest.mark.parametrize("service", SERVICES)
async def test_no_page_is_lost_or_read_forever(keystone: FakeKeystone, service: str) -> None:
    """Whatever a service makes of numbers, sizes and links, each project is read once."""
    keystone.reads = pages(SERVICES[service])
    assert await all_of(keystone) == NAMES


@pytest.mark.parametrize("status", [400, 404])
async def test_a_refused_page_after_a_full_one(keystone: FakeKeystone, status: int) -> None:
    """There may be more, so the list is not taken for whole."""
    full = [f"p{number}" for number in range(reading.PER_PAGE)]
    keystone.reads = pages(lambda page, _: listed(full) if page == 1 else refusal(status))
    with pytest.raises(DirectoryError):
        await all_of(keystone)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://iam.eu-de.otc.t-systems.com/v3", True),
        ("https://iam.eu-west-101.myhuaweicloud.com:443/v3", True),
        ("https://keystone.example.com/v3", False),
        ("https://iamgroot.example.com/v3", False),
        ("http://127.0.0.1/iam.x/v3", False),
        ("", False),
    ],
)
def test_which_identity_service_is_iam(url: str, *, expected: bool) -> None:
    """By its host; the catalog of a token tells as well, as the tests above show."""
    assert is_iam(url) is expected


# A second factor


MULTIFACTOR: dict[str, Any] = {"auth_type": "v3multifactor", "auth_methods": ["v3password", "v3totp"]}


class Watched(SilentListener):
    """A listener with a person at the terminal."""

    is_watched = True


@asynccontextmanager
async def second_factor(*passcodes: str) -> AsyncIterator[tuple[Sandbox, dict[str, Any]]]:
    """Serve a cloud on which ann has a second factor; yield it with the `auth` of her entry."""
    async with otc() as (sandbox, project):
        ann = next(user for user in sandbox.cloud.users.values() if user.name == "ann")
        ann.passcodes = set(passcodes)
        names = {"username": None, "user_domain_name": None, "user_id": ann.id, "project_name": None}
        yield sandbox, auth(sandbox, **names, project_id=project.id)


def opened(listener: SilentListener | None) -> AbstractAsyncContextManager[CloudIdentity | KeyIdentity]:
    """Log in to the cloud `x`, as a command does."""
    settings = Settings(cloud="x", region=None, sandbox=False, limits=Limits(), retry=RetryPolicy())
    return open_identity(settings, listener=listener, give_up_after_seconds=0.0)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("by_variable", [True, False])
async def test_a_person_logs_in_with_a_passcode(
    write: Any,
    monkeypatch: pytest.MonkeyPatch,
    beside: bool,  # noqa: FBT001  a table
    by_variable: bool,  # noqa: FBT001  a table
) -> None:
    """The passcode, which is another one each time, may be in a variable, also for an entry with a name."""
    async with second_factor("123456") as (sandbox, names):
        entry = {"auth_type": MULTIFACTOR["auth_type"], "auth": names}
        if by_variable:
            monkeypatch.setenv("OS_PASSCODE", "123456")
        else:
            names["passcode"] = 123456
        if beside:
            entry["auth_methods"] = MULTIFACTOR["auth_methods"]
        else:
            names["auth_methods"] = "v3password, v3totp"
        write({"x": entry})
        async with opened(Watched()) as who:
            assert await who.token() in sandbox.cloud.tokens
            assert "123456" in who.entry.secrets


@pytest.mark.parametrize("listener", [None, SilentListener()])
async def test_no_passcode_for_an_unattended_run(write: Any, listener: SilentListener | None) -> None:
    """The passcode isn't used up. The advice is true for the kind of cloud."""
    async with second_factor("123456") as (sandbox, names):
        write({"x": {**MULTIFACTOR, "auth": {**names, "passcode": "123456"}}})
        with pytest.raises(UsageError, match=r"second factor.*needs a person.*use an application credential"):
            async with opened(listener):
                pass
        assert not sandbox.requests["POST tokens"]
    write({"x": {**MULTIFACTOR, "auth": {**names, "auth_url": IAM, "passcode": "123456"}}})
    with pytest.raises(UsageError, match="use an access key, or a user without a second factor"):
        async with opened(listener):
            pass


@pytest.mark.parametrize("auth_type", ["v3totp", "v3multifactor"])
def test_a_missing_passcode(write: Any, auth_type: str) -> None:
    """Where to put it is said."""
    names = {"auth_url": IAM, "user_id": "u", "password": "p", "project_id": "q"}
    if auth_type == "v3totp":
        del names["password"]
    write({"x": {**MULTIFACTOR, "auth_type": auth_type, "auth": names}})
    with pytest.raises(UsageError, match="second factor; set OS_PASSCODE"):
        read_entry("x", None)


async def test_the_token_is_renewed_with_itself(write: Any) -> None:
    """The passcode was valid once. The token is exchanged while it is valid; after that a person is needed."""
    async with second_factor("123456") as (sandbox, names):
        write({"x": {**MULTIFACTOR, "auth": {**names, "passcode": "123456"}}})
        async with opened(Watched()) as who:
            first = await who.token()
            second = await who.renew(first)
            assert second != first
            assert sandbox.cloud.tokens[second].methods == ("password", "token")
            sandbox.cloud.revoke_tokens()
            with pytest.raises(CredentialsRefusedError, match="run the same command with a new one"):
                await who.renew(second)


# Agencies


async def test_an_agency_needs_a_package(write: Any) -> None:
    """Which one is said; see the contract tests for a log-in with it."""
    options = {"username": "ann", "password": PASSWORD, "user_domain_name": "D", "target_agency_name": "sharing"}
    more = {"auth_url": IAM, **options}
    write({"x": {"auth_type": "agency", "auth": more}})
    with pytest.raises(UsageError, match=r"cloud x: auth_type agency comes with the package otcextensions; install"):
        read_entry("x", None)
    with pytest.raises(UsageError, match=r"cloud x: auth_type agency comes with the package otcextensions"):
        entry_of({"name": "x", "auth_type": "agency", "auth_url": "", "auth": more})


@pytest.mark.parametrize("auth_type", ["password", "v3applicationcredential"])
def test_no_advice_about_application_credentials(write: Any, auth_type: str) -> None:
    """They don't exist there."""
    options = {"application_credential_id": "i", "application_credential_secret": "s3cret"}
    write({"x": {"profile": "otc", "region_name": "eu-de", "auth_type": auth_type, "auth": options}})
    with pytest.raises(UsageError, match="has no application credentials; use an access key") as error:
        read_entry("x", None)
    assert "s3cret" not in str(error.value)
