"""Open Telekom Cloud's extension of openstacksdk, apart from the packages of the tests.

It is not among them because it changes what openstacksdk does for a cloud with the vendor profile `otc`, and brings an
auth type of its own. So it is put into a directory that only those processes see that are given it as PYTHONPATH.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from filelock import FileLock

from tests.databases import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGES = ("otcextensions==0.34.8", "oslo.i18n==6.9.0")  # without those that bulkshare needs itself


def otc_packages(cache: Path, environ: Mapping[str, str]) -> Path:
    """Return a directory under `cache` with the packages, filling it once. `environ` is for pip (proxy, index).

    Raises `Missing` if they can't be had.
    """
    home = cache / "-".join(package.replace("==", "-") for package in PACKAGES)
    home.mkdir(parents=True, exist_ok=True)
    place, stamp = home / "packages", home / ".complete"
    with FileLock(home / "lock"):
        if not stamp.exists():
            shutil.rmtree(place, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
            done = subprocess.run(
                [*pip, "--no-deps", "--target", place, *PACKAGES],
                env=dict(environ),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise Missing(f"otcextensions can't be installed: {done.stderr[-500:]}")
            stamp.touch()
    return place
