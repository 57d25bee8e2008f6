"""What all runs have recorded about some images or projects, in time order, with repetitions counted.

Theory. The pairs' key is (run, image, member). All pairs of an image are an index range in each run. Those of a project
are not, and a scan of the runs finds them: 10 million narrow rows take SQLite half a second, no longer than a probe
for each run and image would, and an index on the member would take a tenth of the file and of the time of each write.

A nightly run records the same about a pair each night, so rows that are alike are counted as they are read. They are
read in the order of time: runs in the order in which they began, and those that overlap, because one was continued
while or after another one worked, together, sorted by when their pairs were settled.
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
COLUMNS = "run_id, image, member, result, want, http_status IS NOT NULL, status, created_at, reason, settled_at"

Column = Literal["image", "member"]


class _Alike:
    """Rows of a pair that say the same: the first and the last run, when, and how many."""

    __slots__ = ("at", "count", "last_at", "last_run_id", "run_id", "value")

    def __init__(self, value: tuple[Any, ...], run_id: int, at: int) -> None:
        self.value = value
        self.run_id = self.last_run_id = run_id
        self.at = self.last_at = at
        self.count = 1


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

    runs: in the order in which they began; only they count.
    """
    numbers = [number for text in ids if (number := strings.number(connection, text)) is not None]
    by_id = {run.id: run for run in runs}
    found: dict[tuple[str, int, int], list[_Alike]] = {}
    for group in _in_time_order(runs):
        rows: list[Any] = []
        for first in range(0, len(numbers), SUBJECTS_AT_ONCE):
            subjects = numbers[first : first + SUBJECTS_AT_ONCE]
            rows += _read(connection, [run for part in group for run in part], column, subjects)
        _collect(found, rows, group, by_id)
    texts = dict(strings.texts(connection, set(_numbers_in(found))))
    return [
        [_sighting(texts, by_id, image, member, alike) for alike in several]
        for (_, image, member), several in found.items()
    ]


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


def _read(connection: Connection, runs: Sequence[RunRef], column: Column, subjects: list[int]) -> list[Any]:
    query = f"SELECT {COLUMNS} FROM pairs WHERE run_id IN :run_ids AND {column} IN :subjects"
    rows: list[Any] = []
    for first in range(0, len(runs), RUNS_AT_ONCE):
        run_ids = [run.id for run in runs[first : first + RUNS_AT_ONCE]]
        rows += connection.rows(query, run_ids=run_ids, subjects=subjects)
    return rows


def _collect(
    found: dict[tuple[str, int, int], list[_Alike]],
    rows: list[Any],
    group: Sequence[Sequence[RunRef]],
    by_id: Mapping[int, RunRef],
) -> None:
    """Add rows in the order of time, counting those that say the same as the one before."""
    position = {run.id: number for number, part in enumerate(group) for run in part}
    began = {run_id: pack_time(by_id[run_id].started_at) or 0 for run_id in position}
    endpoints = {run_id: by_id[run_id].account.endpoint for run_id in position}

    def when(row: Any) -> tuple[int, int, int]:
        run_id: int = row[0]
        return position[run_id], began[run_id] if row[9] is None else row[9], run_id

    rows.sort(key=when)
    for run_id, image, member, result, want, answered, status, created_at, reason, settled_at in rows:
        kept = want & (KEPT_OF_PENDING if result is None else KEPT)
        value = (result, kept, answered, status, created_at, reason)
        at = began[run_id] if settled_at is None else settled_at
        several = found.setdefault((endpoints[run_id], image, member), [])
        if several and result not in CHANGED and (last := several[-1]).value == value:
            last.last_run_id, last.last_at = run_id, at
            last.count += 1
        else:
            several.append(_Alike(value, run_id, at))


def _numbers_in(found: Mapping[tuple[str, int, int], Iterable[_Alike]]) -> Iterator[int | None]:
    for (_, image, member), several in found.items():
        yield image
        yield member
        for alike in several:
            yield alike.value[3]
            yield alike.value[5]


def _sighting(
    texts: Mapping[int, str], by_id: Mapping[int, RunRef], image: int, member: int, alike: _Alike
) -> Sighting:
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
