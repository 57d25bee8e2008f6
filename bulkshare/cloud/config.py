"""One entry of clouds.yaml, or the OS_* variables, read and checked."""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests.utils
import yaml
from keystoneauth1.exceptions import ClientException
from keystoneauth1.loading import get_plugin_loader
from openstack.config import OpenStackConfig, loader
from openstack.exceptions import SDKException
from openstack.warnings import ConfigurationWarning

from bulkshare.errors import UsageError
from bulkshare.model import Problem
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keystoneauth1.plugin import BaseAuthPlugin
    from openstack.config.cloud_region import CloudRegion

    Read = TypeVar("Read")


# PyYAML quotes what it finds, which may be a password that begins as an alias does. Its own words are harmless.
HARMLESS = re.compile(r"'(<[a-z ]+>|[^'])'")
UNQUOTED = ("found character", "found undefined alias", "could not determine a constructor")


@dataclass(frozen=True, slots=True)
class Files:
    """The places to look at in order, and which of them we may not read."""

    clouds: tuple[str, ...]
    secure: tuple[str, ...]
    passed_over: tuple[str, ...]


def find_files() -> Files:
    """Return where clouds.yaml and secure.yaml may be; the variables' places come first.

    Raises `UsageError` where a file named by a variable can't be read, and where the one to be read of each kind is
    broken: without it, half of an account would be taken for the whole.
    """
    clouds = _places("OS_CLIENT_CONFIG_FILE", loader.CONFIG_FILES)
    secure = _places("OS_CLIENT_SECURE_FILE", loader.SECURE_FILES)
    return Files(clouds, secure, (*_check_first(clouds), *_check_first(secure)))


def require_readable(path: str, what: str) -> None:
    """Raise `UsageError` where `path`, which `what` names, is no folder and no file that can be read."""
    try:
        if not Path(path).is_dir():
            Path(path).open("rb").close()
    except OSError as error:
        raise UsageError(f"{what} names {clean(path)}, which can't be read: {error.strerror}") from error


def _places(variable: str, usual: list[str]) -> tuple[str, ...]:
    named = os.environ.get(variable)
    if not named:
        return tuple(usual)
    require_readable(named, variable)
    return (named, *usual)


def _check_first(paths: tuple[str, ...]) -> list[str]:
    """Check the first file that is there and may be read, as openstacksdk chooses it; return those before it."""
    passed_over = []
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            if error.errno == errno.EACCES:
                passed_over.append(path)
            if error.errno in {errno.EACCES, errno.ENOENT, errno.ENOTDIR}:
                continue
            raise UsageError(f"{clean(path)} can't be read: {error.strerror}") from error
        problem = _problem(path, content)
        if problem is not None:
            raise UsageError(str(problem))
        break
    return passed_over


def _problem(path: str, content: bytes) -> Problem | None:
    """Return what keeps a file from being read, without any of its content."""
    place = clean(path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem(place, line, None, "this is no UTF-8 text")
    try:
        if path.endswith("json"):
            json.loads(text)
        else:
            yaml.safe_load(text)
    except json.JSONDecodeError as error:
        return Problem(place, error.lineno, error.colno, f"this is no JSON: {error.msg}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        return Problem(place, line + 1, column + 1, f"this is no YAML: {_told(error.problem or '')}")
    except (yaml.YAMLError, ValueError, RecursionError):
        return Problem(place, None, None, "this is no YAML, or has control characters in it")
    return None


def _told(problem: str) -> str:
    """Return what PyYAML says, without what it quotes from the file."""
    if r"'\t'" in problem:
        return "a tab; YAML indents with spaces"
    told = problem
    if not set("'\"").isdisjoint(HARMLESS.sub("", problem)):
        told = re.split("['\"]", problem, maxsplit=1)[0]
    hint = "; a value that begins with such a character belongs in quotes" if problem.startswith(UNQUOTED) else ""
    return clean(told) + hint


ENVIRONMENT = "environment"  # the name of the cloud that OS_* variables describe
THREE_WAYS = (
    "name an entry of clouds.yaml in the plan (`cloud:`), name one with --os-cloud or OS_CLOUD, or set the OS_* "
    "variables (OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, ...)"
)
SECRET = re.compile("pass|secret|token|code|key")  # in the names of auth plugins' options
# What an account can't do without; of the names in a row one is enough. keystoneauth finds out only at the log-in, or
# trips over it.
URL, USER = ("auth_url",), ("username", "user_id", "user_name")
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "password": (URL, USER, ("password",)),
    "v3password": (URL, USER, ("password",)),
    "v3oidcpassword": (URL, ("password",)),
    "v3applicationcredential": (
        URL,
        ("application_credential_id", "application_credential_name"),
        ("application_credential_secret",),
    ),
    "token": (URL, ("token",)),
    "v3token": (URL, ("token",)),
    "admin_token": (("token",),),
}
V2 = re.compile(r"/v2(\.0)?/?$")
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
TRUE_WORDS = frozenset({"true", "yes", "on", "1", ""})


@dataclass(frozen=True, slots=True)
class CloudEntry:
    """What is configured about one cloud. `plugin` and `auth` hold the credentials, `secrets` their secret strings."""

    name: str
    auth_type: str
    auth_url: str
    plugin: BaseAuthPlugin = field(repr=False)
    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)  # what the plugin was made of
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


class CheckedConfig(OpenStackConfig):
    """openstacksdk's configuration, which looks for missing keys before an auth plugin is made of what is there."""

    def __init__(self, name: str, files: Files, *, from_variables: bool) -> None:
        self._name = name
        self._files = files
        self._from_variables = from_variables
        super().__init__(config_files=list(files.clouds), secure_files=list(files.secure), load_envvars=from_variables)

    def auth_config_hook(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return `config` as it is. Raises `UsageError` where it can't be an account."""
        auth_type, auth = str(config.get("auth_type")), config.get("auth") or {}
        given = {
            name for part in (config, auth) for name, value in part.items() if value
        }  # it takes both as the auth's
        who = f"cloud {clean(self._name)}"
        if auth_type.startswith("v2"):
            raise UsageError(f"{who}: auth_type {clean(auth_type)} is of Identity API v2, and only v3 will do")
        if auth_type == "password" and any(name.startswith("application_credential") for name in given):
            raise UsageError(
                f"{who}: set auth_type to v3applicationcredential, since there is an application credential"
            )
        missing = [names for names in NEEDED.get(auth_type, ()) if given.isdisjoint(names)]
        if missing:
            raise UsageError(f"{who} has {self._lacks(missing)}{_passed_over(self._files)}")
        return config

    def _lacks(self, missing: list[tuple[str, ...]]) -> str:
        if self._from_variables:
            wanted = [" or ".join(f"OS_{name.upper()}" for name in names[:2]) for names in missing]
            return f"no {' and no '.join(wanted)}; {THREE_WAYS}"
        wanted = [" or ".join(f"`{name}`" for name in names[:2]) for names in missing]
        read = [str(path) for path in (self.config_filename, self.secure_config_filename) if path]
        said = f"no {' and no '.join(wanted)} below `auth` in {' or '.join(read)}"
        if any(SECRET.search(names[0]) for names in missing):
            place = self.secure_config_filename or Path(str(self.config_filename)).with_name("secure.yaml")
            said += f"; a good place for a secret is {place}, below the same keys and readable by you alone"
        return said


def read_entry(cloud: str | None, region: str | None) -> CloudEntry:
    """Return the entry named `cloud`, or what the OS_* variables say where `cloud` is None.

    `region` wins over the entry's. OS_* variables don't touch a named entry; OS_CLIENT_CONFIG_FILE and
    OS_CLIENT_SECURE_FILE say where the files are in any case. Raises `UsageError`.
    """
    name = ENVIRONMENT if cloud is None else cloud
    files = find_files()
    config = _reading("the cloud configuration", lambda: CheckedConfig(name, files, from_variables=cloud is None))
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


def cloud_names() -> list[str]:
    """Return the names of the entries of clouds.yaml, sorted. Raises `UsageError`, as `read_entry` does."""
    config = _reading("the cloud configuration", lambda: CheckedConfig("", find_files(), from_variables=False))
    return _names_in(config)


def _names_in(config: OpenStackConfig) -> list[str]:
    # Without a file, openstacksdk makes up an entry named "defaults".
    return sorted(str(name) for name in config.cloud_config["clouds"] if config.default_cloud != "defaults")


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


def _unknown(cloud: str | None, config: OpenStackConfig, files: Files) -> str:
    """Say that the cloud is not there, which ones are, and where that was looked up."""
    found = config.config_filename
    names = _names_in(config)
    said = f"there is no cloud {clean(cloud)!r}" if cloud is not None else f"no cloud is given: {THREE_WAYS}"
    if found:
        nearest = difflib.get_close_matches(cloud or "", names, n=1)
        said += f"; did you mean {clean(nearest[0])!r}?" if nearest else ""
        said += f"{'' if nearest else ';'} {found} has {', '.join(map(clean, names)) or 'none'}"
    else:
        places = [path for path in files.clouds if path.endswith(".yaml")]
        said += f"; there is no clouds.yaml, looked for {', '.join(places)}"
    return said + _passed_over(files)


def _passed_over(files: Files) -> str:
    return f"; passed over, because it can't be read: {', '.join(files.passed_over)}" if files.passed_over else ""


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
        auth=dict(config["auth"]),
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
    """Return `url` ("" where there is none) if it is one that may be shown, and can be an identity service's."""
    parts = urlsplit(url)  # a ValueError is told like any other of the entry's
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or not url.isprintable()):
        raise UsageError(f"cloud {clean(name)}: `auth_url` is no http or https URL")
    if "@" in parts.netloc or parts.query:
        raise UsageError(f"cloud {clean(name)}: `auth_url` has a user or a query in it; they belong under `auth`")
    if V2.search(parts.path):
        right = f"{parts.scheme}://{parts.netloc}{V2.sub('', parts.path)}/v3"
        raise UsageError(f"cloud {clean(name)}: `auth_url` is {url}, and only Identity API v3 will do; try {right}")
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
    require_readable(expanded, what)
    return expanded


def pack(entry: CloudEntry) -> str:
    """Return an entry as JSON, which has to be kept as secret as the credentials in it."""
    said = {each.name: getattr(entry, each.name) for each in fields(entry) if each.name != "plugin"}
    return json.dumps(said, default=str)


def unpack(packed: str) -> CloudEntry:
    """Return the entry again. Files that it names are looked for on this machine."""
    return entry_of(json.loads(packed))


def entry_of(said: Mapping[str, Any]) -> CloudEntry:
    """Return the entry with these fields; its plugin is made of `auth`."""
    loader: Any = get_plugin_loader(said["auth_type"])
    plugin = loader.load_from_options(**said["auth"])
    return CloudEntry(**{**said, "plugin": plugin, "secrets": tuple(said.get("secrets", ()))})
