"""The cloud of `millions_stub` in a process of its own, as a benchmark sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CLOUDS = """clouds:
  stub:
    auth_type: v3password
    auth: {{auth_url: "{address}/v3", username: stub, password: stub, project_name: stub,
      user_domain_name: Default, project_domain_name: Default}}
"""


class Stub:
    """The cloud in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "millions_stub.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        (directory / "clouds.yaml").write_text(CLOUDS.format(address=self.address), "utf-8")

    def ask(self, method: str = "GET", path: str = "") -> dict[str, int]:
        """Send a request to the stub itself and return what it has seen."""
        seen: dict[str, int] = self._ask(method, path)
        return seen

    def times(self) -> list[float]:
        """Return when the first request came to the image service, and then when the POSTs came; monotonic clock."""
        seen: list[float] = self._ask("GET", "/times")
        return seen

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.address}/stub{path}", method=method)  # noqa: S310  our own address
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def environment(directory: Path) -> dict[str, str]:
    """Return this environment with the clouds.yaml and the ledger of a directory, and no other cloud."""
    foreign = ("OS_", "PYTHONDONTWRITEBYTECODE")  # installed programs have their modules compiled
    own = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    return {
        **own,
        "OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml"),
        "BULKSHARE_LEDGER": str(directory / "ledger.db"),
    }
