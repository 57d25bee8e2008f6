"""What is imported is declared, and what only an extra brings is imported only when it is needed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bulkshare.operations.defaults import open_ledger
from tests.ledger_fixtures import begin, finish

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
DISTRIBUTIONS = packages_distributions()
# Imported only by those who have asked for it, so that it may need a package of an extra at once.
OF_AN_EXTRA = {"bulkshare/fleet/sealing.py": "fleet", "bulkshare/ledger/server.py": "postgresql"}
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


OF_RUNS = {"aiohttp", "keystoneauth1", "openstack", "pydantic", "jinja2", "requests", "sqlalchemy"}


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("runs", {*OF_RUNS, "yaml"}),
        ("show", {*OF_RUNS, "yaml"}),
        ("export", {*OF_RUNS, "yaml"}),
        ("check", {*(OF_RUNS - {"pydantic"}), "rich"}),
    ],
)
def test_commands_import_what_they_need(command: str, heavy: set[str], tmp_path: Path) -> None:
    """Each of these packages takes a tenth of a second or more to import."""
    code = (
        f"import sys; sys.argv = ['bulkshare', '{command}', 'plan.yaml'][:{3 if command == 'check' else 2}]\n"
        "from bulkshare.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    (tmp_path / "plan.yaml").write_text("version: 1\nname: p\nshare: [{images: [i], projects: [p]}]\n")
    with open_ledger(tmp_path / "ledger.db", create=True) as ledger:
        finish(ledger, begin(ledger).id)
    environment = {**os.environ, "BULKSHARE_LEDGER": str(tmp_path / "ledger.db")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    imported = set(ast.literal_eval(done.stderr.splitlines()[-1]))
    assert not imported & heavy, done.stdout


def test_no_authority_is_read_at_the_start(tmp_path: Path) -> None:
    """A run reads none for aiohttp's own contexts, and its environment is as before: commands of the user get it."""
    code = (
        "import os, ssl\n"
        "made, create = [], ssl.create_default_context\n"
        "ssl.create_default_context = lambda *args, **given: made.append(create(*args, **given)) or made[-1]\n"
        "before = dict(os.environ)\n"
        "import bulkshare.cli.run\n"
        "print([context.cert_store_stats()['x509'] for context in made], os.environ == before)"
    )
    for extra in ({}, {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **extra}, check=True, capture_output=True, text=True
        )
        assert done.stdout == "[0] True\n"
