from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from bulkshare.cloud import CloudIdentity, clouds_yaml
from bulkshare.cloud.clouds_yaml import read_files
from bulkshare.cloud.config import read_entry
from bulkshare.errors import CredentialsRefusedError, UsageError
from bulkshare.model import Account
from tests.fake_keystone import GLANCE, REFUSED, FakeKeystone, auth, message_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_configuration")


async def test_a_named_entry_is_not_touched_by_stray_variables(
    keystone: FakeKeystone, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OS_* variables of another shell session must not run the plan under another account."""
    write({"prod": {"auth": auth(keystone.url), "region_name": "eu-de"}})
    for name in ("USERNAME", "PASSWORD", "PROJECT_NAME", "AUTH_URL", "REGION_NAME", "TOKEN", "AUTH_TYPE", "CLOUD"):
        monkeypatch.setenv(f"OS_{name}", "stray")
    identity = CloudIdentity(read_entry("prod", None))
    assert await identity.token() == "token-1"
    assert identity.account == Account("prod", "eu-de", GLANCE, "ann", "demo", "p1")
    sent = keystone.bodies[0]["auth"]
    assert sent["identity"]["password"]["user"]["name"] == "ann"
    assert sent["scope"]["project"]["name"] == "demo"


async def test_the_environment_is_an_account(keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cloud name the OS_* variables give the account."""
    for name, value in auth(keystone.url).items():
        monkeypatch.setenv(f"OS_{name.upper()}", value)
    monkeypatch.setenv("OS_REGION_NAME", "nowhere")
    identity = CloudIdentity(read_entry(None, "eu-de"))
    await identity.token()
    assert identity.account == Account("environment", "eu-de", GLANCE, "ann", "demo", "p1")


@pytest.mark.parametrize("user", ["username", "user_id"])
async def test_a_refused_login_says_whose_it_is_and_where_that_is_written(
    keystone: FakeKeystone, write: Any, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User, project and files, or the variables; never the password."""
    options = {key: value for key, value in auth(keystone.url).items() if key not in {"username", "password"}}
    path = write({"prod": {"auth": {**options, user: "ann"}}})
    secure = write({"prod": {"auth": {"password": "hush-hush"}}}, "secure.yaml")
    for name, value in {**options, user: "bob", "password": "hush-hush"}.items():
        monkeypatch.setenv(f"OS_{name.upper()}", str(value))
    for cloud, who in (
        ("prod", f"of user ann for project demo (from {path} and {secure})"),
        (None, "of user bob for project demo (from the OS_* variables)"),
    ):
        keystone.answers = [web.json_response(REFUSED, status=401)]
        with pytest.raises(CredentialsRefusedError) as error:
            await CloudIdentity(read_entry(cloud, None)).token()
        assert f"refuses the login {who}: " in message_of(error)
        assert "hush" not in message_of(error)


async def test_a_refused_application_credential_is_named(keystone: FakeKeystone, write: Any) -> None:
    """By its ID, since it stands for user and project."""
    options = {"auth_url": keystone.url, "application_credential_id": "c0ffee", "application_credential_secret": "hush"}
    path = write({"prod": {"auth_type": "v3applicationcredential", "auth": options}})
    keystone.answers = [web.json_response(REFUSED, status=401)]
    with pytest.raises(CredentialsRefusedError) as error:
        await CloudIdentity(read_entry("prod", None)).token()
    assert f"refuses the login with application credential c0ffee (from {path}): " in message_of(error)


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


def test_a_missing_file_is_reported_with_each_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two conventions of openstacksdk lead to the same directory on most Linux systems."""
    monkeypatch.setattr(clouds_yaml, "search_path", lambda: ["/a", "/b", "/b"])
    with pytest.raises(UsageError) as error:
        read_entry("prod", None)
    assert message_of(error) == "there is no cloud 'prod'; no clouds.yaml was found at /a/clouds.yaml, /b/clouds.yaml"


def test_an_unknown_cloud_is_reported_with_the_nearest_name_first(write: Any) -> None:
    """The user sees what there is, and in which file."""
    path = write({"stage": {}, "prod-eu": {}, "alpha": {}})
    with pytest.raises(UsageError) as error:
        read_entry("prod_eu", None)
    known = f"{path} has alpha, prod-eu, stage"
    assert message_of(error) == f"there is no cloud 'prod_eu'; did you mean 'prod-eu'? {known}"
    with pytest.raises(UsageError) as error:
        read_entry("zzz", None)
    assert message_of(error) == f"there is no cloud 'zzz'; {known}"


def test_a_missing_configuration_is_reported_with_the_ways_to_provide_it(tmp_path: Path) -> None:
    """Neither a name nor OS_* variables nor a file."""
    with pytest.raises(UsageError) as error:
        read_entry(None, None)
    for way in ("`cloud:`", "--os-cloud", "OS_CLOUD", "OS_AUTH_URL", str(tmp_path / "clouds.yaml")):
        assert way in message_of(error)


def test_incomplete_variables_are_reported_with_the_missing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """OS_USERNAME alone is not an account."""
    monkeypatch.setenv("OS_USERNAME", "ann")
    with pytest.raises(UsageError, match="no OS_AUTH_URL and no OS_PASSWORD") as error:
        read_entry(None, None)
    assert "--os-cloud" in message_of(error)


def test_a_file_named_by_a_variable_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is not passed over for another."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "elsewhere.yaml"))
    with pytest.raises(UsageError, match=r"OS_CLIENT_CONFIG_FILE names .*elsewhere\.yaml"):
        read_entry("prod", None)


@pytest.mark.parametrize("name", ["clouds.yaml", "secure.yaml"])
@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("clouds:\n\tprod: hush", ":2:1: ", "is not valid YAML: a tab; YAML indents with spaces"),
        ("clouds: {prod: [hush", ":1:21: ", "is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("clouds:\n  password: *hush", ":2:13: ", "is not valid YAML: found undefined alias"),
        (
            "clouds:\n  password: !hush it's",
            ":2:13: ",
            "is not valid YAML: could not determine a constructor for the tag",
        ),
        (
            "clouds:\n  password: @hush",
            ":2:13: ",
            "'@' that cannot start any token; quote a value that begins with such",
        ),
        ("clouds: {a: 'hush", ":1:18: ", "is not valid YAML: found unexpected end of stream"),
        ("clouds: hush\x00", ": ", "is not valid YAML, or contains control characters"),
        ("clouds:\n  a: \udcffhush", ":2:", "is not UTF-8 text"),
    ],
)
def test_a_broken_file_is_reported_with_its_position(
    tmp_path: Path, write: Any, name: str, text: str, place: str, words: str
) -> None:
    """The SDK would skip it and use an incomplete account. The message quotes none of the content."""
    write({"prod": {"auth": auth()}})
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as error:
        read_entry("prod", None)
    assert message_of(error).startswith(f"{path}{place}")
    assert words in message_of(error)


def test_broken_json_is_reported_with_its_position(write: Any) -> None:
    """clouds.json is read if there is no clouds.yaml."""
    path = write('{"clouds":\n hush}', "clouds.json")
    with pytest.raises(UsageError, match=re.escape(f"{path}:2:2: is not valid JSON: Expecting value")):
        read_entry("prod", None)


def test_an_unreadable_file_is_skipped(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the SDK does; it is listed as unreadable."""
    write({"prod": {"auth": auth(password="")}})
    secret = write({"prod": {"auth": {"password": "hush"}}}, "secure.yaml")
    read_bytes = type(secret).read_bytes

    def refuse(path: Path) -> bytes:
        if path == secret:
            raise PermissionError(errno.EACCES, "Permission denied")
        return bytes(read_bytes(path))

    monkeypatch.setattr(type(secret), "read_bytes", refuse)
    files = read_files()
    assert files.unreadable == (str(secret),)
    assert str(tmp_path / "clouds.yaml") in files.places


@pytest.mark.parametrize(
    ("entry", "missing"),
    [
        ({"auth": auth(password="")}, "`password`"),
        ({"auth": auth(password=None, username=None)}, "`username` or `user_id` and no `password`"),
        ({"auth": auth(), "auth_type": "v3applicationcredential"}, "`application_credential_id` or "),
        (
            {"auth": auth(application_credential_id="a"), "auth_type": "v3applicationcredential"},
            "`application_credential_secret`",
        ),
        ({"auth": auth(), "auth_type": "token"}, "`token`"),
        ({"auth": auth(auth_url="")}, "`auth_url`"),
    ],
)
def test_a_missing_option_is_reported_with_its_place(entry: object, missing: str, write: Any) -> None:
    """Without network access; secrets belong in secure.yaml."""
    path = write({"x": entry})
    with pytest.raises(UsageError, match=f"cloud x has no {missing}.* under `auth` in {re.escape(str(path))}") as error:
        read_entry("x", None)
    assert ("secure.yaml, under the same keys" in message_of(error)) == ("`auth_url`" not in missing)


def test_a_secret_beside_auth_counts(write: Any) -> None:
    """The SDK reads it there, too."""
    write({"x": {"auth": auth(password=""), "password": "beside"}})
    assert read_entry("x", None).secrets == ("beside",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "mappings"),
        ({"auth": "hush"}, "mappings"),
        ({"auth": auth("http://ann:hush@127.0.0.1/v3")}, "`auth_url` contains a user"),
        ({"auth": auth("identity.example.org")}, "`auth_url` is not an http"),
        ({"auth": auth("http://[::1/v3")}, "it can't be read"),
        ({"auth": auth("{region}")}, "it can't be read"),
        ({"auth": {"username": "ann"}}, "`auth_url` and no `password`"),
        (
            {"auth": auth("http://127.0.0.1:5000/v2.0/")},
            r"only Identity API v3 is supported; try http://127.0.0.1:5000/v3",
        ),
        ({"auth": auth(), "auth_type": "v2password"}, "v2password uses Identity API v2"),
        ({"auth": auth(password="", application_credential_id="a")}, "set auth_type to v3applicationcredential"),
        ({"auth": auth(), "auth_type": "carrier-pigeon"}, "carrier-pigeon"),
        ({"auth": {"endpoint": GLANCE}, "auth_type": "none"}, "gives no token"),
        ({"auth": auth(), "cacert": "/nowhere/ca.pem"}, "`cacert` of cloud x names /nowhere/ca.pem"),
        ({"auth": auth(), "cert": "/nowhere/me.pem"}, "`cert` of cloud x names /nowhere/me.pem"),
        ({"auth": auth(), "regions": ["eu-nl"]}, "eu-nl"),
        ({"auth": auth(), "profile": "https://127.0.0.1:1/"}, "the profile https://127.0.0.1:1/ can't be fetched"),
        ({"auth": auth(), "api_timeout": "soon"}, "`api_timeout` is 'soon'; it takes a number of seconds"),
        ({"auth": auth(), "api_timeout": "30s"}, "`api_timeout` is '30s'; it takes a number of seconds"),
        ({"auth": auth(), "api_timeout": -1}, "`api_timeout` is '-1'; it takes a number of seconds"),
        ({"auth": auth(), "api_timeout": ".nan"}, "`api_timeout` is '.nan'; it takes a number of seconds"),
        ({"auth": auth(verify=False)}, "`verify` is under `auth`, but belongs beside it"),
        ({"auth": auth(cacert="ca.pem")}, "`cacert` is under `auth`, but belongs beside it"),
        ({"auth": auth(region_name="eu-de")}, "`region_name` is under `auth`, but belongs beside it"),
        ({"auth": auth(image_endpoint_override=GLANCE)}, "`image_endpoint_override` is under `auth`, but belongs"),
        ({"auth": auth(user_domain="Default")}, "takes no `user_domain` under `auth`; did you mean `user_domain_"),
        ({"auth": auth(**{"favourite\r": "hush"})}, r"takes no `favourite\\r` under `auth`$"),
        (
            {"auth": {"auth_url": "http://127.0.0.1:1/v3"}, "auth_type": "v3totp"},
            "second factor; set OS_PASSCODE",
        ),
        ({"auth": auth(password=None), "auth_type": "v3oidcpassword"}, "no `password`"),
        ({"auth": auth(), "auth_type": "v3kerberos"}, r"not installed; see keystoneauth1\[kerberos\]"),
        ({"auth": auth("http://127.0.0.1:5000/v3\r")}, r"is not an http or https URL: http://127.0.0.1:5000/v3\\r"),
    ],
)
def test_a_malformed_entry_is_a_usage_error(entry: object, message: str, write: Any) -> None:
    """The message names the cloud and never contains the password."""
    write({"x": entry})
    with pytest.raises(UsageError, match=message) as error:
        read_entry("x", "eu-de")
    assert "cloud x" in message_of(error)


@pytest.mark.parametrize("text", ["clouds:\n", "- a\n", "clouds: [a]\n"])
def test_a_malformed_file_is_a_usage_error(text: str, write: Any) -> None:
    """A clouds.yaml without a mapping of clouds."""
    write(text)
    with pytest.raises(UsageError, match="cloud"):
        read_entry("x", None)


def test_a_region_of_the_plan_wins(write: Any) -> None:
    """The entry's own region_name doesn't limit the regions; the catalog does."""
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


@pytest.mark.parametrize(
    "text", ["01234567", "0x1234", "12_34", "1:30", "2024-01-01", "1e5", "1.50", "yes", "true", "12"]
)
@pytest.mark.parametrize("place", ["under auth", "beside auth", "secure.yaml", "merged"])
def test_a_password_without_quotes_is_sent_as_it_is_written(write: Any, text: str, place: str) -> None:
    """YAML makes octal numbers, dates, sexagesimal numbers and truth values of them; a login takes text."""
    rest = "auth_url: 'http://127.0.0.1/v3', username: 0777, project_name: 2024-01-01, user_domain_id: default"
    secret = {"under auth": f", password: {text}", "merged": ", <<: *shared"}.get(place, "")
    beside = f", password: {text}" if place == "beside auth" else ""
    write(f"shared: &shared {{password: {text}}}\nclouds: {{x: {{auth: {{{rest}{secret}}}{beside}}}}}\n")
    if place == "secure.yaml":
        write(f"clouds: {{x: {{auth: {{password: {text}}}}}}}\n", "secure.yaml")
    entry = read_entry("x", None)
    assert (entry.auth["password"], entry.auth["username"], entry.auth["project_name"]) == (text, "0777", "2024-01-01")
    assert entry.secrets == (text,)


def test_other_values_stay_what_they_are(write: Any) -> None:
    """Truth values and numbers that are meant as such."""
    write("clouds: {x: {auth: {auth_url: 'http://a/v3', username: u, password: p}, verify: no, api_timeout: 0x10}}\n")
    entry = read_entry("x", None)
    assert (entry.verify, entry.timeout_seconds) == (False, 16.0)


def test_an_unknown_cloud_is_shown_with_its_invisible_characters(write: Any) -> None:
    """A variable from a Windows file ends with a carriage return."""
    write({"prod": {"auth": auth()}})
    with pytest.raises(UsageError) as error:
        read_entry("prod\r", None)
    assert message_of(error).startswith(r"there is no cloud 'prod\r'; did you mean 'prod'?")
