"""What `bulkshare sandbox` prints: a plan for the cloud that it serves, and what its rules may be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bulkshare.cli.options import FAULT_RULES
from bulkshare.cli.sandbox import EXAMPLE_PLAN, MOST_LISTED, plan_for
from bulkshare.plan.load import load_plan
from bulkshare.plan.selectors import selectors
from bulkshare.sandbox import Cloud
from bulkshare.sandbox import faults as grammar

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("images", [1, MOST_LISTED, MOST_LISTED + 1, 200])
@pytest.mark.parametrize("projects", [1, MOST_LISTED, MOST_LISTED + 1, 200])
def test_the_plan_is_of_all_images_and_projects(images: int, projects: int, tmp_path: Path) -> None:
    """Few are listed by ID, with their names; of many it has the tag."""
    cloud = Cloud.sample(images, projects)
    path = tmp_path / "golden.yaml"
    path.write_text(plan_for(cloud), "utf-8")
    plan = load_plan(path)
    (entry,) = plan.entries
    found = selectors(plan)
    assert plan.clouds == ("sandbox",)
    assert [*entry.images] == [*cloud.images] if images <= MOST_LISTED else len(found.images) == 1
    tenants = [key for key in cloud.projects if key != cloud.admin_project.id]
    assert [*entry.projects] == tenants if projects <= MOST_LISTED else len(found.projects) == 1
    assert len(plan_for(cloud).splitlines()) < 2 * MOST_LISTED + 10


@pytest.mark.parametrize(("images", "projects"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_share_is_no_plan(images: int, projects: int) -> None:
    """An entry needs at least one of each."""
    assert not plan_for(Cloud.sample(images, projects))


def test_the_example_has_a_plan(tmp_path: Path) -> None:
    """It selects, as plans/golden-nightly.yaml does."""
    path = tmp_path / "golden.yaml"
    path.write_text(EXAMPLE_PLAN, "utf-8")
    assert load_plan(path).name == "golden"


def test_the_rules_are_in_the_help() -> None:
    """Every word of the grammar, and a meaning for each effect; `GRAMMAR` is the line above."""
    assert FAULT_RULES.line == grammar.GRAMMAR
    terms = dict(FAULT_RULES.terms)
    words = [*grammar.METHODS, *grammar.TARGETS, *grammar.OPTIONS]
    text = " ".join([*terms, *terms.values()])
    assert not [word for word in words if not re.search(rf"(?<![\w-]){word}(?![\w-])", text)]
    effects = [term.strip() for term in terms if term.startswith(" ")]
    assert {grammar.FaultRule.parse(f"POST any {effect} 1%").effect for effect in effects} == set(grammar.Effect)
