"""Several observers as one, and one that remembers what a dry run has to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bulkshare.model import Image, Verdict


class Listings:
    """Remembers of images what a dry run has to tell: which can't be listed and why, which are private, and names."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.private: set[str] = set()
        self.names: dict[str, str] = {}

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        if verdict.kind is not Kind.LISTED:
            self.refused[image_id] = verdict.reason

    def inspected(self, image: Image) -> None:
        """See `ports.Observer`."""
        if image.visibility == "private":
            self.private.add(image.id)
        if image.name:
            self.names[image.id] = image.name


class Observers:
    """Several observers as one, told in order. An observer need not care for every event."""

    def __init__(self, *observers: object) -> None:
        self.phase = _each(observers, "phase")
        self.answered = _each(observers, "answered")
        self.retrying = _each(observers, "retrying")
        self.settled = _each(observers, "settled")
        self.settled_rest = _each(observers, "settled_rest")
        self.listed = _each(observers, "listed")
        self.inspected = _each(observers, "inspected")
        self.extra = _each(observers, "extra")
        self.opened = _each(observers, "opened")
        self.progressed = _each(observers, "progressed")


def _each(observers: Sequence[object], event: str) -> Callable[..., None]:
    methods = [method for observer in observers if (method := getattr(observer, event, None)) is not None]

    def tell(*arguments: object) -> None:
        for method in methods:
            method(*arguments)

    return tell
