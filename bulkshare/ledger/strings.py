"""Repeated text (IDs, reasons, statuses, schemas) as small numbers.

A number never stands for another text. Only committed rows are cached. Other processes may have cached them as well, so
rows are deleted only while no run is active, and whoever begins a run forgets its cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from bulkshare.ledger.schema import NAMES

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


LARGEST_CACHE = 100_000  # texts, some 20 MB; dropping all of them costs a few queries
CHUNK = 500  # texts in one query: the oldest SQLite accepts 999 parameters


class StringTable:
    """The `names` table, with a cache."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def numbers(self, connection: Connection, texts: Collection[str]) -> dict[str, int]:
        """Return a mapping with the numbers of these texts, and perhaps others; inserts new ones."""
        known = self._numbers
        if all(map(known.__contains__, texts)):
            return known
        found = {text: known[text] for text in texts if text in known}
        missing = [text for text in texts if text not in found]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            old = _look_up(connection, chunk)
            found |= old
            new = [text for text in chunk if text not in old]
            if new:
                connection.execute(insert(NAMES), [{"text": text} for text in new])
                found |= _look_up(connection, new)
        return found

    def remember(self, numbers: dict[str, int]) -> None:
        """Cache what a transaction found, once it is committed."""
        if numbers is self._numbers:
            return
        if len(self._numbers) > LARGEST_CACHE:
            self._numbers = {}
        self._numbers.update(numbers)

    def forget(self) -> None:
        """Drop the cache."""
        self._numbers = {}

    def number(self, connection: Connection, text: str) -> int | None:
        """Return the number of one text; None if it has none."""
        known = self._numbers.get(text)
        return known if known is not None else _look_up(connection, [text]).get(text)

    def texts(self, connection: Connection, numbers: Collection[int | None]) -> dict[int, str]:
        """Return a mapping with the texts of these numbers, and perhaps others; None is skipped."""
        if len(self._texts) > LARGEST_CACHE:
            self._texts = {}  # not cleared: a caller that reads row by row may still hold it
        missing = [number for number in numbers if number is not None and number not in self._texts]
        for start in range(0, len(missing), CHUNK):
            query = select(NAMES.c.id, NAMES.c.text).where(NAMES.c.id.in_(missing[start : start + CHUNK]))
            self._texts.update({row.id: row.text for row in connection.execute(query)})
        return self._texts


def _look_up(connection: Connection, texts: list[str]) -> dict[str, int]:
    query = select(NAMES.c.text, NAMES.c.id).where(NAMES.c.text.in_(texts))
    return {row.text: row.id for row in connection.execute(query)}
