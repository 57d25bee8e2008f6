"""What differs between runs: counted by the database, or read pair by pair. Works in the caller's transaction."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, select

from bulkshare.ledger.codecs import RESULT_CODES, RESULTS
from bulkshare.ledger.schema import PAIRS
from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Connection

    from bulkshare.ledger.strings import StringTable

MOST_SEEKS = 500  # members looked up one by one
STEADY = frozenset({Result.ALREADY, Result.ABSENT})  # settled, and nothing was to be done
NOT_STEADY = frozenset(RESULT_CODES) - STEADY
BEFORE, NOW = PAIRS.alias("before"), PAIRS.alias("now")
SAME_PAIR = and_(BEFORE.c.image == NOW.c.image, BEFORE.c.member == NOW.c.member)


def count_changes(connection: Connection, before_id: int, run_id: int) -> list[tuple[Result | None, Result, int]]:
    """Count a run's pairs by their result in another run (None: not in it) and in this one.

    Only those where something was done or failed, and those that had failed before: of the others nothing has changed.
    """
    pair = and_(BEFORE.c.run_id == before_id, SAME_PAIR)
    done = (
        select(BEFORE.c.run_id, BEFORE.c.result, NOW.c.result, func.count())
        .select_from(NOW.outerjoin(BEFORE, pair))
        .where(NOW.c.run_id == run_id, NOW.c.result.in_(_codes(NOT_STEADY)))
        .group_by(BEFORE.c.run_id, BEFORE.c.result, NOW.c.result)
    )
    mended = (
        select(BEFORE.c.run_id, BEFORE.c.result, NOW.c.result, func.count())
        .select_from(BEFORE.join(NOW, and_(NOW.c.run_id == run_id, SAME_PAIR)))
        .where(
            BEFORE.c.run_id == before_id,
            BEFORE.c.result.in_(_codes(NOT_STEADY - AS_PLANNED)),
            NOW.c.result.in_(_codes(STEADY)),
        )
        .group_by(BEFORE.c.run_id, BEFORE.c.result, NOW.c.result)
    )
    return [
        (None if in_run is None else RESULTS[before], RESULTS[now], count)
        for query in (done, mended)
        for in_run, before, now, count in connection.execute(query)
    ]


def count_gone(connection: Connection, before_id: int, run_id: int) -> int:
    """Count the pairs of a run that another doesn't have, without those that it removed or that were absent."""
    there = exists().where(NOW.c.run_id == run_id, SAME_PAIR)
    gone = BEFORE.c.result.is_(None) | BEFORE.c.result.not_in(_codes({Result.REMOVED, Result.ABSENT}))
    query = select(func.count()).select_from(BEFORE).where(BEFORE.c.run_id == before_id, gone, ~there)
    return connection.scalar(query) or 0


def read_unsteady(
    connection: Connection, run_ids: Sequence[int], strings: StringTable
) -> Iterator[tuple[str, str, tuple[Result | None, ...]]]:
    """Yield image, member and results of the pairs for which something was done or failed in at least two runs.

    The results are in the order of `run_ids`; None if the pair was not in the run. Holds the pairs of one image.
    """
    unsteady = (
        select(PAIRS.c.image, PAIRS.c.member)
        .where(PAIRS.c.run_id.in_(run_ids), PAIRS.c.result.in_(_codes(NOT_STEADY)))
        .group_by(PAIRS.c.image, PAIRS.c.member)
        .having(func.count() > 1)
    )
    found = unsteady.subquery()
    images = connection.scalars(select(found.c.image).distinct().order_by(found.c.image)).all()
    position = {run_id: number for number, run_id in enumerate(run_ids)}
    for image in images:
        members = set(connection.scalars(unsteady.where(PAIRS.c.image == image).with_only_columns(PAIRS.c.member)))
        query = (
            select(PAIRS.c.member, PAIRS.c.run_id, PAIRS.c.result)
            .where(PAIRS.c.run_id.in_(run_ids), PAIRS.c.image == image)
            .order_by(PAIRS.c.member)
        )
        if len(members) <= MOST_SEEKS:  # an index seek for each is faster than reading the whole image
            query = query.where(PAIRS.c.member.in_(members))
        rows = [row for row in connection.execute(query) if row.member in members]
        texts = strings.texts(connection, {image, *members})
        for member, of_member in groupby(rows, lambda row: row.member):
            results: list[Result | None] = [None] * len(run_ids)
            for row in of_member:
                results[position[row.run_id]] = RESULTS[row.result]
            yield texts[image], texts[member], tuple(results)


def _codes(results: Collection[Result]) -> list[Any]:
    return sorted(RESULT_CODES[result] for result in results)
