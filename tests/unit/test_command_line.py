"""The command line before a command runs: options in the wrong place, an interrupt, several plans, filters."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.cli.command import Program
from bulkshare.cli.commands.ledger import STATES
from bulkshare.cli.options import NOTIFY_ON, WEBHOOK_FORMATS
from bulkshare.ledger import SqlLedger
from bulkshare.model import Block, NotifyOn, RunState, WebhookFormat
from bulkshare.report.runs import STATES as REPORTED
from tests.ledger_fixtures import NOW, begin, finish

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "version: 1\nname: {}\nshare:\n  - images: [i]\n    projects: [p]\n"
# Every option that some command has and the program itself has not, by one spelling each.
OPTIONS = {
    option: name
    for name, command in reversed(list(main.commands.items()))
    for param in command.params
    if isinstance(param, click.Option)
    for option in param.opts
}


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_an_option_before_the_command(option: str) -> None:
    """It is said where it belongs: with the command that was given, or the first that has it."""
    done = CliRunner().invoke(main, [option, "no-such-command"])
    assert done.exit_code == 2
    assert f"{option} goes after the command: bulkshare {OPTIONS[option]} {option}" in done.stderr
    named = CliRunner().invoke(main, [option, "verify"])
    if option in {each for param in main.commands["verify"].params for each in param.opts}:
        assert f"bulkshare verify {option}" in named.stderr
    assert named.exit_code == 2


def test_an_option_that_no_command_has() -> None:
    """Nothing can be said about it."""
    done = CliRunner().invoke(main, ["--nonsense", "run"])
    assert (done.exit_code, "No such option '--nonsense'" in done.stderr) == (2, True)


@pytest.mark.parametrize("step", ["make_context", "parse_args", "invoke"])
def test_an_interrupt_at_any_moment(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the command line is parsed: the exit code is that of an interrupt, with a word in our own name."""

    def interrupt(*_: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Program, step, interrupt)
    done = CliRunner().invoke(main, ["version"])
    assert (done.exit_code, done.stderr.strip()) == (130, "bulkshare: interrupted")


def test_several_plans_are_checked_together(tmp_path: Path) -> None:
    """All problems of all plans are reported; with --json there is an object for each plan."""
    paths = [tmp_path / f"{name}.yaml" for name in ("one", "two", "bad")]
    for path in paths:
        path.write_text(GOOD.format(path.stem) if path.stem != "bad" else "version: 1\n", "utf-8")
    one, two, bad = map(str, paths)
    done = CliRunner().invoke(main, ["check", one, two])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [f"{name}: 1 pair of 1 image and 1 project" for name in ("one", "two")]
    done = CliRunner().invoke(main, ["check", bad, two, "--json"])
    assert done.exit_code == 2
    assert done.stderr.count(f"{bad}:1:1: ") == 2
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["file"], first["plan"], first["clouds"], len(first["problems"])) == (bad, None, None, 2)
    assert first["problems"][0].keys() == {"file", "line", "column", "message"}
    counts = {"images": 1, "projects": 1, "pairs": 1, "duplicates": 0, "selectors": 0, "unshared": 0}
    assert second == {"file": two, "plan": "two", "clouds": [{"cloud": None, **counts}], "problems": []}


def test_check_counts_each_cloud(tmp_path: Path) -> None:
    """As `run` would: an entry may be for one of them."""
    path = tmp_path / "plan.yaml"
    path.write_text(
        "version: 1\nname: both\nclouds: [east, west]\nshare:\n  - images: [i]\n    projects: [p]\n"
        "  - images: [j]\n    projects: [p, q]\n    cloud: west\n",
        "utf-8",
    )
    done = CliRunner().invoke(main, ["check", str(path), "--json"])
    assert {each["cloud"]: each["pairs"] for each in json.loads(done.stdout)["clouds"]} == {"east": 1, "west": 3}


def test_runs_by_plan_and_state(tmp_path: Path) -> None:
    """The limit is on what is found, not on what is looked through."""
    path = tmp_path / "ledger.db"
    with_state: dict[str, list[str]] = {"finished": [], "interrupted": []}
    ledger = SqlLedger.open(str(path), create=True)
    for number in range(6):
        plan = "odd" if number % 2 else "even"
        run = begin(ledger, plan=plan, now=NOW + timedelta(hours=number))
        if number > 3:
            ledger.enqueue(run.id, [Block("image", ("project",))])
        with_state[finish(ledger, run.id).state.value].append(run.key)
    ledger.close()

    def listed(*options: str) -> list[str]:
        done = CliRunner().invoke(main, ["runs", "--ledger", str(path), "--json", *options])
        assert done.exit_code == 0
        return [json.loads(line)["run"] for line in done.stdout.splitlines()]

    everything = listed()
    assert len(everything) == 6
    for plan in ("odd", "even", "other"):
        assert listed("--plan", plan) == [key for key in everything if key.startswith(plan)]
    for name, keys in with_state.items():
        assert keys
        assert listed("--state", name) == [key for key in everything if key in keys]
        assert listed("--state", name, "-n", "1") == listed("--state", name)[:1]
    assert listed("--plan", "odd", "--state", "finished") == [
        key for key in everything if key.startswith("odd") and key in with_state["finished"]
    ]
    none = CliRunner().invoke(main, ["runs", "--ledger", str(path), "--state", "killed"])
    assert "no such run" in none.stderr


def test_choices_are_those_of_the_model() -> None:
    """The options offer each."""
    assert [each.value for each in NotifyOn] == list(NOTIFY_ON)
    assert [each.value for each in WebhookFormat] == list(WEBHOOK_FORMATS)
    assert sorted(STATES) == sorted(REPORTED)
    assert {state.value for state in RunState} < set(STATES)
