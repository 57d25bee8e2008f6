"""The pairs of a page: what changed since the run before, and the rows of its table. Pure.

The runs may have ten million pairs. Of each pair a few bytes are kept, and whole rows only for those in the table,
whose columns are small numbers, so that 100,000 of them stay small.
"""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import compress, groupby, islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import AS_PLANNED, Result
from bulkshare.report.history import FAILING, Change, change_of
from bulkshare.report.summary import without_ids
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from bulkshare.model import Outcome


# The worst first: a block of the matrix shows its worst result, and the table is sorted by it. The page encodes a
# result as its index here.
ORDER = (
    Result.FAILED,
    Result.REJECTED,
    Result.SKIPPED,
    Result.PENDING,
    Result.REMOVED,
    Result.SHARED,
    Result.ACCEPTED,
    Result.DECLINED,
    Result.RESET,
    Result.ABSENT,
    Result.ALREADY,
)
CODES = {result: code for code, result in enumerate(ORDER)}
BAD_CODES = frozenset(CODES[result] for result in ORDER if result not in AS_PLANNED)
IS_BAD = bytes(code in BAD_CODES for code in range(256))  # translates codes to 1 and 0
MOST_EXAMPLES = 50  # pairs listed per kind of change


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


class BadCounts(NamedTuple):
    """How many pairs are not as planned, by the number of the span and of the project; `planned`: a project's pairs."""

    images: list[int]
    projects: list[int]
    planned: list[int]


class PairScan:
    """The pairs of a run, or of runs on several clouds.

    members, codes: per pair, the index of its project in `projects` and the code of its result.
    spans: (image ID, start, end) per image, a slice of `members` and `codes`.
    clouds, cloud_numbers: the cloud of each span, and which of `clouds_read` clouds that is, counted from 0 on.
    statuses: number of pairs by member status.
    changes: None if no run has a previous one.
    """

    def __init__(self, table: Table) -> None:
        self.spans: list[tuple[str, int, int]] = []
        self.clouds: list[str] = []
        self.members = array("I")
        self.codes = bytearray()
        self.statuses: Counter[str] = Counter()
        self.changes: ChangeCounts | None = None
        self._table = table
        self._numbers: dict[str, int] = {}
        self.cloud_numbers: list[int] = []
        self.clouds_read = 0

    @property
    def projects(self) -> list[str]:
        """The IDs of all projects, in the order in which they were read."""
        return list(self._numbers)

    def planned(self, span: int) -> int:
        """Return how many pairs a span has."""
        _, start, end = self.spans[span]
        return end - start

    def bad(self) -> BadCounts:
        """Count the pairs that are not as planned."""
        flags = self.codes.translate(IS_BAD)
        planned, projects = Counter(self.members), Counter(compress(self.members, flags))
        numbers = range(len(self._numbers))
        images = [flags.count(1, start, end) for _, start, end in self.spans]
        return BadCounts(images, [projects[i] for i in numbers], [planned[i] for i in numbers])

    def read(self, outcomes: Iterable[Outcome], former: FormerResults | None, *, cloud: str = "") -> None:
        """Read a run's outcomes, which must be grouped by image. `former` has the results of the previous run."""
        self._table.begin(cloud)
        self.clouds_read += 1
        if former is not None and self.changes is None:
            self.changes = ChangeCounts()
        numbers = self._numbers
        for image_id, pairs in groupby(outcomes, lambda outcome: outcome.image_id):
            before = {} if former is None else former.take(image_id)
            start = len(self.members)
            for pair in pairs:
                self.members.append(numbers.setdefault(pair.member_id, len(numbers)))
                self.codes.append(CODES[pair.result])
                if pair.status is not None:
                    self.statuses[pair.status] += 1
                self._add(pair, before.pop(pair.member_id, None), compared=former is not None)
            self.spans.append((image_id, start, len(self.members)))
            self.clouds.append(cloud)
            self.cloud_numbers.append(self.clouds_read - 1)
            if self.changes is not None:
                self.changes.note_unplanned(image_id, before)
        if self.changes is not None and former is not None:
            self.changes.unplanned += former.count()
            self.changes.unplanned_examples += islice(former, MOST_EXAMPLES - len(self.changes.unplanned_examples))

    def _add(self, pair: Outcome, before: Result | None, *, compared: bool) -> None:
        """Add a pair to the table and count its change."""
        change = None
        if self.changes is not None and compared:
            change = change_of(before, pair.result)
            if change is not None:
                self.changes.note(change, pair)
        self._table.add(pair, change)


MOST_PAIRS = 200_000  # up to so many, the table has every pair
MOST_NOT_AS_PLANNED = 100_000  # beyond that, about so many of those not as planned,
MOST_AS_PLANNED = 10_000  # and so many of the others
# These bounds keep a page of 100,000 pairs below 5 MB, whatever the texts.
MOST_REQUEST_IDS = 5_000  # only pairs not as planned have one
MOST_REASON_CHARACTERS = 200_000
MOST_DICTIONARY_BYTES = 3_400_000  # IDs and names; names beyond that are left out
LEFT_OUT = "left out here; `bulkshare export` has it"
# Stand for a pair's own IDs, so that a reason with IDs is one text for all pairs. Cleaned text never has them.
IMAGE_ID, PROJECT_ID = "\x01", "\x02"
CHANGES = tuple(Change)


class Dictionary:
    """Numbers IDs, each once, and knows their names."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of an ID."""
        return self._numbers.setdefault(text, len(self._numbers))

    def find(self, text: str) -> int | None:
        """Return the number of an ID if it has one."""
        return self._numbers.get(text)

    def document(self) -> dict[str, Any]:
        """Return the page's data: IDs and known names, by number."""
        ids = [clean(text) for text in self._numbers]
        room = MOST_DICTIONARY_BYTES - sum(len(text) + 3 for text in ids)  # with quotes and comma
        names = {}
        for text, number in self._numbers.items():
            if text in self._labels:
                names[number] = clean(self._labels[text])
                room -= len(names[number].encode()) + 12  # with its key
                if room < 0:
                    break
        return {"ids": ids, "names": names}


class Table:
    """The table's rows: all pairs, or those not as planned and a sample of the others.

    began_at: the start of the run; times are whole seconds since then.
    causes: the reasons of the causes of failures, by number, as `summary.without_ids` has them.
    """

    def __init__(
        self,
        totals: Mapping[Result, int],
        began_at: datetime,
        dictionary: Dictionary,
        causes: Mapping[str, int] | None = None,
    ) -> None:
        planned = sum(totals.values())
        as_planned = sum(totals.get(result, 0) for result in AS_PLANNED)
        self.every = {True: 1, False: 1}  # one in so many pairs is taken, by whether it is as planned
        if planned > MOST_PAIRS:
            self.every[True] = max(1, -(-as_planned // MOST_AS_PLANNED))
            self.every[False] = max(1, -(-(planned - as_planned) // MOST_NOT_AS_PLANNED))
        self._seen: Counter[bool] = Counter()
        self._began_at = began_at
        self._dictionary = dictionary
        self._images: list[list[int]] = []  # number and rows, each
        self._clouds: list[tuple[str, int]] = []  # name and first row, each
        self._projects: list[int] = []
        self._ways: list[int] = []
        self._seconds: list[int] = []
        self._requests: dict[int, str] = {}
        self._way_numbers: dict[tuple[Any, ...], int] = {}
        self._reason_characters = 0
        self._causes = causes or {}

    @property
    def rows(self) -> int:
        """How many pairs the table has."""
        return len(self._ways)

    def begin(self, cloud: str) -> None:
        """Begin the pairs of a cloud."""
        self._clouds.append((cloud, self.rows))

    def add(self, pair: Outcome, change: Change | None) -> None:
        """Add a pair if it is sampled. Pairs must be grouped by image."""
        as_planned = pair.result in AS_PLANNED
        turn = self._seen[as_planned]
        self._seen[as_planned] = turn + 1
        if turn % self.every[as_planned]:
            return
        image = self._dictionary.number(pair.image_id)
        if not self._images or self._images[-1][0] != image:
            self._images.append([image, 0])
        self._images[-1][1] += 1
        if not as_planned and pair.request_id and len(self._requests) < MOST_REQUEST_IDS:
            self._requests[self.rows] = clean(pair.request_id)
        self._projects.append(self._dictionary.number(pair.member_id))
        self._seconds.append(self._since_beginning(pair.settled_at))
        self._ways.append(self._way(pair, change))

    def document(self) -> dict[str, Any]:
        """Return the page's data.

        A row is a project, a way (result, HTTP status, member status, attempts, reason, change, cause) and seconds
        (-1 if unknown), each encoded as the difference from the previous row. `images` is run-length encoded: (image,
        rows), and so are `clouds`.
        """
        return {
            "began": int(self._began_at.timestamp()),
            "images": self._images,
            "clouds": [
                [clean(cloud), end - start] for (cloud, start), (_, end) in pairwise([*self._clouds, ("", self.rows)])
            ],
            "projects": differences(self._projects),
            "ways": differences(self._ways),
            "seconds": differences(self._seconds),
            "requests": self._requests,
            "way": list(self._way_numbers),
        }

    def _way(self, pair: Outcome, change: Change | None) -> int:
        way = (
            CODES[pair.result],
            pair.http_status,
            clean(pair.status or ""),
            pair.attempts,
            _with_places(pair),
            -1 if change is None else CHANGES.index(change),
            self._causes.get(without_ids(pair), -1) if pair.result in FAILING else -1,
        )
        if way not in self._way_numbers:
            self._reason_characters += len(way[4])
            if self._reason_characters > MOST_REASON_CHARACTERS:
                way = (*way[:4], LEFT_OUT, *way[5:])
        return self._way_numbers.setdefault(way, len(self._way_numbers))

    def _since_beginning(self, time: datetime | None) -> int:
        return -1 if time is None else max(0, int((time - self._began_at).total_seconds()))


def differences(numbers: list[int]) -> list[int]:
    """Return the first number, and of each other one the difference from the one before."""
    return [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]


def _with_places(pair: Outcome) -> str:
    reason = clean(pair.reason)
    for text, place in ((pair.image_id, IMAGE_ID), (pair.member_id, PROJECT_ID)):
        if text in reason:
            reason = reason.replace(text, place)
    return reason
