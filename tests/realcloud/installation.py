"""Builds, once, what every real cloud starts from: the virtual environment and the empty databases.

Both are cached under a directory that is named after all they depend on, so a change of the lock or of Python makes
new ones. A stamp written last tells a whole one from one that was interrupted; a lock makes one process build while
others wait. Old directories are of no further use and may be deleted at any time.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tests.cloud import ADMIN, REGION
from tests.realcloud import configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = list[str | Path]

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"


@dataclass(frozen=True)
class Installation:
    """A virtual environment with both services, and a directory with their databases and keys to copy from."""

    venv: Path
    template: Path

    @property
    def python(self) -> Path:
        """The interpreter that has Keystone, Glance, gunicorn and openstackclient."""
        return self.venv / "bin" / "python"

    @property
    def openstack(self) -> Path:
        """The `openstack` command."""
        return self.venv / "bin" / "openstack"

    @property
    def paste(self) -> Path:
        """Glance's pipeline of WSGI filters, as Glance ships it."""
        return self.venv / "etc" / "glance" / "glance-api-paste.ini"


def install_services(cache: Path, environ: Mapping[str, str]) -> Installation:
    """Return the installation under `cache`, built first where it is missing. `environ` is for pip (proxy, index).

    Raises `RuntimeError` with the end of the output of the command that failed.
    """
    interpreter = f"{sys.version}\n{sys.base_prefix}\n{sysconfig.get_platform()}".encode()
    home = cache / _digest(REQUIREMENTS.read_bytes(), interpreter)
    home.mkdir(parents=True, exist_ok=True)
    recipe = _digest(Path(__file__).read_bytes(), Path(configuration.__file__).read_bytes())
    installation = Installation(venv=home / "venv", template=home / f"template-{recipe}")
    with FileLock(home / "lock"):
        _once(installation.venv, lambda: _install(installation, environ))
        _once(installation.template, lambda: _fill_template(installation, environ))
    return installation


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _once(directory: Path, build: Callable[[], None]) -> None:
    stamp = directory / ".complete"
    if not stamp.exists():
        shutil.rmtree(directory, ignore_errors=True)
        build()
        stamp.touch()


def _install(installation: Installation, environ: Mapping[str, str]) -> None:
    pip: Command = [
        installation.python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "-q",
        "--no-compile",
    ]
    builder = [line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line.startswith("setuptools==")]
    _run([sys.executable, "-m", "venv", installation.venv], environ)
    _run([*pip, *builder], environ)
    # Without build isolation, which would take the newest setuptools there is for the one package without a wheel.
    _run([*pip, "--no-deps", "--no-build-isolation", "-r", REQUIREMENTS], environ)


def _fill_template(installation: Installation, environ: Mapping[str, str]) -> None:
    """Make the databases of an empty cloud: tables, the admin user, project and roles; and Keystone's keys."""
    state = installation.template
    state.mkdir()
    for repository in ("fernet-keys", "credential-keys"):
        _write_keys(state / repository)
    keystone = state / "keystone.conf"
    keystone.write_text(configuration.keystone_conf(state), "utf-8")
    glance = state / "glance-api.conf"
    nowhere = "http://127.0.0.1:1"
    glance.write_text(
        configuration.glance_conf(
            state, paste=installation.paste, auth_url=nowhere, endpoint=nowhere, image_member_quota=128
        ),
        "utf-8",
    )
    # Scripts are given to Python as files: a shebang has a bound on its length, and a cache path may be long.
    keystone_manage: Command = [
        installation.python,
        installation.venv / "bin" / "keystone-manage",
        "--config-file",
        keystone,
    ]
    glance_manage: Command = [installation.python, installation.venv / "bin" / "glance-manage", "--config-file", glance]
    admin = ["--bootstrap-password", ADMIN.password, "--bootstrap-region-id", REGION]
    at_home = {**environ, "HOME": str(state)}  # stevedore keeps a cache below it
    _run([*keystone_manage, "db_sync"], at_home)
    _run([*keystone_manage, "bootstrap", *admin], at_home)
    _run([*glance_manage, "db_sync"], at_home)
    for database in ("keystone.db", "glance.db"):
        with closing(sqlite3.connect(state / database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # a lasting property of the file


def _write_keys(repository: Path) -> None:
    """Make a staged (0) and a primary (1) key, as fernet_setup does, without its need for a named user and group."""
    repository.mkdir(mode=0o700)
    for name in ("0", "1"):
        (repository / name).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
        (repository / name).chmod(0o600)


def _run(command: Command, environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        env={**environ, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        tail = done.stdout.decode("utf-8", "replace")[-4000:]
        words = " ".join(str(word) for word in command)
        raise RuntimeError(f"{words} exited {done.returncode}:\n{tail}")
