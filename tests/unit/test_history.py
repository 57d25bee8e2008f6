"""`history` and `compare`: what changed from run to run, and the pairs that flap."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.cli import main
from bulkshare.ledger import SqlLedger
from bulkshare.model import AS_PLANNED, Account, Block, Result, Settings
from bulkshare.report.history import MOST_FLAPPING, relapses, worst_flapping
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, NOW, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result as Done

S, F, A, R = Result.SHARED, Result.FAILED, Result.ALREADY, Result.REMOVED
HOSTILE = "pen\x1b[2Jding"


def night(ledger: SqlLedger, number: int, results: dict[str, Result], **given: Any) -> str:
    """Run the plan `nightly` with one image for these projects, a day later each time, and return the run's key."""
    account: Account = given.pop("account", ACCOUNT)
    run = ledger.begin(
        plan="nightly",
        fingerprint=f"{len(results)}{FINGERPRINT[1:]}",
        account=account,
        now=NOW + timedelta(days=number),
        settings=given.pop("settings", Settings()),
        **given,
    )
    ledger.enqueue(run.id, [Block("image-1", list(results))])
    ledger.mark_enqueued(run.id)
    settled = [(member, result) for member, result in results.items() if result is not Result.PENDING]
    ledger.settle(
        run.id,
        [outcome("image-1", member, result, status=HOSTILE, reason=HOSTILE) for member, result in settled],
    )
    ledger.finish(run.id, now=NOW + timedelta(days=number), requests=7, retries=0, seconds=1.5)
    return run.key


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of a ledger with six nights of a plan: p1 flaps, p2 fails once, p3 leaves the plan."""
    path = str(tmp_path / "ledger.db")
    ledger = SqlLedger.open(path)
    for number, results in enumerate(
        (
            {"p1": S, "p2": S, "p3": S},
            {"p1": A, "p2": F, "p3": A},
            {"p1": F, "p2": A, "p3": A},
            {"p1": S, "p2": A},
            {"p1": F, "p2": A},
            {"p1": A, "p2": A},
        )
    ):
        night(ledger, number, results)
    ledger.label({"image-1": "ubuntu", "p1": "team-one"})
    ledger.close()
    return path


def run(path: str, *args: str, exit_code: int = 0) -> Done:
    """Run a command on the ledger."""
    done = CliRunner().invoke(main, [*args, "--ledger", path], terminal_width=100)
    assert done.exit_code == exit_code, done.output
    return done


def test_history_shows_what_changed(path: str) -> None:
    """A strip from the oldest to the newest, a line for each run, and the pair that flaps by name."""
    text = run(path, "history").stdout
    assert "  +!!+!.\n" in text
    lines = [line for line in text.splitlines() if "nightly-2026" in line]
    assert len(lines) == 6
    assert "20260107T" in lines[0], "the newest first"
    words = " ".join(text.split())
    for what in ("1 newly failing, 1 fixed", "1 fixed, 1 no longer planned", "1 pair flaps", "project p1 team-one"):
        assert what in words
    assert "shared already failed shared failed already" in words


def test_history_as_json(path: str) -> None:
    """The same, in an order of its own: the oldest first."""
    document = json.loads(run(path, "history", "nightly", "-n", "5", "--json").stdout)
    (cloud,) = document["clouds"]
    assert (document["version"], document["plan"], cloud["strip"], cloud["cloud"]) == (1, "nightly", "!!+!.", "prod")
    assert [one["before"] for one in cloud["runs"]] == [None, *(one["run"] for one in cloud["runs"][:-1])]
    changes = [{name: count for name, count in one["changes"].items() if count} for one in cloud["runs"][1:]]
    assert changes == [
        {"newly failing": 1, "fixed": 1},
        {"fixed": 1, "no longer planned": 1},
        {"newly failing": 1},
        {"fixed": 1},
    ]
    assert cloud["flapping_pairs"] == 1
    assert cloud["flapping"][0]["results"] == ["already", "failed", "shared", "failed", "already"]
    assert (cloud["flapping"][0]["member_name"], cloud["flapping"][0]["relapses"]) == ("team-one", 2)


def test_each_account_has_its_own_history(tmp_path: Path) -> None:
    """Runs of one command on two clouds are not compared with each other; all sandboxes are one."""
    path = str(tmp_path / "ledger.db")
    ledger = SqlLedger.open(path)
    west = Account("west", "", "https://west", "u", "p", "0" * 32)
    for number in range(2):
        night(ledger, number, {"p1": S if number == 0 else A}, invocation=f"i{number}", key_suffix="prod")
        night(ledger, number, {"p1": F}, invocation=f"i{number}", key_suffix="west", account=west)
        sandbox = Account("sandbox", "", f"http://127.0.0.1:{number}", "u", "p", "1" * 32)
        night(ledger, number, {"p1": S}, account=sandbox, settings=Settings(sandbox=True))
    ledger.close()
    clouds = json.loads(run(path, "history", "--json").stdout)["clouds"]
    assert {cloud["cloud"]: cloud["strip"] for cloud in clouds} == {"prod": "+.", "west": "!!", "sandbox": "++"}


def test_compare_shows_what_differs(path: str) -> None:
    """By result, with counts, new and gone pairs; nothing of a server moves the cursor. The exit code says if any."""
    first, *_, last = (one["run"] for one in json.loads(run(path, "history", "--json").stdout)["clouds"][0]["runs"])
    text = run(path, "compare", first, last, exit_code=10).stdout
    assert "3 pairs differ: 0 new, 1 gone; 0 are the same" in text
    assert "image image-1  ubuntu" in text
    assert "\x1b" not in text
    assert "shared (pen [2Jding) -> already (pen [2Jding)" in " ".join(text.split())
    assert "and 2 more: --limit 0" in run(path, "compare", first, last, "-n", "1", exit_code=10).stdout
    document = json.loads(run(path, "compare", first, last, "--json", exit_code=10).stdout)
    (cloud,) = document["clouds"]
    assert (cloud["different"], cloud["new"], cloud["gone"], cloud["same"]) == (3, 0, 1, 0)
    assert [pair["member_id"] for pair in cloud["pairs"]] == ["p1", "p2", "p3"]
    assert (cloud["pairs"][2]["before"]["result"], cloud["pairs"][2]["now"]) == ("shared", None)
    assert "0 pairs differ: 0 new, 0 gone; 3 are the same" in run(path, "compare", first, first).stdout
    assert "no run or plan" in run(path, "compare", first, "nowhere", exit_code=2).stderr


def test_compare_with_the_run_before(path: str) -> None:
    """One name is compared with the run before it of its plan; without any, the last run is."""
    runs = [one["run"] for one in json.loads(run(path, "history", "--json").stdout)["clouds"][0]["runs"]]
    last = run(path, "compare", runs[-2], runs[-1], exit_code=10).stdout
    assert run(path, "compare", exit_code=10).stdout == last
    assert run(path, "compare", runs[-1], exit_code=10).stdout == last
    assert "no run of plan" in run(path, "compare", runs[0], exit_code=2).stderr


def test_a_prune_says_what_it_keeps_and_why(path: str) -> None:
    """A dry run lists both and deletes nothing; without a rule, the error says how to give one."""
    text = run(path, "ledger", "prune", "--keep-last", "2", "--keep-monthly", "2", "--dry-run").stdout
    kept, deleted = text.split("Would delete:")
    assert deleted.rstrip().endswith("Would delete 3 runs with 8 pairs; nothing is deleted.")
    assert "20260107T030405Z  last, monthly  " in kept
    assert "oldest monthly" in kept
    assert "--keep-last 30" in run(path, "ledger", "prune", exit_code=2).stderr
    run(path, "ledger", "prune", "--keep-last", "2")
    assert len(run(path, "runs", "--json").stdout.splitlines()) == 2


@given(st.lists(st.sampled_from([*Result, None])))
def test_relapses(results: list[Result | None]) -> None:
    """Only a pair that was as planned has any, and only if something fails or is done afterwards."""
    assert relapses(results) < max(1, len(results))
    assert relapses([one for one in results if one not in AS_PLANNED]) == 0
    assert relapses([one for one in results if one in {A, Result.ABSENT, None}]) == 0


@pytest.mark.parametrize(
    ("results", "times"),
    [
        ([S, A, A, A], 0),
        ([F, F, S, A], 0),
        ([A, F, S, A], 1),
        ([A, F, F, F, A], 1),
        ([S, S, S], 2),
        ([A, None, F, Result.PENDING, A, F], 2),
        ([R, Result.ABSENT, S, A, R], 2),
    ],
)
def test_what_counts_as_a_relapse(results: list[Result | None], times: int) -> None:
    """As planned, and then failed or done again; nights without the pair are passed over."""
    assert relapses(results) == times


def test_only_the_worst_are_kept() -> None:
    """However many flap, as many are held as are shown; all are counted."""
    many = (("image", f"{number}", (A, F) * (2 + number % 50)) for number in range(1_000))
    found, count = worst_flapping(many)
    assert (len(found), count) == (MOST_FLAPPING, 1_000)
    assert {pair.relapses for pair in found} == {51}
