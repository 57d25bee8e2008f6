"""Single values: any text, ID and time is read back unchanged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkshare.model import Backlog, Block
from tests.ledger_fixtures import begin, outcome

if TYPE_CHECKING:
    from bulkshare.ports import Ledger

CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])  # the texts that `ports.Ledger` allows
TEXTS = st.text(CHARACTERS, max_size=40)
USUAL = st.uuids().map(lambda number: f"req-{number}")
LIKE_USUAL = st.sampled_from(["", "{}\n", "REQ-{}", "{} ", "req-", "{0}{0}", "\0{}", "\1{}"])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    request_id=st.none()
    | st.text(max_size=40)
    | USUAL
    | USUAL.map(str.upper)
    | st.builds(str.format, LIKE_USUAL, USUAL),
    reason=TEXTS,
    schema=st.none() | TEXTS,
    status=st.none() | TEXTS,
)
def test_any_text_comes_back(
    ledger: Ledger, request_id: str | None, reason: str, schema: str | None, status: str | None
) -> None:
    """Request IDs of the usual, a similar and any other form; reasons, statuses and schemas."""
    run = next(iter(ledger.runs()), None) or begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    told = outcome("i1", "p1", request_id=request_id, reason=reason, schema=schema, status=status)
    ledger.settle(run.id, [told])
    assert list(ledger.outcomes(run.id)) == [told]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image_id=st.text(CHARACTERS, min_size=1, max_size=255), member_id=st.text(CHARACTERS, min_size=1, max_size=255))
def test_any_id_comes_back(ledger: Ledger, image_id: str, member_id: str) -> None:
    """IDs are compared by every character, including case and trailing spaces."""
    run = begin(ledger)
    members = list(dict.fromkeys([member_id, member_id.upper(), member_id.lower(), f"{member_id} "]))
    assert ledger.enqueue(run.id, [Block(image_id, members)]) == len(members)
    assert ledger.pending_images(run.id, after=None, limit=2) == [Backlog(image_id, len(members))]
    jobs = ledger.pending_jobs(run.id, image_id, after=None, limit=9)
    assert sorted(job.member_id for job in jobs) == sorted(members)


@pytest.mark.parametrize(
    ("given_time", "kept"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3, 4, 5, 1, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (
            datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        ),
        (
            datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        ),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=-5))), datetime(2026, 1, 2, 8, tzinfo=UTC)),
    ],
    ids=str,
)
def test_times_are_kept_to_the_millisecond(ledger: Ledger, given_time: datetime, kept: datetime) -> None:
    """All times are read back as aware UTC, without their microseconds."""
    run = begin(ledger, now=given_time)
    ledger.enqueue(run.id, [Block("i1", ["p1"])])
    times = ("created_at", "updated_at", "started_at", "settled_at")
    fields: dict[str, Any] = dict.fromkeys(times, given_time)
    ledger.settle(run.id, [outcome("i1", "p1", **fields)])
    found = next(ledger.outcomes(run.id))
    assert [getattr(found, name) for name in times] == [kept] * 4
    ended = ledger.finish(run.id, now=given_time, requests=0, retries=0, seconds=0)
    assert (ended.started_at, ended.finished_at) == (kept, kept)
    assert {moment.tzinfo for moment in (found.settled_at, ended.started_at) if moment} == {UTC}
