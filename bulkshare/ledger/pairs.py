"""The rows of pairs: the statements that write and read them, and `Outcome`s as rows and back.

Converting a row in Python takes longer than storing it in SQLite. Therefore statements that are executed for each pair
are built once and take plain tuples (`dialects.execute_many`), and outcomes are converted column by column, which is
faster than row by row: `map` over C functions, and caches for values that repeat.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, literal_column, null, select, update

from bulkshare.ledger.codecs import (
    RESULT_CODES,
    RESULTS,
    WANTS,
    pack_cached_time,
    pack_request_ids,
    pack_time,
    pack_times,
    unpack_cached_time,
    unpack_request_id,
    unpack_times,
)
from bulkshare.ledger.dialects import execute_many, insert_unless_there
from bulkshare.ledger.schema import LONGEST_TEXT, NAMES, PAIRS
from bulkshare.model import AS_PLANNED, Block, Outcome, Result, Want

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
_NEW_WANT = bindparam("new_want", type_=PAIRS.c.want.type).bitwise_or(_bits(Want.ALREADY_MEMBER | Want.ADDED))

# The columns of a pair that was not tried, or is to be tried anew. What comes from a listing may be outdated.
NOT_TRIED: dict[str, Any] = {
    **dict.fromkeys(SETTLED, null()),
    "want": PAIRS.c.want - _bits(Want.ALREADY_MEMBER | Want.WAS_ACCEPTED),
}

# Statements for `execute_many`, whose rows have the parameters in the order of the text: the new values, then the key.
INSERT = lru_cache(lambda dialect: insert_unless_there(dialect, PAIRS, _parameters((*KEY, "want"))))
# A row: want, key, want. ALREADY_MEMBER and ADDED stay: they come from the cloud, not from the plan.
CHANGE_WANT = update(PAIRS).where(*_THIS_PAIR, _PENDING, PAIRS.c.want != _NEW_WANT).values(want=_NEW_WANT)


def _mark(want: Want) -> Update:
    """Return the statement that adds to what is wanted of a pending pair."""
    marked = PAIRS.c.want.bitwise_or(literal_column(str(want.value)))
    return update(PAIRS).where(*_THIS_PAIR, _PENDING).values(want=marked)


MARK_LISTED = _mark(Want.ALREADY_MEMBER)
MARK_ADDED = _mark(Want.ALREADY_MEMBER | Want.ADDED)
MARK_WAS_ACCEPTED = _mark(Want.WAS_ACCEPTED)
UNSETTLE = (
    update(PAIRS)
    .where(*_THIS_PAIR)
    .values(NOT_TRIED | {"want": PAIRS.c.want - _bits(Want.ALREADY_MEMBER | Want.ADDED | Want.WAS_ACCEPTED)})
)
SETTLE = update(PAIRS).where(*_THIS_PAIR).values(_parameters(SETTLED))
DESCRIBE = update(PAIRS).where(*_THIS_PAIR, PAIRS.c.result.is_not(None)).values(_parameters(DESCRIBED))


# --- the work list ---------------------------------------------------------------------------------------------------


def batch_blocks(blocks: Iterable[Block], pairs: int) -> Iterator[list[Block]]:
    """Group blocks into batches of about `pairs` pairs, always fewer than twice as many; larger blocks are split."""
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


def block_texts(blocks: list[Block]) -> dict[str, None]:
    """Return the texts whose numbers `enqueue` needs, in order of appearance and without duplicates."""
    texts = dict.fromkeys(block.image_id for block in blocks)
    for block in blocks:
        texts.update(dict.fromkeys(block.member_ids))
    return texts


def enqueue(connection: Connection, run_id: int, blocks: list[Block], numbers: dict[str, int]) -> int:
    """Insert pairs as pending and return how many are new. Those that are pending already get the new want."""
    rows: list[tuple[Any, ...]] = []
    for image_id, member_ids, want in blocks:
        image, bits = numbers[image_id], int(want)
        rows += [(run_id, image, numbers[member_id], bits) for member_id in member_ids]
    added = execute_many(connection, INSERT(connection.dialect.name), rows)
    if added < len(rows):
        execute_many(connection, CHANGE_WANT, [(want, *key, want) for *key, want in rows])
    return added


def pending(run_id: int | BindParameter[int], removals: bool | None) -> list[ColumnElement[bool]]:  # noqa: FBT001  passed on
    """Return the conditions of the run's pending pairs; `removals` selects those to remove, or all others."""
    conditions = [PAIRS.c.run_id == run_id, _PENDING]
    if removals is not None:
        conditions.append(_bits(Want.REMOVE) == (Want.REMOVE.value if removals else 0))
    return conditions


@lru_cache(10)  # a run executes it for each image, and building it takes longer than executing it
def select_jobs(removals: bool | None, limit: int) -> Select[Any]:  # noqa: FBT001  passed on
    """Return the query for members and wants of an image's pending pairs.

    Its parameters are `run_id`, the number of the `image`, and that of the last `member` read, initially 0.
    """
    run_id, image, member = (bindparam(name, type_=PAIRS.c[name].type) for name in KEY)
    return (
        select(PAIRS.c.member, PAIRS.c.want)
        .where(*pending(run_id, removals), PAIRS.c.image == image, PAIRS.c.member > member)
        .order_by(PAIRS.c.member)
        .limit(limit)
    )


def select_backlog(run_id: int, removals: bool | None, *, after: int, images: int) -> Select[Any]:  # noqa: FBT001  passed on
    """Return the query for the next images with pending pairs: their numbers, pairs, and the union of their wants."""
    # SQLite has no aggregate function for a bitwise OR.
    all_wants: ColumnElement[int] = sum((func.max(_bits(want)) for want in Want), start=literal_column("0"))
    return (
        select(PAIRS.c.image, func.count(), all_wants)
        .where(*pending(run_id, removals), PAIRS.c.image > after)
        .group_by(PAIRS.c.image)
        .order_by(PAIRS.c.image)
        .limit(images)
    )


def select_to_list(run_id: int, *, settled_before: datetime, after: int, images: int) -> Select[Any]:
    """Return the query for the next images with pending pairs, or with pairs settled before a time.

    Its columns are their numbers, their pending pairs, the union of these pairs' wants (NULL without any), and their
    settled pairs.
    """
    wants: ColumnElement[int] = sum(
        (func.max(case((_PENDING, _bits(want)))) for want in Want), start=literal_column("0")
    )
    settled = func.count(PAIRS.c.result)
    return (
        select(PAIRS.c.image, func.count() - settled, wants, settled)
        .where(PAIRS.c.run_id == run_id, PAIRS.c.image > after)
        .group_by(PAIRS.c.image)
        .having((func.count() > settled) | (func.min(PAIRS.c.settled_at) < pack_time(settled_before)))
        .order_by(PAIRS.c.image)
        .limit(images)
    )


@lru_cache(10)  # as above
def select_image(limit: int) -> Select[Any]:
    """Return the query for members, wants and results of an image's pairs; its parameters are as in `select_jobs`."""
    run_id, image, member = (bindparam(name, type_=PAIRS.c[name].type) for name in KEY)
    return (
        select(PAIRS.c.member, PAIRS.c.want, PAIRS.c.result)
        .where(PAIRS.c.run_id == run_id, PAIRS.c.image == image, PAIRS.c.member > member)
        .order_by(PAIRS.c.member)
        .limit(limit)
    )


def pending_members(connection: Connection, run_id: int) -> set[str]:
    """Return the members of the run's pending pairs, except removals."""
    members = select(PAIRS.c.member).where(*pending(run_id, removals=False)).distinct()
    return set(connection.scalars(select(NAMES.c.text).where(NAMES.c.id.in_(members))))


def decide_anew(run_id: int) -> Update:
    """Return the statement that makes pairs pending again that were not brought about, and forgets listings."""
    again = PAIRS.c.result.in_([code for result, code in RESULT_CODES.items() if result not in AS_PLANNED])
    listed = _PENDING & (_bits(Want.ALREADY_MEMBER | Want.WAS_ACCEPTED) != 0)
    return update(PAIRS).where(PAIRS.c.run_id == run_id, again | listed).values(NOT_TRIED)


# --- the record ------------------------------------------------------------------------------------------------------


def record_texts(records: Sequence[Outcome] | Sequence[Member]) -> set[str]:
    """Return the texts whose numbers `settled_rows` or `described_row` needs."""
    columns = dict(zip(type(records[0])._fields, zip(*records, strict=True), strict=True))
    texts = set().union(*(columns[name] for name in ("image_id", "member_id", "status", "schema")))
    texts |= {reason[:LONGEST_TEXT] or None for reason in set(columns.get("reason", ()))}
    return texts - {None}


def settled_rows(run_id: int, outcomes: Sequence[Outcome], numbers: dict[str, int]) -> list[tuple[Any, ...]]:
    """Return rows for `SETTLE`."""
    images, members, results, http_statuses, statuses, created, updated, *more = zip(*outcomes, strict=True)
    schemas, attempts, requests, reasons, started, settled, _wants = more
    columns = (
        map(RESULT_CODES.get, results),
        http_statuses,
        [None if status is None else numbers[status] for status in statuses],
        map(pack_cached_time, created),
        map(pack_cached_time, updated),
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


def settle_unsent(
    conditions: Sequence[ColumnElement[bool]], result: Result, reason: int | None, now: datetime
) -> Update:
    """Return the statement that settles pairs for which nothing was sent; `reason` is the number of its text."""
    values = {"result": RESULT_CODES[result], "reason": reason, "attempts": 0, "settled_at": pack_time(now)}
    return update(PAIRS).where(*conditions).values(values)


def select_outcomes(run_id: int, results: frozenset[Result] | None) -> Select[Any]:
    """Return the query whose rows `read_outcomes` takes: all of the run's pairs, or those with one of `results`.

    Its parameters `image` and `member` are the numbers of the last pair read, initially 0.
    """
    columns = [PAIRS.c[name] for name in (*KEY[1:], "want", *SETTLED)]
    image, member = bindparam("image", type_=PAIRS.c.image.type), bindparam("member", type_=PAIRS.c.member.type)
    # `image >= :image` is redundant, but lets every database seek in the index to where the last page ended.
    query = (
        select(*columns)
        .where(PAIRS.c.run_id == run_id, PAIRS.c.image >= image, (PAIRS.c.image > image) | (PAIRS.c.member > member))
        .order_by(PAIRS.c.image, PAIRS.c.member)
    )
    if results is None:
        return query
    settled = PAIRS.c.result.in_([RESULT_CODES[result] for result in results - {Result.PENDING}])
    return query.where(settled | PAIRS.c.result.is_(None) if Result.PENDING in results else settled)


def read_outcomes(connection: Connection, rows: Sequence[Row[Any]], strings: StringTable) -> Iterator[Outcome]:
    """Yield the outcomes in rows of `select_outcomes`."""
    images, members, wants, results, http_statuses, statuses, created, updated, schemas, *more = zip(*rows, strict=True)
    attempts, requests, reasons, *times = more
    texts = strings.texts(connection, set().union(images, members, statuses, schemas, reasons))
    columns = (
        map(texts.__getitem__, images),
        map(texts.__getitem__, members),
        map(RESULTS.__getitem__, results),
        http_statuses,
        map(texts.get, statuses),
        map(unpack_cached_time, created),
        map(unpack_cached_time, updated),
        map(texts.get, schemas),
        (count or 0 for count in attempts),
        map(unpack_request_id, requests),
        map(texts.get, reasons, repeat("")),
        *map(unpack_times, times),
        map(WANTS.__getitem__, wants),
    )
    return map(Outcome._make, zip(*columns, strict=True))


def select_undescribed(run_id: int, *, after: int, images: int) -> Select[Any]:
    """Return the query for image and member of pairs answered as ALREADY without a status, of the next images."""
    already = PAIRS.c.result == RESULT_CODES[Result.ALREADY]
    # Without an answer there is no member: every project can use the image.
    answered = PAIRS.c.http_status.is_not(None)
    pairs = select(PAIRS.c.image, PAIRS.c.member).where(
        PAIRS.c.run_id == run_id, already, answered, PAIRS.c.status.is_(None)
    )
    next_images = (
        pairs.with_only_columns(PAIRS.c.image)
        .where(PAIRS.c.image > after)
        .group_by(PAIRS.c.image)
        .order_by(PAIRS.c.image)
        .limit(images)
        .subquery()  # MariaDB takes no LIMIT directly inside IN
    )
    return pairs.where(PAIRS.c.image.in_(select(next_images.c.image))).order_by(PAIRS.c.image, PAIRS.c.member)
