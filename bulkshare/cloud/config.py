"""One entry of clouds.yaml, or of the OS_* variables, checked and with its auth plugin."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests.utils
from keystoneauth1.exceptions import ClientException, NoMatchingPlugin
from keystoneauth1.loading import get_plugin_loader

from bulkshare.cloud import access_key
from bulkshare.cloud.catalog import is_iam
from bulkshare.cloud.clouds_yaml import (
    SECRET,
    entry_of_variables,
    expanded,
    read_files,
    require_readable,
    resolved,
    with_login,
)
from bulkshare.errors import UsageError
from bulkshare.model import Api
from bulkshare.text import clean, escaped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from keystoneauth1.loading import BaseLoader
    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.cloud.clouds_yaml import CloudFiles


ENVIRONMENT = "environment"  # the name of the cloud that OS_* variables describe
CLOUD_HINT = (
    "name an entry of clouds.yaml in the plan (`cloud:`), name one with --os-cloud or OS_CLOUD, or set the OS_* "
    "variables (OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, ...)"
)
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
# What an auth type stands for, as in openstacksdk.
ALIASES = {None: "none", "": "none", "None": "none", "token_endpoint": "admin_token"}
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


def _require_account(who: str, config: Mapping[str, Any], files: CloudFiles, *, of_variables: bool) -> None:
    """Raise `UsageError` if an entry, of the OS_* variables or of `files`, can't describe an account."""
    auth_type, auth = str(config.get("auth_type")), config["auth"]
    # An option of the log-in may stand beside `auth`, too.
    given = {name for part in (config, auth) for name, value in part.items() if value}
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
        raise UsageError(f"{who} has {_lacks(missing, None if of_variables else files)}{_unreadable(files)}")


def _lacks(missing: list[tuple[str, ...]], files: CloudFiles | None) -> str:
    if files is None:
        wanted = [" or ".join(f"OS_{name.upper()}" for name in names[:2]) for names in missing]
        return f"no {' and no '.join(wanted)}; {CLOUD_HINT}"
    wanted = [" or ".join(f"`{name}`" for name in names[:2]) for names in missing]
    read = [path for path in (files.path, files.secure_path) if path]
    message = f"no {' and no '.join(wanted)} under `auth` in {' or '.join(read)}"
    if any(SECRET.search(names[0]) for names in missing):
        place = files.secure_path or Path(str(files.path)).with_name("secure.yaml")
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


def _missing_package(auth_type: str) -> str:
    """Return which package an auth type comes with, and where it belongs."""
    package = PACKAGES[auth_type]
    return (
        f"auth_type {auth_type} comes with the package {package}; install it beside bulkshare, as with `pip install "
        f"{package}` or `pipx inject bulkshare {package}`"
    )


def _plugin_loader(who: str, auth_type: str, methods: object) -> BaseLoader[Any]:
    """Return the loader of an auth plugin, with the options of its methods if it has several."""
    try:
        loader: Any = get_plugin_loader(auth_type)
    except NoMatchingPlugin:
        if auth_type not in PACKAGES:
            raise
        raise UsageError(f"{who}: {_missing_package(auth_type)}") from None
    if auth_type == "v3multifactor" and methods:
        loader._methods = methods  # noqa: SLF001  as openstacksdk does: the options are those of the methods
    return loader  # type: ignore[no-any-return]  # typed so that the line above is


def _check_options(who: str, auth_type: str, auth: Mapping[str, Any], plugin: BaseLoader[Any]) -> None:
    """Raise `UsageError` for an option under `auth` that the auth plugin does not take, and for one that it lacks."""
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
    files = read_files()
    entry = _entry_of_variables() if cloud is None else files.clouds.get(cloud)
    if entry is None and (cloud is None or cloud not in files.clouds):
        raise UsageError(_unknown(cloud, files))
    name = ENVIRONMENT if cloud is None else cloud
    if not isinstance(entry, dict) or not isinstance(entry.get("auth", {}), dict):
        raise UsageError(f"cloud {clean(name)} in {files.path}: the entry and its `auth` must be mappings")
    if region and "region_name" in entry and "regions" not in entry:
        entry = {**entry, "region_name": region}  # another would be refused; the catalog decides
    try:
        return _read(name, entry, region or "", files, of_variables=cloud is None)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  a malformed entry can fail in any way, in auth plugins, too
        _refuse(f"cloud {clean(name)}", error, hint=f"; {CLOUD_HINT}" if cloud is None else "")


def _entry_of_variables() -> dict[str, Any] | None:
    """Return the entry that the OS_* variables make, with an access key that others have if there is no log-in."""
    entry = entry_of_variables()
    found = access_key.variable_options(os.environ)
    if not found or access_key.has_login(entry or {}):
        return entry
    region = found.pop("region_name", "")
    return {"region_name": region, **(entry or {}), "auth": found}


def cloud_names() -> list[str]:
    """Return the names of the entries of clouds.yaml, sorted. Raises `UsageError`, as `read_entry` does."""
    return _names_in(read_files())


def _names_in(files: CloudFiles) -> list[str]:
    return sorted(map(str, files.clouds))


def _refuse(who: str, error: Exception, hint: str) -> NoReturn:
    """Raise a `UsageError` for what an entry can't be read for."""
    if isinstance(error, ClientException):  # of an auth plugin
        raise UsageError(clean(f"{who}: {error}{hint}", 600)) from error
    lacks = LACKS.search(str(error)) if isinstance(error, TypeError) else None
    why = f"the login needs {lacks[1].replace(chr(39), '`')} under `auth`" if lacks else _unread(error)
    raise UsageError(f"{who}: {why}") from error


def _unread(error: Exception) -> str:
    """Return that an entry can't be read, without quoting what was found: it may be a password."""
    words = re.sub(r"""'[^']*'|"[^"]*"|\{.*""", "***", str(error)) if not isinstance(error, KeyError) else ""
    return clean(f"it can't be read ({type(error).__name__}{': ' if words else ''}{words})")


def _unknown(cloud: str | None, files: CloudFiles) -> str:
    """Return a message that the cloud is missing, with the known ones and the files that were read."""
    names = _names_in(files)
    message = f"there is no cloud '{escaped(cloud)}'" if cloud is not None else f"no cloud is given: {CLOUD_HINT}"
    if files.path:
        nearest = difflib.get_close_matches(cloud or "", names, n=1)
        message += f"; did you mean {clean(nearest[0])!r}?" if nearest else ""
        message += f"{'' if nearest else ';'} {files.path} has {', '.join(map(clean, names)) or 'none'}"
    else:
        paths = dict.fromkeys(path for path in files.places if path.endswith(".yaml"))
        message += f"; no clouds.yaml was found at {', '.join(paths)}"
    return message + _unreadable(files)


def _unreadable(files: CloudFiles) -> str:
    return f"; skipped, because it can't be read: {', '.join(files.unreadable)}" if files.unreadable else ""


def _read(name: str, entry: dict[str, Any], region: str, files: CloudFiles, *, of_variables: bool) -> CloudEntry:
    who = f"cloud {clean(name)}"
    config = expanded(name, entry, region)
    try:
        key_options = access_key.key_options(config)
    except UsageError as error:
        raise UsageError(f"{who}: {error}") from None
    config = access_key.without_keys(config)
    plugin = None
    if key_options is not None:
        config, auth_type, auth = resolved({**config, "auth": {}}), access_key.AUTH_TYPE, key_options
    else:
        _require_account(who, config, files, of_variables=of_variables)
        auth_type = ALIASES.get(config["auth_type"], str(config["auth_type"]))
        if auth_type in SECOND_FACTOR:
            config = _with_passcode(who, config)
        loader = _plugin_loader(who, auth_type, config.get("auth_methods"))
        _check_options(who, auth_type, config["auth"], loader)
        config = with_login(config, loader)
        plugin, auth = loader.load_from_options(**config["auth"]), config["auth"]
        config = resolved(config)
        if auth_type == "none":
            raise UsageError(f"{who}: auth_type {auth_type} gives no token, and the Image API requires one")
    verify, cacert = _authorities(config)
    cert, key = (_expanded(config.get(what), f"`{what}` of {who}") for what in ("cert", "key"))
    return CloudEntry(
        name=name,
        auth_type=auth_type,
        auth_url=_checked_auth_url(name, str(auth.get("auth_url") or "")),
        plugin=plugin,
        auth=dict(auth),
        secrets=tuple(str(value) for name, value in auth.items() if value and SECRET.search(name)),
        region=region or _of_images(config, "region_name") or _text(config.get("region_name")) or "",
        interface=_interface(who, config),
        service_type=_of_images(config, "service_type") or "image",
        service_name=_of_images(config, "service_name"),
        endpoint_override=_of_images(config, "endpoint_override") or _of_images(config, "endpoint") or None,
        api=_api(name, config.get("api")),
        verify=verify,
        cacert=_expanded(cacert, f"`cacert` of {who}"),
        cert=cert,
        key=key,
        timeout_seconds=_timeout_seconds(name, config.get("api_timeout")),
        source="the OS_* variables"
        if of_variables
        else " and ".join(map(clean, filter(None, (files.path, files.secure_path)))),
    )


def _of_images(config: Mapping[str, Any], name: str) -> str | None:
    """Return an option of the image service."""
    return _text(config.get(f"image_{name}"))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _interface(who: str, config: Mapping[str, Any]) -> str | list[str]:
    """Return the interface of the image service, or several of which the first that there is counts."""
    interface = config.get("image_interface")
    interface = config.get("interface") if interface is None else interface
    if not isinstance(interface, str | list | None):
        raise UsageError(f"{who}: `interface` is neither a text nor a list")
    return interface or "public"


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
        loader = _plugin_loader(f"cloud {clean(options['name'])}", options["auth_type"], None)
        plugin = loader.load_from_options(**options["auth"])
    given = {**options, "plugin": plugin, "secrets": tuple(options.get("secrets", ()))}
    return CloudEntry(**{**given, "api": Api(options.get("api", Api.AUTO))})
