"""The images and projects with the most pairs that are not as planned. Pure."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkshare.report.html.pairs import BadCounts, PairScan

MOST_WORST = 10


class Worst(NamedTuple):
    """An image or a project of which `bad` of `planned` pairs are not as planned; `cloud` is that of an image."""

    id: str
    bad: int
    planned: int
    cloud: str = ""

    @property
    def percent(self) -> float:
        """Share of its pairs that are not as planned."""
        return round(100 * self.bad / self.planned, 1)


def worst_of(scan: PairScan, bad: BadCounts, labels: Mapping[str, str]) -> tuple[list[Worst], list[Worst]]:
    """Return the worst images and the worst projects: the most bad pairs first, then by name. `bad` is of the scan."""
    images = [Worst(*image, cloud) for image, cloud in zip(_images(scan, bad.images), scan.clouds, strict=True)]
    projects = [Worst(*each) for each in zip(scan.projects, bad.projects, bad.planned, strict=True)]
    return _most(images, labels), _most(projects, labels)


def _images(scan: PairScan, bad: Sequence[int]) -> list[tuple[str, int, int]]:
    return [(image_id, count, end - start) for (image_id, start, end), count in zip(scan.spans, bad, strict=True)]


def _most(things: list[Worst], labels: Mapping[str, str]) -> list[Worst]:
    wrong = (thing for thing in things if thing.bad)
    return nsmallest(MOST_WORST, wrong, key=lambda thing: (-thing.bad, labels.get(thing.id) or thing.id))
