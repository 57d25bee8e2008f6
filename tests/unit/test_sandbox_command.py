"""What `bulkshare sandbox` prints: a plan for the cloud that it serves, and what its rules may be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bulkshare.cli.options import FAULT_RULES
from bulkshare.cli.sandbox import MOST_LISTED, example_plan, plan_for
from bulkshare.plan.load import load_plan
from bulkshare.plan.selectors import selectors
from bulkshare.sandbox import Cloud, Dialect
from bulkshare.sandbox import faults as grammar

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("images", [1, MOST_LISTED, MOST_LISTED + 1, 200])
@pytest.mark.parametrize("projects", [1, MOST_LISTED, MOST_LISTED + 1, 200])
@pytest.mark.parametrize("dialect", Dialect)
def test_the_plan_is_of_all_images_and_projects(images: int, projects: int, dialect: Dialect, tmp_path: Path) -> None:
    """Few are listed by ID, with their names; many are selected: projects by name where they have no tags."""
    cloud = Cloud.sample(images, projects)
    path = tmp_path / "golden.yaml"
    path.write_text(plan_for(cloud, dialect), "utf-8")
    plan = load_plan(path)
    (entry,) = plan.entries
    found = selectors(plan)
    assert plan.clouds == ("sandbox",)
    assert [*entry.images] == [*cloud.images] if images <= MOST_LISTED else len(found.images) == 1
    tenants = [key for key in cloud.projects if key != cloud.admin_project.id]
    assert [*entry.projects] == tenants if projects <= MOST_LISTED else len(found.projects) == 1
    assert all(each.tags if dialect is Dialect.OPENSTACK else each.name for each in found.projects)
    assert len(plan_for(cloud, dialect).splitlines()) < 2 * MOST_LISTED + 10


@pytest.mark.parametrize(("images", "projects"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_share_is_no_plan(images: int, projects: int) -> None:
    """An entry needs at least one of each."""
    assert not plan_for(Cloud.sample(images, projects), Dialect.OPENSTACK)


@pytest.mark.parametrize("dialect", Dialect)
def test_the_example_has_a_plan(dialect: Dialect, tmp_path: Path) -> None:
    """It selects, as plans/golden-nightly.yaml does; projects of other accounts are named where none can be found."""
    path = tmp_path / "golden.yaml"
    path.write_text(example_plan(Cloud.example(), dialect), "utf-8")
    plan = load_plan(path)
    assert plan.name == "golden"
    assert bool(selectors(plan).projects) is (dialect is Dialect.OPENSTACK)


def test_the_rules_are_in_the_help() -> None:
    """Every word of the grammar, and a meaning for each effect; `GRAMMAR` is the line above."""
    assert FAULT_RULES.line == grammar.GRAMMAR
    terms = dict(FAULT_RULES.terms)
    words = [*grammar.METHODS, *grammar.TARGETS, *grammar.OPTIONS]
    text = " ".join([*terms, *terms.values()])
    assert not [word for word in words if not re.search(rf"(?<![\w-]){word}(?![\w-])", text)]
    effects = [term.strip() for term in terms if term.startswith(" ")]
    assert {grammar.FaultRule.parse(f"POST any {effect} 1%").effect for effect in effects} == set(grammar.Effect)
