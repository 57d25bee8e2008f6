"""`bulkshare report`: a run of a ledger as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.ledger import SqlLedger
from bulkshare.model import Account, Block, Result
from tests.browser.samples import telemetry
from tests.ledger_fixtures import ACCOUNT, NOW, begin, finish, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.model import Run


def run_with(ledger: SqlLedger, *results: Result) -> Run:
    """Begin a run of one image and finish it with these results."""
    run = begin(ledger)
    projects = [f"project-{number}" for number in range(len(results))]
    ledger.enqueue(run.id, [Block("image-1", projects)])
    ledger.mark_enqueued(run.id)
    ledger.settle(
        run.id, [outcome("image-1", project, result) for project, result in zip(projects, results, strict=True)]
    )
    return finish(ledger, run.id)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of a ledger with two runs of a plan, names, and the second one's telemetry."""
    path = str(tmp_path / "ledger.db")
    ledger = SqlLedger.open(path)
    run_with(ledger, Result.SHARED, Result.FAILED)
    second = run_with(ledger, Result.ALREADY, Result.SHARED, Result.SHARED)
    ledger.label({"image-1": "ubuntu <24.04>", "project-2": "team-two"})
    ledger.record_telemetry(second.id, telemetry(10))
    ledger.close()
    return path


def test_a_page_has_all_clouds_of_a_command_and_the_last_runs(path: str, tmp_path: Path) -> None:
    """Whichever of the runs is named; the strip ends with the run itself, and what to do next names the ledger."""
    ledger = SqlLedger.open(path)
    west = Account("west", "", "https://west", "u", "p", "0" * 32)
    runs = [
        ledger.begin(
            plan="nightly", fingerprint="f", account=account, now=NOW, key_suffix=account.cloud, invocation="both"
        )
        for account in (ACCOUNT, west)
    ]
    for run in runs:
        ledger.enqueue(run.id, [Block("image-1", ["p1"])])
        ledger.mark_enqueued(run.id)
    ledger.finish(runs[0].id, now=NOW, requests=1, retries=0, seconds=1.0)
    ledger.settle(runs[1].id, [outcome("image-1", "p1", Result.REJECTED)])
    ledger.close()
    file = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", runs[1].key, "--ledger", path, "-o", str(file)])
    assert result.exit_code == 0, result.output
    html = " ".join(file.read_text("utf-8").split())
    assert "on 2 clouds" in html
    assert 'Last 3 runs on <bdi>prod</bdi></span> <b class="m-bad"' in html
    assert 'Last 1 run on <bdi>west</bdi></span> <b class="m-running this"' in html.replace("m-killed", "m-running")
    assert f"--ledger {path}" in html


def test_the_last_run_becomes_a_page(path: str, tmp_path: Path) -> None:
    """The page compares the run with the one before it, with names and charts; stderr names the file."""
    file = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", "--ledger", path, "-o", str(file)])
    assert result.exit_code == 0, result.output
    assert f"to {file}" in result.stderr
    assert not result.stdout
    html = file.read_text("utf-8")
    assert "All 3 pairs are as planned." in html
    assert "<b>1</b> newly shared" in html
    assert "<b>1</b> fixed" in html
    assert "ubuntu &lt;24.04&gt;" in html
    assert "Requests allowed in flight" in html


def test_the_page_can_go_to_stdout(path: str) -> None:
    """Nothing else is written there."""
    result = CliRunner().invoke(main, ["report", "--ledger", path, "-o", "-"])
    assert result.stdout.lstrip().startswith("<!doctype html>")
    assert result.stdout.endswith("</html>")
    assert not result.stderr


def test_an_unknown_run_creates_no_file(path: str, tmp_path: Path) -> None:
    """The command ends with exit code 2."""
    file = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", "no-such-run", "--ledger", path, "-o", str(file)])
    assert result.exit_code == 2
    assert not file.exists()
