"""Fixtures for all tests: isolation from the user's environment, the real cloud, database servers and a shell.

Tests marked `real` share one set of servers. Under pytest-xdist they all run in one worker, so that there is still
one set; this is why pyproject.toml has `--dist=loadgroup`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.databases import SERVERS, Missing
from tests.environment import Environment
from tests.forkserver import Commands
from tests.realcloud.cloud import RealCloud
from tests.realcloud.installation import Installation, install_services
from tests.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import DatabaseServer

# The speed of the machine must not fail a test.
hypothesis.settings.register_profile("bulkshare", deadline=None)
hypothesis.settings.load_profile("bulkshare")

HOME_DIRECTORIES = {
    "HOME": ".",
    "XDG_CONFIG_HOME": ".config",
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_RUNTIME_DIR": ".run",
}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put all tests of the real cloud into one group."""
    for item in items:
        if item.get_closest_marker("real") is not None:
            item.add_marker(pytest.mark.xdist_group("real"))


@pytest.fixture(scope="session", autouse=True)
def environment() -> Environment:
    """Return the environment as it was before the first test."""
    return Environment.capture()


@pytest.fixture(autouse=True)
def isolated(
    environment: Environment, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test an empty home directory and an environment that names no cloud, no ledger and no proxy."""
    for name in environment.foreign():
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    for name, place in HOME_DIRECTORIES.items():
        monkeypatch.setenv(name, str(home / place))


@pytest.fixture(scope="session")
def installation(environment: Environment) -> Installation:
    """Return the installation of the real cloud, which also has the `openstack` command."""
    return install_services(environment.cache, environment.variables)


@pytest.fixture(scope="session")
def real_cloud(
    installation: Installation, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealCloud]:
    """Run a real Keystone and a real Glance for the session."""
    with RealCloud(installation, tmp_path_factory.mktemp("realcloud"), environ=environment.without_foreign()) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def database_server(environment: Environment) -> Iterator[Callable[[str], DatabaseServer]]:
    """Return a function that returns a running database server by its name in `databases.SERVERS`.

    Tests that call it belong into the xdist group "databases", so that there is one server of each kind.
    """
    servers: dict[str, DatabaseServer] = {}
    with ExitStack() as stack:

        def start(name: str) -> DatabaseServer:
            if name not in servers:
                try:
                    servers[name] = stack.enter_context(SERVERS[name]())
                except Missing as missing:
                    if environment.variables.get("CI"):
                        pytest.fail(str(missing))
                    pytest.skip(str(missing))
            return servers[name]

        yield start


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Return what runs commands without a second of imports for each."""
    with Commands() as commands:
        yield commands


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """Return a shell in an empty directory, with a ledger of its own. With the mark `installed` it only uses a copy."""
    installed = request.node.get_closest_marker("installed") is not None
    shell = Shell(tmp_path, None if installed else request.getfixturevalue("commands"))
    shell.env["BULKSHARE_LEDGER"] = str(tmp_path / "ledger.db")
    try:
        yield shell
    finally:
        shell.close()
