"""The benchmarks at a small size: they run, and what they check on the way is so. No time is looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.millions import SHAPES
from tests.benchmarks.namespaces import MissingError, within_namespaces

ROOT = Path(__file__).parents[2]


def document_of(module: str, *options: str, file: Path) -> Any:
    """Run a benchmark as a developer would and return what it writes with --json."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *options, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text("utf-8"))


def test_millions(tmp_path: Path) -> None:
    """Every step of the table is there, and those that write tell what a pair takes in the ledger."""
    options = ["--pairs", "400", "--shapes", "x500", "--ledger-rows", "1000"]
    document = document_of("millions", *options, file=tmp_path / "table.json")
    rows = {row["step"]: row for row in document["rows"]}
    assert rows["x500: first run"]["pairs"] == 400
    assert rows["x500: first run"]["requests"] - rows["x500: second run"]["requests"] == 400 + 1  # and one look-up
    assert all(rows[f"x500: {step}"]["ledger_bytes"] > 0 for step in ("run, killed at half", "resume"))
    assert rows["1,000 rows: prune of half"]["exit_code"] == 0


def test_second(tmp_path: Path) -> None:
    """Every command that finds all shared has its figure, and writes nothing."""
    options = ["--pairs", "100,300", "--rounds", "1", "--counted", ""]
    assert document_of("second", *options, file=tmp_path / "table.json")["second"].keys() == {"run", "diff", "verify"}


def test_every_shape(tmp_path: Path) -> None:
    """Plans of all shapes have their pairs."""
    document = document_of(
        "millions", "--pairs", "20000", "--steps", "planning", "--shapes", *SHAPES, file=tmp_path / "table.json"
    )
    assert {row["step"].partition(":")[0]: row["pairs"] for row in document["rows"]} == dict.fromkeys(SHAPES, 20_000)


def test_nights(tmp_path: Path) -> None:
    """Each command is measured on both ledgers, and half of the old one is pruned."""
    size = ("--nights", "8", "--young", "2", "--pairs", "20", "--rounds", "1")
    table = document_of("nights", *size, file=tmp_path / "table.json")["ledgers"]["sqlite"]
    assert {name for command in ("who", "what", "show") for name in table[command]} == {"old", "young"}
    assert table["ledger prune of half"]["old"]["seconds"] > 0


@pytest.mark.xdist_group("databases")
def test_ledgers(tmp_path: Path) -> None:
    """Every kind of ledger that can be started here takes all pairs and gives them back."""
    document = document_of("ledgers", "--pairs", "1000", "--rounds", "1", file=tmp_path / "table.json")
    assert all(step > 0 for steps in document["ledgers"].values() for step in steps.values())


def test_pace_and_start(tmp_path: Path) -> None:
    """Each rate is taken at the server; each way to begin is timed."""
    document = document_of("speed", "pace", "start", "--small", "--rounds", "1", file=tmp_path / "table.json")
    assert {rate: pace["requests"] >= int(rate) for rate, pace in document["pace"].items()} == {
        "10": True,
        "100": True,
        "1000": True,
    }
    assert document["start"]["bulkshare run, to its first request"]["work_seconds"] > 0


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_limit(tmp_path: Path) -> None:
    """On nginx everyone gets through all pairs, without and with TLS."""
    document = document_of("speed", "limit", "--small", "--rounds", "1", file=tmp_path / "table.json")
    for limit in (document["limit"]["http"], document["limit"]["https"]):
        assert limit["bulkshare"]["amount"] == limit["bare aiohttp loop"]["amount"] == 500
        assert limit["bulkshare, steady state"]["amount"] == 400
        assert limit["ratio"].keys() == limit["ratio, steady state"].keys() == {"cpu", "throughput"}


@pytest.mark.xdist_group("fleet")
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_fleet(tmp_path: Path) -> None:
    """A fleet gets through all pairs, too."""
    document = document_of("speed", "fleet", "--small", "--rounds", "1", file=tmp_path / "table.json")
    assert {taken["amount"] for taken in document["fleet"].values()} == {500}


@pytest.mark.xdist_group("fleet")
def test_namespaces(tmp_path: Path) -> None:
    """A fleet on hosts of its own gets through all pairs; one that is cut off for a moment loses none and repeats none.

    In its fullest second the server sees no more than the rate, but for what was close together or late on the way.
    """
    try:
        within_namespaces()
    except MissingError as missing:
        pytest.skip(str(missing))
    document = document_of("namespaces", "--small", file=tmp_path / "table.json")
    assert document["speed"]["1 worker"]["pairs"] == 500
    seen = document["cut"]
    assert (seen["lost"], seen["posts"], seen["results"]) == (False, 400, {"shared": 400})
    assert seen["fullest_second"] <= seen["rate"] * 1.1
    assert seen["back_after"] is not None


@pytest.mark.real
def test_others(tmp_path: Path) -> None:
    """On a real Glance all pairs are shared, and the second run sends next to nothing."""
    document = document_of("speed", "others", "--small", "--rounds", "1", file=tmp_path / "table.json")
    assert document["others"]["bulkshare, first run"]["amount"] == 100
    assert document["others"]["requests"]["second run"] == 1
