"""What every test gets: no trace of the user's environment, and, for those that ask, the real cloud.

Tests marked `real` share one set of servers. Under pytest-xdist (`-n 2`) they all run in one worker, so that there is
still one set, while the other workers run the rest; `--dist=loadgroup` in pyproject.toml is for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.outside import Outside
from tests.realcloud.cloud import RealCloud
from tests.realcloud.workshop import Workshop, open_workshop
from tests.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The machine's speed is no property of the code.
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
def outside() -> Outside:
    """Remember the environment as it was before the first test."""
    return Outside.now()


@pytest.fixture(autouse=True)
def isolated(outside: Outside, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty home directory and an environment that names no cloud, no ledger and no proxy."""
    for name in outside.foreign():
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    for name, place in HOME_DIRECTORIES.items():
        monkeypatch.setenv(name, str(home / place))


@pytest.fixture(scope="session")
def workshop(outside: Outside) -> Workshop:
    """Return the virtual environment of the real cloud, which also has the `openstack` command."""
    return open_workshop(outside.cache, outside.environ)


@pytest.fixture(scope="session")
def real_cloud(workshop: Workshop, outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCloud]:
    """Run a real Keystone and a real Glance for the session."""
    with RealCloud(workshop, tmp_path_factory.mktemp("realcloud"), environ=outside.without_foreign()) as cloud:
        yield cloud


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Return a shell in an empty directory, with a ledger of its own."""
    shell = Shell(tmp_path)
    shell.env["BULKSHARE_LEDGER"] = str(tmp_path / "ledger.db")
    try:
        yield shell
    finally:
        shell.close()
