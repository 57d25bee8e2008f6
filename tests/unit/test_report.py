"""What people and programs read at the end."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bulkshare.model import Outcome, Result
from bulkshare.operations.execute import NO_PROJECT
from bulkshare.report import (
    COLUMNS,
    Summary,
    cause_document,
    causes_of,
    export_csv,
    export_jsonl,
    merged,
    render_outcomes,
    render_summary,
    row_of,
    summary_document,
)
from bulkshare.report.text import HINTS, hint_for
from bulkshare.text import counted

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


def printed(renderable: object, width: int = 200) -> str:
    """Return what a console without a terminal prints."""
    console = Console(width=width, markup=False)
    with console.capture() as capture:
        console.print(renderable, crop=False)
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
        "cloud": "",
        "planned": 4,
        "shared": 3,
        "accepted": 0,
        "already": 0,
        "rejected": 0,
        "failed": 1,
        "skipped": 0,
        "pending": 0,
        "removed": 0,
        "absent": 0,
        "declined": 0,
        "reset": 0,
        "opened": 0,
        "awaiting_acceptance": 0,
        "requests": 1234,
        "batches": 0,
        "batched_pairs": 0,
        "retries": 5,
        "seconds": 61.26,
        "causes": [],
    }
    causes = causes_of([Outcome("image", "member", Result.FAILED, reason="503: busy")])
    failed = replace(summary(failed=1), causes=causes, names={"image": "ubuntu"})
    assert summary_document(failed)["causes"] == [cause_document(causes[0], failed.names)]


def test_as_planned_is_what_the_plan_says() -> None:
    """Shared, accepted, declined, reset, already, removed and absent are; any other, pending included, is not."""
    assert summary(shared=3, accepted=2, declined=1, reset=1, already=4, removed=1, absent=1).as_planned
    assert all(
        not summary(shared=3, **{result: 1}).as_planned for result in ("rejected", "failed", "skipped", "pending")
    )


def test_causes_are_grouped_without_their_ids() -> None:
    """The same refusal of three images is one cause, with all the images and the first pair as its example."""
    outcomes = [
        Outcome(f"image-{n}", f"member-{n}", Result.REJECTED, reason=f"404: Image image-{n} not found.")
        for n in range(3)
    ]
    outcomes.append(Outcome("i", "m", Result.FAILED, reason="gave up on 6f1c0000-0000-4000-8000-000000000000"))
    causes = causes_of(outcomes)
    assert [(cause.count, cause.result, cause.reason) for cause in causes] == [
        (3, Result.REJECTED, "404: Image <image> not found."),
        (1, Result.FAILED, "gave up on <id>"),
    ]
    assert cause_document(causes[0], {"image-1": "ubuntu"}) == {
        "reason": "404: Image <image> not found.",
        "pairs": 3,
        "results": {"rejected": 3},
        "images": {"image-0": 1, "image-1": 1, "image-2": 1},
        "at_fault": [
            {"kind": "image", "id": f"image-{n}", "name": "ubuntu" if n == 1 else None, "pairs": 1} for n in range(3)
        ],
    }


def faults(reason: str, *pairs: str) -> list[tuple[str, str, int]]:
    """Return what is at fault of pairs such as "i1 p1", all refused for a reason."""
    split = (pair.split() for pair in pairs)
    (cause,) = causes_of(
        [Outcome(image_id, member_id, Result.REJECTED, reason=reason) for image_id, member_id in split]
    )
    return [(fault.kind, fault.id, fault.pairs) for fault in cause.at_fault]


def test_a_project_refused_everywhere_is_at_fault_itself() -> None:
    """Five images with one project are not five faults, nor is an image's refusal one of each of its projects."""
    everywhere = [f"i{n} p" for n in range(5)]
    assert faults("403: no", *everywhere) == [("project", "p", 5)]
    assert faults("403: no", *(f"i p{n}" for n in range(5))) == [("image", "i", 5)]
    both = [*everywhere, *(f"closed q{n}" for n in range(9)), "closed p"]
    assert faults("403: no", *both) == [("image", "closed", 10), ("project", "p", 5)]


def test_the_reason_may_say_what_is_at_fault() -> None:
    """Two unknown projects of two images are two projects, and two closed images with two projects are two images."""
    square = ["i1 p1", "i1 p2", "i2 p1", "i2 p2"]
    assert faults(NO_PROJECT, *square) == [("project", "p1", 2), ("project", "p2", 2)]
    assert faults("the image is private", *square) == [("image", "i1", 2), ("image", "i2", 2)]
    assert faults("403: p1 is disabled", "i1 p1", "i2 p1") == [("project", "p1", 2)]
    assert faults("404: i1 is gone", "i1 p1") == [("image", "i1", 1)]


def test_an_image_whose_other_pairs_were_skipped_is_at_fault() -> None:
    """Of an image that takes no one, one pair is rejected and the rest skipped, though its projects fail elsewhere."""
    (cause,) = causes_of(
        Outcome(image_id, member_id, Result.SKIPPED if member_id != "p" else Result.REJECTED, reason="403: no")
        for image_id in "ijk"
        for member_id in "pq"
    )
    assert {(fault.kind, fault.pairs) for fault in cause.at_fault} == {("image", 2)}


@given(st.sets(st.tuples(st.sampled_from("ijkl"), st.sampled_from("pqrs")), min_size=1), st.sampled_from(["", "no"]))
def test_every_pair_has_one_fault(pairs: set[tuple[str, str]], reason: str) -> None:
    """However pairs are put down, none is lost and none counted twice; no fault has more pairs than its ID."""
    (cause,) = causes_of([Outcome(i, p, Result.FAILED, reason=reason) for i, p in sorted(pairs)])
    assert sum(fault.pairs for fault in cause.at_fault) == len(pairs) == cause.count
    for fault in cause.at_fault:
        mine = [pair for pair in pairs if fault.id in pair]
        assert fault.pairs <= len(mine)
        assert {fault.id, fault.other_id} in [set(pair) for pair in mine]
    assert [fault.pairs for fault in cause.at_fault] == sorted((f.pairs for f in cause.at_fault), reverse=True)


@given(st.text("ab_ -1é½", max_size=12), st.text("ab_ -1é½", min_size=1, max_size=3))
def test_an_id_in_a_reason_is_a_word_of_its_own(reason: str, image_id: str) -> None:
    """A part of a longer word is none, as regular expressions see words."""
    (cause,) = causes_of([Outcome(image_id, "project", Result.REJECTED, reason=reason)])
    assert cause.reason == re.sub(rf"(?<!\w){re.escape(image_id)}(?!\w)", "<image>", reason)


def test_rejected_and_skipped_of_one_reason_are_one_cause() -> None:
    """Of an image that takes no members one pair is rejected, the others are skipped: that is one thing to mend."""
    outcomes = [Outcome("i", f"m{n}", Result.SKIPPED, reason="403: no") for n in range(2)]
    (cause,) = causes_of([*outcomes, Outcome("i", "m", Result.REJECTED, reason="403: no")])
    assert (cause.count, cause.result, dict(cause.results)) == (
        3,
        Result.REJECTED,
        {Result.SKIPPED: 2, Result.REJECTED: 1},
    )


@pytest.mark.parametrize("members", [0, 1, 1234])
@pytest.mark.parametrize("opened", [0, 1, 1234])
@pytest.mark.parametrize("pairs", [0, 2])
def test_results_and_member_statuses_are_on_different_lines(members: int, opened: int, pairs: int) -> None:
    """Pairs that are pending, members that are, and images made shared each have a line of their own, if any."""
    lines = printed(
        render_summary(replace(summary(shared=3, pending=pairs), opened=opened, awaiting_acceptance=members))
    ).splitlines()
    about_pairs = [line for line in lines if "pending" in line and "member" not in line]
    about_members = [line for line in lines if "member status pending" in line]
    assert [line.split()[:2] for line in about_pairs] == ([["pending", str(pairs)]] if pairs else [])
    assert [line.split()[0] for line in about_members] == ([f"{members:,}"] if members else [])
    assert all("its image list" in line if members == 1 else "their image lists" in line for line in about_members)
    assert all("`accept: true`" in line for line in about_members)
    about_images = [line.split()[:3] for line in lines if "opened" in line]
    assert about_images == ([["opened", f"{opened:,}", "image" if opened == 1 else "images"]] if opened else [])


def test_summary_without_failures() -> None:
    """Results that don't occur are left out, except the two that every reader looks for; no blank lines or ends."""
    done = Summary("nightly-1", "nightly", {Result.SHARED: 2999, Result.REMOVED: 1}, 3010, 1, 61.26, cloud="prod")
    assert printed(render_summary(done)) == (
        "nightly-1  on prod\n"
        "  shared   2,999  added by this run\n"
        "  already      0  was already a member\n"
        "  removed      1  removed by this run\n"
        "  planned  3,000  3,010 requests, 1 of them a retry, 0:01:01\n"
    )


@pytest.mark.parametrize(
    ("batches", "pairs", "said"),
    [
        (1, 1, "9 requests, 1 of them a batch with 1 pair, "),
        (3, 1200, "9 requests, 3 of them batches with 1,200 pairs, "),
    ],
)
def test_batches_and_their_pairs_are_counted_apart(batches: int, pairs: int, said: str) -> None:
    """A request with a hundred pairs is one request; the sum over clouds has both."""
    done = Summary("n-1", "n", {Result.SHARED: pairs}, 9, 0, 2.0, cloud="c", batches=batches, batched_pairs=pairs)
    assert said in printed(render_summary(done))
    both = summary_document(merged([done, done]))
    assert (both["requests"], both["batches"], both["batched_pairs"]) == (18, 2 * batches, 2 * pairs)


def test_an_interrupted_run_has_no_failures_to_see() -> None:
    """Pairs that are only pending are no news to look at."""
    left = printed(render_summary(Summary("nightly-1", "nightly", {Result.PENDING: 2}, 1, 0, 0.5)))
    assert left == (
        "nightly-1\n"
        "  shared   0  added by this run\n"
        "  already  0  was already a member\n"
        "  pending  2  not finished\n"
        "  planned  2  1 request, 0.5 s\n"
    )


def test_summary_names_causes_what_is_at_fault_and_what_to_do() -> None:
    """One line for a cause, then what is at fault, by name, then a hint; long prose is wrapped, an ID never."""
    private = [
        Outcome(f"image-{n}", f"m{m}", Result.SKIPPED if m else Result.REJECTED, reason="403: Not allowed to create")
        for n in range(7)
        for m in range(2)
    ]
    failed = Outcome("i", "m", Result.FAILED, reason="gave up after 6 attempts: 503")
    causes = causes_of([*private, failed])
    totals = {Result.SHARED: 1, Result.REJECTED: 7, Result.SKIPPED: 7, Result.FAILED: 1}
    names = {"image-0": "ubuntu", "m": "acme"}
    text = printed(render_summary(Summary("nightly-1", "nightly", totals, 10, 0, 1.0, causes, names=names)), width=60)
    assert text == (
        "nightly-1\n"
        "  shared     1  added by this run\n"
        "  already    0  was already a member\n"
        "  rejected   7  refused by the cloud\n"
        "  failed     1  out of attempts\n"
        "  skipped    7  not tried\n"
        "  planned   16  10 requests, 1.0 s\n"
        "7 rejected, 7 skipped: 403: Not allowed to create\n"
        "    image image-0  ubuntu, 2 projects\n"
        "    image image-1, 2 projects\n"
        "    image image-2, 2 projects\n"
        "    image image-3, 2 projects\n"
        "    image image-4, 2 projects\n"
        "    ... and 2 more images\n"
        "    -> the account must own the image or be an admin\n"
        "1 failed: gave up after 6 attempts: 503\n"
        "    image i\n"
        "    project m  acme\n"
        "    -> the cloud was failing: try again later;\n"
        "       --retry-failed limits a run of plan nightly to what\n"
        "       is left\n"
        "See each pair: bulkshare show nightly-1 --failed\n"
    )


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("403: You are not authorized to complete modify_member action.", "takes the role member in the project"),
        ("the image is not shared with this project", "its owner has taken it back"),
        ("403: Not allowed to list members for image <image>: Only shared images have members.", "make_shared: true"),
        ("403: Not allowed to create members for image <image>.", "openstack image set --shared IMAGE"),
        ("403: You are not authorized to complete add_member action.", "own the image"),
        ("404: Image <image> not found.", "this account can't see it"),
        (
            "413: image member limit exceeded; the cloud's limit is 128 members per image",
            "have the cloud's limit raised",
        ),
        ("needs 140, has 126 of 128 members; the limit is the plan's", "`limits.members_per_image` in golden.yaml"),
        ("needs 140, has 126 of 128 members; the limit is the cloud's", "have it raised"),
        ("needs 140, has 126 of 128", "on_quota: fill"),
        ("3 of 4 members would be removed; the prune limit (10%) allows 0", "set `prune_limit` in golden.yaml"),
        ("the image is private, and takes no members", "`make_shared: true` in golden.yaml"),
        ("shared, but not accepted: 403: You are not authorized", "accept_as: project"),
        ("the project is the image's owner", "except"),
        (NO_PROJECT, "the key `name` in golden.yaml"),
        ("gave up after 6 attempts: 503", "--retry-failed"),
        ("418: short and stout", ""),
    ],
)
def test_hints(reason: str, hint: str) -> None:
    """A common reason has a hint, which names the plan; an unknown one has none."""
    shown = hint_for(reason, "golden.yaml")
    assert hint in shown
    assert bool(hint) == bool(shown)


@pytest.mark.parametrize("hint", [hint for _, hint in HINTS])
def test_no_hint_is_a_riddle(hint: str) -> None:
    """None points at a command of ours, which may be the one that printed it, or leaves the plan to be guessed."""
    assert not re.search(r"\bPLAN\b|[{}]|`bulkshare", hint.replace("{plan}", "golden.yaml"))


PAIRS = [
    Outcome("i" * 36, "a" * 32, Result.SHARED, http_status=200, status="accepted", attempts=2),
    Outcome("i" * 36, "b" * 32, Result.REJECTED, http_status=404, attempts=1, reason="404: " + "long " * 12),
    Outcome("i" * 36, "c" * 32, Result.SKIPPED, reason="404: " + "long " * 12),
    Outcome("j" * 36, "a" * 32, Result.PENDING),
    Outcome("j" * 36, "b" * 32, Result.ACCEPTED, status="accepted"),
]


@pytest.mark.parametrize("width", [60, 80, 100, 130, 200])
def test_pairs_are_grouped_by_image_at_any_width(width: int) -> None:
    """No column is dropped and no ID broken; a reason stands once above its pairs, wrapped where it has to be."""
    images = list(render_outcomes(PAIRS, {"j" * 36: "ubuntu"}))
    lines = "".join(printed(image, width=width) for image in images).splitlines()
    assert all(len(line) <= width for line in lines)
    if "accepted" not in lines[1] or "attempts" not in lines[1]:
        lines[1:3] = [f"{lines[1]}  {lines[2].strip()}"]
    assert [line for line in lines if "long" not in line] == [
        f"image {'i' * 36}",
        f"  {'a' * 32}  shared  200  member status accepted  2 attempts",
        f"    {'b' * 32}  rejected  404",
        f"    {'c' * 32}  skipped",
        f"image {'j' * 36}  ubuntu",
        f"  {'a' * 32}  pending",
        f"  {'b' * 32}  accepted",
    ]
    assert sum(line.count("long") for line in lines) == 12
    assert lines[2].startswith("  404: long")


def test_server_text_is_no_markup() -> None:
    """A reason that looks like rich markup is shown as it is."""
    text = "".join(map(printed, render_outcomes([Outcome("i", "m", Result.REJECTED, reason="[red]no[/red] [link=x]")])))
    assert "[red]no[/red] [link=x]" in text


def test_counted() -> None:
    """One pair, two pairs, a thousand with a comma."""
    assert [counted(n, "pair") for n in (0, 1, 1234)] == ["0 pairs", "1 pair", "1,234 pairs"]
    assert counted(2, "retry", "retries") == "2 retries"


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
    assert "'=cmd(),,'+1,,share,rejected" in "".join(lines)
    assert "'@SUM(A1)" in "".join(lines)


def test_an_empty_export_has_a_header() -> None:
    """A run without pairs still makes a readable CSV."""
    assert "".join(export_csv("run-1", [])).strip() == ",".join(COLUMNS)
