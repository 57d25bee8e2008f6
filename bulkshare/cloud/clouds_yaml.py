"""clouds.yaml, secure.yaml, clouds-public.yaml and the OS_* variables: what openstacksdk makes of them.

Its own reader, `openstack.config`, can't be imported without all of openstacksdk, which took a sixth of a run's start.
tests/property/test_clouds_yaml.py compares the two. The profiles of vendors that openstacksdk knows are taken from
there, if an entry names one.

Left out is what bulkshare has no use for: caches, metrics, networks, IPv6, command-line options and Identity API v2.
"""

from __future__ import annotations

import errno
import json
import os
import re
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from platformdirs import PlatformDirs

from bulkshare.errors import UsageError
from bulkshare.model import Problem
from bulkshare.text import clean, escaped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystoneauth1.loading import BaseLoader

    Options = dict[str, Any]


SECRET = re.compile("pass|secret|token|code|key")  # in the names of auth plugins' options
# PyYAML quotes what it finds, which may be a password that begins like an alias. Its own words are harmless.
HARMLESS = re.compile(r"'(<[a-z ]+>|[^'])'")
UNQUOTED = ("found character", "found undefined alias", "could not determine a constructor")
SUFFIXES = (".yaml", ".yml", ".json")

DEFAULTS: Options = {
    "api_timeout": None,
    "verify": True,
    "cacert": None,
    "cert": None,
    "key": None,
    "auth_type": "password",
    "interface": "public",
}
SELECTORS = frozenset({"OS_CLOUD", "OS_REGION_NAME", "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE", "OS_CLOUD_NAME"})
OTHERS = ("OS_TEST", "OS_STD", "OS_LOG")  # what variables of test suites begin with
# Options of a log-in, with the names that they may have beside or under `auth`; a later one counts for more.
LOG_IN = {
    "domain_id": ("domain_id", "domain-id"),
    "domain_name": ("domain_name", "domain-name"),
    "user_domain_id": ("user_domain_id", "user-domain-id"),
    "user_domain_name": ("user_domain_name", "user-domain-name"),
    "project_domain_id": ("project_domain_id", "project-domain-id"),
    "project_domain_name": ("project_domain_name", "project-domain-name"),
    "token": ("auth-token", "auth_token", "token"),
    "passcode": ("passcode",),
    "project_id": ("tenant_id", "tenant-id", "project_id", "project-id"),
    "project_name": ("tenant_name", "tenant-name", "project_name", "project-name"),
}
# A domain that stands for two.
DOMAINS = {
    "domain_id": ("user_domain_id", "project_domain_id"),
    "domain_name": ("user_domain_name", "project_domain_name"),
}
PROJECT = frozenset({"project_id", "project_name"})


def search_path() -> list[str]:
    """Return the folders in which files are looked for, in order; some may be listed twice."""
    try:
        here = str(Path.cwd())
    except OSError:
        raise UsageError("the working directory is gone, change to another one") from None
    dirs = PlatformDirs("openstack", "OpenStack", multipath=True)
    home = os.environ.get("SNAP_REAL_HOME") or str(Path("~").expanduser())
    return [
        here,
        dirs.user_config_dir,
        f"{home}/.config/openstack",
        dirs.site_config_dir,
        "/etc/openstack",
    ]


@dataclass(frozen=True, slots=True)
class CloudFiles:
    """The entries of clouds.yaml, with what secure.yaml adds to them, and where they come from.

    clouds: the entries by name. An entry may be anything.
    path, secure_path: the files that were read; None if there is none.
    unreadable: files that would have been read before, but may not be.
    places: where clouds.yaml was looked for.
    """

    clouds: Options
    path: str | None
    secure_path: str | None
    unreadable: tuple[str, ...]
    places: tuple[str, ...]


def read_files() -> CloudFiles:
    """Read clouds.yaml and secure.yaml. A file that a variable names comes first.

    Raises `UsageError` if a file named by a variable can't be read, or if the file of either kind that counts is
    broken: without it, half of an account would be taken for the whole.
    """
    unreadable: list[str] = []
    places = _places("clouds", "OS_CLIENT_CONFIG_FILE")
    path, clouds = _read_first(places, "clouds", unreadable)
    secure_path, secrets = _read_first(_places("secure", "OS_CLIENT_SECURE_FILE"), "clouds", unreadable)
    return CloudFiles(_merged(clouds, secrets), path, secure_path, tuple(unreadable), places)


def require_readable(path: str, what: str) -> None:
    """Raise `UsageError` unless `path`, which `what` names, is a folder or a readable file."""
    try:
        if not Path(path).is_dir():
            Path(path).open("rb").close()
    except OSError as error:
        raise UsageError(f"{what} names {clean(path)}, which can't be read: {error.strerror}") from error


def _places(kind: str, variable: str | None = None) -> tuple[str, ...]:
    """Return where a file may be, in order."""
    places = tuple(str(Path(folder, kind + suffix)) for folder in search_path() for suffix in SUFFIXES)
    named = os.environ.get(variable) if variable else None
    if not variable or not named:
        return places
    require_readable(named, variable)
    return (named, *places)


def _read_first(paths: Sequence[str], section: str, unreadable: list[str]) -> tuple[str | None, Options]:
    """Return the path of the first readable file, and its section; those before it that may not be read are noted."""
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            if error.errno == errno.EACCES:
                unreadable.append(path)
            if error.errno in {errno.EACCES, errno.ENOENT, errno.ENOTDIR}:
                continue
            raise UsageError(f"{clean(path)} can't be read: {error.strerror}") from error
        document = _parsed(path, content)
        found = document.get(section) if isinstance(document, dict) else document
        if not isinstance(found, dict | None) or not isinstance(document, dict | None):
            raise UsageError(f"{clean(path)} has no mapping of clouds")
        return path, found or {}
    return None, {}


def _parsed(path: str, content: bytes) -> Any:
    """Return what a file contains. Raises `UsageError`, without quoting its content."""
    name = clean(path)
    try:
        text = content.decode()
        if path.endswith("json"):
            return json.loads(text)
        document = yaml.safe_load(text)
        if isinstance(document, dict):
            _restore_text(_mapping(document, "clouds"), _mapping(yaml.load(text, _AsWritten), "clouds"))  # noqa: S506  a SafeLoader
    except UnicodeDecodeError as error:
        problem = Problem(name, content.count(b"\n", 0, error.start) + 1, None, "is not UTF-8 text")
    except json.JSONDecodeError as error:
        problem = Problem(name, error.lineno, error.colno, f"is not valid JSON: {error.msg}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        words = f"is not valid YAML: {_without_quotes(error.problem or '')}"
        problem = Problem(name, line + 1, column + 1, words)
    except (yaml.YAMLError, ValueError, RecursionError):
        problem = Problem(name, None, None, "is not valid YAML, or contains control characters")
    else:
        return document
    raise UsageError(str(problem))


def _without_quotes(problem: str) -> str:
    """Return PyYAML's message without what it quotes from the file."""
    if r"'\t'" in problem:
        return "a tab; YAML indents with spaces"
    safe = problem
    if not set("'\"").isdisjoint(HARMLESS.sub("", problem)):
        safe = re.split("['\"]", problem, maxsplit=1)[0]
    hint = "; quote a value that begins with such a character" if problem.startswith(UNQUOTED) else ""
    return clean(safe) + hint


class _AsWritten(yaml.SafeLoader):
    """Reads numbers, dates and truth values as the text that is written."""

    def _text(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))


for _tag in ("int", "float", "timestamp", "bool"):
    _AsWritten.add_constructor(f"tag:yaml.org,2002:{_tag}", _AsWritten._text)  # noqa: SLF001  its own


def _restore_text(clouds: Options, written: Options) -> None:
    """Give the options of log-ins, which are text, the text in a file where YAML made something else of it.

    To YAML 1.1, a password 01234567 is an octal number, 1:30 are 90 seconds, 2024-01-01 is a date and `yes` is true.
    """
    for name in clouds:
        entry, original = _mapping(clouds, name), _mapping(written, name)
        for options, texts in ((entry, original), (_mapping(entry, "auth"), _mapping(original, "auth"))):
            for key, text in texts.items():
                value = options.get(key)
                is_text = SECRET.search(str(key)) or (options is not entry and not isinstance(value, bool))
                if is_text and isinstance(text, str) and isinstance(value, bool | int | float | date):
                    options[key] = text


def _mapping(document: Options, key: object) -> Options:
    """Return the part of a document at `key` if that is a mapping, else an empty one."""
    part = document.get(key)  # type: ignore[call-overload]  # keys of a file may be anything
    return part if isinstance(part, dict) else {}


def _merged(old: Options, new: Options) -> Options:
    """Return a mapping with another laid over it, and so with all mappings inside."""
    both = {
        key: _merged(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }
    return {**old, **both}


def entry_of_variables() -> Options | None:
    """Return the entry that the OS_* variables make; None if there are none but those that select something else."""
    names = [name for name in os.environ if name.startswith("OS_") and not name.startswith(OTHERS)]
    if SELECTORS.issuperset(names):
        return None
    return {**DEFAULTS, **{name.removeprefix("OS_").lower(): os.environ[name] for name in names}}


def expanded(name: str, entry: Options, region: str) -> Options:
    """Return an entry with its profile, the settings of a region and the defaults.

    region: its name; "": the first one of the entry, if it has any.

    All names have underscores, and options of log-ins stand under `auth`, though perhaps not all of them: see
    `with_login`. Raises `UsageError`, and any error for what no entry may be.
    """
    profile = _profile(name, entry)
    config = {**DEFAULTS, **deepcopy(profile)}
    config.setdefault("auth", {})
    _update(config, entry)
    config.pop("cloud", None)
    settings = _region(name, entry, profile, region)
    config.pop("regions", None)
    for options in (settings.get("values", {}), {"region_name": settings["name"]}):
        _update(config, {key: value for key, value in options.items() if value is not None})
    _rename(config)
    _share_domains(config)
    _convert(config)
    if "auth_url" in config["auth"]:
        config["auth"]["auth_url"] = config["auth"]["auth_url"].format(**config)
    return _normalized(config)


def _update(config: Options, options: Mapping[str, Any]) -> None:
    """Lay options over others, and so with those under `auth`."""
    auth = config.get("auth")
    config.update(deepcopy(dict(options)))
    if "auth" in options and auth is not None:
        config["auth"] = {**auth, **config["auth"]}


def _profile(name: str, entry: Options) -> Options:
    """Return the profile of a vendor that an entry names, if any. Raises `UsageError` if there is no such profile."""
    profile = entry.get("profile", entry.get("cloud"))
    if not profile:
        return {}
    path, public = _read_first(_places("clouds-public"), "public-clouds", [])
    if profile in public:
        return dict(public[profile])
    known = _known_profile(name, str(profile))
    if known is None:
        where = f" in {clean(path)}" if path else ""
        raise UsageError(f"cloud {clean(name)}: there is no vendor profile '{escaped(str(profile))}'{where}")
    return known


def _known_profile(name: str, profile: str) -> Options | None:
    """Return a profile that openstacksdk knows or finds at a URL: the profile is one, or what is known is only that."""
    from openstack.config import vendors  # noqa: PLC0415  imports all of openstacksdk; few entries name a profile
    from openstack.exceptions import SDKException  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    try:
        known = vendors.get_profile(profile)
        if known and (nested := known.pop("profile", None)):
            known = vendors.get_profile(nested) or known
    except SDKException as error:
        raise UsageError(f"cloud {clean(name)}: {clean(str(error))}") from error
    except RequestException as error:
        raise UsageError(
            f"cloud {clean(name)}: the profile {clean(profile)} can't be fetched: {clean(str(error))}"
        ) from error
    if not known:
        return None
    message = known.pop("message", "")
    if known.pop("status", "active") == "shutdown":
        raise UsageError(f"cloud {clean(name)}: {clean(profile)} is a cloud that no longer exists: {clean(message)}")
    return known


def _region(name: str, entry: Options, profile: Options, region: str) -> Options:
    """Return the name and, if it has any, the `values` of a region. Raises `UsageError` if there is no such region."""
    config = _normalized(entry)
    if "regions" in config:
        regions = config["regions"]
    elif "region_name" in config:
        regions = config["region_name"]
    else:
        regions = profile.get("regions") or profile.get("region_name") or []
    listed = regions.split(",") if isinstance(regions, str) else regions
    known = [each if isinstance(each, dict) else {"name": each} for each in listed]
    for each in known:
        if "name" not in each or not {"name", "values"}.issuperset(each):
            raise UsageError(f"cloud {clean(name)}: each of its `regions` is a name, or has `name` and `values`")
    if not known or not region:
        return known[0] if known else {"name": region}
    for each in known:
        if each["name"] == region:
            return each
    names = clean(", ".join(str(each["name"]) for each in known))
    raise UsageError(f"cloud {clean(name)} has no region '{escaped(region)}'; it has {names}")


def _rename(config: Options) -> None:
    """Give options the names they have today, and put those of a log-in under `auth`."""
    for key in [key for key in config if key.endswith("timeout") and key not in {"timeout", "api_timeout"}]:
        value = config.pop(key)
        if value is not None:
            config["api_timeout"] = value
    # The default counts for more than `auth_plugin`, and than `auth-type`.
    config.pop("auth_plugin", None)
    config["auth_type"] = config.pop("auth_type")
    auth = config["auth"]
    for option, names in LOG_IN.items():
        values = [str(place.pop(name)) for name in names for place in (auth, config) if name in place]
        if values and values[-1]:
            auth[option] = values[-1]
    renamed = {
        key.replace("endpoint_type", "interface") if key.endswith("endpoint_type") else key: value
        for key, value in config.items()
    }
    config.clear()
    config.update(renamed)


def _share_domains(config: Options) -> None:
    """Take a domain that is given once for both the user's and the project's, if there is a project."""
    auth = config["auth"]
    scoped = not PROJECT.isdisjoint(config) or not PROJECT.isdisjoint(auth)
    for domain, both in DOMAINS.items():
        if not scoped:
            if domain in config and domain not in auth:
                auth[domain] = config.pop(domain)
            continue
        for option in both:
            if domain in auth:
                auth.setdefault(option, auth[domain])
        config.pop(domain, None)
        auth.pop(domain, None)


def _convert(config: Options) -> None:
    """Make of text what is not meant as such."""
    if not isinstance(config.get("insecure", False), bool):
        config["insecure"] = str(config["insecure"]).lower() == "true"
    if isinstance(config.get("auth_methods"), str):
        config["auth_methods"] = config["auth_methods"].split(",")


def _normalized(options: Mapping[str, Any]) -> Options:
    """Return options with underscores in their names, and with text in place of numbers but that of seconds."""
    return {
        (name := key.replace("-", "_")): _normalized(value)
        if isinstance(value, dict)
        else str(value)
        if isinstance(value, float) or (type(value) is int and name != "api_timeout")
        else value
        for key, value in options.items()
    }


def with_login(config: Options, loader: BaseLoader[Any]) -> Options:
    """Return an expanded entry with all options of an auth plugin under `auth`; those already there count for more."""
    rest, auth = dict(config), dict(config["auth"])
    for option in loader.get_options():
        names = [name.replace("-", "_") for name in (option.name, *(old.name for old in option.deprecated))]
        value = _first(auth, names) or _first(rest, names)
        for name in names:
            rest.pop(name, None)
            auth.pop(name, None)
        if value:
            auth[option.dest or names[0]] = value
    return {**rest, "auth": auth}


def _first(options: Options, names: Sequence[str]) -> Any:
    return next((options[name] for name in names if name in options), None)


def resolved(config: Options) -> Options:
    """Return an entry whose options may refer to others, as in `https://image.{region_name}.example.com`."""
    found = dict(config)
    for key, value in config.items():
        if isinstance(value, str) and key != "password":
            found[key] = value.format(**found)
    return found
