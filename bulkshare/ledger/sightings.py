"""What all runs have recorded about some images or projects, in time order, with repetitions counted.

Theory. The pairs' key is (run, image, member). All pairs of an image are an index range in each run. Those of a project
are not, and a scan of the runs finds them: 10 million narrow rows take SQLite half a second, no longer than a probe
for each run and image would, and an index on the member would take a tenth of the file and of the time of each write.

A nightly run records the same about a pair each night, so the database counts the rows of many runs that are alike, and
a pair takes a row or two however many nights there are. What a pair went through has an order, which such counts show
only if they don't overlap: if one kind of row ended, by run, before the next one began. Where they do overlap, where a
pair's state alternates, and where runs overlap in time, because one was continued while or after another one worked,
the rows themselves are read, and sorted by when the pairs were settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from bulkshare.ledger.codecs import RESULT_CODES, RESULTS, WANTS, pack_time, unpack_json, unpack_time
from bulkshare.model import Account, Result, RunRef, RunState, Sighting, Want

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bulkshare.ledger.store import Connection
    from bulkshare.ledger.strings import StringTable

RUNS_AT_ONCE = 100  # in one query, unless more of them overlap
SUBJECTS_AT_ONCE = 200  # images or projects in one query: with the runs fewer than SQLite's 999 parameters
KEPT = int(Want.REMOVE | Want.ADDED | Want.RECEIVED | Want.DECLINED | Want.RESET)
CHANGED = {
    RESULT_CODES[result] for result in (Result.SHARED, Result.ACCEPTED, Result.DECLINED, Result.RESET, Result.REMOVED)
}  # each counts
KEPT_OF_PENDING = KEPT | int(Want.ALREADY_MEMBER)
VALUE = (
    f"result, want & CASE WHEN result IS NULL THEN {KEPT_OF_PENDING} ELSE {KEPT} END AS kept, "
    "http_status IS NOT NULL AS answered, status, created_at, reason"
)
BY_VALUE = (
    "image, member, result, kept, answered, status, created_at, reason, "
    f"CASE WHEN result IN ({', '.join(map(str, sorted(CHANGED)))}) THEN run_id END"
)

Column = Literal["image", "member"]
Pair = tuple[int, int]  # the numbers of image and member


class _Alike:
    """Rows of a pair that say the same: the first and the last run, when, and how many."""

    __slots__ = ("at", "count", "last_at", "last_run_id", "run_id", "value")

    def __init__(self, value: tuple[Any, ...], run_ids: tuple[int, int], times: tuple[int, int], count: int) -> None:
        self.value = value
        self.run_id, self.last_run_id = run_ids
        self.at, self.last_at = times
        self.count = count


def read_run_refs(connection: Connection) -> list[RunRef]:
    """Return all runs, in the order in which they began."""
    query = (
        'SELECT id, "key", cloud, region, endpoint, "user", project, project_id, '
        "state, started_at, worked_at, settings FROM runs ORDER BY id"
    )
    found = []
    for run_id, key, *account, state, started_at, worked_at, settings in connection.rows(query):
        started = unpack_time(started_at)
        assert started is not None  # noqa: S101  the column is NOT NULL
        ended = None if state == RunState.RUNNING else unpack_time(worked_at)
        sandbox = bool(unpack_json(settings).get("sandbox"))
        found.append(RunRef(run_id, key, Account(*account), started, ended, sandbox))
    return found


def read(
    connection: Connection, strings: StringTable, runs: Sequence[RunRef], column: Column, ids: Collection[str]
) -> list[list[Sighting]]:
    """Return the sightings of each pair at each endpoint that has one of these IDs in a column: image or member.

    Ordered by endpoint, image and member, each as the ledger first met it.

    runs: in the order in which they began; only they count.
    """
    numbers = [number for text in ids if (number := strings.number(connection, text)) is not None]
    found: list[tuple[Pair, list[_Alike]]] = []
    for at_endpoint in _by_endpoint(runs):
        pairs: dict[Pair, list[_Alike]] = {}
        for group in _in_time_order(at_endpoint):
            for start in range(0, len(numbers), SUBJECTS_AT_ONCE):
                subjects = numbers[start : start + SUBJECTS_AT_ONCE]
                for pair, alike in _read_alike(connection, group, column, subjects):
                    _append(pairs.setdefault(pair, []), alike)
        found += ((pair, pairs[pair]) for pair in sorted(pairs))
    by_id = {run.id: run for run in runs}
    texts = dict(strings.texts(connection, set(_numbers_in(found))))
    return [[_sighting(texts, by_id, pair, alike) for alike in several] for pair, several in found]


def read_ids(connection: Connection, run_ids: Sequence[int]) -> tuple[set[str], set[str]]:
    """Return the IDs of images and of members in these runs' pairs."""
    found: list[set[str]] = []
    for column in ("image", "member"):
        used = f"SELECT DISTINCT {column} FROM pairs WHERE run_id IN :run_ids"
        ids: set[str] = set()
        for first in range(0, len(run_ids), RUNS_AT_ONCE):
            some = list(run_ids[first : first + RUNS_AT_ONCE])
            ids.update(connection.scalars(f"SELECT text FROM names WHERE id IN ({used})", run_ids=some))
        found.append(ids)
    return found[0], found[1]


def _by_endpoint(runs: Sequence[RunRef]) -> Iterable[list[RunRef]]:
    endpoints: dict[str, list[RunRef]] = {}
    for run in runs:
        endpoints.setdefault(run.account.endpoint, []).append(run)
    return endpoints.values()


def _in_time_order(runs: Sequence[RunRef]) -> Iterator[list[list[RunRef]]]:
    """Yield groups of lists of runs, to be read at once; the runs of one list overlap in time, and no others do."""
    group: list[list[RunRef]] = []
    end: Any = None
    for run in runs:
        if group and (end is None or end >= run.started_at):
            group[-1].append(run)
            end = None if end is None or run.ended_at is None else max(end, run.ended_at)
            continue
        if sum(map(len, group)) >= RUNS_AT_ONCE:
            yield group
            group = []
        group.append([run])
        end = run.ended_at
    if group:
        yield group


def _read_alike(
    connection: Connection, group: Sequence[Sequence[RunRef]], column: Column, subjects: list[int]
) -> list[tuple[Pair, _Alike]]:
    """Return what these runs recorded of these subjects' pairs, in the order of time."""
    if all(len(part) == 1 for part in group):
        counted = _count_alike(connection, [run for (run,) in group], column, subjects)
        if not _overlap(counted):
            return counted
    query = (
        f"SELECT image, member, {VALUE}, run_id, settled_at FROM pairs "
        f"WHERE run_id IN :run_ids AND {column} IN :subjects"
    )
    runs = [run for part in group for run in part]
    began = _began(runs)
    found = []
    for start in range(0, len(runs), RUNS_AT_ONCE):
        run_ids = [run.id for run in runs[start : start + RUNS_AT_ONCE]]
        for image, member, *value, run_id, settled_at in connection.rows(query, run_ids=run_ids, subjects=subjects):
            at = began[run_id] if settled_at is None else settled_at
            found.append(((image, member), _Alike(tuple(value), (run_id, run_id), (at, at), 1)))
    position = {run.id: number for number, part in enumerate(group) for run in part}
    found.sort(key=lambda each: (position[each[1].run_id], each[1].at, each[1].run_id))
    return found


def _count_alike(
    connection: Connection, runs: Sequence[RunRef], column: Column, subjects: list[int]
) -> list[tuple[Pair, _Alike]]:
    """Return the same of runs that don't overlap: each kind of row once, in the order of the runs that had it first."""
    query = (
        f"SELECT image, member, {VALUE}, MIN(run_id), MAX(run_id), MIN(settled_at), MAX(settled_at), COUNT(*) "
        f"FROM pairs WHERE run_id IN :run_ids AND {column} IN :subjects GROUP BY {BY_VALUE} ORDER BY MIN(run_id)"
    )
    began = _began(runs)
    found = []
    for image, member, *value, first, last, at, last_at, count in connection.rows(
        query, run_ids=[run.id for run in runs], subjects=subjects
    ):
        times = (began[first], began[last]) if at is None else (at, last_at)
        found.append(((image, member), _Alike(tuple(value), (first, last), times, count)))
    return found


def _overlap(found: Iterable[tuple[Pair, _Alike]]) -> bool:
    """Return whether rows of one kind of a pair lie between those of another; they are in the order of first runs."""
    last: dict[Pair, int] = {}
    for pair, alike in found:
        if last.get(pair, 0) >= alike.run_id:
            return True
        last[pair] = alike.last_run_id
    return False


def _began(runs: Iterable[RunRef]) -> dict[int, int]:
    return {run.id: pack_time(run.started_at) or 0 for run in runs}


def _append(several: list[_Alike], alike: _Alike) -> None:
    """Add to what was recorded of a pair, and count it to the last if it says the same."""
    if several and alike.value[0] not in CHANGED and (last := several[-1]).value == alike.value:
        last.last_run_id, last.last_at = alike.last_run_id, alike.last_at
        last.count += alike.count
    else:
        several.append(alike)


def _numbers_in(found: Iterable[tuple[Pair, Iterable[_Alike]]]) -> Iterator[int | None]:
    for pair, several in found:
        yield from pair
        for alike in several:
            yield alike.value[3]
            yield alike.value[5]


def _sighting(texts: Mapping[int, str], by_id: Mapping[int, RunRef], pair: Pair, alike: _Alike) -> Sighting:
    image, member = pair
    result, want, answered, status, created_at, reason = alike.value
    first, last = unpack_time(alike.at), unpack_time(alike.last_at)
    assert first is not None  # noqa: S101  every sighting has a time
    assert last is not None  # noqa: S101
    return Sighting(
        texts[image],
        texts[member],
        result=RESULTS[result],
        want=WANTS[want],
        answered=bool(answered),
        status=texts.get(status),
        created_at=unpack_time(created_at),
        reason=texts.get(reason, ""),
        run=by_id[alike.run_id],
        at=first,
        last_run=by_id[alike.last_run_id],
        last_at=last,
        times=alike.count,
    )
