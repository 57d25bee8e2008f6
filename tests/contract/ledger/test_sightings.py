"""What all runs recorded about an image or a project, on every kind of database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from bulkshare.ledger import sightings
from bulkshare.model import Block, Result, Settings, Want
from tests.ledger_fixtures import ACCOUNT, FINGERPRINT, NOW, begin, finish, outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run, Sighting

OTHER = replace(ACCOUNT, endpoint="https://other.example")


def night(ledger: SqlLedger, number: int, result: Result, images: Sequence[str], projects: Sequence[str]) -> Run:
    """Record a run with the same result for all pairs."""
    at = NOW + timedelta(days=number)
    run = begin(ledger, now=at)
    ledger.enqueue(run.id, [Block(image, projects) for image in images])
    ledger.settle(run.id, [outcome(i, p, result, settled_at=at, reason="") for i in images for p in projects])
    return finish(ledger, run.id)


def shape(of_pair: Sequence[Sighting]) -> list[tuple[Result, int]]:
    """Return results and how often each was recorded in a row."""
    return [(each.result, each.times) for each in of_pair]


def test_nights_that_are_alike_are_counted(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of time, more runs than one query takes, by image and by project; other pairs don't count."""
    monkeypatch.setattr(sightings, "RUNS_AT_ONCE", 4)
    images, projects = ["i1", "i2"], ["p1", "p2", "p3"]
    night(ledger, 0, Result.SHARED, images, projects)
    runs = [night(ledger, number, Result.ALREADY, images, projects) for number in range(1, 10)]
    night(ledger, 10, Result.REMOVED, ["i1"], ["p1"])
    refs = ledger.run_refs()
    assert [ref.key for ref in refs] == [run.key for run in reversed(ledger.runs())]
    of_image = {each[0].member_id: each for each in ledger.sightings_of_images(["i1", "no-such"], refs)}
    assert of_image.keys() == set(projects)
    assert shape(of_image["p1"]) == [(Result.SHARED, 1), (Result.ALREADY, 9), (Result.REMOVED, 1)]
    seen = of_image["p2"][1]
    assert (seen.run, seen.last_run) == (refs[1], refs[9])
    assert (seen.at, seen.last_at) == (NOW + timedelta(days=1), NOW + timedelta(days=9))
    assert (seen.status, seen.created_at, refs[9].key) == ("pending", NOW.replace(microsecond=0), runs[-1].key)
    of_project = {each[0].image_id: each for each in ledger.sightings_of_projects(["p1"], refs)}
    assert [shape(each) for each in of_project.values()] == [shape(of_image["p1"]), shape(of_image["p1"])[:2]]
    assert ledger.sightings_of_images(["p1"], refs) == []
    assert ledger.known_ids([ref.id for ref in refs]) == (set(images), set(projects))
    assert [shape(each) for each in ledger.sightings_of_projects(["p3"], refs[:2])] == [
        [(Result.SHARED, 1), (Result.ALREADY, 1)]
    ] * 2


def test_a_run_that_was_continued_is_read_in_the_order_of_time(ledger: SqlLedger) -> None:
    """Its last rows come after those of runs that began later; pending pairs count from when their run began."""
    first = begin(ledger)
    ledger.enqueue(first.id, [Block("i1", ["p1"]), Block("i1", ["p2"], Want.ACCEPTED)])
    ledger.mark_added(first.id, "i1", ["p2"])
    later = NOW + timedelta(hours=1)
    second = begin(ledger, now=later)
    ledger.enqueue(second.id, [Block("i1", ["p1"], Want.REMOVE)])
    ledger.settle(second.id, [outcome("i1", "p1", Result.ABSENT, settled_at=later)])
    ledger.settle(first.id, [outcome("i1", "p1", settled_at=later + timedelta(hours=1))])
    found = {each[0].member_id: each for each in ledger.sightings_of_images(["i1"], ledger.run_refs())}
    assert shape(found["p1"]) == [(Result.ABSENT, 1), (Result.SHARED, 1)]
    assert found["p1"][0].want is Want.REMOVE
    (pending,) = found["p2"]
    assert (pending.result, pending.want, pending.at) == (Result.PENDING, Want.ADDED | Want.ALREADY_MEMBER, NOW)


def test_endpoints_are_told_apart(ledger: SqlLedger) -> None:
    """The same IDs on another cloud are other pairs; a run knows whether it was on a sandbox."""
    for account, sandbox in ((ACCOUNT, False), (OTHER, True)):
        run = ledger.begin(
            plan="nightly", fingerprint=FINGERPRINT, account=account, now=NOW, settings=Settings(sandbox=sandbox)
        )
        ledger.enqueue(run.id, [Block("i1", ["p1"])])
        ledger.settle(run.id, [outcome("i1", "p1")])
    found = ledger.sightings_of_images(["i1"], ledger.run_refs())
    assert [(each.run.account.endpoint, each.run.sandbox) for (each,) in found if each.run] == [
        (ACCOUNT.endpoint, False),
        (OTHER.endpoint, True),
    ]
