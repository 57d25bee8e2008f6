"""What is imported is declared, and what only an extra brings is imported only when it is needed."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
DISTRIBUTIONS = packages_distributions()
# Imported only by those who have asked for it, so that it may need a package of an extra at once.
OF_AN_EXTRA = {"bulkshare/fleet/sealing.py": "fleet"}
# Drivers that SQLAlchemy imports by the name in a URL; an event loop, plugins of pytest, and programs that are run.
BY_NAME = {"psycopg", "pymysql", "uvloop", "hatchling", "pytest-asyncio", "pytest-xdist", "ruff", "mypy"}


def _names(requirements: list[str]) -> set[str]:
    return {
        re.split(r"[\[<>=;\s]", requirement, maxsplit=1)[0].lower().replace("_", "-") for requirement in requirements
    }


CORE = _names(PROJECT["dependencies"])
EXTRAS = {extra: _names(found) for extra, found in PROJECT["optional-dependencies"].items()}


def _imported(path: Path, *, at_once: bool) -> Iterator[str]:
    """Yield the packages that a file imports; `at_once`: when it is imported itself."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(node)
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(each)
    }
    typing = {
        id(node)
        for each in ast.walk(tree)
        if isinstance(each, ast.If) and "TYPE_CHECKING" in ast.unparse(each.test)
        for node in ast.walk(each)
    }
    for node in ast.walk(tree):
        if at_once and (id(node) in inside or id(node) in typing):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _distributions(packages: set[str]) -> set[str]:
    outside = packages - sys.stdlib_module_names - {"bulkshare", "tests"}
    return _names([name for package in outside for name in DISTRIBUTIONS.get(package, [package])])


@pytest.mark.parametrize("path", sorted((ROOT / "bulkshare").rglob("*.py")), ids=lambda path: path.name)
def test_a_module_needs_only_what_is_declared(path: Path) -> None:
    """At once only the dependencies, later on also what an extra brings."""
    extra = EXTRAS.get(OF_AN_EXTRA.get(path.relative_to(ROOT).as_posix(), ""), set())
    assert _distributions(set(_imported(path, at_once=True))) <= CORE | extra
    assert _distributions(set(_imported(path, at_once=False))) <= CORE.union(*EXTRAS.values())


def test_tests_need_only_what_is_declared() -> None:
    """The `test` extra has what they import beyond the dependencies."""
    elsewhere = {ROOT / "tests/realcloud/serve.py"}  # runs in the virtual environment of the real cloud
    paths = {path for path in (ROOT / "tests").rglob("*.py") if "benchmarks" not in path.parts} - elsewhere
    found = {name for path in paths for name in _imported(path, at_once=True)}
    assert _distributions(found) <= CORE | EXTRAS["test"] | _names(PYPROJECT["build-system"]["requires"])


def test_nothing_is_declared_in_vain() -> None:
    """Every dependency is imported somewhere."""
    found = {
        name
        for folder in ("bulkshare", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for name in _imported(path, at_once=False)
    }
    declared = {name for name in CORE.union(*EXTRAS.values()) if not name.startswith("types-")}
    assert declared - BY_NAME <= _distributions(found)
