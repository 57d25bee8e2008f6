"""The plans that come with the project, and the JSON Schema that they name for editors."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.plan.expand import count
from bulkshare.plan.load import load_plan

FOLDER = Path(__file__).parents[2] / "plans"
PLANS = sorted(FOLDER.glob("*.yaml"))


def test_there_are_plans() -> None:
    """The tests below have something to test."""
    assert PLANS


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_plan_loads(path: Path) -> None:
    """Each plan is a good one, is named after its file, and comes to some pairs, or selects them."""
    plan = load_plan(path)
    assert plan.name == path.stem
    assert count(plan).pairs + count(plan).selectors > 0


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_plan_names_its_schema(path: Path) -> None:
    """Editors find the schema by the first line."""
    first, _, _ = path.read_text("utf-8").partition("\n")
    assert first == "# yaml-language-server: $schema=plan.schema.json"


def test_schema_is_what_the_command_prints() -> None:
    """After a change of the plan's format: `bulkshare schema > plans/plan.schema.json`."""
    printed = CliRunner().invoke(main, ["schema"], catch_exceptions=False)
    assert printed.exit_code == 0
    assert (FOLDER / "plan.schema.json").read_text("utf-8") == printed.stdout
