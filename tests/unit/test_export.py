"""Rows for other programs: whatever the values are, they read back, and a spreadsheet runs none of them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Outcome, Result, Want
from bulkshare.report import COLUMNS, export_csv, export_jsonl, row_of

TEXTS = st.text(max_size=30) | st.text("a,\"'\r\n\t=-", max_size=6)
TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
OUTCOMES = st.builds(
    Outcome,
    image_id=TEXTS,
    member_id=TEXTS,
    result=st.sampled_from(Result),
    http_status=st.none() | st.integers(100, 599),
    status=st.none() | TEXTS,
    created_at=TIMES,
    updated_at=TIMES,
    schema=st.none() | TEXTS,
    attempts=st.integers(0, 10**6),
    request_id=st.none() | TEXTS,
    reason=TEXTS,
    started_at=TIMES,
    settled_at=TIMES,
    want=st.integers(0, 63).map(Want),
)


def known(data: st.DataObject, outcomes: list[Outcome]) -> dict[str, str]:
    """Return names of some of the images and projects, and of others."""
    ids = [known_id for outcome in outcomes for known_id in (outcome.image_id, outcome.member_id)]
    return data.draw(st.dictionaries(st.sampled_from(ids) | TEXTS if ids else TEXTS, TEXTS, max_size=4))


@given(st.lists(OUTCOMES, max_size=3), TEXTS, st.data())
def test_json_lines_read_back(outcomes: list[Outcome], cloud: str, data: st.DataObject) -> None:
    """Each pair is one line, an object with every column in its order."""
    names = known(data, outcomes)
    opened = {outcome.image_id: datetime(2026, 1, 2, tzinfo=UTC) for outcome in outcomes[:1]}
    lines = list(export_jsonl('run "1"', outcomes, cloud=cloud, names=names, opened=opened))
    assert [list(json.loads(line)) for line in lines] == [list(COLUMNS)] * len(outcomes)
    rows = [row_of('run "1"', outcome, cloud=cloud, names=names, opened=opened) for outcome in outcomes]
    assert [row["opened_at"] for row in rows] == [
        "2026-01-02T00:00:00.000Z" if outcome.image_id in opened else None for outcome in outcomes
    ]
    assert [json.loads(line) for line in lines] == rows
    assert [row["image_name"] for row in rows] == [names.get(outcome.image_id) for outcome in outcomes]
    assert [row["member_name"] for row in rows] == [names.get(outcome.member_id) for outcome in outcomes]
    assert all(line.isascii() and line.splitlines() == [line[:-1]] for line in lines)


@given(st.lists(OUTCOMES, max_size=3))
def test_csv_reads_back(outcomes: list[Outcome]) -> None:
    """Each pair is one record; a value that a spreadsheet might run has an apostrophe before it."""
    header, *records = csv.reader(StringIO("".join(export_csv("run-1", outcomes)), newline=""))
    assert header == list(COLUMNS)
    for record, outcome in zip(records, outcomes, strict=True):
        values = ["" if value is None else str(value) for value in row_of("run-1", outcome).values()]
        assert record == [f"'{value}" if value.startswith(tuple("=+-@\t\r\n")) else value for value in values]


@pytest.mark.parametrize("start", list("=+-@\t\r\n"))
@pytest.mark.parametrize("field", ["image_id", "member_id", "status", "schema", "request_id", "reason"])
def test_no_text_from_outside_is_a_formula(start: str, field: str) -> None:
    """Whatever a plan or a server can say is made harmless, and nothing else of it changes."""
    fields: dict[str, Any] = {"image_id": "i1", "member_id": "p1", "result": Result.FAILED, field: f"{start}1=1"}
    (record,) = csv.DictReader(StringIO("".join(export_csv("run-1", [Outcome(**fields)])), newline=""))
    assert record[field] == f"'{start}1=1"
    named = export_csv("run-1", [Outcome("i1", "p1", Result.SHARED)], cloud=f"{start}c", names={"p1": f"{start}n"})
    (record,) = csv.DictReader(StringIO("".join(named), newline=""))
    assert (record["cloud"], record["member_name"]) == (f"'{start}c", f"'{start}n")


@given(TIMES)
def test_times_have_the_form_of_the_image_api(time: datetime | None) -> None:
    """They are ISO 8601 with a Z: the cloud's to the second, our own to the millisecond."""
    outcome = Outcome("i1", "p1", Result.SHARED, created_at=time, updated_at=time, started_at=time, settled_at=time)
    row = row_of("run-1", outcome)
    to_the = {
        name: time and time.isoformat(timespec=name)[: -len("+00:00")] + "Z" for name in ("seconds", "milliseconds")
    }
    assert row["created_at"] == row["updated_at"] == to_the["seconds"]
    assert row["started_at"] == row["settled_at"] == to_the["milliseconds"]


@pytest.mark.parametrize(
    ("want", "action"),
    [(Want.MEMBER, "share"), (Want.ACCEPTED | Want.ALREADY_MEMBER, "share"), (Want.REMOVE, "remove")],
)
def test_the_action_tells_what_was_to_be_done(want: Want, action: str) -> None:
    """A pair was to be shared, or removed; how else it was wanted is no matter."""
    assert row_of("run-1", Outcome("i1", "p1", Result.SKIPPED, want=want))["action"] == action


@given(st.lists(OUTCOMES, max_size=3), TEXTS, st.data())
def test_csv_is_what_the_csv_module_writes(outcomes: list[Outcome], cloud: str, data: st.DataObject) -> None:
    """Quotes stand where that module puts them, and nowhere else."""
    names = known(data, outcomes)
    expected = StringIO(newline="")
    write = csv.writer(expected).writerow
    write(COLUMNS)
    for outcome in outcomes:
        values = row_of("run-1", outcome, cloud=cloud, names=names).values()
        write(f"'{v}" if isinstance(v, str) and v.startswith(tuple("=+-@\t\r\n")) else v for v in values)
    assert "".join(export_csv("run-1", outcomes, cloud=cloud, names=names)) == expected.getvalue()
