"""One pass over a run's pairs, beside those of the run before: all that the page shows of them. Pure.

The runs may have ten million pairs: of each a few bytes are kept, and whole rows only of those that the table shows.
"""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import groupby, islice
from typing import TYPE_CHECKING

from bulkshare.report.page.changes import CODES, Change, Former, change_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bulkshare.model import Outcome, Result
    from bulkshare.report.page.table import Table

MOST_EXAMPLES = 50  # pairs named for each kind of change


class Changes:
    """What changed since the run before: pairs counted by change, the first of each, and those that are gone."""

    def __init__(self) -> None:
        self.counts: Counter[Change] = Counter()
        self.examples: dict[Change, list[tuple[str, str]]] = {change: [] for change in Change}
        self.unplanned = 0  # pairs of the run before that this one does not have
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


class Survey:
    """The pairs of a run.

    `spans` has (image ID, first, end) for each image, as places in `members` and `codes`: the number of a pair's
    project in `projects`, and the code of its result. `statuses` counts the pairs by the member's status.
    """

    def __init__(self, outcomes: Iterable[Outcome], table: Table, former: Former | None) -> None:
        """Read the outcomes, which have to come image by image. `former` is what the run before has of them."""
        self.spans: list[tuple[str, int, int]] = []
        self.members = array("I")
        self.codes = bytearray()
        self.statuses: Counter[str] = Counter()
        self.changes = None if former is None else Changes()
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
                self._tell(pair, before.pop(pair.member_id, None))
            self.spans.append((image_id, start, len(self.members)))
            if self.changes is not None:
                self.changes.note_unplanned(image_id, before)
        self.projects = list(numbers)
        if self.changes is not None and former is not None:
            self.changes.unplanned += former.count()
            self.changes.unplanned_examples += islice(former, MOST_EXAMPLES - len(self.changes.unplanned_examples))

    def _tell(self, pair: Outcome, before: Result | None) -> None:
        """Put a pair into the table and count how it changed."""
        change = None
        if self.changes is not None:
            change = change_of(before, pair.result)
            if change is not None:
                self.changes.note(change, pair)
        self._table.add(pair, change)
