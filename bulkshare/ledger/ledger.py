"""`SqlLedger`: the `ports.Ledger` in SQL, and how its writes survive kills and lost connections.

Each method that writes is one transaction (`enqueue` and `prune` are several, each of which may stand alone), so a
group of outcomes is in the ledger as a whole or not at all. When a connection is lost during a commit, whether it
arrived is unknown, and the method is repeated. Therefore every write is idempotent: rows are inserted unless they
exist, and updates set absolute values by primary key. Only `begin` (a new key) and `finish` (sums) are not by nature:
when repeated, they look for their own earlier effect first.

Images and members are ordered by the numbers of their strings, that is by when the ledger first met them.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from bulkshare.ledger import batches, comparison, pairs, runs, sightings, steering
from bulkshare.ledger.codecs import RESULTS, WANTS, pack_time
from bulkshare.ledger.schema import LONGEST_TEXT
from bulkshare.ledger.sqlite import FileStore
from bulkshare.ledger.store import retry_lost, retrying
from bulkshare.ledger.strings import CHUNK, StringTable
from bulkshare.ledger.url import parse_location
from bulkshare.model import Account, Backlog, Block, Job, Outcome, Result, Run, RunState, Settings, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from bulkshare.ledger.store import Connection, PlanLock, Store
    from bulkshare.model import (
        Alike,
        Batch,
        Control,
        Heartbeat,
        Member,
        Orders,
        Origin,
        RunRef,
        Sighting,
        Telemetry,
    )


UNACCEPTED = frozenset({Result.REJECTED, Result.FAILED})  # results of a pair that may have been added all the same
ENQUEUE_PAIRS = 20_000  # in one transaction, so that other processes can write in between
READ_ROWS = 5_000  # in one page

P = ParamSpec("P")
T = TypeVar("T")


class SqlLedger:
    """A ledger in a file or on a database server. `ports.Ledger` has the contracts of its methods."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._strings = StringTable()

    @classmethod
    def open(cls, location: str, *, create: bool = True) -> Self:
        """Open the ledger at a path or URL; with `create`, a missing one is created. Raises `LedgerError`."""
        parsed = parse_location(location)
        if isinstance(parsed, Path):
            return cls(FileStore(parsed, create=create))
        from bulkshare.ledger.server import ServerStore  # noqa: PLC0415  not needed for a file, the usual ledger

        return cls(ServerStore(parsed, create=create))

    def close(self) -> None:
        """Close all connections."""
        self._store.close()

    def lock_of(self, plan: str) -> PlanLock:
        """Return the lock that keeps runs of a plan apart. Use it through `RunLock`."""
        return self._store.lock_of(plan)

    # --- runs ----------------------------------------------------------------------------------------------------

    def begin(
        self,
        *,
        plan: str,
        fingerprint: str,
        account: Account,
        now: datetime,
        settings: Settings | None = None,
        key_suffix: str = "",
        invocation: str | None = None,
        origin: Origin | None = None,
    ) -> Run:
        """See `ports.Ledger`."""

        def add(again: bool) -> Run:  # noqa: FBT001  as `retry_lost` calls it
            with self._store.writing() as connection:
                self._strings.forget()  # another process may have pruned while this one had no run
                return runs.add(
                    connection,
                    plan=plan,
                    fingerprint=fingerprint,
                    account=account,
                    now=now,
                    settings=settings or Settings(),
                    key_suffix=key_suffix,
                    invocation=invocation,
                    origin=origin,
                    again=again,
                )

        return retry_lost(add)

    @retrying
    def reopen(
        self,
        run_id: int,
        *,
        now: datetime,
        settings: Settings | None = None,
        invocation: str | None = None,
        origin: Origin | None = None,
    ) -> Run:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            self._strings.forget()  # as in `begin`
            pairs.decide_anew(connection, run_id)
            return runs.mark_running(
                connection, run_id, now=now, settings=settings, invocation=invocation, origin=origin
            )

    def finish(
        self,
        run_id: int,
        *,
        now: datetime,
        requests: int,
        retries: int,
        seconds: float,
        complete: bool = True,
        exit_code: int | None = None,
        ended_because: str = "",
    ) -> Run:
        """See `ports.Ledger`."""

        def end(again: bool) -> Run:  # noqa: FBT001  as `retry_lost` calls it
            with self._store.writing() as connection:
                return runs.mark_ended(
                    connection,
                    run_id,
                    now=now,
                    requests=requests,
                    retries=retries,
                    seconds=seconds,
                    complete=complete,
                    exit_code=exit_code,
                    ended_because=ended_because,
                    again=again,
                )

        return retry_lost(end)

    @retrying
    def prune(self, run_ids: Sequence[int], *, names_unless_after: int | None) -> bool:
        """See `ports.Ledger`. One transaction for each run, so that other processes can write in between."""
        for run_id in run_ids:
            with self._store.writing() as connection:
                runs.delete(connection, run_id)
        if names_unless_after is None:
            return False
        with self._store.writing() as connection:
            # A run that begins from here on waits for this transaction, and then looks up all numbers anew.
            deleted = runs.delete_unused_strings(connection, unless_after=names_unless_after)
        if deleted:
            self._strings.forget()
            self._store.shrink()
        return deleted

    def runs(self, *, limit: int | None = None, plan: str | None = None) -> list[Run]:
        """See `ports.Ledger`. With `plan`, only its runs."""
        return self._read(runs.newest, plan=plan, limit=limit)

    def invocations(self, limit: int | None = None, *, plan: str | None = None) -> list[list[Run]]:
        """Return the runs of the newest invocations, newest first. A run that belongs to none is alone.

        With `plan`, only its runs.
        """
        return self._read(runs.newest_invocations, limit, plan)

    def runs_with(self, run: Run) -> list[Run]:
        """Return the runs of the same invocation, this one included, in the order in which they were begun."""
        return self._read(runs.of_invocation, run)

    def worked_on(self, *, plan: str | None = None, limit: int | None = None) -> list[Run]:
        """Return the runs of a plan, or of all, the one last worked on first."""
        return self._read(runs.last_worked_on, plan=plan, limit=limit)

    def last_run(self, plan: str | None = None) -> Run | None:
        """Return the run last worked on, of a plan or of all; None if there is none."""
        return next(iter(self.worked_on(plan=plan, limit=1)), None)

    def find_run(self, key: str | None = None) -> Run | None:
        """See `ports.Ledger`. Of several runs that `find_runs` returns, it is the last."""
        return self.last_run() if key is None else next(reversed(self.find_runs(key)), None)

    def find_runs(self, key: str) -> list[Run]:
        """Return the run with that key, or those whose keys begin so, in the order in which they were begun.

        Raises `UsageError` if several begin so that no command began together.
        """
        return self._read(runs.find, key)

    def unfinished(self, *, plan: str, fingerprint: str, account: Account) -> Run | None:
        """See `ports.Ledger`."""
        run = self._read(runs.newest_for, plan=plan, account=account)
        if run is None or run.state is RunState.FINISHED or run.fingerprint != fingerprint:
            return None
        return run

    def last_enqueued(self, *, plan: str, account: Account) -> Run | None:
        """See `ports.Ledger`."""
        return self._read(runs.newest_for, plan=plan, account=account, enqueued=True)

    def run_before(self, run: Run) -> Run | None:
        """See `ports.Ledger`."""
        return self._read(runs.newest_for, plan=run.plan, account=run.account, enqueued=True, before=run.id)

    @retrying
    def record_telemetry(self, run_id: int, telemetry: Telemetry) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            runs.add_telemetry(connection, run_id, telemetry)

    def telemetry(self, run_id: int) -> list[Telemetry]:
        """See `ports.Ledger`."""
        return self._read(runs.read_telemetry, run_id)

    @retrying
    def label(self, labels: Mapping[str, str], *, from_plan: bool = False) -> None:
        """See `ports.Ledger`."""
        if labels:
            with self._store.writing() as connection:
                runs.write_labels(connection, labels, from_plan=from_plan)

    def labels(self, run_id: int) -> dict[str, str]:
        """See `ports.Ledger`."""
        return self._read(runs.read_labels, run_id)

    def labels_of(self, ids: Collection[str]) -> dict[str, str]:
        """Return the known names of these images and projects, by ID."""
        return self._read(runs.read_labels_of, ids)

    def unnamed_images(self, run_id: int) -> list[str]:
        """See `ports.Ledger`."""
        return self._read(runs.read_unnamed_images, run_id)

    # --- watching and steering -----------------------------------------------------------------------------------

    def beat(self, run_id: int, heartbeat: Heartbeat) -> list[Control]:
        """Record how a run at work is doing, and return what was asked of it since, in order.

        Not repeated when the connection is lost: the next heartbeat comes soon. It need not survive a power cut.
        """
        with self._store.writing(durable=False) as connection:
            steering.write_heartbeat(connection, run_id, heartbeat)
            return steering.read_controls(connection, run_id, waiting=True)

    @retrying
    def mark_obeyed(self, run_id: int, numbers: Collection[int], at: datetime) -> None:
        """Record that a run's process has obeyed these controls."""
        with self._store.writing() as connection:
            steering.mark_obeyed(connection, run_id, numbers, at)

    @retrying
    def ask(self, run_id: int, control: Control) -> Control | None:
        """Record a control for a run's process to obey, and return it with its number; None unless it is RUNNING.

        Repeated after a lost connection, it may be there twice, which does no harm.
        """
        with self._store.writing() as connection:
            return steering.add_control(connection, run_id, control)

    def controls(self, run_id: int) -> list[Control]:
        """Return what was asked of a run at work, in order."""
        return self._read(steering.read_controls, run_id)

    def pulses(self, run_ids: Collection[int]) -> dict[int, tuple[RunState, Heartbeat | None]]:
        """Return the state of runs, and the last heartbeat of those that are RUNNING, without counting their pairs."""
        return self._read(steering.read_pulses, run_ids)

    # --- the work list -------------------------------------------------------------------------------------------

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """See `ports.Ledger`. Commits as it goes; repeated after a kill, it adds what is missing.

        A pending pair that is enqueued again gets the new want, but keeps ALREADY_MEMBER.
        """
        return sum(self._enqueue(run_id, batch) for batch in pairs.batch_blocks(blocks, ENQUEUE_PAIRS))

    @retrying
    def _enqueue(self, run_id: int, batch: list[Block]) -> int:
        with self._writing(pairs.block_texts(batch)) as (connection, numbers):
            return pairs.enqueue(connection, run_id, batch, numbers)

    @retrying
    def mark_enqueued(self, run_id: int) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            runs.mark_enqueued(connection, run_id)

    def set_orders(self, run_id: int, orders: Mapping[str, Orders]) -> None:
        """See `ports.Ledger`. Commits as it goes; each image has its old orders or its new ones."""
        images = iter(orders.items())
        while part := list(islice(images, ENQUEUE_PAIRS)):
            self._set_orders(run_id, part)

    @retrying
    def _set_orders(self, run_id: int, part: Sequence[tuple[str, Orders]]) -> None:
        with self._writing([image_id for image_id, _ in part]) as (connection, numbers):
            stored = runs.add_orders(connection, run_id, (orders for _, orders in part))
            rows = [(run_id, numbers[image_id], stored[orders]) for image_id, orders in part]
            runs.set_of_images(connection, "orders", rows)

    def orders(self, run_id: int) -> dict[str, Orders]:
        """See `ports.Ledger`."""
        return self._read(runs.read_orders, run_id)

    @retrying
    def images_to_list(self, run_id: int, *, settled_before: datetime, after: str | None, limit: int) -> list[Backlog]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            last = self._number(connection, after)
            rows = pairs.read_to_list(connection, run_id, settled_before=settled_before, after=last, images=limit)
            texts = self._strings.texts(connection, [row[0] for row in rows])
            return [Backlog(texts[image], count, WANTS[want or 0], settled) for image, count, want, settled in rows]

    def count_to_list(self, run_id: int, *, settled_before: datetime) -> int:
        """See `ports.Ledger`."""
        return self._read(pairs.count_to_list, run_id, settled_before=settled_before)

    @retrying
    def image_pairs(self, run_id: int, image_id: str) -> list[tuple[Block, Result]]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            rows = pairs.read_image(connection, run_id, self._number(connection, image_id))
            texts = self._strings.texts(connection, [row[0] for row in rows])
        found: dict[tuple[int, int | None], list[str]] = {}
        for member, want, result in rows:
            found.setdefault((want, result), []).append(texts[member])
        return [
            (Block(image_id, member_ids, WANTS[want]), RESULTS[result]) for (want, result), member_ids in found.items()
        ]

    @retrying
    def unsettle(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Ledger`."""
        if not member_ids:
            return
        with self._writing({image_id, *member_ids}) as (connection, numbers):
            image = numbers[image_id]
            connection.execute_many(pairs.UNSETTLE, [(run_id, image, numbers[member]) for member in member_ids])

    def project_ids(self, run_id: int) -> set[str]:
        """See `ports.Ledger`."""
        return self._read(pairs.pending_members, run_id)

    @retrying
    def pending_images(
        self, run_id: int, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Backlog]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            last = self._number(connection, after)
            rows = pairs.read_backlog(connection, run_id, after=last, images=limit, removals=removals)
            texts = self._strings.texts(connection, [row[0] for row in rows])
            return [Backlog(texts[image], count, WANTS[want]) for image, count, want in rows]

    @retrying
    def pending_jobs(
        self, run_id: int, image_id: str, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Job]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            image, last = self._number(connection, image_id), self._number(connection, after)
            rows = pairs.read_jobs(connection, run_id, image, after=last, limit=limit, removals=removals)
            texts = self._strings.texts(connection, [row[0] for row in rows])
            return [Job(image_id, texts[member], WANTS[want]) for member, want in rows]

    @retrying
    def pending_jobs_between(self, run_id: int, first: str, last: str, *, removals: bool | None = None) -> list[Job]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            ends = self._number(connection, first), self._number(connection, last)
            rows = pairs.read_jobs_between(connection, run_id, *ends, removals=removals)
            texts = self._strings.texts(connection, {number for row in rows for number in row[:2]})
            return [Job(texts[image], texts[member], WANTS[want]) for image, member, want in rows]

    @retrying
    def pending_wants(self, run_id: int, image_ids: Collection[str], member_id: str) -> dict[str, Want]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            member = self._number(connection, member_id)
            if not member:
                return {}
            images = {self._number(connection, image_id): image_id for image_id in image_ids}
            query = (
                f"SELECT image, want FROM pairs WHERE {pairs.pending(None)} AND image IN :images AND member = :member"
            )
            rows = connection.rows(query, run_id=run_id, images=list(images), member=member)
            return {images[image]: WANTS[want] for image, want in rows}

    @retrying
    def mark_listed(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Ledger`."""
        self._mark(pairs.MARK_LISTED, run_id, image_id, member_ids)

    @retrying
    def mark_added(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Ledger`."""
        self._mark(pairs.MARK_ADDED, run_id, image_id, member_ids)

    @retrying
    def mark_was_accepted(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """See `ports.Ledger`."""
        self._mark(pairs.MARK_WAS_ACCEPTED, run_id, image_id, member_ids)

    def _mark(self, statement: str, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        if not member_ids:
            return
        with self._writing({image_id, *member_ids}) as (connection, numbers):
            image = numbers[image_id]
            connection.execute_many(statement, [(run_id, image, numbers[member]) for member in member_ids])

    @retrying
    def open_batch(self, run_id: int, batch: Batch) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            batches.add(connection, run_id, batch)

    @retrying
    def set_job(self, run_id: int, number: int, job_id: str) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            batches.set_job(connection, run_id, number, job_id)

    @retrying
    def close_batch(self, run_id: int, number: int) -> None:
        """See `ports.Ledger`."""
        with self._store.writing() as connection:
            batches.remove(connection, run_id, number)

    @retrying
    def open_batches(self, run_id: int) -> list[Batch]:
        """See `ports.Ledger`."""
        with self._store.reading() as connection:
            return batches.read(connection, run_id)

    # --- the record ----------------------------------------------------------------------------------------------

    @retrying
    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Ledger`. A pair keeps the want that it was enqueued with, whatever else the outcome has."""
        if not outcomes:
            return
        added = [each for each in outcomes if each.result in UNACCEPTED and Want.ADDED in each.want]
        with self._writing(pairs.record_texts(outcomes)) as (connection, numbers):
            if added:
                marked = [(run_id, numbers[each.image_id], numbers[each.member_id]) for each in added]
                connection.execute_many(pairs.MARK_ADDED, marked)
            connection.execute_many(pairs.SETTLE, pairs.settled_rows(run_id, outcomes, numbers))

    @retrying
    def settle_alike(self, run_id: int, groups: Sequence[Alike]) -> None:
        """See `ports.Ledger`."""
        if not groups:
            return
        texts = pairs.record_texts([one.outcome for one in groups]).union(*(one.member_ids for one in groups))
        with self._writing(texts) as (connection, numbers):
            pairs.settle_alike(connection, run_id, groups, numbers)

    @retrying
    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, removals: bool | None = None
    ) -> int:
        """See `ports.Ledger`."""
        reason = reason[:LONGEST_TEXT]
        with self._writing({reason} - {""}) as (connection, numbers):
            rest = f"{pairs.pending(removals)} AND image = :image"
            number, image = numbers[reason] if reason else None, self._number(connection, image_id)
            return pairs.settle_unsent(connection, rest, result, number, now, run_id=run_id, image=image)

    @retrying
    def settle_members(
        self, run_id: int, member_ids: Collection[str], *, result: Result, reason: str, now: datetime
    ) -> None:
        """See `ports.Ledger`."""
        with self._writing({reason, *member_ids}) as (connection, numbers):
            members = [numbers[member_id] for member_id in member_ids]
            these = f"{pairs.pending(removals=False)} AND member IN :members"
            for start in range(0, len(members), CHUNK):
                some = members[start : start + CHUNK]
                pairs.settle_unsent(connection, these, result, numbers[reason], now, run_id=run_id, members=some)

    @retrying
    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """See `ports.Ledger`."""
        found: dict[str, list[str]] = {}
        with self._store.reading() as connection:
            rows = pairs.read_undescribed(connection, run_id, after=self._number(connection, after), images=limit)
            texts = self._strings.texts(connection, {number for row in rows for number in row})
        for image, member in rows:
            found.setdefault(texts[image], []).append(texts[member])
        return list(found.items())

    @retrying
    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """See `ports.Ledger`."""
        if not members:
            return
        with self._writing(pairs.record_texts(members)) as (connection, numbers):
            connection.execute_many(pairs.DESCRIBE, [pairs.described_row(run_id, each, numbers) for each in members])

    @retrying
    def mark_opened(self, run_id: int, image_ids: Sequence[str], at: datetime | None) -> None:
        """See `ports.Ledger`."""
        with self._writing(image_ids) as (connection, numbers):
            time = pack_time(at) or 0
            runs.set_of_images(connection, "opened_at", [(run_id, numbers[image_id], time) for image_id in image_ids])

    def opening(self, run_id: int) -> list[str]:
        """See `ports.Ledger`."""
        return self._read(runs.read_opening, run_id)

    def opened(self, run_id: int) -> dict[str, datetime]:
        """See `ports.Ledger`."""
        return self._read(runs.read_opened, run_id)

    def totals(self, run_id: int) -> dict[Result, int]:
        """See `ports.Ledger`."""
        return self._read(runs.count_pairs, run_id)

    def outcomes(self, run_id: int, *, results: frozenset[Result] | None = None) -> Iterator[Outcome]:
        """See `ports.Ledger`. Reads pages from one snapshot. Not repeated when the connection is lost."""
        with self._store.reading() as connection:
            for rows in pairs.read_pages(connection, run_id, rows=READ_ROWS, results=results):
                yield from pairs.to_outcomes(connection, rows, self._strings)

    def side_by_side(self, first_id: int, second_id: int) -> Iterator[tuple[Outcome | None, Outcome | None]]:
        """Yield each pair of two runs as it is in both; None in the run that doesn't have it. Grouped by image.

        Holds a page of each run.
        """
        with self._store.reading() as connection:
            first, second = self._numbered(connection, first_id), self._numbered(connection, second_id)
            one, other = next(first, None), next(second, None)
            while one is not None or other is not None:
                in_first = one is not None and (other is None or one[0] <= other[0])
                in_second = other is not None and (one is None or other[0] <= one[0])
                yield one[1] if one and in_first else None, other[1] if other and in_second else None
                one = next(first, None) if in_first else one
                other = next(second, None) if in_second else other

    def _numbered(self, connection: Connection, run_id: int) -> Iterator[tuple[tuple[int, int], Outcome]]:
        """Yield a run's outcomes with the numbers of image and member, by which they are ordered."""
        for rows in pairs.read_pages(connection, run_id, rows=READ_ROWS):
            outcomes = pairs.to_outcomes(connection, rows, self._strings)
            yield from zip([(row[0], row[1]) for row in rows], outcomes, strict=True)

    def count_changes(self, before_id: int, run_id: int) -> list[tuple[Result | None, Result, int]]:
        """See `comparison.count_changes`."""
        return self._read(comparison.count_changes, before_id, run_id)

    def count_gone(self, before_id: int, run_id: int) -> int:
        """See `comparison.count_gone`."""
        return self._read(comparison.count_gone, before_id, run_id)

    def unsteady(self, run_ids: Sequence[int]) -> Iterator[tuple[str, str, tuple[Result | None, ...]]]:
        """See `comparison.read_unsteady`. Not repeated when the connection is lost."""
        with self._store.reading() as connection:
            yield from comparison.read_unsteady(connection, run_ids, self._strings)

    # --- questions -----------------------------------------------------------------------------------------------

    def run_refs(self) -> list[RunRef]:
        """Return all runs as answers name them, in the order in which they began. Counts no pairs, unlike `runs`."""
        return self._read(sightings.read_run_refs)

    def sightings_of_images(self, image_ids: Collection[str], runs: Sequence[RunRef]) -> list[list[Sighting]]:
        """Return what these runs recorded about the images' pairs: of each pair at an endpoint, in the order of time.

        runs: some of `run_refs`, in its order.
        """
        return self._read(sightings.read, self._strings, runs, "image", image_ids)

    def sightings_of_projects(self, project_ids: Collection[str], runs: Sequence[RunRef]) -> list[list[Sighting]]:
        """Return what these runs recorded about the projects' pairs, like `sightings_of_images`."""
        return self._read(sightings.read, self._strings, runs, "member", project_ids)

    def all_labels(self) -> dict[str, str]:
        """Return all known names of images and projects, by ID."""
        return self._read(runs.read_all_labels)

    def known_ids(self, run_ids: Sequence[int]) -> tuple[set[str], set[str]]:
        """Return the IDs of the images and of the projects that these runs have pairs of."""
        return self._read(sightings.read_ids, run_ids)

    # --- connections ---------------------------------------------------------------------------------------------

    @retrying
    def _read(self, query: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._store.reading() as connection:
            return query(connection, *args, **kwargs)

    @contextmanager
    def _writing(self, texts: Collection[str]) -> Iterator[tuple[Connection, dict[str, int]]]:
        """Write in one transaction, with the numbers of these texts; new ones are cached once they are committed."""
        with self._store.writing() as connection:
            numbers = self._strings.numbers(connection, texts)
            yield connection, numbers
        self._strings.remember(numbers)

    def _number(self, connection: Connection, text: str | None) -> int:
        """Return the number of a string; 0, which is before all numbers and never assigned, for None or a new one."""
        return 0 if text is None else self._strings.number(connection, text) or 0
