"""The benchmark of millions of pairs, with hundreds: it runs, and what it checks on the way is so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_small_size(tmp_path: Path) -> None:
    """Every step of the table is there, and those that write tell what a pair takes in the ledger."""
    table = tmp_path / "table.json"
    command = [sys.executable, str(Path(__file__).with_name("millions.py"))]
    command += ["--pairs", "400", "--ledger-rows", "1000", "--json", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["step"]: row for row in json.loads(table.read_text("utf-8"))["rows"]}
    assert rows["x 500: first run"]["pairs"] == 400
    assert all(rows[f"x 10,000: {step}"]["ledger_bytes"] > 0 for step in ("run, killed at half", "resume"))
    assert rows["1,000 rows: prune of half"]["exit_code"] == 0
