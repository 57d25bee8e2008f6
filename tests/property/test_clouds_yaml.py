"""openstacksdk is the oracle: what it makes of an entry of clouds.yaml, bulkshare makes of it, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1.loading import get_plugin_loader
from openstack.config import OpenStackConfig, vendors
from openstack.config.defaults import get_defaults

from bulkshare.cloud import clouds_yaml
from bulkshare.cloud.clouds_yaml import entry_of_variables, expanded, read_files, resolved, with_login
from bulkshare.cloud.config import ALIASES

ITS_OWN = (get_defaults().keys() - clouds_yaml.DEFAULTS.keys()) | {"networks"}  # options that are not about images

# Vendors whose profile is a URL would be asked.
VENDORS = sorted(name for name in vendors.profiles() if "profile" not in (vendors.get_profile(name) or {}))
PUBLIC = {"acme": {"auth": {"auth_url": "https://{region_name}.acme.example/v3"}, "regions": ["north", "south"]}}
AUTH_TYPES = [
    *("password", "v3password", "token", "v3token", "v3applicationcredential", "v3totp", "v3oidcpassword"),
    *("v3oidcclientcredentials", "v3oidcaccesstoken", "v3oidcauthcode", "v3multifactor", "admin_token", "http_basic"),
    *("token_endpoint", "none", "", None, "carrier-pigeon"),
]
WORDS = st.sampled_from(
    ["a", "Default", "eu-de", "ünï", "p w", "#!&*", "{x", "{interface}", "%s", "'\"", "0123", "", "a,b"]
)
VALUES = WORDS | st.integers(0, 99) | st.none() | st.sampled_from([1.5, 2.0])
LOG_IN = [
    *("username", "user_name", "user-name", "user_id", "password", "token", "auth_token", "auth-token", "passcode"),
    *("user_domain_id", "user-domain-name", "project_domain_name", "project-domain-id", "domain_id", "domain-name"),
    *("domain_name", "default_domain_id", "default-domain-name", "project_id", "project-name", "project_name"),
    *("tenant_id", "tenant-name", "tenant_name", "system_scope", "trust_id", "application_credential_id"),
    *("application_credential_secret", "application-credential-name", "identity_provider", "protocol", "client_id"),
    *("client_secret", "access_token", "discovery_endpoint", "endpoint", "code"),
]
REGION = st.sampled_from(["eu-de", "eu-nl", "north"])
URL = st.sampled_from(
    ["https://a/v3", "https://{region_name}.example/v3", "https://{auth_type}/{interface}", "{nothing}"]
)
INTERFACE = st.sampled_from(["public", "internal", "admin", ["internal", "public"]])
BESIDE: dict[str, st.SearchStrategy[Any]] = {
    "auth_type": st.sampled_from(AUTH_TYPES),
    "auth-type": st.sampled_from(AUTH_TYPES),
    "auth_plugin": st.sampled_from(AUTH_TYPES),
    "auth_methods": st.sampled_from(["v3password,v3totp", ["v3password"], ["v3password", "v3totp"], "v3token"]),
    "region_name": REGION | st.just("eu-de,eu-nl") | st.just(["eu-nl", "eu-de"]) | st.just(7),
    "image_region_name": REGION,
    **dict.fromkeys(
        ["interface", "endpoint_type", "image_interface", "image-interface", "image_endpoint_type"], INTERFACE
    ),
    **dict.fromkeys(["image_endpoint_override", "image-endpoint-override", "image_endpoint", "endpoint"], URL),
    **dict.fromkeys(["image_service_type", "image_service_name"], WORDS),
    **dict.fromkeys(["api_timeout", "timeout", "image_timeout", "image-timeout"], VALUES),
    **dict.fromkeys(
        ["verify", "insecure"], st.booleans() | st.sampled_from(["True", "false", "no", "/ca"]) | st.none()
    ),
    **dict.fromkeys(["cacert", "cert", "key"], st.sampled_from(["~/x.pem", "/x/{region_name}.pem", None])),
    **dict.fromkeys(["identity_api_version", "api"], st.sampled_from([3, "3", 2.0, "huawei"])),
    **dict.fromkeys(["profile", "cloud"], st.sampled_from(["acme", "otc", "acmee", "", None, *VENDORS])),
    **dict.fromkeys(LOG_IN, VALUES),
    **dict.fromkeys(["auth_url", "url"], URL),
}
AUTH = st.fixed_dictionaries({}, optional={"auth_url": URL, **dict.fromkeys(LOG_IN, VALUES)})
SOME = st.lists(st.sampled_from(sorted(BESIDE)) | st.just("auth_type"), max_size=7, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: BESIDE[name] for name in names})
)
OPTIONS = st.builds(lambda beside, auth: {**beside, "auth": auth}, SOME, AUTH) | SOME
REGIONS = st.lists(
    REGION | st.builds(lambda name, values: {"name": name, "values": values}, REGION, OPTIONS), min_size=1, max_size=3
)
ENTRY = st.builds(
    lambda options, regions: {**options, **({"regions": regions} if regions else {})}, OPTIONS, st.none() | REGIONS
)


class Oracle(OpenStackConfig):
    """openstacksdk's reader, which asks for no log-in: whether the options are enough for one is another question."""

    def _get_auth_loader(self, config: dict[str, Any]) -> Any:
        loader: Any = super()._get_auth_loader(config)
        loader.load_from_options = lambda **_: None
        return loader


def of_oracle(directory: Path, name: str, region: str, *, variables: bool) -> dict[str, Any]:
    """Return what openstacksdk makes of an entry."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "Couldn't find the vendor profile")
        config = Oracle(
            [str(directory / "clouds.yaml")],
            [str(directory / "clouds-public.yaml")],
            secure_files=[str(directory / "secure.yaml")],
            load_envvars=variables,
        )
        return dict(config.get_one(name, region_name=region).config)


def of_ours(name: str, region: str, *, variables: bool) -> dict[str, Any]:
    """Return what bulkshare makes of it."""
    entry = entry_of_variables() if variables else read_files().clouds[name]
    assert entry is not None
    config = expanded(name, entry, region)
    config["auth_type"] = ALIASES.get(config["auth_type"], config["auth_type"])
    loader: Any = get_plugin_loader(config["auth_type"])
    if config["auth_type"] == "v3multifactor":
        loader._methods = config.get("auth_methods")
    return resolved(with_login(config, loader))


def without(options: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return the other options."""
    return {name: value for name, value in options.items() if name not in names}


def compare(directory: Path, name: str, region: str, *, variables: bool = False) -> None:
    """Both make the same of an entry, or both refuse it."""
    try:
        expected = of_oracle(directory, name, region, variables=variables)
    except Exception:  # noqa: BLE001  any will do
        with pytest.raises(Exception):  # noqa: B017, PT011  any will do
            of_ours(name, region, variables=variables)
        return
    found = of_ours(name, region, variables=variables)
    assert without(found, ITS_OWN) == without(expected, ITS_OWN)


def written(directory: Path, **files: object) -> None:
    """Write the files of a configuration, which is all that is looked for."""
    for name, content in files.items():
        (directory / f"{name.replace('_', '-')}.yaml").write_text(yaml.safe_dump(content), "utf-8")


@given(ENTRY, st.none() | OPTIONS, st.sampled_from(["", "", "", "eu-de", "north"]))
def test_an_entry_is_read_as_openstacksdk_reads_it(entry: Any, secrets: Any, region: str) -> None:
    """With secure.yaml beside it, profiles of vendors, regions, and options in every place and spelling."""
    with tempfile.TemporaryDirectory() as folder, patch.object(clouds_yaml, "search_path", lambda: [folder]):
        written(Path(folder), clouds={"clouds": {"x": entry}}, clouds_public={"public-clouds": PUBLIC})
        if secrets is not None:
            written(Path(folder), secure={"clouds": {"x": secrets}})
        compare(Path(folder), "x", region)


@given(SOME, st.sets(st.sampled_from(["OS_TEST_X", "OS_LOG", "OS_CLOUD_NAME", "OS_REGION_NAME"])), st.just("") | REGION)
def test_variables_are_read_as_openstacksdk_reads_them(options: Any, others: set[str], region: str) -> None:
    """Those of test suites are left out, and those that select something make no account."""
    variables = {f"OS_{name.replace('-', '_').upper()}": str(value) for name, value in options.items()}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(clouds_yaml, "search_path", lambda: [folder]),
        patch.dict(os.environ, {**variables, **{name: name for name in others}}),
    ):
        oracle = OpenStackConfig([], secure_files=[])
        name = oracle.envvar_key or ""
        if name in oracle.cloud_config["clouds"]:
            compare(Path(folder), name, region, variables=True)
        else:
            assert entry_of_variables() is None


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_vendors_that_openstacksdk_knows(vendor: str) -> None:
    """Each profile, with the first region and without any options but a user's."""
    with tempfile.TemporaryDirectory() as folder, patch.object(clouds_yaml, "search_path", lambda: [folder]):
        auth = {"username": "u", "password": "p", "project_name": "n"}
        written(Path(folder), clouds={"clouds": {"x": {"profile": vendor, "auth": auth}}})
        compare(Path(folder), "x", "")


@pytest.mark.parametrize(
    "variables", [{}, {"XDG_CONFIG_HOME": "/a", "XDG_CONFIG_DIRS": "/b:/c", "SNAP_REAL_HOME": "/d"}, {"HOME": "/e"}]
)
def test_files_are_looked_for_where_openstacksdk_does(variables: dict[str, str]) -> None:
    """In the same order, which depends on the environment when it is imported."""
    code = (
        "import json; from openstack.config import loader; from bulkshare.cloud.clouds_yaml import _places\n"
        "print(json.dumps([loader.CONFIG_FILES, loader.SECURE_FILES, loader.VENDOR_FILES]))\n"
        "print(json.dumps([_places(kind) for kind in ('clouds', 'secure', 'clouds-public')]))"
    )
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    expected, found = map(json.loads, done.stdout.splitlines())
    assert found == expected
