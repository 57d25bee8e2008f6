"""The string table: IDs, reasons, statuses and schemas are stored once, and pairs refer to them by small numbers.

Theory. A run of millions of pairs has thousands of distinct texts, so a number of 1 to 3 bytes replaces 36 in each
row. Every process caches the numbers that it has looked up. A cached number must never become wrong:

- Only committed numbers enter the cache (`remember` follows the transaction), so none comes from a rollback.
- A number is never assigned twice (AUTOINCREMENT), so an outdated one refers to nothing rather than to another text.
- Strings are deleted only by a prune that knows that no run is in progress, and in the transaction that checks it.
  A run that begins or is resumed afterwards empties its cache first, in its own transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.ledger import dialects

if TYPE_CHECKING:
    from collections.abc import Collection

    from bulkshare.ledger.store import Connection


LARGEST_CACHE = 100_000  # texts, about 20 MB; a full cache is emptied, which costs a few look-ups
CHUNK = 500  # texts in one query: the oldest SQLite takes 999 parameters


class StringTable:
    """The `names` table, with a cache in both directions."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def numbers(self, connection: Connection, texts: Collection[str]) -> dict[str, int]:
        """Return the numbers of at least these texts. New texts are inserted, in the caller's transaction."""
        cached = self._numbers
        if all(map(cached.__contains__, texts)):
            return cached
        found = {text: cached[text] for text in texts if text in cached}
        missing = [text for text in texts if text not in found]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            old = _look_up(connection, chunk)
            found |= old
            new = [text for text in chunk if text not in old]
            if new:
                connection.execute_many(dialects.insert("names", ("text",)), [(text,) for text in new])
                found |= _look_up(connection, new)
        return found

    def remember(self, numbers: dict[str, int]) -> None:
        """Cache what `numbers` returned, once its transaction is committed."""
        if numbers is self._numbers:
            return
        if len(self._numbers) > LARGEST_CACHE:
            self._numbers = {}
        self._numbers.update(numbers)

    def forget(self) -> None:
        """Look up the number of every text anew from now on."""
        self._numbers = {}

    def number(self, connection: Connection, text: str) -> int | None:
        """Return the number of one text, or None if it has none."""
        cached = self._numbers.get(text)
        return cached if cached is not None else _look_up(connection, [text]).get(text)

    def texts(self, connection: Connection, numbers: Collection[int | None]) -> dict[int, str]:
        """Return the texts of at least these numbers. None and unknown numbers have no entry."""
        if len(self._texts) > LARGEST_CACHE:
            self._texts = {}  # not cleared: a caller that reads row by row may still hold it
        missing = [number for number in numbers if number is not None and number not in self._texts]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            self._texts.update(connection.rows("SELECT id, text FROM names WHERE id IN :numbers", numbers=chunk))
        return self._texts


def _look_up(connection: Connection, texts: list[str]) -> dict[str, int]:
    return dict(connection.rows("SELECT text, id FROM names WHERE text IN :texts", texts=texts))
