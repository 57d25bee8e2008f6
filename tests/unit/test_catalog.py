from __future__ import annotations

import pytest
from aiohttp import web
from keystoneauth1.identity.v3 import Password

from bulkshare.cloud import CloudEntry
from bulkshare.cloud.catalog import checked_endpoint, connection_to
from bulkshare.errors import CredentialsRefusedError, EndpointRefusedError, UsageError
from tests.fake_keystone import GLANCE, REFUSED, FakeKeystone, identity_of, message_of

pytestmark = pytest.mark.usefixtures("own_configuration")


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
    assert message_of(error)


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


async def test_a_mistyped_interface_is_shown_with_those_there_are(keystone: FakeKeystone) -> None:
    """As a region is."""
    with pytest.raises(UsageError) as error:
        await identity_of(keystone, interface="pubic\r").token()
    assert message_of(error) == r"no interface 'pubic\r' has an image service; known: public"


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("hush-hush\r", r"; `password` contains \r"),
        ("hush\u200bhush\x1b", r"; `password` contains \u200b \x1b"),
        ("hush-hush ", "; `password` begins or ends with a space"),
        ("hush hush", ""),
    ],
)
async def test_a_refusal_names_invisible_characters(keystone: FakeKeystone, value: str, hint: str) -> None:
    """The option is named, and the character; its value is not."""
    keystone.answers = [web.json_response(REFUSED, status=401)]
    with pytest.raises(CredentialsRefusedError) as error:
        await identity_of(keystone, auth={"username": "ann", "password": value}).token()
    assert message_of(error).endswith(f"requires authentication. (HTTP 401){hint}")
