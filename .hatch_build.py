"""Hatchling's hook: puts a manual page for each command into the wheel, to be installed below share/man/man1."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPagesHook(BuildHookInterface):
    """Writes the pages before a build and removes them afterwards."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages, and add them to the wheel. An editable install has none: they would be out of date."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from bulkshare.cli import main  # noqa: PLC0415  from the tree that is built, wherever that is
        from bulkshare.cli.manual import write_man_pages  # noqa: PLC0415

        self._directory = tempfile.TemporaryDirectory(prefix="bulkshare-man-")
        for page in write_man_pages(main, Path(self._directory.name)):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the pages."""
        del build_data, artifact_path
        if version != "editable":
            self._directory.cleanup()
