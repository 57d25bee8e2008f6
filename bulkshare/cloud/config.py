"""One entry of clouds.yaml, or the OS_* variables, read and checked."""

from __future__ import annotations

import difflib
import errno
import json
import math
import os
import re
import warnings
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests.utils
import yaml
from keystoneauth1.exceptions import ClientException, NoMatchingPlugin
from keystoneauth1.loading import get_plugin_loader
from openstack.config import OpenStackConfig, loader
from openstack.exceptions import SDKException
from openstack.warnings import ConfigurationWarning

from bulkshare.cloud import access_key
from bulkshare.cloud.catalog import is_iam
from bulkshare.errors import UsageError
from bulkshare.model import Api, Problem
from bulkshare.text import clean, escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keystoneauth1.plugin import BaseAuthPlugin
    from openstack.config.cloud_region import CloudRegion

    Read = TypeVar("Read")


# PyYAML quotes what it finds, which may be a password that begins like an alias. Its own words are harmless.
HARMLESS = re.compile(r"'(<[a-z ]+>|[^'])'")
UNQUOTED = ("found character", "found undefined alias", "could not determine a constructor")

ENVIRONMENT = "environment"  # the name of the cloud that OS_* variables describe
CLOUD_HINT = (
    "name an entry of clouds.yaml in the plan (`cloud:`), name one with --os-cloud or OS_CLOUD, or set the OS_* "
    "variables (OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, ...)"
)
SECRET = re.compile("pass|secret|token|code|key")  # in the names of auth plugins' options
# What a log-in needs; any one name of a group will do. keystoneauth would notice only at the log-in, if at all.
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
SECOND_FACTOR = ("v3totp", "v3multifactor")  # log-ins with a passcode, always or as their `auth_methods` say
PACKAGES = {"agency": "otcextensions"}  # of auth types that don't come with keystoneauth
# What is often put under `auth`, though openstacksdk reads it one level above.
BESIDE = frozenset(
    {
        *("verify", "insecure", "cacert", "cert", "key", "api_timeout", "timeout", "profile", "cloud", "auth_type"),
        *(
            "region_name",
            "regions",
            "region",
            "interface",
            "endpoint_type",
            "identity_api_version",
            "image_api_version",
        ),
    }
)
# the words of Python about the constructor of an auth plugin
LACKS = re.compile(r"missing \d+ required [\w-]+ arguments?: (.*)")
V2 = re.compile(r"/v2(\.0)?/?$")
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
TRUE_WORDS = frozenset({"true", "yes", "on", "1", ""})


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """The paths to look at, in order, and those among them that we may not read."""

    clouds: tuple[str, ...]
    secure: tuple[str, ...]
    unreadable: tuple[str, ...]


def find_files() -> ConfigFiles:
    """Return where clouds.yaml and secure.yaml may be; paths from variables come first.

    Raises `UsageError` if a file named by a variable can't be read, or if the file of either kind that would be used is
    broken: without it, half of an account would be taken for the whole.
    """
    clouds = _candidates("OS_CLIENT_CONFIG_FILE", loader.CONFIG_FILES)
    secure = _candidates("OS_CLIENT_SECURE_FILE", loader.SECURE_FILES)
    return ConfigFiles(clouds, secure, (*_check_first(clouds), *_check_first(secure)))


def require_readable(path: str, what: str) -> None:
    """Raise `UsageError` unless `path`, which `what` names, is a folder or a readable file."""
    try:
        if not Path(path).is_dir():
            Path(path).open("rb").close()
    except OSError as error:
        raise UsageError(f"{what} names {clean(path)}, which can't be read: {error.strerror}") from error


def _candidates(variable: str, defaults: list[str]) -> tuple[str, ...]:
    named = os.environ.get(variable)
    if not named:
        return tuple(defaults)
    require_readable(named, variable)
    return (named, *defaults)


def _check_first(paths: tuple[str, ...]) -> list[str]:
    """Check the file that openstacksdk would use, the first readable one; return the unreadable ones before it."""
    unreadable = []
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            if error.errno == errno.EACCES:
                unreadable.append(path)
            if error.errno in {errno.EACCES, errno.ENOENT, errno.ENOTDIR}:
                continue
            raise UsageError(f"{clean(path)} can't be read: {error.strerror}") from error
        problem = _problem(path, content)
        if problem is not None:
            raise UsageError(str(problem))
        break
    return unreadable


def _problem(path: str, content: bytes) -> Problem | None:
    """Return why a file can't be parsed, without quoting its content."""
    name = clean(path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem(name, line, None, "is not UTF-8 text")
    try:
        if path.endswith("json"):
            json.loads(text)
        else:
            yaml.safe_load(text)
    except json.JSONDecodeError as error:
        return Problem(name, error.lineno, error.colno, f"is not valid JSON: {error.msg}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        return Problem(name, line + 1, column + 1, f"is not valid YAML: {_without_quotes(error.problem or '')}")
    except (yaml.YAMLError, ValueError, RecursionError):
        return Problem(name, None, None, "is not valid YAML, or contains control characters")
    return None


def _without_quotes(problem: str) -> str:
    """Return PyYAML's message without what it quotes from the file."""
    if r"'\t'" in problem:
        return "a tab; YAML indents with spaces"
    safe = problem
    if not set("'\"").isdisjoint(HARMLESS.sub("", problem)):
        safe = re.split("['\"]", problem, maxsplit=1)[0]
    hint = "; quote a value that begins with such a character" if problem.startswith(UNQUOTED) else ""
    return clean(safe) + hint


@dataclass(frozen=True, slots=True)
class CloudEntry:
    """The configuration of one cloud. `plugin` and `auth` hold the credentials, `secrets` their secret strings.

    With auth_type `aksk`, `auth` has what `access_key.key_options` returns. `source` is where it was read.
    """

    name: str
    auth_type: str
    auth_url: str
    plugin: BaseAuthPlugin | None = field(default=None, repr=False)  # None: requests are signed with an access key
    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the options of the log-in
    secrets: tuple[str, ...] = field(default=(), repr=False)
    region: str = ""  # "" if none is named
    interface: str | list[str] = "public"
    service_type: str = "image"
    service_name: str | None = None
    endpoint_override: str | None = None
    api: Api = Api.AUTO
    verify: bool = True
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    timeout_seconds: float | None = None
    source: str = field(default="", repr=False)


class CheckedConfig(OpenStackConfig):
    """openstacksdk's configuration, with a check for missing keys before the auth plugin is created."""

    def __init__(self, name: str, files: ConfigFiles, *, from_variables: bool) -> None:
        self._name = name
        self._files = files
        self._from_variables = from_variables
        self.key_options: dict[str, str] | None = None  # if the entry has an access key
        super().__init__(config_files=list(files.clouds), secure_files=list(files.secure), load_envvars=from_variables)
        for path in (self.secure_config_filename, self.config_filename):  # what secure.yaml has is not replaced again
            if path and not str(path).endswith("json"):
                _restore_text(self.cloud_config["clouds"], Path(path))

    def auth_config_hook(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return `config`, without the credentials if they are an access key, for which there is no auth plugin.

        Raises `UsageError` if it can't describe an account.
        """
        who = f"cloud {clean(self._name)}"
        try:
            self.key_options = access_key.key_options(config)
        except UsageError as error:
            raise UsageError(f"{who}: {error}") from None
        config = access_key.without_keys(config)
        if self.key_options is not None:
            return {**config, "auth_type": "none", "auth": {}}
        auth_type, auth = str(config.get("auth_type")), config.get("auth") or {}
        given = {
            name for part in (config, auth) for name, value in part.items() if value
        }  # it takes both as the auth's
        if auth_type.startswith("v2"):
            raise UsageError(f"{who}: auth_type {clean(auth_type)} uses Identity API v2, and only v3 is supported")
        if is_iam(str(auth.get("auth_url") or "")) and (
            auth_type == "v3applicationcredential" or any(name.startswith("application_credential") for name in given)
        ):
            raise UsageError(
                f"{who}: this cloud's identity service has no application credentials; use an access key, or a password"
            )
        if auth_type == "password" and any(name.startswith("application_credential") for name in given):
            raise UsageError(f"{who}: it has an application credential; set auth_type to v3applicationcredential")
        missing = [names for names in NEEDED.get(auth_type, ()) if given.isdisjoint(names)]
        if missing:
            raise UsageError(f"{who} has {self._lacks(missing)}{_unreadable(self._files)}")
        if auth_type in SECOND_FACTOR:
            config = _with_passcode(who, config)
            auth = config["auth"]
        _check_options(who, auth_type, auth, config.get("auth_methods"))
        return config

    def _lacks(self, missing: list[tuple[str, ...]]) -> str:
        if self._from_variables:
            wanted = [" or ".join(f"OS_{name.upper()}" for name in names[:2]) for names in missing]
            return f"no {' and no '.join(wanted)}; {CLOUD_HINT}"
        wanted = [" or ".join(f"`{name}`" for name in names[:2]) for names in missing]
        read = [str(path) for path in (self.config_filename, self.secure_config_filename) if path]
        message = f"no {' and no '.join(wanted)} under `auth` in {' or '.join(read)}"
        if any(SECRET.search(names[0]) for names in missing):
            place = self.secure_config_filename or Path(str(self.config_filename)).with_name("secure.yaml")
            message += f"; a good place for a secret is {place}, under the same keys and readable by you alone"
        return message


def _with_passcode(who: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the passcode of its second factor, which may be in a variable: it is new each time.

    `auth_methods` stand beside `auth` then, where openstacksdk reads them. Raises `UsageError` if there is no passcode.
    """
    auth = dict(config.get("auth") or {})
    methods = auth.pop("auth_methods", None) or config.get("auth_methods") or []
    if isinstance(methods, str):
        methods = [method.strip() for method in methods.split(",")]
    found = {**config, "auth": auth, **({"auth_methods": methods} if methods else {})}
    if config.get("auth_type") == "v3multifactor" and not {"v3totp", "totp"} & set(map(str, methods)):
        return found
    passcode = auth.get("passcode") or config.get("passcode") or os.environ.get("OS_PASSCODE")
    if not passcode:
        raise UsageError(f"{who}: the log-in has a second factor; set OS_PASSCODE to its current passcode")
    auth["passcode"] = str(passcode)
    return found


class _AsWritten(yaml.SafeLoader):
    """Reads numbers, dates and truth values as the text that is written."""

    def _text(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))


for _tag in ("int", "float", "timestamp", "bool"):
    _AsWritten.add_constructor(f"tag:yaml.org,2002:{_tag}", _AsWritten._text)  # noqa: SLF001  its own


def _restore_text(clouds: dict[str, Any], path: Path) -> None:
    """Give the options of log-ins, which are text, the text in a file where YAML made something else of it.

    To YAML 1.1, a password 01234567 is an octal number, 1:30 are 90 seconds, 2024-01-01 is a date and `yes` is true.
    """
    written = _mapping(yaml.load(path.read_bytes(), _AsWritten), "clouds")  # noqa: S506  a SafeLoader
    for name in _mapping(clouds):
        entry, original = _mapping(clouds, name), _mapping(written, name)
        for options, texts in ((entry, original), (_mapping(entry, "auth"), _mapping(original, "auth"))):
            for key, text in texts.items():
                value = options.get(key)
                is_text = SECRET.search(str(key)) or (options is not entry and not isinstance(value, bool))
                if is_text and isinstance(text, str) and isinstance(value, bool | int | float | date):
                    options[key] = text


def _mapping(document: object, key: object = None) -> dict[Any, Any]:
    """Return a document, or the part of it at `key`, if that is a mapping; else an empty one."""
    part = document.get(key) if isinstance(document, dict) and key is not None else document
    return part if isinstance(part, dict) else {}


def _missing_package(auth_type: str) -> str:
    """Return which package an auth type comes with, and where it belongs."""
    package = PACKAGES[auth_type]
    return (
        f"auth_type {auth_type} comes with the package {package}; install it beside bulkshare, as with `pip install "
        f"{package}` or `pipx inject bulkshare {package}`"
    )


def _check_options(who: str, auth_type: str, auth: Mapping[str, Any], methods: object = None) -> None:
    """Raise `UsageError` for an option under `auth` that the auth plugin does not take, and for one that it lacks."""
    try:
        plugin: Any = get_plugin_loader(auth_type)
    except ClientException:
        if auth_type in PACKAGES:
            raise UsageError(f"{who}: {_missing_package(auth_type)}") from None
        return  # openstacksdk words that
    if auth_type == "v3multifactor" and methods:
        plugin._methods = methods  # noqa: SLF001  as openstacksdk does: the options are those of the methods
    if not plugin.available:
        extra = "keystoneauth1[" + auth_type.removeprefix("v3").replace("fedkerb", "kerberos") + "]"
        raise UsageError(f"{who}: auth_type {clean(auth_type)} needs a package that is not installed; see {extra}")
    known = {
        name.replace("-", "_")
        for option in plugin.get_options()
        for name in (option.dest, option.name, *(old.name for old in option.deprecated))
    }
    for name in map(str, auth):
        if name in known:
            continue
        if name in BESIDE or name.endswith(("_endpoint_override", "_interface", "_api_version")):
            raise UsageError(f"{who}: `{clean(name)}` is under `auth`, but belongs beside it")
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
        raise UsageError(f"{who}: auth_type {clean(auth_type)} takes no `{escaped(name)}` under `auth`{hint}")


def read_entry(cloud: str | None, region: str | None) -> CloudEntry:
    """Return the entry named `cloud`, or the one that the OS_* variables describe if `cloud` is None.

    `region` overrides the entry's. OS_* variables don't affect a named entry, except that OS_CLIENT_CONFIG_FILE and
    OS_CLIENT_SECURE_FILE always locate the files. Raises `UsageError`.
    """
    name = ENVIRONMENT if cloud is None else cloud
    files = find_files()
    config = _reading("the cloud configuration", lambda: CheckedConfig(name, files, from_variables=cloud is None))
    key = config.envvar_key if cloud is None else cloud
    clouds = config.cloud_config["clouds"]
    if cloud is None:
        _add_variables(clouds, key)
    if key not in clouds:
        raise UsageError(_unknown(cloud, config, files))
    entry = clouds[key]
    if not isinstance(entry, dict) or not isinstance(entry.get("auth", {}), dict):
        raise UsageError(f"cloud {clean(name)} in {config.config_filename}: the entry and its `auth` must be mappings")
    if region and "region_name" in entry and "regions" not in entry:
        entry["region_name"] = region  # openstacksdk would refuse another; the catalog decides
    read = _reading(
        f"cloud {clean(name)}",
        lambda: _entry_from(name, region, config, config.get_one(key, region_name=region or "")),
        hint=f"; {CLOUD_HINT}" if cloud is None else "",
    )
    return replace(read, source=_source(config) if cloud is not None else "the OS_* variables")


def _source(config: OpenStackConfig) -> str:
    return " and ".join(clean(str(path)) for path in (config.config_filename, config.secure_config_filename) if path)


def _add_variables(clouds: dict[Any, Any], key: str | None) -> None:
    """Add the access key in variables that openstacksdk doesn't read to the entry that it made of the OS_* ones."""
    found = access_key.variable_options(os.environ)
    entry = clouds.get(key, {})
    if not found or access_key.has_login(entry):
        return
    region = found.pop("region_name", "")
    auth = {**found, **entry.get("auth", {})}
    clouds[key] = {"region_name": region, **entry, "auth": auth}


def cloud_names() -> list[str]:
    """Return the names of the entries of clouds.yaml, sorted. Raises `UsageError`, as `read_entry` does."""
    config = _reading("the cloud configuration", lambda: CheckedConfig("", find_files(), from_variables=False))
    return _names_in(config)


def _names_in(config: OpenStackConfig) -> list[str]:
    # Without a file, openstacksdk makes up an entry named "defaults".
    return sorted(str(name) for name in config.cloud_config["clouds"] if config.default_cloud != "defaults")


def _reading(what: str, read: Callable[[], Read], hint: str = "") -> Read:
    """Return what `read` returns; any error of openstacksdk about the configuration becomes a `UsageError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its deprecations don't concern users of bulkshare
            warnings.simplefilter("error", ConfigurationWarning)  # a missing vendor profile
            return read()
    except UsageError:
        raise
    except (SDKException, ClientException, ConfigurationWarning) as error:
        raise UsageError(clean(f"{what}: {error}{hint}", 600)) from error
    except TypeError as error:
        lacks = LACKS.search(str(error))
        why = f"the login needs {lacks[1].replace(chr(39), '`')} under `auth`" if lacks else _unread(error)
        raise UsageError(f"{what}: {why}") from error
    except Exception as error:  # a malformed entry makes it fail in any way
        raise UsageError(f"{what}: {_unread(error)}") from error


def _unread(error: Exception) -> str:
    """Return that openstacksdk fails, without quoting what it found: it may be a password."""
    words = re.sub(r"""'[^']*'|"[^"]*"|\{.*""", "***", str(error)) if not isinstance(error, KeyError) else ""
    return clean(f"openstacksdk can't read it ({type(error).__name__}{': ' if words else ''}{words})")


def _unknown(cloud: str | None, config: OpenStackConfig, files: ConfigFiles) -> str:
    """Return a message that the cloud is missing, with the known ones and the files that were read."""
    found = config.config_filename
    names = _names_in(config)
    message = f"there is no cloud '{escaped(cloud)}'" if cloud is not None else f"no cloud is given: {CLOUD_HINT}"
    if found:
        nearest = difflib.get_close_matches(cloud or "", names, n=1)
        message += f"; did you mean {clean(nearest[0])!r}?" if nearest else ""
        message += f"{'' if nearest else ';'} {found} has {', '.join(map(clean, names)) or 'none'}"
    else:
        paths = dict.fromkeys(path for path in files.clouds if path.endswith(".yaml"))
        message += f"; no clouds.yaml was found at {', '.join(paths)}"
    return message + _unreadable(files)


def _unreadable(files: ConfigFiles) -> str:
    return f"; skipped, because it can't be read: {', '.join(files.unreadable)}" if files.unreadable else ""


def _entry_from(name: str, region: str | None, read: CheckedConfig, cloud: CloudRegion) -> CloudEntry:
    config, plugin, auth_type = cloud.config, cloud.get_auth(), str(cloud.config["auth_type"])
    auth: dict[str, Any] = config["auth"]
    if read.key_options is not None:
        plugin, auth_type, auth = None, access_key.AUTH_TYPE, read.key_options
    elif plugin is None or auth_type == "none":
        raise UsageError(f"cloud {clean(name)}: auth_type {auth_type} gives no token, and the Image API requires one")
    verify, cacert = _authorities(config)
    cert, key = (_expanded(config.get(what), f"`{what}` of cloud {clean(name)}") for what in ("cert", "key"))
    return CloudEntry(
        name=name,
        auth_type=auth_type,
        auth_url=_checked_auth_url(name, str(auth.get("auth_url") or "")),
        plugin=plugin,
        auth=dict(auth),
        secrets=tuple(str(value) for name, value in auth.items() if value and SECRET.search(name)),
        region=region or cloud.get_region_name("image") or "",
        interface=cloud.get_interface("image") or "public",
        service_type=cloud.get_service_type("image"),
        service_name=cloud.get_service_name("image"),
        endpoint_override=cloud.get_endpoint("image"),
        api=_api(name, config.get("api")),
        verify=verify,
        cacert=_expanded(cacert, f"`cacert` of cloud {clean(name)}"),
        cert=cert,
        key=key,
        timeout_seconds=_timeout_seconds(name, config.get("api_timeout")),
    )


def _api(name: str, value: object) -> Api:
    try:
        return Api(str(value or Api.AUTO))
    except ValueError:
        known = ", ".join(Api)
        raise UsageError(f"cloud {clean(name)}: `api` is {escaped(str(value))!r}; it takes one of {known}") from None


def _timeout_seconds(name: str, value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise UsageError(
            f"cloud {clean(name)}: `api_timeout` is {escaped(str(value))!r}; it takes a number of seconds, such as 30"
        )
    return seconds or None


def _checked_auth_url(name: str, url: str) -> str:
    """Return `url` ("" if there is none) if it may be shown and can be an identity service's."""
    parts = urlsplit(url)  # a ValueError is reported like any other about the entry
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or not url.isprintable()):
        shown = "" if "@" in url or "?" in url else f": {escaped(url)}"
        raise UsageError(f"cloud {clean(name)}: `auth_url` is not an http or https URL{shown}")
    if "@" in parts.netloc or parts.query:
        raise UsageError(f"cloud {clean(name)}: `auth_url` contains a user or a query; move them under `auth`")
    if V2.search(parts.path):
        right = f"{parts.scheme}://{parts.netloc}{V2.sub('', parts.path)}/v3"
        raise UsageError(
            f"cloud {clean(name)}: `auth_url` is {url}, and only Identity API v3 is supported; try {right}"
        )
    return url


def _authorities(config: dict[str, Any]) -> tuple[bool, str | None]:
    """Return whether to verify, and the file or folder of trusted authorities that `requests` would choose."""
    verify, cacert = config.get("verify"), config.get("cacert")
    if isinstance(verify, str):
        word = verify.strip().lower()
        if word not in FALSE_WORDS | TRUE_WORDS:
            cacert = cacert or verify  # requests accepts a path here
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


def serialize(entry: CloudEntry) -> str:
    """Return an entry as JSON, which is as secret as the credentials in it."""
    options = {each.name: getattr(entry, each.name) for each in fields(entry) if each.name != "plugin"}
    return json.dumps(options, default=str)


def deserialize(text: str) -> CloudEntry:
    """Return the entry that was serialized. The files it names are looked up on this machine."""
    return entry_of(json.loads(text))


def entry_of(options: Mapping[str, Any]) -> CloudEntry:
    """Return the entry with these fields; its plugin is created from `auth`.

    Raises `UsageError` if the plugin comes with a package that isn't installed here.
    """
    plugin = None
    if options["auth_type"] != access_key.AUTH_TYPE:
        try:
            loader: Any = get_plugin_loader(options["auth_type"])
        except NoMatchingPlugin:
            if options["auth_type"] not in PACKAGES:
                raise
            raise UsageError(f"cloud {clean(options['name'])}: {_missing_package(options['auth_type'])}") from None
        plugin = loader.load_from_options(**options["auth"])
    given = {**options, "plugin": plugin, "secrets": tuple(options.get("secrets", ()))}
    return CloudEntry(**{**given, "api": Api(options.get("api", Api.AUTO))})
