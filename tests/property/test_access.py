"""`who` and `what` against a model: whatever runs and others did on the clouds, the answer is what runs saw last."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkshare.ledger import SqlLedger
from bulkshare.model import Account, Block, Outcome, Result, Want
from bulkshare.operations.questions import what, who
from bulkshare.report.access import State

START = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
IMAGES, PROJECTS = ["i1", "i2"], ["p1", "p2"]
ACCOUNTS = [
    Account("prod", "eu-de", "https://one.example", "alice", "golden", "p-golden"),
    Account("prod", "eu-de", "https://one.example", "bob", "tenants", "p-tenants"),  # another project of this cloud
    Account("test", "eu-nl", "https://two.example", "alice", "golden", "p-golden"),
]
Key = tuple[str, str, str]  # endpoint, image, project


class Membership(NamedTuple):
    """A member on the cloud: since when, by which run if by one, and its status."""

    created_at: datetime
    by: str | None
    status: str


class Expected(NamedTuple):
    """What a pair's answer has to say."""

    state: State
    status: str | None
    since: datetime | None
    at_least: bool
    by: str | None


@dataclass
class Clouds:
    """The clouds, the ledger, and what an attentive reader of the ledger knows."""

    ledger: SqlLedger
    now: datetime = START
    members: dict[Key, Membership] = field(default_factory=dict)
    known: dict[Key, Expected] = field(default_factory=dict)
    unfinished: list[tuple[int, str, Account, list[tuple[str, str, str]]]] = field(default_factory=list)
    rows: int = 0
    refused: set[tuple[str, str]] = field(default_factory=set)

    def others(self, account: Account, image: str, project: str, status: str | None) -> None:
        """Someone adds a member or sets its status; None: removes it; "again": adds it anew."""
        key = account.endpoint, image, project
        if status is None:
            self.members.pop(key, None)
        elif status == "again":
            self.members[key] = Membership(self.now.replace(microsecond=0), None, "pending")
        else:
            old = self.members.get(key) or Membership(self.now.replace(microsecond=0), None, status)
            self.members[key] = old._replace(status=status)

    def begin(self, account: Account, actions: dict[tuple[str, str], str], done: int) -> None:
        """Begin a run; after `done` of its pairs it is interrupted."""
        run = self.ledger.begin(plan="plan", fingerprint="f", account=account, now=self.now)
        todo = [(image, project, action) for (image, project), action in actions.items()]
        wants = {"remove": Want.REMOVE, "accept": Want.ACCEPTED}
        blocks = (Block(image, [project], wants.get(action, Want.MEMBER)) for image, project, action in todo)
        self.ledger.enqueue(run.id, blocks)
        self.work(run.id, run.key, account, todo, done)

    def go_on(self, number: int) -> None:
        """Go on with an unfinished run; what was refused is tried again."""
        if self.unfinished:
            run_id, key, account, todo = self.unfinished.pop(number % len(self.unfinished))
            before = self.ledger.totals(run_id)[Result.REJECTED]
            self.ledger.reopen(run_id, now=self.now)
            self.rows -= before
            self.work(run_id, key, account, todo, len(todo))

    def work(self, run_id: int, key: str, account: Account, todo: list[tuple[str, str, str]], done: int) -> None:
        """Carry out the first `done` pairs of a run."""
        self.refused = set()
        for image, project, action in todo[:done]:
            self.now += timedelta(milliseconds=1700)
            self.ledger.settle(run_id, [self.outcome(key, account, image, project, action)])
            self.rows += 1
        for image, project, _ in todo[done:]:
            self.known.setdefault((account.endpoint, image, project), UNKNOWN)
        self.now += timedelta(seconds=2)
        self.ledger.finish(run_id, now=self.now, requests=0, retries=0, seconds=0.0)
        if todo[done:]:
            refused = [each for each in todo[:done] if each[:2] in self.refused]
            self.unfinished.append((run_id, key, account, refused + todo[done:]))

    def outcome(self, run: str, account: Account, image: str, project: str, action: str) -> Outcome:
        """Do to a pair what a run does, and note what is known afterwards."""
        key = account.endpoint, image, project
        member = self.members.get(key)
        before = self.known.get(key, UNKNOWN)
        answer = Outcome(image, project, Result.ALREADY, http_status=200, started_at=self.now, settled_at=self.now)
        if action == "remove":
            self.members.pop(key, None)
            if member:
                self.known[key] = Expected(State.GONE, None, self.now, at_least=False, by=run)
                return answer._replace(result=Result.REMOVED, http_status=204)
            if before.state is not State.GONE:
                self.known[key] = Expected(State.GONE, None, self.now, at_least=True, by=None)
            return answer._replace(result=Result.ABSENT)
        if action == "public":
            if before.state is not State.EVERYONE:
                self.known[key] = Expected(State.EVERYONE, None, self.now, at_least=True, by=None)
            return answer._replace(http_status=None)
        if action == "refused" and not member:
            self.known[key] = UNKNOWN
            self.refused.add((image, project))
            return answer._replace(result=Result.REJECTED, http_status=403, reason="403 Forbidden")
        if not member:
            member = Membership(self.now.replace(microsecond=0), run, "pending")
            answer = answer._replace(result=Result.SHARED)
        if action == "accept" and member.status != "accepted":
            member = member._replace(status="accepted")
            answer = answer._replace(result=Result.SHARED if answer.result is Result.SHARED else Result.ACCEPTED)
        self.members[key] = member
        self.known[key] = Expected(State.MEMBER, member.status, member.created_at, at_least=False, by=member.by)
        return answer._replace(status=member.status, created_at=member.created_at)


UNKNOWN = Expected(State.UNKNOWN, None, None, at_least=False, by=None)
accounts = st.sampled_from([ACCOUNTS[0], *ACCOUNTS])
pairs = st.tuples(st.sampled_from(IMAGES), st.sampled_from(PROJECTS))
actions = st.sampled_from(["share", "accept", "remove", "refused", "public"])
steps = st.one_of(
    st.tuples(st.just("begin"), accounts, st.dictionaries(pairs, actions, min_size=1, max_size=4), st.integers(0, 4)),
    st.tuples(
        st.just("others"),
        accounts,
        st.sampled_from(IMAGES),
        st.sampled_from(PROJECTS),
        st.sampled_from(["again", "again", "accepted", "rejected", None]),
    ),
    st.tuples(st.just("go_on"), st.integers(0, 3)),
)


PAIR = ("i1", "p1")
SHARE, REMOVE = ("begin", ACCOUNTS[0], {PAIR: "share"}, 4), ("begin", ACCOUNTS[1], {PAIR: "remove"}, 4)


@settings(max_examples=40)
@example([SHARE, ("others", ACCOUNTS[0], *PAIR, "again"), SHARE])  # a member since then, but not by the first run
@example([("begin", ACCOUNTS[0], {PAIR: "share"}, 0), REMOVE, ("go_on", 0)])  # the older run has the last word
@example([SHARE, REMOVE, ("begin", ACCOUNTS[2], {PAIR: "share"}, 4)])  # by another project, but not on another cloud
@example([SHARE, ("others", ACCOUNTS[0], *PAIR, None), ("begin", ACCOUNTS[0], {PAIR: "refused"}, 4)])
@given(st.lists(steps, min_size=3, max_size=25))
def test_the_answer_is_what_was_seen_last(history: list[tuple[object, ...]]) -> None:
    """For each image and for each project, on each cloud; and no row of the ledger is missing from the history."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqlLedger.open(str(Path(folder) / "ledger.db"))
        clouds = Clouds(ledger)
        for name, *arguments in history:
            clouds.now += timedelta(seconds=3)
            getattr(clouds, str(name))(*arguments)
        notes: list[str] = []
        for ask, ids, position in ((who, IMAGES, 1), (what, PROJECTS, 2)):
            answers = [
                ask(ledger, known_id, notes.append).accesses
                for known_id in ids
                if any(key[position] == known_id for key in clouds.known)
            ]
            found = {
                (each.account.endpoint, each.image_id, each.member_id): Expected(
                    each.state, each.status, each.since, each.at_least, each.by.key if each.by else None
                )
                for answer in answers
                for each in answer
            }
            assert found == clouds.known
            told = [sighting for answer in answers for each in answer for sighting in each.history]
            assert sum(each.times for each in told if each.result is not Result.PENDING) == clouds.rows
        ledger.close()
    assert not notes
