"""Finds and checks the files that openstacksdk reads, because it passes over those it can't. Knows no clouds."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from openstack.config import loader

from bulkshare.errors import UsageError
from bulkshare.model import Problem
from bulkshare.text import clean

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
