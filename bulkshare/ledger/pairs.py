"""Rows of pairs: the statements that write them, and the conversion between `Outcome`s and rows."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, literal_column, select, update

from bulkshare.ledger.codecs import (
    RESULT_CODES,
    RESULTS,
    WANTS,
    pack_request_ids,
    pack_time,
    pack_times,
    pack_usual_time,
    unpack_request_id,
    unpack_times,
    unpack_usual_time,
)
from bulkshare.ledger.dialects import execute_many, insert_unless_there
from bulkshare.ledger.schema import LONGEST_TEXT, PAIRS
from bulkshare.model import Block, Outcome, Result, Want

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import BindParameter, ColumnElement, Connection, Row, Select, Update

    from bulkshare.ledger.strings import StringTable
    from bulkshare.model import Member

KEY = ("run_id", "image", "member")
DESCRIBED = ("status", "created_at", "updated_at", "schema")
SETTLED = ("result", "http_status", *DESCRIBED, "attempts", "request_id", "reason", "started_at", "settled_at")


def _parameters(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: bindparam(f"new_{name}") for name in names}


def _bits(want: Want) -> ColumnElement[int]:
    return PAIRS.c.want.bitwise_and(literal_column(str(want.value)))


_THIS_PAIR = [PAIRS.c[name] == bindparam(f"at_{name}") for name in KEY]
_PENDING = PAIRS.c.result.is_(None)
_NEW_WANT = bindparam("new_want", type_=PAIRS.c.want.type).bitwise_or(_bits(Want.ALREADY_MEMBER))
# Their rows for `execute_many`: the columns in the order above; in updates the key comes last.
ENQUEUE = lru_cache(lambda dialect: insert_unless_there(dialect, PAIRS, _parameters((*KEY, "want"))))
# Row: the want, the key, the want again. Keeps ALREADY_MEMBER, which a listing found.
WANT = update(PAIRS).where(*_THIS_PAIR, _PENDING, PAIRS.c.want != _NEW_WANT).values(want=_NEW_WANT)
MARK_LISTED = (
    update(PAIRS)
    .where(*_THIS_PAIR, _PENDING)
    .values(want=PAIRS.c.want.bitwise_or(literal_column(str(Want.ALREADY_MEMBER.value))))
)
SETTLE = update(PAIRS).where(*_THIS_PAIR).values(_parameters(SETTLED))
DESCRIBE = update(PAIRS).where(*_THIS_PAIR, PAIRS.c.result.is_not(None)).values(_parameters(DESCRIBED))


def batches(blocks: Iterable[Block], pairs: int) -> Iterator[list[Block]]:
    """Group blocks into batches of about `pairs` pairs, always fewer than twice as many; splits larger blocks."""
    batch: list[Block] = []
    size = 0
    for image_id, member_ids, want in blocks:
        members = iter(member_ids)
        while part := list(islice(members, pairs)):
            batch.append(Block(image_id, part, want))
            size += len(part)
            if size >= pairs:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def texts_of_blocks(blocks: list[Block]) -> dict[str, None]:
    """Return the texts that enqueueing needs numbers for, each once, in order of first mention."""
    texts = dict.fromkeys(block.image_id for block in blocks)
    for block in blocks:
        texts.update(dict.fromkeys(block.member_ids))
    return texts


def enqueue(connection: Connection, run_id: int, blocks: list[Block], numbers: dict[str, int]) -> int:
    """Insert pairs as pending, and update the want of those already pending; return how many are new."""
    rows: list[tuple[Any, ...]] = []
    for image_id, member_ids, want in blocks:
        image, wanted = numbers[image_id], int(want)
        rows += [(run_id, image, numbers[member_id], wanted) for member_id in member_ids]
    added = execute_many(connection, ENQUEUE(connection.dialect.name), rows)
    if added < len(rows):
        execute_many(connection, WANT, [(want, *key, want) for *key, want in rows])
    return added


def pending(run_id: int | BindParameter[int], removals: bool | None) -> list[ColumnElement[bool]]:  # noqa: FBT001  a condition, passed on
    """Return the conditions for the run's pending pairs: all, those to be removed, or all others."""
    conditions = [PAIRS.c.run_id == run_id, _PENDING]
    if removals is not None:
        conditions.append(_bits(Want.REMOVE) == (Want.REMOVE.value if removals else 0))
    return conditions


def _all_wants() -> ColumnElement[int]:
    """Return the union of the wants of a group of pairs; SQLite has no aggregate for it."""
    return sum((func.max(_bits(want)) for want in Want), start=literal_column("0"))


def texts_of(records: Sequence[Outcome] | Sequence[Member]) -> set[str]:
    """Return the texts that writing these records needs numbers for."""
    columns = dict(zip(type(records[0])._fields, zip(*records, strict=True), strict=True))
    texts = set().union(*(columns[name] for name in ("image_id", "member_id", "status", "schema")))
    texts |= {reason[:LONGEST_TEXT] or None for reason in set(columns.get("reason", ()))}
    return texts - {None}


def settled_rows(run_id: int, outcomes: Sequence[Outcome], numbers: dict[str, int]) -> list[tuple[Any, ...]]:
    """Return rows for `SETTLE`. By column, which is faster than by row."""
    images, members, results, http_statuses, statuses, created, updated, *more = zip(*outcomes, strict=True)
    schemas, attempts, requests, reasons, started, settled, _wants = more
    columns = (
        map(RESULT_CODES.get, results),
        http_statuses,
        [None if status is None else numbers[status] for status in statuses],
        map(pack_usual_time, created),
        map(pack_usual_time, updated),
        [None if schema is None else numbers[schema] for schema in schemas],
        attempts,
        pack_request_ids(requests),
        [numbers[reason[:LONGEST_TEXT]] if reason else None for reason in reasons],
        pack_times(started),
        pack_times(settled),
        repeat(run_id, len(outcomes)),
        map(numbers.__getitem__, images),
        map(numbers.__getitem__, members),
    )
    return list(zip(*columns, strict=True))


def described_row(run_id: int, member: Member, numbers: dict[str, int]) -> tuple[Any, ...]:
    """Return a row for `DESCRIBE`."""
    return (
        None if member.status is None else numbers[member.status],
        pack_time(member.created_at),
        pack_time(member.updated_at),
        None if member.schema is None else numbers[member.schema],
        run_id,
        numbers[member.image_id],
        numbers[member.member_id],
    )


def select_outcomes(run_id: int, results: frozenset[Result] | None) -> Select[Any]:
    """Return the query for `read_outcomes`: all of the run's pairs, or those with one of `results`.

    Its parameters `image` and `member` are the numbers of the last pair read, initially 0.
    """
    columns = [PAIRS.c[name] for name in (*KEY[1:], "want", *SETTLED)]
    image, member = bindparam("image", type_=PAIRS.c.image.type), bindparam("member", type_=PAIRS.c.member.type)
    # The first condition lets all databases continue in the index at the end of the last page.
    query = (
        select(*columns)
        .where(PAIRS.c.run_id == run_id, PAIRS.c.image >= image, (PAIRS.c.image > image) | (PAIRS.c.member > member))
        .order_by(PAIRS.c.image, PAIRS.c.member)
    )
    if results is None:
        return query
    settled = PAIRS.c.result.in_([RESULT_CODES[result] for result in results - {Result.PENDING}])
    return query.where(settled | PAIRS.c.result.is_(None) if Result.PENDING in results else settled)


def read_outcomes(connection: Connection, rows: Sequence[Row[Any]], names: StringTable) -> Iterator[Outcome]:
    """Yield rows of `select_outcomes` as outcomes. By column, which is faster than by row."""
    images, members, wants, results, http_statuses, statuses, created, updated, schemas, *more = zip(*rows, strict=True)
    tries, requests, reasons, *when = more
    texts = names.texts(connection, set().union(images, members, statuses, schemas, reasons))
    columns = (
        map(texts.__getitem__, images),
        map(texts.__getitem__, members),
        map(RESULTS.__getitem__, results),
        http_statuses,
        map(texts.get, statuses),
        map(unpack_usual_time, created),
        map(unpack_usual_time, updated),
        map(texts.get, schemas),
        (number or 0 for number in tries),
        map(unpack_request_id, requests),
        map(texts.get, reasons, repeat("")),
        *map(unpack_times, when),
        map(WANTS.__getitem__, wants),
    )
    return map(Outcome._make, zip(*columns, strict=True))


@lru_cache(10)  # used per image, and building the query takes longer than running it
def select_jobs(removals: bool | None, limit: int) -> Select[Any]:  # noqa: FBT001
    """Return the query for members and wants of an image's pending pairs.

    Its parameters are `run_id` and the numbers of the `image` and of the last `member` read, initially 0.
    """
    run_id, image, member = (bindparam(name, type_=PAIRS.c[name].type) for name in KEY)
    return (
        select(PAIRS.c.member, PAIRS.c.want)
        .where(*pending(run_id, removals), PAIRS.c.image == image, PAIRS.c.member > member)
        .order_by(PAIRS.c.member)
        .limit(limit)
    )


def select_backlog(run_id: int, removals: bool | None, *, after: int, images: int) -> Select[Any]:  # noqa: FBT001
    """Select the next images after a number that have pending pairs, with the pairs' count and combined wants."""
    return (
        select(PAIRS.c.image, func.count(), _all_wants())
        .where(*pending(run_id, removals), PAIRS.c.image > after)
        .group_by(PAIRS.c.image)
        .order_by(PAIRS.c.image)
        .limit(images)
    )


def settle_all(these: Sequence[ColumnElement[bool]], result: Result, reason: int | None, now: datetime) -> Update:
    """Return the statement that settles pairs for which nothing was sent."""
    values = {"result": RESULT_CODES[result], "reason": reason, "attempts": 0, "settled_at": pack_time(now)}
    return update(PAIRS).where(*these).values(values)


def select_undescribed(run_id: int, *, after: int, images: int) -> Select[Any]:
    """Select the `already` pairs without member details, of the next images after a number."""
    already = PAIRS.c.result == RESULT_CODES[Result.ALREADY]
    pairs = select(PAIRS.c.image, PAIRS.c.member).where(PAIRS.c.run_id == run_id, already, PAIRS.c.status.is_(None))
    following = (
        pairs.with_only_columns(PAIRS.c.image)
        .where(PAIRS.c.image > after)
        .group_by(PAIRS.c.image)
        .order_by(PAIRS.c.image)
        .limit(images)
        .subquery()  # where MariaDB accepts a limit
    )
    return pairs.where(PAIRS.c.image.in_(select(following.c.image))).order_by(PAIRS.c.image, PAIRS.c.member)
