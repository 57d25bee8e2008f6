"""What differs between runs: counted by the database, or read pair by pair. Works in the caller's transaction."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from bulkshare.ledger.codecs import RESULT_CODES, RESULTS
from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bulkshare.ledger.store import Connection
    from bulkshare.ledger.strings import StringTable

MOST_SEEKS = 500  # members looked up one by one
STEADY = frozenset({Result.ALREADY, Result.ABSENT})  # settled, and nothing was to be done
NOT_STEADY = frozenset(RESULT_CODES) - STEADY
SAME_PAIR = "earlier.image = later.image AND earlier.member = later.member"


def count_changes(connection: Connection, before_id: int, run_id: int) -> list[tuple[Result | None, Result, int]]:
    """Count a run's pairs by their result in another run (None: not in it) and in this one.

    Only those where something was done or failed, and those that had failed before: of the others nothing has changed.
    """
    done = (
        "SELECT earlier.run_id, earlier.result, later.result, COUNT(*) FROM pairs later "
        f"LEFT JOIN pairs earlier ON earlier.run_id = :before_id AND {SAME_PAIR} "
        "WHERE later.run_id = :run_id AND later.result IN :codes "
        "GROUP BY earlier.run_id, earlier.result, later.result"
    )
    mended = (
        "SELECT earlier.run_id, earlier.result, later.result, COUNT(*) FROM pairs earlier "
        f"JOIN pairs later ON later.run_id = :run_id AND {SAME_PAIR} "
        "WHERE earlier.run_id = :before_id AND earlier.result IN :bad AND later.result IN :codes "
        "GROUP BY earlier.run_id, earlier.result, later.result"
    )
    runs = {"before_id": before_id, "run_id": run_id}
    return [
        (None if in_run is None else RESULTS[before], RESULTS[now], count)
        for in_run, before, now, count in (
            *connection.rows(done, **runs, codes=_codes(NOT_STEADY)),
            *connection.rows(mended, **runs, bad=_codes(NOT_STEADY - AS_PLANNED), codes=_codes(STEADY)),
        )
    ]


def count_gone(connection: Connection, before_id: int, run_id: int) -> int:
    """Count the pairs of a run that another doesn't have, without those that it removed or that were absent."""
    query = (
        "SELECT COUNT(*) FROM pairs earlier WHERE earlier.run_id = :before_id "
        "AND (earlier.result IS NULL OR earlier.result NOT IN :away) "
        f"AND NOT EXISTS (SELECT 1 FROM pairs later WHERE later.run_id = :run_id AND {SAME_PAIR})"
    )
    away = _codes({Result.REMOVED, Result.ABSENT})
    count: int = connection.scalar(query, before_id=before_id, run_id=run_id, away=away)
    return count


def read_unsteady(
    connection: Connection, run_ids: Sequence[int], strings: StringTable
) -> Iterator[tuple[str, str, tuple[Result | None, ...]]]:
    """Yield image, member and results of the pairs for which something was done or failed in at least two runs.

    The results are in the order of `run_ids`; None if the pair was not in the run. Holds the pairs of one image.
    """
    runs = {"run_ids": list(run_ids), "codes": _codes(NOT_STEADY)}
    unsteady = (
        "SELECT image, member FROM pairs WHERE run_id IN :run_ids AND result IN :codes {} "
        "GROUP BY image, member HAVING COUNT(*) > 1"
    )
    images = connection.scalars(f"SELECT DISTINCT image FROM ({unsteady.format('')}) found ORDER BY image", **runs)
    position = {run_id: number for number, run_id in enumerate(run_ids)}
    for image in images:
        members = {member for _, member in connection.rows(unsteady.format("AND image = :image"), **runs, image=image)}
        query = "SELECT member, run_id, result FROM pairs WHERE run_id IN :run_ids AND image = :image"
        parameters = {"run_ids": list(run_ids), "image": image}
        if len(members) <= MOST_SEEKS:  # an index seek for each is faster than reading the whole image
            query += " AND member IN :members"
            parameters["members"] = list(members)
        rows = [row for row in connection.rows(f"{query} ORDER BY member", **parameters) if row[0] in members]
        texts = strings.texts(connection, {image, *members})
        for member, of_member in groupby(rows, lambda row: row[0]):
            results: list[Result | None] = [None] * len(run_ids)
            for _, run_id, result in of_member:
                results[position[run_id]] = RESULTS[result]
            yield texts[image], texts[member], tuple(results)


def _codes(results: Collection[Result]) -> list[int]:
    return sorted(RESULT_CODES[result] for result in results)
