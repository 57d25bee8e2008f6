"""Selectors in words, and problems at the place where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import ImageSelector, Problem, ProjectSelector
from bulkshare.text import clean

if TYPE_CHECKING:
    Selector = ImageSelector | ProjectSelector

DAY_SECONDS = 86_400


def describe(selector: Selector) -> str:
    """Say what a selector means, on one line and in the words of a plan."""
    parts: list[tuple[str, object]] = [("name", selector.name)]
    if isinstance(selector, ProjectSelector):
        parts.append(("domain", selector.domain))
    parts += [("tag", tag) for tag in sorted(selector.tags)]
    if isinstance(selector, ImageSelector):
        parts += [*selector.properties, ("owner", selector.owner), ("status", selector.status)]
        if selector.newer_than_seconds is not None:
            parts.append(("newer_than", f"{selector.newer_than_seconds / DAY_SECONDS:g}d"))
        parts += [("latest", selector.latest), ("per", selector.per)]
    else:
        enabled = "any" if selector.enabled is None else str(selector.enabled).lower()
        parts += [("enabled", enabled), ("parent", selector.parent)]
    return clean("{" + ", ".join(f"{key}: {value}" for key, value in parts if value is not None) + "}")


def problem_at(selector: Selector, message: str) -> Problem:
    """Return a problem at the place where a selector stands."""
    file, line, column = place_of(selector)
    return Problem(file, line or None, column or None, message)


def place_of(selector: Selector) -> tuple[str, int, int]:
    """Return file, line and column; the numbers are 0 where a selector does not stand in a file."""
    file, *numbers = selector.place.rsplit(":", 2)
    if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
        return file, int(numbers[0]), int(numbers[1])
    return selector.place or "the plan", 0, 0
