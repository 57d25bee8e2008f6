from __future__ import annotations

import asyncio
import os
import re
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml
from aiohttp import web
from keystoneauth1.identity.v3 import Password
from openstack.config import loader

from bulkshare.errors import BulkshareError, CredentialsRefusedError, EndpointRefusedError, UsageError
from bulkshare.identity import CloudIdentity, Identified
from bulkshare.identity.catalog import checked_endpoint, connection_to
from bulkshare.identity.cloud import UnansweredError
from bulkshare.identity.entry import CloudEntry, read_entry
from bulkshare.model import Account, Fault, FaultKind, Reply, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

GLANCE = "http://127.0.0.1:9292"


@dataclass
class FakeKeystone:
    """An identity service with one user. `answers` are given first, one for each log-in; then it gives tokens."""

    url: str = ""
    answers: list[web.Response] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lifetime_seconds: float = 3600.0
    issued: datetime = datetime(1999, 12, 31, tzinfo=UTC)  # far from our own clock, on purpose
    endpoints: list[tuple[str, str]] = field(default_factory=lambda: [("eu-de", GLANCE + "/v2/")])
    hold: asyncio.Event | None = None  # a log-in waits for it
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Tell the version, or log in."""
        if request.method == "GET":
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": self.url}]}
            return web.json_response({"version": version})
        self.bodies.append(await request.json())
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        return self.answers.pop(0) if self.answers else self.token()

    def token(self) -> web.Response:
        """Give the next token."""
        kind = {"type": "image", "id": "s", "name": "glance"}
        endpoints = [
            {"id": f"e{number}", "interface": "public", "region": region, "region_id": region, "url": url}
            for number, (region, url) in enumerate(self.endpoints)
        ]
        body = {
            "methods": ["password"],
            "user": {"id": "u1", "name": "ann", "domain": {"id": "d", "name": "D"}},
            "project": {"id": "p1", "name": "demo", "domain": {"id": "d", "name": "D"}},
            "roles": [],
            "issued_at": self.issued.isoformat(),
            "expires_at": (self.issued + timedelta(seconds=self.lifetime_seconds)).isoformat(),
            "catalog": [kind | {"endpoints": endpoints}],
        }
        headers = {"X-Subject-Token": f"token-{len(self.bodies)}"}
        return web.json_response({"token": body}, status=201, headers=headers)


@asynccontextmanager
async def served(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve every path with `handler` on a loopback port, and yield its URL."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def keystone() -> AsyncIterator[FakeKeystone]:
    """An identity service on a loopback port."""
    fake = FakeKeystone()
    async with served(fake.handle) as url:
        fake.url = url + "/v3"
        yield fake


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration but the test's own."""
    for name in list(os.environ):
        if name.startswith("OS_") or name.lower().endswith("_proxy") or name.endswith("CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(loader, "CONFIG_FILES", [str(tmp_path / "clouds.yaml"), str(tmp_path / "clouds.json")])
    monkeypatch.setattr(loader, "SECURE_FILES", [str(tmp_path / "secure.yaml")])


def auth(url: str = "http://127.0.0.1:1/v3", **more: object) -> dict[str, Any]:
    """The `auth` of an entry."""
    names = {"username": "ann", "password": "hush-hush", "project_name": "demo"}
    return {"auth_url": url, "user_domain_name": "D", "project_domain_name": "D", **names, **more}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a clouds.yaml (or another file) of these clouds where it is looked for."""

    def write(clouds: object, name: str = "clouds.yaml") -> Path:
        path = tmp_path / name
        path.write_text(clouds if isinstance(clouds, str) else yaml.safe_dump({"clouds": clouds}))
        return path

    return write


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def identity_of(keystone: FakeKeystone, *, clock: Clock | None = None, **entry: Any) -> CloudIdentity:
    """An identity at the fake, which is impatient where it is told the time."""
    password = Password(keystone.url, username="ann", password="hush-hush", project_id="p1")
    fields: dict[str, Any] = {"secrets": ("hush-hush",), "plugin": password, **entry}
    cloud = CloudEntry("fake", "password", keystone.url, **fields)
    return CloudIdentity(cloud, patience_seconds=0.0 if clock else 20.0, backoff_seconds=0.001, clock=clock or Clock())


def said(error: pytest.ExceptionInfo[BulkshareError]) -> str:
    """Return the message, which has to be one clean line without the password."""
    message = str(error.value)
    assert message.isprintable()
    assert "hush" not in message
    return message


# Reading the configuration


async def test_a_named_entry_is_not_touched_by_stray_variables(
    keystone: FakeKeystone, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OS_* variables of another shell session must not make the run somebody else."""
    write({"prod": {"auth": auth(keystone.url), "region_name": "eu-de"}})
    for name in ("USERNAME", "PASSWORD", "PROJECT_NAME", "AUTH_URL", "REGION_NAME", "TOKEN", "AUTH_TYPE", "CLOUD"):
        monkeypatch.setenv(f"OS_{name}", "stray")
    identity = CloudIdentity.from_config(cloud="prod", region=None)
    assert await identity.token() == "token-1"
    assert identity.account == Account("prod", "eu-de", GLANCE, "ann", "demo", "p1")
    sent = keystone.bodies[0]["auth"]
    assert sent["identity"]["password"]["user"]["name"] == "ann"
    assert sent["scope"]["project"]["name"] == "demo"


async def test_the_environment_is_an_account(keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name the OS_* variables say who we are."""
    for name, value in auth(keystone.url).items():
        monkeypatch.setenv(f"OS_{name.upper()}", value)
    monkeypatch.setenv("OS_REGION_NAME", "nowhere")
    identity = CloudIdentity.from_config(cloud=None, region="eu-de")
    await identity.token()
    assert identity.account == Account("environment", "eu-de", GLANCE, "ann", "demo", "p1")


def test_files_named_by_variables_are_read(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """OS_CLIENT_CONFIG_FILE and OS_CLIENT_SECURE_FILE come first, for a named cloud too."""
    write({"prod": {"auth": auth(username="usual")}})
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(write({"prod": {"auth": auth(password="")}}, "mine.yaml")))
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(write({"prod": {"auth": {"password": "safe"}}}, "safe.yaml")))
    entry = read_entry("prod", None)
    assert entry.secrets == ("safe",)
    assert "safe" not in repr(entry)


def test_a_vendor_profile_is_followed(write: Any) -> None:
    """The SDK knows the public clouds; a profile it does not know would leave half of the entry out."""
    write(
        {"t": {"profile": "otc", "auth": {"username": "u", "password": "p"}}, "x": {"profile": "otcc", "auth": auth()}}
    )
    assert read_entry("t", None).auth_url.startswith("https://iam.")
    with pytest.raises(UsageError, match="otcc"):
        read_entry("x", None)


def test_an_unknown_cloud_is_told_with_the_nearest_first(write: Any) -> None:
    """The user sees what there is, and in which file."""
    path = write({"alpha": {}, "prod-eu": {}, "stage": {}})
    with pytest.raises(UsageError) as error:
        read_entry("prod_eu", None)
    assert said(error) == f"there is no cloud 'prod_eu'; {path} has prod-eu, alpha, stage"


def test_nothing_configured_is_told_with_the_ways_to_do_it(tmp_path: Path) -> None:
    """Neither a name nor OS_* variables nor a file."""
    with pytest.raises(UsageError) as error:
        read_entry(None, None)
    for way in ("`cloud:`", "--os-cloud", "OS_CLOUD", "OS_AUTH_URL", str(tmp_path / "clouds.yaml")):
        assert way in said(error)


def test_half_of_the_variables_are_told_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """OS_USERNAME alone is no account."""
    monkeypatch.setenv("OS_USERNAME", "ann")
    with pytest.raises(UsageError, match="auth_url") as error:
        read_entry(None, None)
    assert "--os-cloud" in said(error)


def test_a_file_that_can_not_be_read_is_told(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The SDK passes over a broken file, which then lacks; one named by a variable has to be there."""
    broken = write("clouds: {prod: [hush")
    with pytest.raises(UsageError, match=f"passed over.*{re.escape(str(broken))}") as error:
        read_entry("prod", None)
    assert said(error)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "elsewhere.yaml"))
    with pytest.raises(UsageError, match=r"OS_CLIENT_CONFIG_FILE names .*elsewhere\.yaml"):
        read_entry("prod", None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "mappings"),
        ({"auth": "hush"}, "mappings"),
        ({"auth": auth("http://ann:hush@127.0.0.1/v3")}, "`auth_url` has a user"),
        ({"auth": auth("identity.example.org")}, "`auth_url` is no http"),
        ({"auth": auth("http://[::1/v3")}, "make sense"),
        ({"auth": auth("{region}")}, "make sense"),
        ({"auth": {"username": "ann"}}, "auth_url"),
        ({"auth": auth(), "auth_type": "carrier-pigeon"}, "carrier-pigeon"),
        ({"auth": {"endpoint": GLANCE}, "auth_type": "none"}, "gives no token"),
        ({"auth": auth(), "cacert": "/nowhere/ca.pem"}, "`cacert` of cloud x names /nowhere/ca.pem"),
        ({"auth": auth(), "cert": "/nowhere/me.pem"}, "`cert` of cloud x names /nowhere/me.pem"),
        ({"auth": auth(), "regions": ["eu-nl"]}, "eu-nl"),
        ({"auth": auth(), "api_timeout": "soon"}, "make sense"),
    ],
)
def test_a_malformed_entry_is_the_users_to_mend(entry: object, message: str, write: Any) -> None:
    """Whatever stands in the file, the message says which cloud, and never the password."""
    write({"x": entry})
    with pytest.raises(UsageError, match=message) as error:
        read_entry("x", "eu-de")
    assert "cloud x" in said(error)


@pytest.mark.parametrize("text", ["clouds:\n", "- a\n", "clouds: [a]\n"])
def test_a_malformed_file_is_the_users_to_mend(text: str, write: Any) -> None:
    """A clouds.yaml without a mapping of clouds."""
    write(text)
    with pytest.raises(UsageError, match="cloud"):
        read_entry("x", None)


def test_a_region_of_the_plan_wins(write: Any) -> None:
    """The entry's own region_name is no list of what is allowed; the catalog is."""
    write({"x": {"auth": auth(), "region_name": "eu-de"}, "y": {"auth": auth(), "regions": ["eu-de", "eu-nl"]}})
    assert read_entry("x", None).region == "eu-de"
    assert read_entry("x", "eu-nl").region == read_entry("y", "eu-nl").region == "eu-nl"


def test_tls_settings(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`verify`, `insecure`, `cacert`, `cert` and `key` mean what they mean to `requests`."""
    for name in ("ca", "cert", "key", "bundle"):
        (tmp_path / f"{name}.pem").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    write(
        {
            "plain": {"auth": auth()},
            "mine": {"auth": auth(), "cacert": "~/ca.pem", "cert": "~/cert.pem", "key": "~/key.pem"},
            "off": {"auth": auth(), "verify": False, "cacert": "~/ca.pem"},
            "off-word": {"auth": auth(), "verify": "False"},
            "insecure": {"auth": auth(), "insecure": True},
            "path": {"auth": auth(), "verify": "~/ca.pem"},
        }
    )
    mine = read_entry("mine", None)
    assert (mine.verify, mine.cacert) == (True, str(tmp_path / "ca.pem"))
    assert (mine.cert, mine.key) == (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    for name in ("off", "off-word", "insecure"):
        entry = read_entry(name, None)
        assert (entry.verify, entry.cacert) == (False, None)
    assert read_entry("path", None).cacert == str(tmp_path / "ca.pem")
    assert read_entry("plain", None).cacert is not None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    assert read_entry("plain", None).cacert == str(tmp_path / "bundle.pem")


# Finding the endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://ims.eu-de.otc.t-systems.com", "https://ims.eu-de.otc.t-systems.com"),
        ("https://ims.eu-de.otc.t-systems.com/v2", "https://ims.eu-de.otc.t-systems.com"),
        ("https://cloud.example.org:9292/image/v2.15/", "https://cloud.example.org:9292/image"),
        ("http://[::1]:9292//", "http://[::1]:9292"),
        ("http://v2.example.org/v2images", "http://v2.example.org/v2images"),
    ],
)
def test_an_endpoint_loses_its_version(url: str, endpoint: str) -> None:
    """Paths begin with /v2, whether the catalog's URL ends with it or not."""
    assert checked_endpoint(url) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hush@example.org/v2",
        "https://hush@example.org",
        "ftp://example.org",
        "https:///v2",
        "//example.org",
        "https://example.org:99999",
        "https://example.org/?a=b",
        "https://example.org/#a",
        "https://example.org/\x1b[2J",
        "https://me:hush@exam ple.org",
        "https://me:hush@[::1",
        "",
    ],
)
def test_an_unsafe_endpoint_is_refused(url: str) -> None:
    """What is no plain http or https URL gets no token, and a password in it is not shown."""
    with pytest.raises(EndpointRefusedError) as error:
        checked_endpoint(url)
    assert said(error)


async def test_regions(keystone: FakeKeystone) -> None:
    """The region picks the endpoint; where it has to be named, and isn't or is another, the message has them all."""
    keystone.endpoints = [("eu-nl", "http://nl.example.org"), ("eu-de", "http://de.example.org/v2")]
    identity = identity_of(keystone, region="eu-de")
    await identity.token()
    assert (identity.account.region, identity.account.endpoint) == ("eu-de", "http://de.example.org")
    for region in ("", "us-east"):
        with pytest.raises(UsageError, match="eu-de, eu-nl"):
            await identity_of(keystone, region=region).token()


async def test_one_endpoint_in_two_regions_needs_no_region(keystone: FakeKeystone) -> None:
    """There is nothing to choose."""
    keystone.endpoints = [("eu-de", GLANCE), ("eu-nl", GLANCE)]
    identity = identity_of(keystone)
    await identity.token()
    assert identity.account.endpoint == GLANCE


async def test_an_override_wins(keystone: FakeKeystone) -> None:
    """`image_endpoint_override` is taken as it is, without the catalog."""
    keystone.endpoints = []
    identity = identity_of(keystone, endpoint_override="http://localhost:9292/v2", region="eu-de")
    await identity.token()
    assert (identity.account.endpoint, identity.account.region) == ("http://localhost:9292", "eu-de")


async def test_a_catalog_without_images_is_refused(keystone: FakeKeystone) -> None:
    """As after a log-in without a project."""
    keystone.endpoints = []
    with pytest.raises(CredentialsRefusedError, match="scoped to a project"):
        await identity_of(keystone).token()


def test_the_proxy_is_the_one_requests_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, with its exceptions, decided once."""
    entry = CloudEntry("x", "password", "", plugin=Password("http://127.0.0.1:1/v3", "pw"), verify=False)
    monkeypatch.setenv("https_proxy", "me:hush@proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.0/8,.internal")
    connection = connection_to("https://image.example.org", entry)
    assert connection.proxy == "http://me:hush@proxy.example.org:3128"
    assert "hush" not in repr(connection)
    assert not connection.verify
    others = ("https://10.1.2.3", "https://image.internal:9292", "http://image.example.org")
    for endpoint in (*others, "https://127.0.0.1:9292", "https://[::1]", "https://localhost"):
        assert connection_to(endpoint, entry).proxy is None


# Logging in


async def test_no_proxy_on_the_way_to_this_machine(keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox works behind a company's proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    identity = identity_of(keystone)
    await identity.token()
    assert identity.connection.proxy is None


async def test_account_and_connection_are_known_after_the_first_log_in(keystone: FakeKeystone) -> None:
    """Before it, nobody knows."""
    identity = identity_of(keystone)
    for ask in (lambda: identity.account, lambda: identity.connection):
        with pytest.raises(RuntimeError):
            ask()
    await identity.token()
    assert identity.connection.endpoint == identity.account.endpoint == GLANCE


def test_an_identity_may_be_made_before_the_loop_runs(write: Any) -> None:
    """The command reads the configuration first."""
    write({"x": {"auth_type": "admin_token", "auth": {"token": "t", "endpoint": GLANCE}, "image_endpoint": GLANCE}})
    identity = CloudIdentity.from_config(cloud="x", region=None)
    assert asyncio.run(identity.token()) == "t"


async def test_one_log_in_serves_all(keystone: FakeKeystone) -> None:
    """For the first token, and again when it is refused; whoever comes late with an old token gets the new one."""
    identity = identity_of(keystone)
    assert set(await asyncio.gather(*[identity.token() for _ in range(20)])) == {"token-1"}
    assert set(await asyncio.gather(*[identity.renew("token-1") for _ in range(20)])) == {"token-2"}
    assert await identity.renew("token-1") == await identity.token() == "token-2"
    assert len(keystone.bodies) == 2


async def test_nobody_uses_a_refused_token_while_it_is_renewed(keystone: FakeKeystone) -> None:
    """Who asks for a token meanwhile waits for the next one."""
    identity = identity_of(keystone)
    await identity.token()
    keystone.hold = asyncio.Event()
    keystone.arrived.clear()
    renewing = asyncio.create_task(identity.renew("token-1"))
    await keystone.arrived.wait()
    asking = asyncio.create_task(identity.token())
    keystone.hold.set()
    assert await renewing == await asking == "token-2"


@pytest.mark.parametrize(("lifetime", "good", "due"), [(3600.0, 3479.0, 3481.0), (10.0, 7.9, 8.1)])
async def test_a_token_is_renewed_ahead_of_its_end(
    keystone: FakeKeystone, lifetime: float, good: float, due: float
) -> None:
    """Two minutes ahead, or a fifth of a short life; by our clock, but not trusting it to be that of the cloud."""
    keystone.lifetime_seconds = lifetime
    clock = Clock()
    identity = identity_of(keystone, clock=clock)
    await identity.token()
    clock.now += good
    assert await identity.token() == "token-1"
    clock.now += due - good
    assert await identity.token() == "token-2"
    assert len(keystone.bodies) == 2


async def test_the_others_go_on_while_a_good_token_is_renewed(keystone: FakeKeystone) -> None:
    """A slow identity service does not hold up the work."""
    clock = Clock()
    identity = identity_of(keystone, clock=clock)
    await identity.token()
    clock.now += 3500
    keystone.hold = asyncio.Event()
    keystone.arrived.clear()
    renewing = asyncio.create_task(identity.token())
    await keystone.arrived.wait()
    assert await identity.token() == "token-1"
    keystone.hold.set()
    assert await renewing == "token-2"


async def test_a_renewal_without_answer_is_put_off_until_the_token_ends(keystone: FakeKeystone) -> None:
    """The identity service may be down for a while as long as the token is good."""
    clock = Clock()
    identity = identity_of(keystone, clock=clock)
    await identity.token()
    keystone.answers = [web.Response(status=503) for _ in range(3)]
    clock.now += 3500
    assert await identity.token() == await identity.token() == "token-1"
    assert len(keystone.bodies) == 2
    clock.now += 20
    assert await identity.token() == "token-1"
    clock.now += 100
    with pytest.raises(UnansweredError):
        await identity.token()
    assert await identity.token() == "token-5"


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500),
        web.Response(status=503, headers={"Retry-After": "0"}),
        web.Response(status=429),
        web.Response(text="<html>welcome to the hotel"),
        web.json_response({"token": {}}),
        web.json_response([]),
    ],
    ids=["500", "503", "429", "page", "no token", "list"],
)
async def test_a_passing_trouble_is_tried_again(keystone: FakeKeystone, answer: web.Response) -> None:
    """A log-in has no effect, so it may be repeated."""
    keystone.answers = [answer]
    assert await identity_of(keystone).token() == "token-2"


async def test_patience_ends(keystone: FakeKeystone) -> None:
    """Then the message says what was tried, and a later Retry-After is not waited for."""
    keystone.answers = [web.Response(status=500), web.Response(status=503, headers={"Retry-After": "3600"})]
    with pytest.raises(UnansweredError, match=r"tried 2 times in 0 s\): .*503") as error:
        await identity_of(keystone).token()
    assert keystone.url in said(error)


async def test_nobody_there(keystone: FakeKeystone) -> None:
    """Refused connections are passing trouble, in the system's own words."""
    identity = identity_of(replace(keystone, url="http://127.0.0.1:1/v3"), clock=Clock())
    with pytest.raises(UnansweredError, match=r"127\.0\.0\.1:1/v3 \(tried 1 time in 0 s\): Connection refused"):
        await identity.token()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
async def test_a_refused_log_in_is_final(keystone: FakeKeystone, status: int) -> None:
    """It is not repeated, by nobody: that could lock the user out. The message is the cloud's, without the password."""
    error_body = {"error": {"code": status, "message": "\x1b[31m'hush-hush' is not you"}}
    keystone.answers = [web.json_response(error_body, status=status)]
    identity = identity_of(keystone)
    with pytest.raises(CredentialsRefusedError, match=rf"'\*\*\*' is not you .*{status}") as error:
        await identity.token()
    assert said(error)
    with pytest.raises(CredentialsRefusedError, match="is not you"):
        await identity.renew("token-0")
    assert len(keystone.bodies) == 1


async def test_a_token_that_is_no_header_is_refused(keystone: FakeKeystone) -> None:
    """It could not be sent."""
    answer = keystone.token()
    answer.headers["X-Subject-Token"] = "two words"
    keystone.answers = [answer]
    with pytest.raises(CredentialsRefusedError, match="characters"):
        await identity_of(keystone).token()


async def test_a_wrong_auth_url(write: Any) -> None:
    """The version can't be found out; the reason behind that is told."""

    async def handle(_: web.BaseRequest) -> web.Response:
        return web.Response(status=404)

    async with served(handle) as url:
        write({"x": {"auth": auth(url)}})
        with pytest.raises(CredentialsRefusedError, match=r"Not Found .*404"):
            await CloudIdentity.from_config(cloud="x", region=None).token()


async def test_a_token_as_credential_can_not_outlive_itself(keystone: FakeKeystone, write: Any) -> None:
    """auth_type token: it is exchanged for another; once it has ended, the message says what to do."""
    token = {"auth_url": keystone.url, "token": "hush-token", "project_name": "demo", "project_domain_name": "D"}
    write({"x": {"auth_type": "token", "auth": token}})
    identity = CloudIdentity.from_config(cloud="x", region=None)
    assert await identity.token() == "token-1"
    keystone.answers = [web.json_response({"error": {"message": "no such hush-token"}}, status=401)]
    with pytest.raises(CredentialsRefusedError, match="application credential") as error:
        await identity.renew("token-1")
    assert said(error)


async def test_a_fixed_token_and_endpoint(write: Any) -> None:
    """auth_type admin_token has no identity service; a refused token is the end."""
    credentials = {"endpoint": GLANCE, "token": "hush-token"}
    write({"x": {"auth_type": "admin_token", "auth": credentials, "image_endpoint_override": GLANCE}})
    identity = CloudIdentity.from_config(cloud="x", region=None)
    assert await identity.token() == "hush-token"
    assert identity.account == Account("x", "", GLANCE, "unknown", "", "")
    with pytest.raises(CredentialsRefusedError, match="admin_token gets no other") as error:
        await identity.renew("hush-token")
    assert said(error)


async def test_tls_of_the_identity_service(tmp_path: Path) -> None:
    """It is verified with `cacert`; a stranger's certificate and a way back to http are refused."""
    authority = trustme.CA()
    cacert = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(cacert)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    keystone = FakeKeystone(endpoints=[("r", "https://image.example.org")])
    async with served(keystone.handle, tls) as url:
        keystone.url = url + "/v3"
        identity = identity_of(keystone, cacert=cacert)
        await identity.token()
        assert identity.account.endpoint == "https://image.example.org"
        assert identity.connection.cacert == cacert
        with pytest.raises(EndpointRefusedError, match="certificate does not verify"):
            await identity_of(keystone).token()
        keystone.endpoints = [("r", GLANCE)]
        with pytest.raises(EndpointRefusedError, match="readable"):
            await identity_of(keystone, cacert=cacert).token()
        assert await identity_of(keystone, verify=False, endpoint_override=GLANCE).token()
        identity = identity_of(keystone, cacert=cacert, endpoint_override=GLANCE)
        await identity.token()
        assert identity.account.endpoint == GLANCE  # the user's own word


# Putting the token on requests

ADD = Request("POST", "/v2/images/i/members", b"{}")


class FakeIdentity:
    """Gives the tokens t0, t1, ... and counts."""

    account = Account("x", "r", GLANCE, "u", "p", "p")

    def __init__(self) -> None:
        self.renewals = 0

    async def token(self) -> str:
        """Return the current one."""
        return f"t{self.renewals}"

    async def renew(self, refused: str) -> str:
        """Go on to the next one."""
        if refused == f"t{self.renewals}":
            self.renewals += 1
        return f"t{self.renewals}"


class FakeTransport:
    """Gives `replies` in turn, or refuses all tokens but those in `good`."""

    def __init__(self, replies: list[Reply] | None = None, good: str = "") -> None:
        self._replies, self._good = replies, good
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        """Keep the request, and reply."""
        self.sent.append(request)
        await asyncio.sleep(0)
        if self._replies is not None:
            return self._replies.pop(0)
        return Response(200 if request.token == self._good else 401, {}, b"")


async def test_requests_carry_the_token() -> None:
    """And nothing else of them is changed; faults and other refusals pass through."""
    replies: list[Reply] = [Response(403, {}, b""), Fault(FaultKind.LOST, "x")]
    transport = FakeTransport(list(replies))
    identified = Identified(transport, FakeIdentity())
    assert [await identified.send(ADD), await identified.send(ADD)] == replies
    assert transport.sent == [replace(ADD, token="t0")] * 2
    assert "t0" not in repr(transport.sent)


async def test_a_storm_of_401_costs_one_renewal() -> None:
    """Every request of it is sent once more."""
    transport, identity = FakeTransport(good="t1"), FakeIdentity()
    identified = Identified(transport, identity)
    replies = await asyncio.gather(*[identified.send(ADD) for _ in range(50)])
    assert {reply.status for reply in replies if isinstance(reply, Response)} == {200}
    assert identity.renewals == 1
    assert len(transport.sent) == 100


async def test_a_fresh_token_that_is_refused_ends_the_run() -> None:
    """The message is the cloud's, cleaned and without the token."""
    refusal = Response(401, {}, b'{"message": "no t1\\u001b<br/> here", "code": "401 Unauthorized"}')
    identified = Identified(FakeTransport([Response(401, {}, b""), refusal]), FakeIdentity())
    with pytest.raises(CredentialsRefusedError, match=r"just issued: 401: no \*\*\* here") as error:
        await identified.send(ADD)
    assert said(error)


async def test_a_fault_after_a_renewal_is_a_fault() -> None:
    """The second try may end like any request."""
    lost = Fault(FaultKind.LOST, "x")
    identified = Identified(FakeTransport([Response(401, {}, b""), lost]), FakeIdentity())
    assert await identified.send(ADD) == lost
