"""The requests that a cloud under test has answered, one by one and counted by kind."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Service = Literal["image", "identity"]
# The IDs in a path are what follows these collections.
ID_SEGMENTS = re.compile(r"/(image|member|project|domain|user)s/(?!tokens\b)[^/]+")


class LoggedRequest(NamedTuple):
    """A request that a service answered; `target` is the path with its query."""

    method: str
    target: str
    status: int


def template_of(target: str) -> str:
    """Return the path of a target with placeholders for IDs, as in /v2/images/{image}/members/{member}."""
    return ID_SEGMENTS.sub(r"/\1s/{\1}", target.partition("?")[0])


def count(requests: Iterable[LoggedRequest]) -> Counter[str]:
    """Count requests by method and template, as in "POST /v2/images/{image}/members"."""
    return Counter(f"{request.method} {template_of(request.target)}" for request in requests)
