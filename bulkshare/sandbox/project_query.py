"""What `GET /v3/projects` asks for: Keystone's filters, as plain tests over projects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bulkshare.sandbox.wire import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bulkshare.sandbox.records import Project

    Test = Callable[[Project], bool]

HEX_UUID = re.compile(r"[0-9a-f]{32}")
FALSE = frozenset({"0", "f", "false", "off", "n", "no"})  # all else is true, also nothing
# How a text is compared, after two underscores: name__contains. Before any of these stands an i to ignore case.
COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "equals": str.__eq__,
}
# Each takes texts separated by commas, and of a repeated one the first counts.
TAG_FILTERS: Mapping[str, Callable[[frozenset[str], frozenset[str]], bool]] = {
    "tags": lambda own, asked: asked <= own,
    "tags-any": lambda own, asked: bool(asked & own),
    "not-tags": lambda own, asked: not asked <= own,
    "not-tags-any": lambda own, asked: not asked & own,
}


def read_project_tests(query: Sequence[tuple[str, str]]) -> Sequence[Test]:
    """Return a test for each filter; what is none filters nothing. Raises `RefusalError` as Keystone answers."""
    tests = [test for name, value in query if (test := _read_test(name, value)) is not None]
    for name, compare in TAG_FILTERS.items():
        asked = next((value for given, value in query if given == name), None)
        if asked is not None:
            tests.append(_has_tags(frozenset(asked.split(",")), compare))
    return tests


def is_true(text: str) -> bool:
    """Read a flag as Keystone does."""
    return text.lower() not in FALSE


def _read_test(name: str, value: str) -> Test | None:
    column, _, comparison = name.partition("__")
    if name in {"name", "domain_id"} and not value:
        raise RefusalError(400, f"Invalid input for field/attribute {name}. Value: . '' should be non-empty")
    if name == "parent_id" and not HEX_UUID.fullmatch(value.replace("-", "")):
        problem = f"Value: {value}. '{value}' is not a 'uuid'"
        raise RefusalError(400, f"Invalid input for field/attribute parent_id. {problem}")
    if name in {"name", "domain_id", "parent_id"}:
        return lambda project: bool(getattr(project, name) == value)
    if name == "enabled":
        return lambda project: project.enabled == is_true(value)
    plain = comparison.removeprefix("i")
    if column == "name" and plain in COMPARISONS:
        compare = COMPARISONS[plain]
        if plain != comparison:
            return lambda project: compare(project.name.lower(), value.lower())
        return lambda project: compare(project.name, value)
    return None


def _has_tags(asked: frozenset[str], compare: Callable[[frozenset[str], frozenset[str]], bool]) -> Test:
    return lambda project: compare(frozenset(project.tags), asked)
