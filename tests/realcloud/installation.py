"""The installation of the real cloud, built once: the virtual environment and the empty databases.

Both are cached in a directory named after a digest of all they depend on, so that a changed lock file or Python gets a
new one. A stamp, written last, marks a complete build; a lock makes other processes wait for the one that builds. Old
directories are not used again and can be deleted at any time.
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
    """A virtual environment with both services, and a template directory with their databases and keys."""

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
    """Return the installation under `cache`, building it if missing. `environ` is for pip (proxy, index).

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
    # Build isolation would use the newest setuptools for the one package without a wheel.
    _run([*pip, "--no-deps", "--no-build-isolation", "-r", REQUIREMENTS], environ)


def _fill_template(installation: Installation, environ: Mapping[str, str]) -> None:
    """Create the databases of an empty cloud (tables, the admin user, project and roles) and Keystone's keys."""
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
    # Scripts run as arguments of Python: the length of a shebang is limited, and a cache path may be long.
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
            connection.execute("PRAGMA journal_mode=WAL")  # persistent in the file


def _write_keys(repository: Path) -> None:
    """Create a staged (0) and a primary (1) key as fernet_setup does, which would need a named user and group."""
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
