"""The project IDs that stand in a plan, and which of them are of no project."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from bulkshare.model import Problem
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bulkshare.model import Entry, Plan, ProjectSelector

MOST_PROBLEMS = 20  # nobody reads the thousandth


def project_ids(plan: Plan) -> frozenset[str]:
    """Return the project IDs that stand in the plan: shared with, left out or kept."""
    distinct = {id(items): items for entry in plan.entries for items in _lists(entry)}
    return frozenset(item for items in distinct.values() for item in items if isinstance(item, str))


def check_ids(plan: Plan, known: frozenset[str]) -> list[Problem]:
    """Return a problem for each of `project_ids(plan)` that is not among the `known` ones; for the first, if many.

    An ID that is only left out or kept has to be a project's, too: mistyped, it would protect nobody. Made for plans
    whose selectors are not resolved yet; what they select is known.
    """
    unknown = project_ids(plan) - known
    if not unknown:
        return []
    naming = dict.fromkeys(sorted(unknown), 0)
    among: dict[int, frozenset[str]] = {}  # by the identity of a list: entries share them
    for entry in plan.entries:
        named: set[str] = set()
        for items in _lists(entry):
            if id(items) not in among:
                among[id(items)] = unknown.intersection(item for item in items if isinstance(item, str))
            named |= among[id(items)]
        for project_id in named:
            naming[project_id] += 1
    where = f"plan {plan.name}"
    problems = [
        Problem(where, None, None, f"{project_id} is no project, and named by {counted(count, 'entry', 'entries')}")
        for project_id, count in islice(naming.items(), MOST_PROBLEMS)
    ]
    if (more := len(unknown) - MOST_PROBLEMS) > 0:
        problems.append(
            Problem(where, None, None, f"{counted(more, 'more ID')} that {'is' if more == 1 else 'are'} no project")
        )
    return problems


def _lists(entry: Entry) -> tuple[Iterable[str | ProjectSelector], ...]:
    return entry.projects, entry.excluded, entry.keep
