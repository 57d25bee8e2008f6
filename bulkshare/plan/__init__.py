"""Plan files: YAML text -> `Plan`, or every problem with its place.

`files` reads text; `document` reads the YAML and knows where everything stands; `values` and `sections` say what a plan
looks like, and `sentences` what is wrong with one; `lists` reads lists of IDs, `groups` what items come to, `clouds`
which clouds are meant; `resolve` puts them together. Must not know the cloud: all of this is offline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.errors import PlanError
from bulkshare.plan.document import read_document
from bulkshare.plan.resolve import resolve
from bulkshare.plan.sections import plan_schema
from bulkshare.plan.sentences import validate
from bulkshare.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.model import Plan, Problem

__all__ = ["SAVED_MARK", "load_plan", "plan_schema"]

SAVED_MARK = "bulkshare_saved_plan"  # the key by which a file that `diff --out` made is told from a plan


def load_plan(path: Path) -> Plan:
    """Read a plan and the lists it names. Raises `PlanError` with all that is wrong, in the order of the file."""
    problems: list[Problem] = []
    name = clean(str(path), 1000)
    document = read_document(path, name, problems)
    if document is None:
        raise PlanError(problems)
    if isinstance(document.data, dict) and SAVED_MARK in document.data:
        raise PlanError([document.problem((), "this is a saved plan, which only `bulkshare run` takes; name the plan")])
    file = validate(document, problems)
    plan = resolve(file, document, path.parent, problems)
    if plan is None or problems:
        raise PlanError(_in_order(problems, name))
    return plan


def _in_order(problems: list[Problem], name: str) -> list[Problem]:
    """Put the plan's own problems first, by place, then those of its lists as they were found; each of them once."""
    once = dict.fromkeys(problems)
    own = sorted((problem for problem in once if problem.file == name), key=_place)
    return [*own, *(problem for problem in once if problem.file != name)]


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0
