"""What changed between two runs of a plan, pair by pair. Pure."""

from __future__ import annotations

from array import array
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bulkshare.model import Outcome

# The worst first: what a block of the matrix shows, and how the table is sorted. The page's codes of results are the
# places in this order.
ORDER = (
    Result.FAILED,
    Result.REJECTED,
    Result.SKIPPED,
    Result.PENDING,
    Result.REMOVED,
    Result.SHARED,
    Result.ABSENT,
    Result.ALREADY,
)
CODES = {result: code for code, result in enumerate(ORDER)}
FAILING = frozenset({Result.FAILED, Result.REJECTED, Result.SKIPPED})


class Change(StrEnum):
    """How a pair differs from what it was in the run before; the words are the user's."""

    SHARED = "newly shared"
    FAILING = "newly failing"
    MENDED = "mended"
    REMOVED = "removed"


def change_of(before: Result | None, now: Result) -> Change | None:
    """Return what changed; `before` is None where the run before did not have the pair."""
    if now is Result.REMOVED:
        return Change.REMOVED
    if now in FAILING:
        return None if before in FAILING else Change.FAILING
    if now in AS_PLANNED and before in FAILING:
        return Change.MENDED
    return Change.SHARED if now is Result.SHARED else None


class Former:
    """The results of a run's pairs in a few bytes each, to be taken image by image."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        """Read the outcomes, which have to come image by image, as a ledger yields them."""
        numbers: dict[str, int] = {}
        self._images: dict[str, tuple[array[int], bytearray]] = {}
        for image_id, pairs in groupby(outcomes, lambda outcome: outcome.image_id):
            members, codes = array("I"), bytearray()
            for pair in pairs:
                members.append(numbers.setdefault(pair.member_id, len(numbers)))
                codes.append(CODES[pair.result])
            self._images[image_id] = members, codes
        self._projects = list(numbers)

    def take(self, image_id: str) -> dict[str, Result]:
        """Return the results of an image's pairs by member ID, and forget them."""
        members, codes = self._images.pop(image_id, ((), ()))
        return {self._projects[member]: ORDER[code] for member, code in zip(members, codes, strict=True)}

    def count(self) -> int:
        """Return how many pairs were not taken."""
        return sum(len(members) for members, _ in self._images.values())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield the (image ID, member ID) that were not taken."""
        for image_id, (members, _) in self._images.items():
            for member in members:
                yield image_id, self._projects[member]
