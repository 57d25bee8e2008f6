"""No test knows whose machine it runs on."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from tests.environment import Environment


def test_home_is_empty() -> None:
    """The home directory is a new one, and what is looked up in it is, too."""
    home = Path.home()
    assert list(home.iterdir()) == []
    for place in (platformdirs.user_config_path(), platformdirs.user_state_path(), platformdirs.user_cache_path()):
        assert place.is_relative_to(home)


def test_environment_names_no_cloud() -> None:
    """Nothing is left of the variables that clients and bulkshare read."""
    assert Environment(dict(os.environ), Path()).foreign() == []


def test_foreign_variables() -> None:
    """What points at a cloud, a ledger or a proxy is foreign, in any case; the rest stays."""
    foreign = {"OS_CLOUD": "x", "OS_PASSWORD": "x", "BULKSHARE_LEDGER": "x", "https_proxy": "x", "NO_PROXY": "x"}
    kept = {"PATH": "x", "HOME": "x", "OSTYPE": "x", "PIP_INDEX_URL": "x"}
    environment = Environment({**foreign, **kept}, Path())
    assert set(environment.foreign()) == foreign.keys()
    assert environment.without_foreign() == kept
