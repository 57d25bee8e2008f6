"""The ledger against a dict: two handles on one file, used in turn and reopened, return what a dict would."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bulkshare.ledger import SqlLedger
from bulkshare.model import AS_PLANNED, Account, Backlog, Block, Job, Member, Outcome, Result, RunState, Want

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACCOUNT = Account("prod", "eu-de", "https://images.example", "alice", "golden", "p1")
RUNS = 2
IMAGES = ["i1", "i2", "m1"]  # an image may have the ID of a project
MEMBERS = ["m1", "m2", "m3", "m4", "M1"]
Pair = tuple[str, str]
LISTED = Want.ALREADY_MEMBER | Want.WAS_ACCEPTED
DONE = sorted(set(Result) - {Result.PENDING})

handles = st.integers(0, 1)
runs = st.integers(0, RUNS - 1)
images = st.sampled_from(IMAGES)
times = st.none() | st.integers(-(10**12), 10**13).map(lambda number: NOW + timedelta(milliseconds=number))
texts = st.none() | st.sampled_from(["pending", "accepted", ""]) | st.text(max_size=20)
usual_request_ids = st.uuids().map("req-{}".format)
request_ids = st.none() | st.text() | usual_request_ids | st.just("req-ABCDEF01-2345-6789-0123-456789012345")
wants = st.integers(0, 2 * max(Want) - 1).map(Want) | st.sampled_from([Want.MEMBER, Want.REMOVE])
some_members = st.lists(st.sampled_from(MEMBERS), max_size=6)
blocks = st.lists(st.builds(Block, images, some_members, wants), max_size=4)
removals = st.sampled_from([None, False, True])
outcomes = st.builds(
    Outcome,
    image_id=images,
    member_id=st.sampled_from(MEMBERS),
    result=st.sampled_from(DONE),
    http_status=st.none() | st.integers(100, 599),
    status=texts,
    created_at=times,
    updated_at=times,
    schema=texts,
    attempts=st.integers(0, 1000),
    request_id=request_ids,
    reason=st.just("") | st.text(max_size=20),
    started_at=times,
    settled_at=times,
    want=wants,
)
members = st.builds(
    Member,
    image_id=images,
    member_id=st.sampled_from(MEMBERS),
    status=texts,
    created_at=times,
    updated_at=times,
    schema=texts,
)


def pair_of(row: Outcome | Member) -> Pair:
    """Return the row's pair."""
    return row.image_id, row.member_id


def _was_added(outcome: Outcome) -> bool:
    return Want.ADDED in outcome.want and outcome.result in {Result.REJECTED, Result.FAILED}


class LedgerLikeADict(RuleBasedStateMachine):
    """Two runs with the same IDs in one file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.place = str(Path(self.folder.name) / "ledger.db")
        self.handles = [SqlLedger.open(self.place), SqlLedger.open(self.place)]
        self.run_ids = [
            self.handles[0].begin(plan=f"plan-{number}", fingerprint="f", account=ACCOUNT, now=NOW).id
            for number in range(RUNS)
        ]
        self.states = [RunState.RUNNING] * RUNS
        self.rows: list[dict[Pair, Outcome]] = [{} for _ in range(RUNS)]

    def teardown(self) -> None:
        """Close the handles and remove the file."""
        for ledger in self.handles:
            ledger.close()
        self.folder.cleanup()

    @rule(handle=handles, run=runs, blocks=blocks)
    def enqueue(self, handle: int, run: int, blocks: list[Block]) -> None:
        """Existing pairs are kept; only the want of a pending one changes, to the last one plus what the cloud told."""
        rows = self.rows[run]
        before = len(rows)
        for image_id, member_ids, want in blocks:
            for pair in ((image_id, member_id) for member_id in member_ids):
                row = rows.get(pair)
                if row is None:
                    rows[pair] = Outcome(*pair, Result.PENDING, want=want)
                elif row.result is Result.PENDING:
                    rows[pair] = row._replace(want=want | row.want & (Want.ALREADY_MEMBER | Want.ADDED))
        assert self.handles[handle].enqueue(self.run_ids[run], blocks) == len(rows) - before

    @rule(handle=handles, run=runs, image_id=images, member_ids=some_members)
    def mark_listed(self, handle: int, run: int, image_id: str, member_ids: list[str]) -> None:
        """Only pending pairs are marked, however often."""
        for pair in ((image_id, member_id) for member_id in member_ids):
            row = self.rows[run].get(pair)
            if row is not None and row.result is Result.PENDING:
                self.rows[run][pair] = row._replace(want=row.want | Want.ALREADY_MEMBER)
        self.handles[handle].mark_listed(self.run_ids[run], image_id, member_ids)

    @rule(handle=handles, run=runs, image_id=images, member_ids=some_members)
    def mark_was_accepted(self, handle: int, run: int, image_id: str, member_ids: list[str]) -> None:
        """Likewise."""
        for pair in ((image_id, member_id) for member_id in member_ids):
            row = self.rows[run].get(pair)
            if row is not None and row.result is Result.PENDING:
                self.rows[run][pair] = row._replace(want=row.want | Want.WAS_ACCEPTED)
        self.handles[handle].mark_was_accepted(self.run_ids[run], image_id, member_ids)

    @rule(handle=handles, run=runs, batch=st.lists(outcomes, max_size=6))
    def settle(self, handle: int, run: int, batch: list[Outcome]) -> None:
        """The last outcome counts, except for its want, and only for pairs that were enqueued.

        What was added and then refused or failed keeps that it was added.
        """
        for outcome in batch:
            row = self.rows[run].get(pair_of(outcome))
            if row is not None and row.result is Result.PENDING and _was_added(outcome):
                row = row._replace(want=row.want | Want.ALREADY_MEMBER | Want.ADDED)
                self.rows[run][pair_of(outcome)] = row
        for outcome in batch:
            row = self.rows[run].get(pair_of(outcome))
            if row is not None:
                self.rows[run][pair_of(outcome)] = outcome._replace(want=row.want)
        self.handles[handle].settle(self.run_ids[run], batch)

    @rule(
        handle=handles,
        run=runs,
        image_id=images,
        result=st.sampled_from(DONE),
        reason=st.text(max_size=5),
        removals=removals,
    )
    def settle_rest(
        self, handle: int, run: int, image_id: str, result: Result, reason: str, *, removals: bool | None
    ) -> None:
        """Only pairs that are pending are settled."""
        rest = [row for row in self._pending(run, removals=removals) if row.image_id == image_id]
        for row in rest:
            self.rows[run][pair_of(row)] = row._replace(result=result, reason=reason, settled_at=NOW)
        count = self.handles[handle].settle_rest(
            self.run_ids[run], image_id, result=result, reason=reason, now=NOW, removals=removals
        )
        assert count == len(rest)

    @rule(handle=handles, run=runs, batch=st.lists(members, max_size=4))
    def describe(self, handle: int, run: int, batch: list[Member]) -> None:
        """Only the cloud's fields of settled pairs change."""
        for member in batch:
            row = self.rows[run].get(pair_of(member))
            if row is not None and row.result is not Result.PENDING:
                self.rows[run][pair_of(member)] = row._replace(
                    status=member.status,
                    created_at=member.created_at,
                    updated_at=member.updated_at,
                    schema=member.schema,
                )
        self.handles[handle].describe(self.run_ids[run], batch)

    @rule(handle=handles, run=runs, complete=st.booleans())
    def finish_and_reopen(self, handle: int, run: int, *, complete: bool) -> None:
        """A run is finished if nothing is pending; in a reopened one all that is not as planned is pending again."""
        ledger, run_id = self.handles[handle], self.run_ids[run]
        ended = ledger.finish(run_id, now=NOW, requests=0, retries=0, seconds=0.0, complete=complete)
        finished = complete and not self._pending(run)
        assert ended.state is (RunState.FINISHED if finished else RunState.INTERRUPTED)
        assert ended.totals == ledger.totals(run_id)
        assert ledger.reopen(run_id, now=NOW).state is RunState.RUNNING
        for pair, row in self.rows[run].items():
            if row.result not in AS_PLANNED:
                self.rows[run][pair] = Outcome(*pair, Result.PENDING, want=row.want & ~LISTED)

    @rule(handle=handles, run=runs, image_id=images, member_ids=some_members)
    def unsettle(self, handle: int, run: int, image_id: str, member_ids: list[str]) -> None:
        """The pairs are as if they had not been tried."""
        for pair in ((image_id, member_id) for member_id in member_ids):
            if pair in self.rows[run]:
                want = self.rows[run][pair].want & ~(LISTED | Want.ADDED)
                self.rows[run][pair] = Outcome(*pair, Result.PENDING, want=want)
        self.handles[handle].unsettle(self.run_ids[run], image_id, member_ids)

    @rule(handle=handles, run=runs, member_ids=some_members, result=st.sampled_from(DONE))
    def settle_members(self, handle: int, run: int, member_ids: list[str], result: Result) -> None:
        """Pending pairs of these members are settled, except removals."""
        ledger, run_id = self.handles[handle], self.run_ids[run]
        assert ledger.project_ids(run_id) == {row.member_id for row in self._pending(run, removals=False)}
        for row in self._pending(run, removals=False):
            if row.member_id in member_ids:
                self.rows[run][pair_of(row)] = row._replace(result=result, reason="unknown", settled_at=NOW)
        ledger.settle_members(run_id, member_ids, result=result, reason="unknown", now=NOW)

    @rule(handle=handles)
    def open_again(self, handle: int) -> None:
        """Close one handle on the file and open another."""
        self.handles[handle].close()
        self.handles[handle] = SqlLedger.open(self.place)

    @rule(handle=handles, run=runs, limit=st.integers(1, 4), removals=removals)
    def read_what_is_pending(self, handle: int, run: int, limit: int, *, removals: bool | None) -> None:
        """The pages together have every pending pair once, in the order of `outcomes`."""
        ledger, run_id = self.handles[handle], self.run_ids[run]
        found: list[Job] = []
        last_image: str | None = None
        while page := ledger.pending_images(run_id, after=last_image, limit=limit, removals=removals):
            assert len(page) <= limit
            ends = page[0].image_id, page[-1].image_id
            together = ledger.pending_jobs_between(run_id, *ends, removals=removals)
            before = len(found)
            for backlog in page:
                here: list[Job] = []
                last_image, last = backlog.image_id, None
                while part := ledger.pending_jobs(run_id, last_image, after=last, limit=limit, removals=removals):
                    assert len(part) <= limit
                    here += part
                    last = part[-1].member_id
                assert backlog == Backlog(last_image, len(here), reduce(or_, (job.want for job in here)))
                found += here
            assert together == found[before:]
        pending = set(map(pair_of, self._pending(run, removals=removals)))
        rows = (row for row in ledger.outcomes(run_id) if pair_of(row) in pending)
        assert found == [Job(row.image_id, row.member_id, row.want) for row in rows]
        assert len(found) == len(pending)

    @rule(handle=handles, run=runs, limit=st.integers(1, 4), before=times.filter(bool))
    def read_what_is_to_be_listed(self, handle: int, run: int, limit: int, before: datetime) -> None:
        """The pages have the images with pairs that are pending or were settled before a time, and all their pairs."""
        ledger, run_id = self.handles[handle], self.run_ids[run]
        found: list[Backlog] = []
        last: str | None = None
        while page := ledger.images_to_list(run_id, settled_before=before, after=last, limit=limit):
            assert len(page) <= limit
            last = page[-1].image_id
            found += page
        assert ledger.count_to_list(run_id, settled_before=before) == len(found)
        by_image: dict[str, list[Outcome]] = {}
        for row in self.rows[run].values():
            by_image.setdefault(row.image_id, []).append(row)
        expected = []
        for image_id, rows in by_image.items():
            wants = [row.want for row in rows if row.result is Result.PENDING]
            if wants or any(row.settled_at is not None and row.settled_at < before for row in rows):
                removal = reduce(or_, wants, Want(0)) & Want.REMOVE
                expected.append(Backlog(image_id, len(wants), removal, len(rows) - len(wants)))
            blocks = ledger.image_pairs(run_id, image_id)
            assert len({(block.want, result) for block, result in blocks}) == len(blocks)
            pairs = [(Job(image_id, one, block.want), result) for block, result in blocks for one in block.member_ids]
            assert sorted(pairs) == sorted((Job(*pair_of(row), row.want), row.result) for row in rows)
        assert sorted(found) == sorted(expected)

    @rule(handle=handles, run=runs, results=st.frozensets(st.sampled_from(sorted(Result))))
    def read_some_results(self, handle: int, run: int, results: frozenset[Result]) -> None:
        """Only rows with those results are returned."""
        returned = list(self.handles[handle].outcomes(self.run_ids[run], results=results))
        rows = self.rows[run].items()
        assert {pair_of(row): row for row in returned} == {pair: row for pair, row in rows if row.result in results}

    @rule(handle=handles, run=runs, limit=st.integers(1, 4))
    def read_what_is_undescribed(self, handle: int, run: int, limit: int) -> None:
        """The undescribed pairs are those with the result `already` and no status."""
        ledger, run_id = self.handles[handle], self.run_ids[run]
        returned: list[tuple[str, list[str]]] = []
        while page := ledger.undescribed(run_id, after=returned[-1][0] if returned else None, limit=limit):
            assert len(page) <= limit
            returned += page
        found = [(image_id, member_id) for image_id, member_ids in returned for member_id in member_ids]
        wanted = {pair for pair, row in self.rows[run].items() if row.result is Result.ALREADY and row.status is None}
        assert len({image_id for image_id, _ in returned}) == len(returned)
        assert len(found) == len(set(found))
        assert set(found) == wanted

    @invariant()
    def tells_the_same(self) -> None:
        """Both handles return every pair of both runs as the dict has it, with the right totals."""
        for ledger in self.handles:
            for run_id, rows in zip(self.run_ids, self.rows, strict=True):
                returned = list(ledger.outcomes(run_id))
                assert len(returned) == len(rows)
                assert {pair_of(row): row for row in returned} == rows
                totals = ledger.totals(run_id)
                assert totals == {result: sum(row.result is result for row in rows.values()) for result in Result}

    def _pending(self, run: int, *, removals: bool | None = None) -> list[Outcome]:
        pending = [row for row in self.rows[run].values() if row.result is Result.PENDING]
        return [row for row in pending if removals is None or (Want.REMOVE in row.want) == removals]


TestLedgerLikeADict = LedgerLikeADict.TestCase
TestLedgerLikeADict.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
