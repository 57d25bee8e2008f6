"""Texts that repeat (IDs, reasons, statuses, schemas) as small numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from bulkshare.ledger.schema import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

LARGEST_CACHE = 200_000  # texts; forgetting all of them costs a few look-ups
CHUNK = 500  # texts in one look-up: the oldest SQLite takes 999 parameters


class Names:
    """The `names` table, with a memory of what was looked up. Only rows that are committed are remembered."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def numbers(self, connection: Connection, texts: Iterable[str]) -> dict[str, int]:
        """Return the numbers of texts, in a transaction that may write; new texts get one."""
        wanted = dict.fromkeys(texts)
        found = {text: number for text in wanted if (number := self._numbers.get(text)) is not None}
        missing = [text for text in wanted if text not in found]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            known = self._look_up(connection, chunk)
            new = [{"text": text} for text in chunk if text not in known]
            if new:
                connection.execute(insert(NAMES), new)
                known |= self._look_up(connection, [row["text"] for row in new])
            found |= known
        return found

    def number(self, connection: Connection, text: str) -> int | None:
        """Return the number of one text, or None where it has none."""
        known = self._numbers.get(text)
        return known if known is not None else self._look_up(connection, [text]).get(text)

    def remember(self, numbers: dict[str, int]) -> None:
        """Keep what a transaction found, once it is committed."""
        if len(self._numbers) + len(numbers) > LARGEST_CACHE:
            self._numbers.clear()
        self._numbers.update(numbers)

    def texts(self, connection: Connection, numbers: Iterable[int | None]) -> dict[int, str]:
        """Return a mapping that has the texts of these numbers, and others."""
        if len(self._texts) > LARGEST_CACHE:
            self._texts.clear()
        missing = [number for number in set(numbers) if number is not None and number not in self._texts]
        for start in range(0, len(missing), CHUNK):
            query = select(NAMES.c.id, NAMES.c.text).where(NAMES.c.id.in_(missing[start : start + CHUNK]))
            self._texts.update((row.id, row.text) for row in connection.execute(query))
        return self._texts

    @staticmethod
    def _look_up(connection: Connection, texts: list[str]) -> dict[str, int]:
        query = select(NAMES.c.text, NAMES.c.id).where(NAMES.c.text.in_(texts))
        return {row.text: row.id for row in connection.execute(query)}
