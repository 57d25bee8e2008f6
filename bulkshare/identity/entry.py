"""Reads one cloud's entry from clouds.yaml and secure.yaml, or the OS_* variables, as openstacksdk understands them.

Knows no network. openstacksdk's objects stay in here, because its ways need care: it passes over files it can't read,
lets OS_* variables change an entry that was asked for by name, and warns where we had better stop.
"""

from __future__ import annotations

import difflib
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests.utils
from keystoneauth1.exceptions import ClientException
from openstack.config import OpenStackConfig, loader
from openstack.exceptions import SDKException
from openstack.warnings import ConfigurationWarning

from bulkshare.errors import UsageError
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystoneauth1.plugin import BaseAuthPlugin
    from openstack.config.cloud_region import CloudRegion

    Read = TypeVar("Read")

ENVIRONMENT = "environment"  # the name of the cloud that OS_* variables describe
THREE_WAYS = (
    "name an entry of clouds.yaml in the plan (`cloud:`), name one with --os-cloud or OS_CLOUD, or set the OS_* "
    "variables (OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, ...)"
)
SECRET = re.compile("pass|secret|token|code|key")  # in the names of auth plugins' options
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
TRUE_WORDS = frozenset({"true", "yes", "on", "1", ""})


@dataclass(frozen=True, slots=True)
class CloudEntry:
    """What is configured about one cloud. `plugin` holds the credentials, `secrets` are their secret strings."""

    name: str
    auth_type: str
    auth_url: str
    plugin: BaseAuthPlugin = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    region: str = ""  # "" where none is named
    interface: str | list[str] = "public"
    service_type: str = "image"
    service_name: str | None = None
    endpoint_override: str | None = None
    verify: bool = True
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    timeout_seconds: float | None = None


def read_entry(cloud: str | None, region: str | None) -> CloudEntry:
    """Return the entry named `cloud`, or what the OS_* variables say where `cloud` is None.

    `region` wins over the entry's. OS_* variables don't touch a named entry; OS_CLIENT_CONFIG_FILE and
    OS_CLIENT_SECURE_FILE say where the files are in any case. Raises `UsageError`.
    """
    name = ENVIRONMENT if cloud is None else cloud
    files = _places("OS_CLIENT_CONFIG_FILE", loader.CONFIG_FILES)
    secure_files = _places("OS_CLIENT_SECURE_FILE", loader.SECURE_FILES)
    config = _reading(
        "the cloud configuration",
        lambda: OpenStackConfig(config_files=files, secure_files=secure_files, load_envvars=cloud is None),
    )
    key = config.envvar_key if cloud is None else cloud
    clouds = config.cloud_config["clouds"]
    if key not in clouds:
        raise UsageError(_unknown(cloud, config, files))
    entry = clouds[key]
    if not isinstance(entry, dict) or not isinstance(entry.get("auth", {}), dict):
        raise UsageError(
            f"cloud {clean(name)} in {config.config_filename}: the entry and its `auth` have to be mappings"
        )
    if region and "region_name" in entry and "regions" not in entry:
        entry["region_name"] = region  # openstacksdk would refuse another; whether there is one, the catalog knows
    return _reading(
        f"cloud {clean(name)}",
        lambda: _understand(name, region, config.get_one(key, region_name=region or "")),
        hint=f"; {THREE_WAYS}" if cloud is None else "",
    )


def _reading(what: str, read: Callable[[], Read], hint: str = "") -> Read:
    """Return what `read` returns, and make whatever openstacksdk says about the configuration a `UsageError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its deprecations are no news to somebody who shares images
            warnings.simplefilter("error", ConfigurationWarning)  # a vendor profile that isn't there
            return read()
    except UsageError:
        raise
    except (SDKException, ClientException, ConfigurationWarning) as error:
        raise UsageError(clean(f"{what}: {error}{hint}", 600)) from error
    except Exception as error:  # it raises whatever a malformed entry makes it trip over
        raise UsageError(f"{what}: openstacksdk can't make sense of it ({type(error).__name__})") from error


def _places(variable: str, usual: list[str]) -> list[str]:
    """Return the files to look for in order, first the one that `variable` names, which has to be there."""
    named = os.environ.get(variable)
    if not named:
        return list(usual)
    _require_readable(named, variable)
    return [named, *usual]


def _require_readable(path: str, what: str) -> None:
    try:
        if not Path(path).is_dir():
            Path(path).open("rb").close()
    except OSError as error:
        raise UsageError(f"{what} names {clean(path)}, which can't be read: {error.strerror}") from error


def _unknown(cloud: str | None, config: OpenStackConfig, files: list[str]) -> str:
    """Say that the cloud is not there, which ones are, and where that was looked up."""
    found = config.config_filename
    names = [str(name) for name in config.cloud_config["clouds"] if config.default_cloud != "defaults"]
    passed_over = [path for path in files[: files.index(found) if found else None] if Path(path).exists()]
    said = f"there is no cloud {clean(cloud)!r}" if cloud is not None else f"no cloud is given: {THREE_WAYS}"
    if found:
        nearest = difflib.get_close_matches(cloud or "", names, n=len(names), cutoff=0.5)
        known = [*nearest, *sorted(name for name in names if name not in nearest)]
        said += f"; {found} has {', '.join(map(clean, known)) or 'none'}"
    else:
        said += f"; there is no clouds.yaml, looked for {', '.join(path for path in files if path.endswith('.yaml'))}"
    if passed_over:
        said += f"; passed over, because it can't be read: {', '.join(passed_over)}"
    return said


def _understand(name: str, region: str | None, cloud: CloudRegion) -> CloudEntry:
    config, plugin, auth_type = cloud.config, cloud.get_auth(), str(cloud.config["auth_type"])
    if plugin is None or auth_type == "none":
        raise UsageError(f"cloud {clean(name)}: auth_type {auth_type} gives no token, and the Image API wants one")
    verify, cacert = _authorities(config)
    cert, key = (_expanded(config.get(what), f"`{what}` of cloud {clean(name)}") for what in ("cert", "key"))
    timeout = config.get("api_timeout")
    return CloudEntry(
        name=name,
        auth_type=auth_type,
        auth_url=_checked_auth_url(name, str(config["auth"].get("auth_url") or "")),
        plugin=plugin,
        secrets=tuple(str(value) for name, value in config["auth"].items() if value and SECRET.search(name)),
        region=region or cloud.get_region_name("image") or "",
        interface=cloud.get_interface("image") or "public",
        service_type=cloud.get_service_type("image"),
        service_name=cloud.get_service_name("image"),
        endpoint_override=cloud.get_endpoint("image"),
        verify=verify,
        cacert=_expanded(cacert, f"`cacert` of cloud {clean(name)}"),
        cert=cert,
        key=key,
        timeout_seconds=float(timeout) if timeout else None,
    )


def _checked_auth_url(name: str, url: str) -> str:
    """Return `url` ("" where there is none) if it is one that may be shown."""
    parts = urlsplit(url)  # a ValueError is told like any other of the entry's
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or not url.isprintable()):
        raise UsageError(f"cloud {clean(name)}: `auth_url` is no http or https URL")
    if "@" in parts.netloc or parts.query:
        raise UsageError(f"cloud {clean(name)}: `auth_url` has a user or a query in it; they belong under `auth`")
    return url


def _authorities(config: dict[str, Any]) -> tuple[bool, str | None]:
    """Return whether to verify, and the file or folder of the authorities to trust, as `requests` would choose it."""
    verify, cacert = config.get("verify"), config.get("cacert")
    if isinstance(verify, str):
        word = verify.strip().lower()
        if word not in FALSE_WORDS | TRUE_WORDS:
            cacert = cacert or verify  # requests takes a path here
        verify = word not in FALSE_WORDS
    if verify is False or config.get("insecure"):
        return False, None
    variables = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return True, cacert or variables or requests.utils.DEFAULT_CA_BUNDLE_PATH


def _expanded(path: str | None, what: str) -> str | None:
    if not path:
        return None
    expanded = str(Path(path).expanduser())
    _require_readable(expanded, what)
    return expanded
