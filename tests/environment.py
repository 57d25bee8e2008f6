"""The environment that pytest was started in, which no test may depend on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

# OpenStack clients and bulkshare read these: a test must never reach a developer's own cloud, nor depend on their
# terminal settings.
FOREIGN = re.compile(r"(?i:(OS|BULKSHARE)_.*|(https?|all|no)_proxy|NO_COLOR|FORCE_COLOR|COLUMNS|LINES)")


@dataclass(frozen=True)
class Environment:
    """The variables that pytest was started with, and a cache directory that outlives the session."""

    variables: dict[str, str]
    cache: Path

    @classmethod
    def capture(cls) -> Environment:
        """Capture the environment, before any test changes it."""
        return cls(variables=dict(os.environ), cache=Path(platformdirs.user_cache_dir("bulkshare-tests")))

    def foreign(self) -> list[str]:
        """Return the names of the variables that select a cloud, a ledger or a proxy, or change how output looks."""
        return [name for name in self.variables if FOREIGN.fullmatch(name)]

    def without_foreign(self) -> dict[str, str]:
        """Return the variables without the foreign ones."""
        return {name: value for name, value in self.variables.items() if not FOREIGN.fullmatch(name)}
