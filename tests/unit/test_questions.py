"""`who` and `what` as a user asks them, on a ledger alone."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from bulkshare.cli import main
from bulkshare.ledger import SqlLedger
from bulkshare.model import Block, Settings, Want
from bulkshare.model import Result as Res
from bulkshare.report.access import ACCESS_COLUMNS, HISTORY_COLUMNS
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, NOW, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.model import Account, Outcome

IMAGE, OLD = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
TEAM, OTHER, REFUSED = "a" * 32, "b" * 32, "c" * 32
NAMES = {IMAGE: "ubuntu-24.04", OLD: "ubuntu-24.04", TEAM: "team-a", OTHER: "team-b\x1b[31m"}
TEST_CLOUD = replace(ACCOUNT, cloud="test", endpoint="https://test.example", user="bob")


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Return the path of a ledger with three nights, and a run on another cloud."""
    path = str(tmp_path / "ledger.db")
    ledger = SqlLedger.open(path)
    record(ledger, 0, outcome(IMAGE, TEAM), outcome(IMAGE, OTHER), outcome(OLD, TEAM, Res.ALREADY, created_at=None))
    record(ledger, 1, outcome(IMAGE, TEAM, Res.ALREADY), outcome(IMAGE, OTHER, Res.REMOVED, want=Want.REMOVE))
    refused = outcome(IMAGE, REFUSED, Res.REJECTED, status=None, created_at=None, reason="403 =Forbidden")
    record(ledger, 2, outcome(IMAGE, TEAM, Res.ACCEPTED, status="accepted"), refused)
    record(ledger, 3, outcome(IMAGE, TEAM), account=TEST_CLOUD)
    ledger.label(NAMES)
    ledger.close()
    return path


def record(ledger: SqlLedger, day: int, *outcomes: Outcome, account: Account = ACCOUNT, sandbox: bool = False) -> None:
    """Record a run with these outcomes."""
    at = NOW + timedelta(days=day)
    run = ledger.begin(
        plan="nightly", fingerprint=FINGERPRINT, account=account, now=at, settings=Settings(sandbox=sandbox)
    )
    ledger.enqueue(run.id, [Block(each.image_id, [each.member_id], each.want) for each in outcomes])
    ledger.settle(run.id, [each._replace(settled_at=at) for each in outcomes])
    ledger.finish(run.id, now=at, requests=1, retries=0, seconds=1.0)


def ask(place: str, *args: str, exit_code: int = 0) -> Result:
    """Run a command on the ledger."""
    done = CliRunner().invoke(main, [*args, "--ledger", place])
    assert done.exit_code == exit_code, done.output
    return done


def documents(place: str, *args: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the rows of an answer by cloud, image and project."""
    found = json.loads(ask(place, *args, "--json").stdout)
    assert (found["version"], found["source"]) == (1, "ledger")
    return {(row["cloud"], row["image_id"], row["project_id"]): row for row in found["access"]}


def test_who_can_use_an_image(place: str) -> None:
    """Since when, by which run and as whom, on each cloud; what is gone, unknown, or older than the ledger is said."""
    rows = documents(place, "who", IMAGE)
    assert {key: row["state"] for key, row in rows.items()} == {
        ("prod", IMAGE, TEAM): "member",
        ("prod", IMAGE, OTHER): "gone",
        ("prod", IMAGE, REFUSED): "unknown",
        ("test", IMAGE, TEAM): "member",
    }
    row = rows["prod", IMAGE, TEAM]
    assert (row["status"], row["since"], row["at_least"]) == ("accepted", "2026-01-02T03:04:05Z", False)
    assert (row["by_run"], row["by_user"], row["by_project"]) == ("nightly-20260102T030405Z", "alice", "golden")
    assert (row["seen_by_run"], row["last_result"]) == ("nightly-20260104T030405Z", "accepted")
    assert rows["prod", IMAGE, OTHER]["by_run"] == "nightly-20260103T030405Z"
    old = documents(place, "who", OLD)["prod", OLD, TEAM]
    assert (old["state"], old["at_least"], old["by_run"]) == ("member", True, None)


def test_a_member_added_anew_is_no_older_than_that(tmp_path: Path) -> None:
    """Glance gives it its old created_at; by a run or, as far as one has seen, by someone else."""
    place = str(tmp_path / "ledger.db")
    ledger = SqlLedger.open(place)
    record(ledger, 0, outcome(IMAGE, TEAM), outcome(IMAGE, OTHER))
    record(ledger, 1, outcome(IMAGE, TEAM, Res.REMOVED, want=Want.REMOVE), outcome(IMAGE, OTHER, Res.ABSENT))
    record(ledger, 2, outcome(IMAGE, TEAM), outcome(IMAGE, OTHER, Res.ALREADY), outcome(IMAGE, REFUSED))
    record(ledger, 3, *(outcome(IMAGE, each, Res.ALREADY) for each in (TEAM, OTHER, REFUSED)))
    ledger.close()
    rows = documents(place, "who", IMAGE)
    run = "nightly-20260104T030405Z"
    assert {key[2]: (row["since"], row["at_least"], row["by_run"]) for key, row in rows.items()} == {
        TEAM: ("2026-01-04T03:04:05Z", False, run),
        OTHER: ("2026-01-04T03:04:05Z", True, None),
        REFUSED: ("2026-01-04T03:04:05Z", False, run),  # was a member before the first of these runs
    }


def test_a_name_means_all_that_have_it(place: str) -> None:
    """So does a pattern; a project's name does, too; and each is found by its ID."""
    both = {("prod", IMAGE), ("prod", OLD), ("test", IMAGE)}
    for args in (("who", "ubuntu-24.04"), ("who", "ubuntu-*"), ("what", "team-a"), ("what", TEAM)):
        assert {key[:2] for key in documents(place, *args)} == both
    assert {key[0] for key in documents(place, "what", f"id={REFUSED}")} == {"prod"}


def test_text_is_for_people(place: str) -> None:
    """Counts, names and reasons; what a name hides is escaped; the history has every change in the order of time."""
    shown = ask(place, "who", IMAGE).stdout
    assert f"image {IMAGE}  ubuntu-24.04\n" in shown
    assert "1 project can use it, 1 not known, 1 not or no longer a member" in shown
    assert "run nightly-20260102T030405Z as alice of project golden" in shown
    assert "403 =Forbidden" in shown
    assert OTHER not in shown
    history = ask(place, "what", "team-b*", "--history").stdout
    assert "\x1b" not in history
    assert [line.split()[2] for line in history.splitlines() if line.startswith("    2026-")] == ["shared", "removed"]
    assert "no run in the ledger" in ask(place, "who", OLD).stdout


def test_csv_has_a_row_for_each(place: str) -> None:
    """Of the pairs, or with --history of what was recorded, in the order of time."""
    rows = list(csv.DictReader(io.StringIO(ask(place, "who", IMAGE, "--csv").stdout)))
    assert tuple(rows[0]) == ACCESS_COLUMNS
    assert len(rows) == 4
    history = list(csv.DictReader(io.StringIO(ask(place, "who", IMAGE, "--csv", "--history").stdout)))
    assert tuple(history[0]) == HISTORY_COLUMNS
    assert [row["result"] for row in history if row["project_id"] == TEAM] == [
        *("shared", "already", "accepted", "shared")
    ]
    assert [row["at"] for row in history] == sorted(row["at"] for row in history)
    found = json.loads(ask(place, "who", IMAGE, "--json", "--history").stdout)["history"]
    assert [row["run"] for row in found] == [row["run"] for row in history]
    assert "leave out one" in ask(place, "who", IMAGE, "--json", "--csv", exit_code=2).stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("who", "ubuntu-24.4"), "did you mean ubuntu-24.04? --cloud asks the cloud"),
        (("what", "team_a"), "did you mean team-a"),
        (("what", IMAGE), "has a project"),
        (("who", "tag=golden"), "IDs and names only"),
        (("who", "nam=golden"), "unknown key"),
    ],
)
def test_what_is_not_known(place: str, args: tuple[str, str], message: str) -> None:
    """Exits with 2, and names what is like it."""
    assert message in ask(place, *args, exit_code=2).stderr


def test_sandboxes_count_only_if_nothing_else_does(place: str) -> None:
    """A run on one changes no answer about a cloud; of what only sandboxes have, the last one counts, and is named."""
    ledger = SqlLedger.open(place)
    for day, port in ((7, 1), (8, 2)):
        account = replace(ACCOUNT, cloud="sandbox", endpoint=f"http://127.0.0.1:{port}")
        new = outcome("only-here", TEAM)
        record(ledger, day, outcome(OLD, OTHER), new, account=account, sandbox=True)
    ledger.close()
    assert {key[2] for key in documents(place, "who", OLD)} == {TEAM}
    done = ask(place, "who", "only-here", "--json")
    assert "only a run on a sandbox" in done.stderr
    assert [row["endpoint"] for row in json.loads(done.stdout)["access"]] == ["http://127.0.0.1:2"]
