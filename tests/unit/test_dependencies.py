"""What is imported is declared, and what only an extra brings is imported only when it is needed."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from bulkshare.cli import main
from bulkshare.cli.command import walk
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


# What is imported by each command, of what is declared; libraries bring more. Each package takes up to a tenth of a
# second, so that a command should import what it needs and no more.
ALWAYS = {"click"}
PLANS = {"durationpy", "pydantic", "pydantic-core", "pyyaml"}
LEDGERS = {"filelock", "platformdirs", "rich"}
ASKING = {"aiohttp", "anyio", "keystoneauth1", "multidict", "requests", "urllib3", "yarl"}
CLOUDS = {*PLANS, *LEDGERS, *ASKING, "structlog"}
IMPORTS: dict[str, set[str]] = {
    "accept --os-cloud x": CLOUDS,
    "audit plan.yaml": CLOUDS,
    "check plan.yaml": PLANS,
    "compare": LEDGERS,
    "completion bash": set(),
    "ctl pause": CLOUDS,  # with `watch`, which shows what a run does
    "diff plan.yaml --sandbox": CLOUDS,
    "export": LEDGERS,
    "help": set(),
    "history": LEDGERS,
    "import --os-cloud x": CLOUDS,
    "ledger prune --keep-last 1": LEDGERS,
    "offboard p --os-cloud x": CLOUDS,
    "report -o report.html": {*LEDGERS, "jinja2", "markupsafe"},
    "resume": CLOUDS,
    "run plan.yaml": CLOUDS,
    "run plan.yaml --sandbox": CLOUDS,
    "runs": LEDGERS,
    "sandbox --port BUSY": {"aiohttp", "anyio", "durationpy", "multidict", "pyyaml", "yarl"},
    "schema": {*PLANS, "rich"},
    "share i --to p --os-cloud x": CLOUDS,
    "show": LEDGERS,
    "undo nightly": CLOUDS,
    "unshare i --from p --os-cloud x": CLOUDS,
    "verify plan.yaml": CLOUDS,
    "version": set(),
    "watch": CLOUDS,
    "what p": {*PLANS, *LEDGERS},
    "who i": {*PLANS, *LEDGERS},
}
DECLARED = {
    package: name
    for package, names in DISTRIBUTIONS.items()
    for name in _names(names)
    if name in CORE.union(*EXTRAS.values()) - {"uvloop"}  # imported by whatever has an event loop, if it is there
}


def test_every_command_has_its_imports_listed() -> None:
    """So that a new one is thought about."""
    commands = {
        ctx.command_path.removeprefix("bulkshare ") for ctx in walk(main) if not isinstance(ctx.command, click.Group)
    }
    listed = {
        next(name for name in sorted(commands, reverse=True) if f"{row} ".startswith(f"{name} ")) for row in IMPORTS
    }
    assert listed == commands


@pytest.mark.parametrize("row", IMPORTS)
def test_a_command_imports_what_it_needs(row: str, tmp_path: Path) -> None:
    """Exactly the declared packages that are listed, up to its end, which comes soon where there is no cloud."""
    code = (
        "import sys\nfrom bulkshare.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    (tmp_path / "plan.yaml").write_text("version: 1\nname: p\nshare: [{images: [i], projects: [p]}]\n")
    with open_ledger(tmp_path / "ledger.db", create=True) as ledger:
        finish(ledger, begin(ledger).id)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "BULKSHARE_"))}
    environment |= {"BULKSHARE_LEDGER": str(tmp_path / "ledger.db"), "HOME": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as busy:
        words = row.replace("BUSY", str(busy.getsockname()[1])).split()
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    imported = {DECLARED[name] for name in ast.literal_eval(done.stderr.splitlines()[-1]) if name in DECLARED}
    expected = ALWAYS | IMPORTS[row]
    assert imported == expected, (
        f"`bulkshare {row}` imports {sorted(imported - expected)} in addition, and no longer "
        f"{sorted(expected - imported)}. If a package is needed only sometimes, import it where it is used (`python -X "
        "importtime` says from where it comes). If the command needs it, add it to IMPORTS, and measure its start with "
        "`python -m tests.benchmarks.instructions --only start`."
    )


def test_a_run_starts_without_what_few_need(tmp_path: Path) -> None:
    """No fleet, no web server and no authorities for aiohttp's own contexts.

    Its environment is as before: commands of the user get it.
    """
    code = (
        "import os, ssl, sys\n"
        "made, create = [], ssl.create_default_context\n"
        "ssl.create_default_context = lambda *args, **given: made.append(create(*args, **given)) or made[-1]\n"
        "before = dict(os.environ)\n"
        "import bulkshare.cli.run\n"
        "print([context.cert_store_stats()['x509'] for context in made], os.environ == before)\n"
        "print(sys.modules.keys() & {'bulkshare.fleet', 'bulkshare.sandbox', 'aiohttp.web', 'openstack'})"
    )
    for extra in ({}, {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **extra}, check=True, capture_output=True, text=True
        )
        assert done.stdout == "[0] True\nset()\n"
