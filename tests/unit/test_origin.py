"""Where a run comes from: the plan's file, the command without its secrets, the machine."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bulkshare import __version__
from bulkshare.cli import main
from bulkshare.text import without_secrets

if TYPE_CHECKING:
    from pathlib import Path

PLAN = """\
version: 1
name: golden
share: [{images: [11111111-0000-4000-8000-000000000001], projects: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]}]
"""
SECRET = st.text("abcdefgh0123456789@:/", min_size=1).map(lambda text: f"S3{text}cr3t")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "my plan.yaml", "--rate", "5"], "run 'my plan.yaml' --rate 5"),
        (["--ledger", "postgresql://ops:pw@db.example/bulk?password=x"], "--ledger 'postgresql://db.example/bulk?***'"),
        (["--fleet", "tcp://scheduler:8786"], "--fleet tcp://scheduler:8786"),
        (["--webhook", "https://hooks.example/T0/B1/key", "--yes"], "--webhook *** --yes"),
        (["--on-finish=curl -H 'X-Key: k' host"], "--on-finish=***"),
        (["https://hooks.example/T0/B1/key"], "'https://hooks.example/***'"),
        (["-w=https://user:p@a@hooks.example/"], "-w=https://hooks.example/"),
    ],
)
def test_a_command_line_is_kept_without_secrets(words: list[str], line: str) -> None:
    """What is left can be read, and pasted unless something is hidden."""
    assert without_secrets(words) == line


@given(SECRET, st.sampled_from(["postgresql", "mysql", "https", "tcp"]), st.booleans())
def test_no_password_in_a_url_is_kept(secret: str, scheme: str, joined: bool) -> None:  # noqa: FBT001  drawn
    """Whatever it is made of, and wherever the URL stands."""
    url = f"{scheme}://ops:{secret}@host.example/database?sslpassword={secret}"
    line = without_secrets([f"--ledger={url}"] if joined else ["--ledger", url])
    assert secret not in line


def test_a_run_records_its_origin(tmp_path: Path) -> None:
    """`show --json` has the plan's path and hash, and the command, which `show` prints."""
    plan, ledger = tmp_path / "golden.yaml", str(tmp_path / "ledger.db")
    plan.write_text(PLAN)
    command = ["run", str(plan), "--sandbox", "-q", "--ledger", ledger]
    assert CliRunner().invoke(main, command).exit_code == 0
    shown = CliRunner().invoke(main, ["show", "--ledger", ledger, "--json"])
    (origin,) = json.loads(shown.stdout)["origins"]
    assert origin["plan_file"] == str(plan)
    assert origin["plan_sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
    assert origin["version"] == __version__
    assert origin["command"] == f"bulkshare {' '.join(command)}"
    assert all(origin.values())
    printed = CliRunner().invoke(main, ["show", "--ledger", ledger]).stdout
    assert all(origin[name] in printed for name in ("command", "os_user", "host"))
