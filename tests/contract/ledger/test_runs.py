"""Runs: how they begin, end, continue and are found; several ledgers on one database."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import UsageError
from bulkshare.model import AS_PLANNED, Account, Backlog, Block, Job, Origin, Outcome, Result, RunState, Want
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, NOW, begin, by_pair, finish, outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run
    from bulkshare.ports import Ledger

NONE_YET = dict.fromkeys(Result, 0)


def begin_together(ledger: Ledger, cloud: str, invocation: str, now: datetime = NOW) -> Run:
    """Begin one of the runs of a command on several clouds."""
    account = replace(ACCOUNT, cloud=cloud)
    return ledger.begin(
        plan="nightly", fingerprint=FINGERPRINT, account=account, now=now, key_suffix=cloud, invocation=invocation
    )


def unfinished(
    ledger: Ledger, plan: str = "nightly", fingerprint: str = FINGERPRINT, account: Account = ACCOUNT
) -> str:
    """Return the key of the plan's unfinished run, or an empty text."""
    run = ledger.unfinished(plan=plan, fingerprint=fingerprint, account=account)
    return run.key if run else ""


def test_runs_of_one_command_are_found_together(ledger: SqlLedger) -> None:
    """By one of them, by the beginning of their names, and in the list, newest first; others are alone."""
    old = begin(ledger)
    several = [begin_together(ledger, cloud, "first") for cloud in ("east", "west")]
    other = [begin_together(ledger, cloud, "second", NOW + timedelta(seconds=1)) for cloud in ("east", "west")]
    assert ledger.invocations(9) == [other, several, [old]]
    assert ledger.invocations(2) == [other, several]
    assert [ledger.runs_with(run) for run in (old, *several, *other)] == [[old], several, several, other, other]
    assert ledger.find_run("nightly-20260102T030405Z-") == several[-1]
    assert ledger.find_runs("nightly-20260102T030405Z-") == several
    assert ledger.find_runs("nightly-20260102T030406Z") == other
    assert ledger.find_runs(several[0].key) == ledger.find_runs(several[0].key[:-1]) == several[:1]
    assert ledger.find_runs("nightly-x") == []
    with pytest.raises(UsageError, match="5 runs begin with"):
        ledger.find_runs("nightly-2026")


def test_a_run_that_goes_on_belongs_to_the_later_command(ledger: SqlLedger) -> None:
    """Those that it was begun with keep their own."""
    east, west = (begin_together(ledger, cloud, "first") for cloud in ("east", "west"))
    later = begin_together(ledger, "east", "second", NOW + timedelta(days=1))
    again = ledger.reopen(west.id, now=NOW + timedelta(days=1), invocation="second")
    assert ledger.invocations(9) == [[again, later], [east]]
    assert ledger.runs_with(later) == [again, later]
    assert ledger.find_runs("nightly-20260102T030405Z") == [east, again], "begun together"


# --- beginning and ending --------------------------------------------------------------------------------------------


def test_a_new_run(ledger: Ledger) -> None:
    """It is running, in this process on this host, without pairs, requests and retries yet."""
    run = begin(ledger)
    assert run.key == "nightly-20260102T030405Z"
    assert (run.plan, run.fingerprint, run.account) == ("nightly", FINGERPRINT, ACCOUNT)
    assert (run.state, run.started_at, run.finished_at) == (RunState.RUNNING, NOW, None)
    assert (run.host, run.pid) == (socket.gethostname(), os.getpid())
    assert (run.requests, run.retries, run.seconds) == (0, 0, 0)
    assert run.totals == NONE_YET
    assert ledger.runs() == [run]


def test_runs_of_one_second_have_keys_of_their_own(ledger: Ledger) -> None:
    """They are numbered from the second on; a key finds its run even if it is a prefix of others."""
    runs = [begin(ledger) for _ in range(4)]
    assert [run.key for run in runs] == [f"nightly-20260102T030405Z{number}" for number in ("", "-2", "-3", "-4")]
    assert [ledger.find_run(run.key) for run in runs] == runs


def test_a_run_with_nothing_pending_is_finished(ledger: Ledger) -> None:
    """It has its end time, its requests, retries and seconds, and its totals."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    ledger.settle(run.id, [outcome("i1", "p1"), outcome("i1", "p2", Result.FAILED)])
    later = NOW + timedelta(minutes=1)
    ended = ledger.finish(run.id, now=later, requests=5, retries=2, seconds=1.5)
    totals = NONE_YET | {Result.SHARED: 1, Result.FAILED: 1}
    took = replace(run, requests=5, retries=2, seconds=1.5, awaiting_acceptance=1)
    assert ended == replace(took, state=RunState.FINISHED, finished_at=later, worked_at=later, totals=totals)
    assert ledger.find_run(run.key) == ended


def test_a_run_with_pairs_left_is_interrupted(ledger: Ledger) -> None:
    """One pending pair is enough."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    ledger.settle(run.id, [outcome("i1", "p1")])
    ended = finish(ledger, run.id)
    assert ended.state is RunState.INTERRUPTED
    assert ended.totals == NONE_YET | {Result.SHARED: 1, Result.PENDING: 1}


def test_a_reopened_run_continues(ledger: Ledger) -> None:
    """It is running again, what is as planned is unchanged, and requests, retries and seconds add up."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    ledger.settle(run.id, [outcome("i1", "p1")])
    ended = finish(ledger, run.id)
    later = NOW + timedelta(days=1)
    again = ledger.reopen(run.id, now=later)
    assert again == replace(ended, state=RunState.RUNNING, finished_at=None, worked_at=later)
    ledger.settle(run.id, [outcome("i1", "p2")])
    assert ledger.runs()[0].totals == NONE_YET | {Result.SHARED: 2}  # not those of the interruption
    ended = finish(ledger, run.id)
    assert (ended.state, ended.totals[Result.SHARED]) == (RunState.FINISHED, 2)
    assert (ended.requests, ended.retries, ended.seconds) == (10, 4, 3.0)


def test_a_run_keeps_where_it_first_and_last_comes_from(ledger: Ledger) -> None:
    """Whoever continues it does not take the place of who began it; without an origin, the known ones stay."""
    first, second, third = (
        Origin(f"/etc/{name}.yaml", "ab", "1.0", f"bulkshare run {name}", "ops", name) for name in "abc"
    )
    run = ledger.begin(plan="nightly", fingerprint=FINGERPRINT, account=ACCOUNT, now=NOW, origin=first)
    assert run.origins == (first,)
    assert ledger.reopen(run.id, now=NOW, origin=second).origins == (first, second)
    assert ledger.reopen(run.id, now=NOW).origins == (first, second)
    assert ledger.reopen(run.id, now=NOW, origin=third).origins == (first, third)
    assert ledger.runs()[0].origins == (first, third)
    assert begin(ledger, "other").origins == ()


def test_a_run_that_did_not_look_at_all_images_is_interrupted(ledger: Ledger) -> None:
    """Though no pair is pending: there may be members to remove, or what was settled days ago may be so no longer."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    ledger.settle(run.id, [outcome("i1", "p1")])
    ended = ledger.finish(run.id, now=NOW, requests=5, retries=2, seconds=1.5, complete=False)
    assert ended.state is RunState.INTERRUPTED
    assert ledger.unfinished(plan="nightly", fingerprint=FINGERPRINT, account=ACCOUNT) == ended


def test_what_went_wrong_is_pending_again(ledger: Ledger) -> None:
    """In a reopened run, as if it had not been tried; what is as planned keeps its row, other runs keep theirs."""
    run, other = begin(ledger), begin(ledger)
    for each in (run, other):
        for result in NONE_YET:
            ledger.enqueue(
                each.id, [Block(f"i-{result}", ["add"], Want.ACCEPTED), Block(f"i-{result}", ["drop"], Want.REMOVE)]
            )
            if result is not Result.PENDING:
                ledger.settle(each.id, [outcome(f"i-{result}", name, result) for name in ("add", "drop")])
        ledger.mark_listed(each.id, f"i-{Result.PENDING}", ["add"])
    before = by_pair(ledger.outcomes(other.id))
    ledger.reopen(run.id, now=NOW)
    wants = {"add": Want.ACCEPTED, "drop": Want.REMOVE}
    assert by_pair(ledger.outcomes(run.id)) == {
        pair: row if row.result in AS_PLANNED else Outcome(*pair, Result.PENDING, want=wants[pair[1]])
        for pair, row in before.items()
    }
    assert by_pair(ledger.outcomes(other.id)) == before


def test_what_a_listing_contradicts_is_pending_again(ledger: Ledger) -> None:
    """Only those pairs of that image and run; a listing may mark them anew."""
    run, other = begin(ledger), begin(ledger)
    for each in (run, other):
        ledger.enqueue(each.id, [Block(image_id, ["p1", "p2"], Want.ACCEPTED) for image_id in ("i1", "i2")])
        ledger.mark_listed(each.id, "i1", ["p1", "p2"])
        ledger.settle(each.id, [outcome(image_id, name) for image_id in ("i1", "i2") for name in ("p1", "p2")])
    before = by_pair(ledger.outcomes(other.id))
    ledger.unsettle(run.id, "i1", ["p2"])
    pending = Outcome("i1", "p2", Result.PENDING, want=Want.ACCEPTED)
    assert by_pair(ledger.outcomes(run.id)) == before | {("i1", "p2"): pending}
    assert by_pair(ledger.outcomes(other.id)) == before
    ledger.mark_listed(run.id, "i1", ["p1", "p2"])
    marked = pending._replace(want=Want.ACCEPTED | Want.ALREADY_MEMBER)
    assert by_pair(ledger.outcomes(run.id)) == before | {("i1", "p2"): marked}


def test_images_to_list(ledger: Ledger) -> None:
    """Those with pending pairs, and those with pairs that were settled before a time; with the number of all pairs."""
    run = begin(ledger)
    ages = {"new": [1, 2], "old": [20, 1], "pending": [1], "both": [20], "all-pending": []}
    for image_id, minutes in ages.items():
        left = ["left"] if "pending" in image_id or image_id == "both" else []
        ledger.enqueue(
            run.id, [Block(image_id, [f"p{n}" for n in range(len(minutes))]), Block(image_id, left, Want.REMOVE)]
        )
        times = [NOW - timedelta(minutes=each) for each in minutes]
        ledger.settle(run.id, [outcome(image_id, f"p{n}", settled_at=at) for n, at in enumerate(times)])
    earlier = NOW - timedelta(minutes=10)
    pages = [ledger.images_to_list(run.id, settled_before=earlier, after=None, limit=3)]
    pages.append(ledger.images_to_list(run.id, settled_before=earlier, after=pages[0][-1].image_id, limit=3))
    assert [len(page) for page in pages] == [3, 1]
    assert sorted(pages[0] + pages[1]) == [
        Backlog("all-pending", 1, Want.REMOVE),
        Backlog("both", 1, Want.REMOVE, 1),
        Backlog("old", 0, Want.MEMBER, 2),
        Backlog("pending", 1, Want.REMOVE, 1),
    ]


def test_pairs_of_unknown_projects(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pending pairs are settled by their member, however many there are; removals and other runs are left."""
    monkeypatch.setattr("bulkshare.ledger.ledger.CHUNK", 3)
    run, other = begin(ledger), begin(ledger)
    names = [f"p{number}" for number in range(8)]
    for each in (run, other):
        ledger.enqueue(each.id, [Block("i1", names), Block("i2", names, Want.REMOVE), Block("i3", [*names, "known"])])
        ledger.settle(each.id, [outcome("i3", "p7")])
    assert ledger.project_ids(run.id) == {*names, "known"}
    ledger.settle_members(run.id, {*names, "elsewhere"}, result=Result.SKIPPED, reason="unknown", now=NOW)
    assert ledger.project_ids(run.id) == {"known"}
    assert ledger.project_ids(other.id) == {*names, "known"}
    totals = {Result.SKIPPED: 15, Result.PENDING: 9, Result.SHARED: 1}
    assert ledger.totals(run.id) == NONE_YET | totals


def test_runs_of_one_invocation(ledger: Ledger) -> None:
    """They have what was given for them, until another invocation goes on with one of them."""
    one, other = (
        ledger.begin(plan="p", fingerprint=FINGERPRINT, account=ACCOUNT, now=NOW, invocation="first") for _ in range(2)
    )
    assert [run.invocation for run in (one, other, begin(ledger))] == ["first", "first", None]
    assert ledger.reopen(one.id, now=NOW).invocation == "first"
    assert ledger.reopen(other.id, now=NOW, invocation="second").invocation == "second"
    assert [run.invocation for run in reversed(ledger.runs())] == ["first", "second", None]


def test_runs_of_several_clouds_are_named_after_them(ledger: Ledger) -> None:
    """The cloud's name follows the time; runs of one second still have distinct keys."""
    keys = [
        ledger.begin(plan="nightly", fingerprint=FINGERPRINT, account=ACCOUNT, now=NOW, key_suffix=suffix).key
        for suffix in ("eu-de", "eu-nl", "eu-de")
    ]
    assert keys == [f"nightly-20260102T030405Z-{end}" for end in ("eu-de", "eu-nl", "eu-de-2")]


# --- finding the run to continue -------------------------------------------------------------------------------------


def test_nothing_is_unfinished_at_first(ledger: Ledger) -> None:
    """An empty ledger has no run to continue."""
    assert unfinished(ledger) == ""


def test_a_killed_run_is_unfinished(ledger: Ledger) -> None:
    """A run that was never ended stays running and can be continued."""
    key = begin(ledger).key
    assert unfinished(ledger) == key


def test_an_interrupted_run_is_unfinished_and_a_finished_one_is_not(ledger: Ledger) -> None:
    """The state decides."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    finish(ledger, run.id)
    assert unfinished(ledger) == run.key
    ledger.settle(run.id, [outcome("i1", "p1")])
    finish(ledger, run.id)
    assert unfinished(ledger) == ""


def test_only_the_newest_run_of_the_plan_is_continued(ledger: Ledger) -> None:
    """An older unfinished run is not continued once the plan has run again; runs of other plans don't matter."""
    begin(ledger)
    newer = begin(ledger)
    begin(ledger, "other")
    assert unfinished(ledger) == newer.key
    finish(ledger, newer.id)
    assert unfinished(ledger) == ""


def test_only_the_same_work_is_continued(ledger: Ledger) -> None:
    """Another plan's name, set of pairs, endpoint or project is other work; another user is not."""
    key = begin(ledger).key
    assert unfinished(ledger, plan="nightl") == ""
    assert unfinished(ledger, fingerprint="e" * 64) == ""
    assert unfinished(ledger, account=replace(ACCOUNT, endpoint="https://other.example")) == ""
    assert unfinished(ledger, account=replace(ACCOUNT, project_id="other")) == ""
    assert unfinished(ledger, account=replace(ACCOUNT, user="bob", cloud="staging", region="", project="x")) == key


def test_each_cloud_has_its_run_to_continue(ledger: Ledger) -> None:
    """A plan for several clouds has a run for each, and one does not hide another's."""
    elsewhere = replace(ACCOUNT, endpoint="https://elsewhere.example")
    as_other = replace(ACCOUNT, project_id="other")
    keys = [begin(ledger, account=account).key for account in (ACCOUNT, elsewhere, as_other)]
    assert [unfinished(ledger, account=account) for account in (ACCOUNT, elsewhere, as_other)] == keys
    finish(ledger, begin(ledger, account=elsewhere).id)
    assert [unfinished(ledger, account=account) for account in (ACCOUNT, elsewhere, as_other)] == [keys[0], "", keys[2]]


# --- finding runs by name --------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first(ledger: Ledger) -> None:
    """All, or at most `limit`; in the order in which they began, not by the clock."""
    runs = [begin(ledger, now=NOW - timedelta(days=day)) for day in range(3)]
    ledger.enqueue(runs[1].id, [Block("i1", ["p1"])])
    listed = ledger.runs()
    assert [run.id for run in listed] == [run.id for run in reversed(runs)]
    assert [run.totals[Result.PENDING] for run in listed] == [0, 1, 0]
    assert ledger.runs(limit=2) == listed[:2]
    assert ledger.runs(limit=0) == []


def test_find_run_without_a_key(ledger: Ledger) -> None:
    """It is the newest, or None."""
    assert ledger.find_run() is None
    begin(ledger)
    newest = begin(ledger, "other")
    assert ledger.find_run() == newest


def test_find_run_by_a_unique_prefix(ledger: Ledger) -> None:
    """By the whole key or a unique prefix; None without a match."""
    one, two = begin(ledger, "alpha"), begin(ledger, "beta")
    assert [ledger.find_run(key) for key in (one.key, "alpha-2026", "a")] == [one] * 3
    assert ledger.find_run("b") == two
    assert ledger.find_run("nightly") is None
    assert ledger.find_run("lpha") is None


def test_find_run_by_an_ambiguous_prefix(ledger: Ledger) -> None:
    """The error names the first few matches, newest first."""
    runs = [begin(ledger, now=NOW + timedelta(days=day)) for day in range(7)]
    with pytest.raises(UsageError, match=f"7 runs begin with 'nightly': {runs[6].key}, .* and 2 more"):
        ledger.find_run("nightly")


def test_find_run_is_case_sensitive(ledger: Ledger) -> None:
    """A key in another case is not found."""
    run = begin(ledger)
    assert ledger.find_run("nightly-20260102T0304") == run
    assert ledger.find_run("nightly-20260102t0304") is None
    assert ledger.find_run("Nightly") is None


@pytest.mark.parametrize("key", ["%", "_ightly", "nightly%", "n%y", "nightl_", "night/ly", "night\\ly", "'"])
def test_find_run_takes_keys_literally(ledger: Ledger, key: str) -> None:
    """No character is a wildcard."""
    begin(ledger)
    assert ledger.find_run(key) is None


# --- two on one database ---------------------------------------------------------------------------------------------


def test_two_plans_at_once(open_ledger: Callable[[], SqlLedger]) -> None:
    """Two ledgers write in turn, with shared and new IDs, and each reads all its own."""
    ledgers = [open_ledger(), open_ledger()]
    runs = [begin(ledger, plan) for ledger, plan in zip(ledgers, ("one", "two"), strict=True)]
    for number in range(20):
        for ledger, run in zip(ledgers, runs, strict=True):
            ledger.enqueue(run.id, [Block(f"i{number}", ["p1", f"{run.plan}-{number}"])])
            ledger.settle(run.id, [outcome(f"i{number}", "p1", reason=f"{run.plan} {number}")])
    for ledger, run in zip(reversed(ledgers), runs, strict=True):
        rows = list(ledger.outcomes(run.id))
        assert {row.reason for row in rows if row.member_id == "p1"} == {f"{run.plan} {n}" for n in range(20)}
        assert {row.member_id for row in rows} == {"p1", *(f"{run.plan}-{n}" for n in range(20))}
        assert ledger.totals(run.id) == NONE_YET | {Result.SHARED: 20, Result.PENDING: 20}


def test_reading_while_another_writes(open_ledger: Callable[[], SqlLedger]) -> None:
    """A reader sees the state from when it began, and the writer does not wait for it."""
    writer, reader = open_ledger(), open_ledger()
    run = begin(writer)
    writer.enqueue(run.id, [Block("i1", [f"p{number}" for number in range(6_001)])])
    rows = reader.outcomes(run.id)
    read = list(islice(rows, 5))
    writer.settle(run.id, [outcome("i1", f"p{number}", reason=f"new {number}") for number in range(6_001)])
    assert finish(writer, run.id).state is RunState.FINISHED
    assert [*read, *rows] == [Outcome("i1", f"p{number}", Result.PENDING) for number in range(6_001)]
    assert {row.reason for row in reader.outcomes(run.id)} == {f"new {number}" for number in range(6_001)}


def test_a_run_may_be_finished_by_another_process(open_ledger: Callable[[], SqlLedger]) -> None:
    """The next process takes over the run of a killed one."""
    first, second = open_ledger(), open_ledger()
    run = begin(first)
    first.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    first.settle(run.id, [outcome("i1", "p1")])
    assert second.unfinished(plan="nightly", fingerprint=FINGERPRINT, account=ACCOUNT) == first.runs()[0]
    second.reopen(run.id, now=NOW)
    assert second.pending_jobs(run.id, "i1", after=None, limit=10) == [Job("i1", "p2")]
    second.settle(run.id, [outcome("i1", "p2")])
    assert finish(second, run.id) == first.find_run(run.key)
