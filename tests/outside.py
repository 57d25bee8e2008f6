"""The world outside the tests: the environment of whoever started them, which no test may depend on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

# Clients and bulkshare read these; a developer's own cloud must never be what a test talks to, nor their taste in
# colours what it sees.
FOREIGN = re.compile(r"(?i:(OS|BULKSHARE)_.*|(https?|all|no)_proxy|NO_COLOR|FORCE_COLOR|COLUMNS|LINES)")


@dataclass(frozen=True)
class Outside:
    """The environment as pytest was started with it, and a cache directory that outlives the tests."""

    environ: dict[str, str]
    cache: Path

    @classmethod
    def now(cls) -> Outside:
        """Read it, before any test changes it."""
        return cls(environ=dict(os.environ), cache=Path(platformdirs.user_cache_dir("bulkshare-tests")))

    def foreign(self) -> list[str]:
        """Return the names of the variables that would point a program at another cloud or change how it looks."""
        return [name for name in self.environ if FOREIGN.fullmatch(name)]

    def without_foreign(self) -> dict[str, str]:
        """Return the environment less the foreign variables."""
        return {name: value for name, value in self.environ.items() if not FOREIGN.fullmatch(name)}
