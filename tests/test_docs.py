"""The README does what it says: its commands parse or run, its plans load, its tables are complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bulkshare import errors
from bulkshare.cli import main
from bulkshare.model import Result
from bulkshare.plan.load import load_plan
from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    import click

    from tests.shell import Shell

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PLANS = [text for language, text in BLOCKS if language == "yaml" and "version: 1" in text]
COMMANDS = [
    line.rpartition("bin/bulkshare ")[2].removeprefix("bulkshare ").strip()
    for language, text in BLOCKS
    if language in {"sh", "", "ini"}
    for line in text.splitlines()
    if re.search(r"(^|bin/)bulkshare ", line)
]


def write_lists(directory: Path) -> None:
    """Write the files that the README's plans name."""
    (directory / "tenants.txt").write_text("edc89b490d7d4392898e19b2deb34797\n", "utf-8")
    (directory / "tenants.csv").write_text("project_id\n2a6d1e8bac4f4d73c9b8e7f6a5d4c3b2\n", "utf-8")


def test_continuous_integration_runs_the_readme_commands() -> None:
    """The two lines of the README are lines of .ci/run."""
    lines = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    first, second = (text.strip() for language, text in BLOCKS[:2] if language == "sh")
    assert first in lines
    assert second in lines


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    """Every command line in the README has options that exist."""
    name, *args = shlex.split(command)
    sub: click.Command = main.commands[name]
    sub.make_context(name, args)


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_plans_load(number: int, tmp_path: Path) -> None:
    """Every plan in the README is a good one."""
    write_lists(tmp_path)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLANS[number], "utf-8")
    assert load_plan(plan).name == "golden-nightly"


def test_every_command_and_option_of_run_is_documented() -> None:
    """What --help lists, the README has."""
    for name in main.commands:
        assert f"bulkshare {name}" in README
    for parameter in main.commands["run"].params:
        for option in parameter.opts:
            if option.startswith("-") and option not in {"--quiet", "--verbose"}:
                assert f"`{option}" in README, option


def test_exit_codes_and_results_are_documented() -> None:
    """The tables have every code and every result."""
    codes = {
        error.exit_code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "exit_code")
    }
    for code in codes | {0}:
        assert f"\n| {code} | " in README
    for result in Result:
        assert f"\n| `{result.value}` | " in README


def test_the_guide_from_plan_to_ledger(shell: Shell) -> None:
    """The steps of "Your own cloud in five minutes", typed one after the other."""
    shell.start_sandbox()
    clouds = (shell.directory / "clouds.yaml").read_text("utf-8").replace("  sandbox:", "  prod:")
    shell.write("clouds.yaml", clouds)
    write_lists(shell.directory)
    cloud = Cloud.sample(1, 1)
    image, project = next(iter(cloud.images)), next(p.id for p in cloud.projects.values() if p.name == "project-001")
    shell.write("tenants.txt", project)
    shell.write("golden.yaml", PLANS[0].replace("d164b5df-1bc3-4c3f-893e-3e471fd16e64", image))
    typed = [shlex.split(command) for command in COMMANDS if "golden.yaml" in command and "/etc" not in command]
    typed += [["runs"], ["show", "--failed"], shlex.split("export --format csv -o golden.csv")]
    for args in typed:
        shell.run(*args)
    assert "shared" in (shell.directory / "golden.csv").read_text("utf-8")


def test_promises_name_tests_that_exist() -> None:
    """Every file that the table of promises names is there."""
    named = re.findall(r"`(tests/[\w/.]+)`", README)
    assert len(named) > 20
    for path in named:
        assert (ROOT / path).exists(), path
