"""The names that people gave to images and projects, by their IDs, in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, union

from bulkshare.ledger.dialects import insert_or_update
from bulkshare.ledger.names import Names
from bulkshare.ledger.schema import LABELS, NAMES, PAIRS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


def keep_labels(connection: Connection, labels: Mapping[str, str]) -> None:
    """Keep names by their IDs; the last name of an ID stands."""
    numbers = Names().numbers(connection, labels.keys())  # with no memory: there may be no run at work
    rows = [{"id": numbers[text], "label": label} for text, label in labels.items()]
    connection.execute(insert_or_update(connection, LABELS, "id", "label"), rows)


def read_labels(connection: Connection, run_id: int) -> dict[str, str]:
    """Return the names that are known of the run's images and projects, by their IDs."""
    if connection.scalar(select(LABELS.c.id).limit(1)) is None:
        return {}  # without a look at the run's pairs
    used = union(*(select(column).where(PAIRS.c.run_id == run_id) for column in (PAIRS.c.image, PAIRS.c.member)))
    query = select(NAMES.c.text, LABELS.c.label).join(LABELS, LABELS.c.id == NAMES.c.id).where(LABELS.c.id.in_(used))
    return {row.text: row.label for row in connection.execute(query)}
