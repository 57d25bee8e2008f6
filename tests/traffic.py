"""The requests that a cloud under test got: told one by one, and counted by kind."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Service = Literal["image", "identity"]
# What in a path is an ID: what stands after these.
PLACES = re.compile(r"/(image|member|project|domain|user)s/(?!tokens\b)[^/]+")


class Logged(NamedTuple):
    """A request that a service answered; `target` is the path with its query."""

    method: str
    target: str
    status: int


def template_of(target: str) -> str:
    """Return the path of a target without query, with names instead of IDs: /v2/images/{image}/members/{member}."""
    return PLACES.sub(r"/\1s/{\1}", target.partition("?")[0])


def count(requests: Iterable[Logged]) -> Counter[str]:
    """Count requests by method and template, as in "POST /v2/images/{image}/members"."""
    return Counter(f"{request.method} {template_of(request.target)}" for request in requests)
