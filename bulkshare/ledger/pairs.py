"""The rows of pairs: the statements that write and read them, and `Outcome`s as rows and back.

Converting a row in Python takes longer than storing it in SQLite. Therefore outcomes are converted column by column,
which is faster than row by row: `map` over C functions, and caches for values that repeat.
"""

from __future__ import annotations

from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

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
from bulkshare.ledger.dialects import PARAMETER, first, insert_unless_there
from bulkshare.ledger.schema import LONGEST_TEXT
from bulkshare.ledger.strings import CHUNK
from bulkshare.model import AS_PLANNED, Block, Outcome, Result, Want

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from bulkshare.ledger.store import Connection
    from bulkshare.ledger.strings import StringTable
    from bulkshare.model import Alike, Member

KEY = ("run_id", "image", "member")
# The order of `model.Outcome`'s fields.
SETTLED = 'result, http_status, status, created_at, updated_at, "schema"'
SETTLED += ", attempts, request_id, reason, started_at, settled_at"
THIS_PAIR = "run_id = :at_run_id AND image = :at_image AND member = :at_member"

# Statements for `execute_many`, whose rows have the parameters in the order of the text: the new values, then the key.
# A row: want, key, want. ALREADY_MEMBER and ADDED stay: they come from the cloud, not from the plan.
_NEW_WANT = f"(:new_want | (want & {int(Want.ALREADY_MEMBER | Want.ADDED)}))"
CHANGE_WANT = f"UPDATE pairs SET want = {_NEW_WANT} WHERE {THIS_PAIR} AND result IS NULL AND want <> {_NEW_WANT}"
_MARK = f"UPDATE pairs SET want = want | {{}} WHERE {THIS_PAIR} AND result IS NULL"
MARK_LISTED = _MARK.format(int(Want.ALREADY_MEMBER))
MARK_ADDED = _MARK.format(int(Want.ALREADY_MEMBER | Want.ADDED))
MARK_WAS_ACCEPTED = _MARK.format(int(Want.WAS_ACCEPTED))
SETTLE = f"""
    UPDATE pairs SET result = :result, http_status = :http_status, status = :status, created_at = :created_at,
    updated_at = :updated_at, "schema" = :schema, attempts = :attempts, request_id = :request_id, reason = :reason,
    started_at = :started_at, settled_at = :settled_at WHERE {THIS_PAIR}
""".strip()
SETTLE_ALIKE = SETTLE.replace("= :at_member", "IN :members")
# So many pairs of an image are settled with one statement, which then takes half as long a pair as one for each does.
# It has the length of the list in it: for fewer pairs the database reads more statement than it has rows to write.
MANY_ALIKE = 16
DESCRIBE = f"""
    UPDATE pairs SET status = :status, created_at = :created_at, updated_at = :updated_at, "schema" = :schema
    WHERE {THIS_PAIR} AND result IS NOT NULL
""".strip()


def _not_tried(forgotten: Want) -> str:
    """Return the assignments that make a pair one that was not tried, without what is known of it by these bits."""
    columns = ", ".join(f"{column} = NULL" for column in SETTLED.split(", "))
    return f"{columns}, want = want - (want & {int(forgotten)})"


UNSETTLE = f"UPDATE pairs SET {_not_tried(Want.ALREADY_MEMBER | Want.ADDED | Want.WAS_ACCEPTED)} WHERE {THIS_PAIR}"


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
    added = connection.execute_many(insert_unless_there(connection.dialect, "pairs", (*KEY, "want")), rows)
    if added < len(rows):
        connection.execute_many(CHANGE_WANT, [(want, *key, want) for *key, want in rows])
    return added


def pending(removals: bool | None) -> str:  # noqa: FBT001  passed on
    """Return the condition of a `:run_id`'s pending pairs; `removals` selects those to remove, or all others."""
    condition = "run_id = :run_id AND result IS NULL"
    if removals is None:
        return condition
    return f"{condition} AND (want & {int(Want.REMOVE)}) {'<>' if removals else '='} 0"


def read_jobs(
    connection: Connection,
    run_id: int,
    image: int,
    *,
    after: int,
    limit: int,
    removals: bool | None,
) -> list[tuple[int, int]]:
    """Return members and wants of an image's next pending pairs, after that member."""
    query = (
        f"SELECT member, want FROM pairs WHERE {pending(removals)} AND image = :image AND member > :after "
        f"ORDER BY member{first(limit)}"
    )
    return connection.rows(query, run_id=run_id, image=image, after=after)


def read_jobs_between(
    connection: Connection, run_id: int, first_image: int, last_image: int, *, removals: bool | None
) -> list[tuple[int, int, int]]:
    """Return images, members and wants of the pending pairs of all images from one to another, in order."""
    query = (
        f"SELECT image, member, want FROM pairs WHERE {pending(removals)} AND image BETWEEN :first AND :last "
        "ORDER BY image, member"
    )
    return connection.rows(query, run_id=run_id, first=first_image, last=last_image)


def read_backlog(
    connection: Connection, run_id: int, *, after: int, images: int, removals: bool | None
) -> list[tuple[int, int, int]]:
    """Return the next images with pending pairs: their numbers, pairs, and the union of their wants."""
    # SQLite has no aggregate function for a bitwise OR.
    wants = " + ".join(f"MAX(want & {int(want)})" for want in Want)
    query = (
        f"SELECT image, COUNT(*), {wants} FROM pairs WHERE {pending(removals)} AND image > :after "
        f"GROUP BY image ORDER BY image{first(images)}"
    )
    return connection.rows(query, run_id=run_id, after=after)


def read_to_list(
    connection: Connection, run_id: int, *, settled_before: datetime, after: int, images: int
) -> list[tuple[int, int, int | None, int]]:
    """Return the next images with pending pairs, or with pairs settled before a time.

    A row has their number, their pending pairs, REMOVE if one of these is a removal, and their settled pairs.
    """
    removal = f"MAX(CASE WHEN result IS NULL THEN want & {int(Want.REMOVE)} END)"  # NULL if all are settled
    query = (
        f"SELECT image, COUNT(*) - COUNT(result), {removal}, COUNT(result) FROM pairs "
        "WHERE run_id = :run_id AND image > :after GROUP BY image "
        f"HAVING COUNT(*) > COUNT(result) OR MIN(settled_at) < :before ORDER BY image{first(images)}"
    )
    return connection.rows(query, run_id=run_id, after=after, before=pack_time(settled_before))


def count_to_list(connection: Connection, run_id: int, *, settled_before: datetime) -> int:
    """Count the images with pending pairs, or with pairs settled before a time."""
    query = (
        "SELECT COUNT(DISTINCT image) FROM pairs WHERE run_id = :run_id AND (result IS NULL OR settled_at < :before)"
    )
    count: int = connection.scalar(query, run_id=run_id, before=pack_time(settled_before))
    return count


def read_image(connection: Connection, run_id: int, image: int) -> list[tuple[int, int, int | None]]:
    """Return members, wants and results of all pairs of an image."""
    query = "SELECT member, want, result FROM pairs WHERE run_id = :run_id AND image = :image ORDER BY member"
    return connection.rows(query, run_id=run_id, image=image)


def pending_members(connection: Connection, run_id: int) -> set[str]:
    """Return the members of the run's pending pairs, except removals."""
    members = f"SELECT DISTINCT member FROM pairs WHERE {pending(removals=False)}"
    return set(connection.scalars(f"SELECT text FROM names WHERE id IN ({members})", run_id=run_id))


def decide_anew(connection: Connection, run_id: int) -> None:
    """Make pairs pending again that were not brought about, and forget listings, which may be outdated."""
    listed = Want.ALREADY_MEMBER | Want.WAS_ACCEPTED
    statement = (
        f"UPDATE pairs SET {_not_tried(listed)} WHERE run_id = :run_id "
        f"AND (result IN :again OR (result IS NULL AND (want & {int(listed)}) <> 0))"
    )
    again = [code for result, code in RESULT_CODES.items() if result not in AS_PLANNED]
    connection.execute(statement, run_id=run_id, again=again)


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


def settle_alike(connection: Connection, run_id: int, groups: Sequence[Alike], numbers: dict[str, int]) -> None:
    """Record the outcomes of pairs that have them in common."""
    names = PARAMETER.findall(SETTLE)
    rows: list[tuple[Any, ...]] = []
    for (_, member_ids), row in zip(
        groups, settled_rows(run_id, [one.outcome for one in groups], numbers), strict=True
    ):
        members = [numbers[member_id] for member_id in member_ids]
        if len(members) < MANY_ALIKE:
            rows += [(*row[:-1], member) for member in members]
            continue
        values = dict(zip(names[:-1], row, strict=False))
        for start in range(0, len(members), CHUNK):
            connection.execute(SETTLE_ALIKE, members=members[start : start + CHUNK], **values)
    if rows:
        connection.execute_many(SETTLE, rows)


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
    connection: Connection, condition: str, result: Result, reason: int | None, now: datetime, **parameters: Any
) -> int:
    """Settle pairs for which nothing was sent, and return how many; `reason` is the number of its text.

    condition: which pairs, with these parameters.
    """
    statement = (
        f"UPDATE pairs SET result = :result, reason = :reason, attempts = 0, settled_at = :settled_at WHERE {condition}"
    )
    settled_at = pack_time(now)
    return connection.execute(
        statement, result=RESULT_CODES[result], reason=reason, settled_at=settled_at, **parameters
    )


def read_pages(
    connection: Connection, run_id: int, *, rows: int, results: frozenset[Result] | None = None
) -> Iterator[list[Any]]:
    """Yield pages of rows, as `to_outcomes` takes them: of all of the run's pairs, or of those with some results.

    A row begins with the numbers of image and member, by which rows are ordered.
    """
    # `image >= :image` is redundant, but lets every database seek in the index to where the last page ended.
    query = (
        f"SELECT image, member, want, {SETTLED} FROM pairs "
        "WHERE run_id = :run_id AND image >= :image AND (image > :image OR member > :member)"
    )
    codes: dict[str, Any] = {}
    if results is not None:
        query += f" AND (result IN :codes{' OR result IS NULL' if Result.PENDING in results else ''})"
        codes["codes"] = [RESULT_CODES[result] for result in results - {Result.PENDING}]
    query += f" ORDER BY image, member{first(rows)}"
    image = member = 0
    while page := connection.rows(query, run_id=run_id, image=image, member=member, **codes):
        yield page
        image, member = page[-1][:2]


def to_outcomes(connection: Connection, rows: Sequence[Any], strings: StringTable) -> Iterator[Outcome]:
    """Yield the outcomes in rows of a page."""
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


def read_undescribed(connection: Connection, run_id: int, *, after: int, images: int) -> list[tuple[int, int]]:
    """Return image and member of pairs answered as ALREADY without a status, of the next images."""
    # Without an answer there is no member: every project can use the image.
    these = "run_id = :run_id AND result = :already AND http_status IS NOT NULL AND status IS NULL"
    next_images = (
        f"SELECT image FROM pairs WHERE {these} AND image > :after GROUP BY image ORDER BY image{first(images)}"
    )
    query = (
        # MariaDB takes no LIMIT directly inside IN.
        f"SELECT image, member FROM pairs WHERE {these} AND image IN (SELECT image FROM ({next_images}) next_images) "
        "ORDER BY image, member"
    )
    return connection.rows(query, run_id=run_id, already=RESULT_CODES[Result.ALREADY], after=after)
