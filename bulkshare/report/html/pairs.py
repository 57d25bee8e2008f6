"""One pass over a run's pairs, compared with those of the run before: all that the page shows of them. Pure.

The runs may have ten million pairs. Of each pair a few bytes are kept, and whole rows only for those in the table.
"""

from __future__ import annotations

from array import array
from collections import Counter
from enum import StrEnum
from itertools import groupby, islice
from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bulkshare.model import Outcome
    from bulkshare.report.html.table import Table

# The worst first: a block of the matrix shows its worst result, and the table is sorted by it. The page encodes a
# result as its index here.
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
MOST_EXAMPLES = 50  # pairs listed per kind of change


class Change(StrEnum):
    """How a pair changed since the previous run, as shown to the user."""

    SHARED = "newly shared"
    FAILING = "newly failing"
    FIXED = "fixed"
    REMOVED = "removed"


def change_of(before: Result | None, now: Result) -> Change | None:
    """Return what changed; `before` is None if the previous run did not have the pair."""
    if now is Result.REMOVED:
        return Change.REMOVED
    if now in FAILING:
        return None if before in FAILING else Change.FAILING
    if now in AS_PLANNED and before in FAILING:
        return Change.FIXED
    return Change.SHARED if now is Result.SHARED else None


class FormerResults:
    """The results of the previous run's pairs in a few bytes each, taken out image by image."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        """Read the outcomes, which must be grouped by image, as a ledger yields them."""
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


class ChangeCounts:
    """What changed since the previous run: pairs by change, the first of each, and those no longer planned."""

    def __init__(self) -> None:
        self.counts: Counter[Change] = Counter()
        self.examples: dict[Change, list[tuple[str, str]]] = {change: [] for change in Change}
        self.unplanned = 0  # pairs of the previous run that this one does not have
        self.unplanned_examples: list[tuple[str, str]] = []

    def note(self, change: Change, outcome: Outcome) -> None:
        """Count a change of a pair."""
        self.counts[change] += 1
        if len(examples := self.examples[change]) < MOST_EXAMPLES:
            examples.append((outcome.image_id, outcome.member_id))

    def note_unplanned(self, image_id: str, member_ids: Iterable[str]) -> None:
        """Count pairs of an image that this run does not have."""
        members = list(member_ids)
        self.unplanned += len(members)
        room = MOST_EXAMPLES - len(self.unplanned_examples)
        self.unplanned_examples += [(image_id, member_id) for member_id in members[:room]]


class PairScan:
    """The pairs of a run.

    members, codes: per pair, the index of its project in `projects` and the code of its result.
    spans: (image ID, start, end) per image, a slice of `members` and `codes`.
    statuses: number of pairs by member status.
    """

    def __init__(self, outcomes: Iterable[Outcome], table: Table, former: FormerResults | None) -> None:
        """Read the outcomes, which must be grouped by image. `former` has the results of the previous run."""
        self.spans: list[tuple[str, int, int]] = []
        self.members = array("I")
        self.codes = bytearray()
        self.statuses: Counter[str] = Counter()
        self.changes = None if former is None else ChangeCounts()
        self._table = table
        numbers: dict[str, int] = {}
        for image_id, pairs in groupby(outcomes, lambda outcome: outcome.image_id):
            before = {} if former is None else former.take(image_id)
            start = len(self.members)
            for pair in pairs:
                self.members.append(numbers.setdefault(pair.member_id, len(numbers)))
                self.codes.append(CODES[pair.result])
                if pair.status is not None:
                    self.statuses[pair.status] += 1
                self._add(pair, before.pop(pair.member_id, None))
            self.spans.append((image_id, start, len(self.members)))
            if self.changes is not None:
                self.changes.note_unplanned(image_id, before)
        self.projects = list(numbers)
        if self.changes is not None and former is not None:
            self.changes.unplanned += former.count()
            self.changes.unplanned_examples += islice(former, MOST_EXAMPLES - len(self.changes.unplanned_examples))

    def _add(self, pair: Outcome, before: Result | None) -> None:
        """Add a pair to the table and count its change."""
        change = None
        if self.changes is not None:
            change = change_of(before, pair.result)
            if change is not None:
                self.changes.note(change, pair)
        self._table.add(pair, change)
