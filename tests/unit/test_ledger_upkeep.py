"""What the ledger keeps to go on with a run, and how it forgets one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

import pytest

from bulkshare.ledger import SqlLedger
from bulkshare.model import Account, Block, Limits, Outcome, Result, RetryPolicy, Run, Settings, Telemetry
from tests.ledger_fixtures import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ACCOUNT = Account("prod", "eu-de", "https://glance.example.com", "user", "project", "project-id")
SETTINGS = Settings("prod", "eu-de", limits=Limits(3, 4.5, 2), retry=RetryPolicy(9, 0.25, 60.0))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """Return an empty ledger."""
    ledger = SqlLedger.open(str(tmp_path / "ledger.db"))
    yield ledger
    ledger.close()


def begin(ledger: SqlLedger, *, account: Account = ACCOUNT, settings: Settings | None = None) -> Run:
    """Begin a run."""
    return ledger.begin(plan="plan", fingerprint="f", account=account, now=NOW, settings=settings)


def settle(ledger: SqlLedger, run: Run, image_id: str, reason: str) -> None:
    """Enqueue a pair and settle it."""
    ledger.enqueue(run.id, [Block(image_id, ["member"])])
    ledger.settle(run.id, [Outcome(image_id, "member", Result.FAILED, reason=reason, attempts=1)])


def test_settings_are_kept(ledger: SqlLedger) -> None:
    """They come back as they were given, and change when a run is taken up with others."""
    run = begin(ledger, settings=SETTINGS)
    assert run.settings == SETTINGS
    other = replace(SETTINGS, cloud=None, sandbox=True)
    assert ledger.reopen(run.id, now=NOW, settings=other).settings == other
    assert ledger.reopen(run.id, now=NOW).settings == other
    assert begin(ledger).settings == Settings()


def test_last_enqueued(ledger: SqlLedger) -> None:
    """It is of the same place, and has all its pairs."""
    first, second = begin(ledger), begin(ledger)
    begin(ledger)
    elsewhere = replace(ACCOUNT, endpoint="https://elsewhere.example.com")
    assert ledger.last_enqueued(plan="plan", account=ACCOUNT) is None
    for run in (
        first,
        second,
        begin(ledger, account=elsewhere),
        begin(ledger, account=replace(ACCOUNT, project_id="x")),
    ):
        ledger.mark_enqueued(run.id)
    last = ledger.last_enqueued(plan="plan", account=ACCOUNT)
    assert last is not None
    assert (last.id, last.enqueued) == (second.id, True)
    assert ledger.last_enqueued(plan="other", account=ACCOUNT) is None


def test_run_before(ledger: SqlLedger) -> None:
    """It is the one begun last before a run, of the same plan and place, whose pairs were all enqueued."""
    first, second, halfway, third = (begin(ledger) for _ in range(4))
    elsewhere = begin(ledger, account=replace(ACCOUNT, endpoint="https://elsewhere.example.com"))
    as_other = begin(ledger, account=replace(ACCOUNT, project_id="x"))
    last = begin(ledger)
    for run in (first, second, third, elsewhere, as_other):
        ledger.mark_enqueued(run.id)
    found = [ledger.run_before(run) for run in (last, third, halfway, second, first, elsewhere, as_other)]
    expected = [third.id, second.id, second.id, first.id, None, None, None]
    assert [run and run.id for run in found] == expected


def test_telemetry_is_kept(ledger: SqlLedger) -> None:
    """Each invocation's comes back as it was, in their order, with the bound that has no end."""
    run, other = begin(ledger), begin(ledger)
    full = Telemetry(
        NOW,
        0.5,
        requests=(3, 0, 4),
        troubled=(1, 0, 0),
        allowed=(4, 4, 5),
        latency={0.1: 5, 2.5: 1, inf: 1},
        statuses={"200": 6, "timeout": 1},
    )
    bare = Telemetry(NOW + timedelta(hours=1), 1.0)
    ledger.record_telemetry(run.id, full)
    ledger.record_telemetry(other.id, bare)
    ledger.record_telemetry(run.id, bare)
    assert ledger.telemetry(run.id) == [full, bare]
    assert ledger.telemetry(other.id) == [bare]
    assert ledger.telemetry(other.id + 1) == []


def test_labels_are_kept(ledger: SqlLedger) -> None:
    """A run tells the names of its own images and projects; the last name of an ID stands."""
    run, other = begin(ledger), begin(ledger)
    ledger.label({"image": "ubuntu", "member": "team", "later": "fedora"})
    ledger.enqueue(run.id, [Block("image", ["member", "nameless"])])
    ledger.enqueue(other.id, [Block("later", ["nameless"])])
    assert ledger.labels(run.id) == {"image": "ubuntu", "member": "team"}
    ledger.label({"image": "Ubuntu 24.04", "nameless": ""})
    ledger.label({})
    assert ledger.labels(run.id) == {"image": "Ubuntu 24.04", "member": "team"}
    assert ledger.labels(other.id) == {"later": "fedora"}
    assert ledger.labels(other.id + 1) == {}


def test_what_the_cloud_says_counts_for_more_than_the_plan(ledger: SqlLedger) -> None:
    """A comment that is corrected is, too; neither replaces the cloud's name, which replaces both."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("image", ["member"])])
    ledger.label({"image": "golden", "member": "amce"}, from_plan=True)
    ledger.label({"image": "golden", "member": "acme"}, from_plan=True)
    assert ledger.labels(run.id) == {"image": "golden", "member": "acme"}
    ledger.label({"image": "ubuntu-24.04", "member": "acme"})
    ledger.label({"image": "golden", "member": "amce"}, from_plan=True)
    assert ledger.labels(run.id) == {"image": "ubuntu-24.04", "member": "acme"}
    ledger.label({"image": "ubuntu-24.04.1"})
    assert ledger.labels(run.id) == {"image": "ubuntu-24.04.1", "member": "acme"}


@pytest.mark.parametrize("names", [False, True])
def test_prune(ledger: SqlLedger, *, names: bool) -> None:
    """A run goes with its pairs; other runs keep theirs with all their texts, and new ones can be made."""
    gone, kept = begin(ledger), begin(ledger)
    settle(ledger, gone, "old-image", "old reason")
    settle(ledger, kept, "image", "reason")
    ledger.prune([gone.id], names_unless_after=kept.id if names else None)
    assert [run.id for run in ledger.runs()] == [kept.id]
    assert list(ledger.outcomes(gone.id)) == []
    assert [(row.image_id, row.reason) for row in ledger.outcomes(kept.id)] == [("image", "reason")]
    again = begin(ledger)
    settle(ledger, again, "old-image", "another reason")
    assert [(row.image_id, row.reason) for row in ledger.outcomes(again.id)] == [("old-image", "another reason")]


def test_prune_gives_back_room(ledger: SqlLedger) -> None:
    """Unused names are deleted, too, and the file shrinks."""
    run = begin(ledger)
    ledger.enqueue(
        run.id, [Block(f"image-{number}", [f"{number}-{n:032}" for n in range(500)]) for number in range(20)]
    )
    ledger.close()  # what was written goes from the log into the file
    with_pairs = path_of(ledger).stat().st_size
    ledger.prune([run.id], names_unless_after=run.id)
    assert path_of(ledger).stat().st_size < with_pairs / 4
