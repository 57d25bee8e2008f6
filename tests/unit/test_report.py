"""What people and programs read at the end."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

from rich.console import Console

from bulkshare.model import Outcome, Result
from bulkshare.report import (
    COLUMNS,
    Listed,
    Summary,
    causes_of,
    export_csv,
    export_jsonl,
    render_dry_run,
    render_outcomes,
    render_summary,
    row_of,
    summary_document,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
OUTCOME = Outcome(
    "image",
    "member",
    Result.SHARED,
    http_status=200,
    status="pending",
    created_at=NOW.replace(microsecond=0),
    updated_at=NOW.replace(microsecond=0),
    schema="/v2/schemas/member",
    attempts=2,
    request_id="req-1",
    started_at=NOW,
    settled_at=NOW + timedelta(seconds=1),
)


def printed(renderable: object) -> str:
    """Return what a console without a terminal prints."""
    console = Console(width=200, markup=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def summary(**totals: int) -> Summary:
    """Return a summary with these counts."""
    return Summary("nightly-1", "nightly", {Result(name): count for name, count in totals.items()}, 1234, 5, 61.26)


def test_document_has_every_result() -> None:
    """Counts that are zero are there, too."""
    document = summary_document(summary(shared=3, failed=1))
    assert document == {
        "run": "nightly-1",
        "plan": "nightly",
        "planned": 4,
        "shared": 3,
        "already": 0,
        "rejected": 0,
        "failed": 1,
        "skipped": 0,
        "pending": 0,
        "requests": 1234,
        "retries": 5,
        "seconds": 61.26,
    }


def test_as_planned_means_shared_or_already() -> None:
    """Any other result, pending included, is not as planned."""
    assert summary(shared=3, already=4).as_planned
    assert all(
        not summary(shared=3, **{result: 1}).as_planned for result in Result if result not in ("shared", "already")
    )


def test_causes_are_grouped_without_their_ids() -> None:
    """The same refusal of three images is one cause, with the first pair as its example."""
    outcomes = [
        Outcome(f"image-{n}", f"member-{n}", Result.REJECTED, reason=f"404: Image image-{n} not found.")
        for n in range(3)
    ]
    outcomes.append(Outcome("i", "m", Result.FAILED, reason="gave up on 6f1c0000-0000-4000-8000-000000000000"))
    causes = causes_of(outcomes)
    assert [(cause.count, cause.reason) for cause in causes] == [
        (3, "404: Image <image> not found."),
        (1, "gave up on <id>"),
    ]
    assert (causes[0].image_id, causes[0].member_id) == ("image-0", "member-0")


def test_summary_table() -> None:
    """Counts, effort, causes and the way to read on."""
    causes = causes_of([Outcome("i", "m", Result.FAILED, reason="gave up after 6 attempts: 503")])
    text = printed(
        render_summary(Summary("nightly-1", "nightly", {Result.SHARED: 2999, Result.FAILED: 1}, 3010, 5, 61.26, causes))
    )
    assert "2,999" in text
    assert "3,010 requests, 5 of them retries, 0:01:01" in text
    assert "1 failed: gave up after 6 attempts: 503" in text
    assert "bulkshare show nightly-1 --failed" in text


def test_server_text_is_no_markup() -> None:
    """A reason that looks like rich markup is shown as it is."""
    text = printed(render_outcomes([Outcome("i", "m", Result.REJECTED, reason="[red]no[/red] [link=x]")]))
    assert "[red]no[/red] [link=x]" in text


def test_dry_run_shows_trouble_first_and_few_images() -> None:
    """Images that can't be listed come first; a long list is cut."""
    listed = Listed({f"image-{n:03}": 2 for n in range(80)}, {"image-079": "404: not found"})
    text = printed(render_dry_run(summary(pending=160, already=7), listed))
    assert "image-079" in text.splitlines()[3]
    assert "... and 30 more images" in text
    assert "would share 160 pairs, 7 are members already; nothing was sent" in text


def test_rows_and_exports_have_the_documented_columns() -> None:
    """JSON lines and CSV carry the same values; our own times have milliseconds."""
    row = row_of("run-1", OUTCOME)
    assert tuple(row) == COLUMNS
    assert (row["created_at"], row["settled_at"]) == ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06.678Z")
    assert [json.loads(line) for line in export_jsonl("run-1", [OUTCOME])] == [row]
    (from_csv,) = csv.DictReader("".join(export_csv("run-1", [OUTCOME])).splitlines())
    assert from_csv == {name: "" if value is None else str(value) for name, value in row.items()}


def test_csv_is_safe_in_a_spreadsheet() -> None:
    """Text that a spreadsheet would run as a formula is quoted."""
    lines = list(export_csv("run-1", [Outcome("=cmd()", "+1", Result.REJECTED, reason="@SUM(A1)")]))
    assert "'=cmd(),'+1,rejected" in "".join(lines)
    assert "'@SUM(A1)" in "".join(lines)


def test_an_empty_export_has_a_header() -> None:
    """A run without pairs still makes a readable CSV."""
    assert "".join(export_csv("run-1", [])).strip() == ",".join(COLUMNS)
