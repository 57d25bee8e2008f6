"""The HTML page of a run, as text; what it does in a browser is in tests/browser."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import accumulate
from typing import Any

import pytest

from bulkshare.model import Outcome, Result, RunState, Telemetry
from bulkshare.report.history import Change, change_of
from bulkshare.report.html import Page, render_page
from bulkshare.report.html.advice import verdict
from bulkshare.report.html.charts import latency_of, shares_of, timeline_of
from bulkshare.report.html.matrix import MOST_COLUMNS, MOST_ROWS
from bulkshare.report.html.pairs import (
    CODES,
    MOST_AS_PLANNED,
    MOST_EXAMPLES,
    MOST_NOT_AS_PLANNED,
    Dictionary,
    FormerResults,
    PairScan,
    Table,
)
from tests.browser import samples

FIVE_MEGABYTES = 5_000_000


class Elements(HTMLParser):
    """Collects a page's tags with their attributes, and the texts of its style and script elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """See `HTMLParser`."""
        if self.cdata_elem:
            self.raw.append((self.cdata_elem, data))


def html_of(page: Page) -> str:
    """Return the page as one text."""
    return "".join(render_page(page))


def scan_of(now: list[Outcome], before: list[Outcome] | None = None) -> PairScan:
    """Return what is read of a run and of the one before it."""
    scan = PairScan(Table(Counter(), samples.BEGAN, Dictionary({})))
    scan.read(now, None if before is None else FormerResults(before))
    return scan


def data_of(html: str) -> dict[str, Any]:
    """Return what the page's script reads."""
    text = html.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (None, Result.SHARED, Change.SHARED),
        (Result.ALREADY, Result.SHARED, Change.SHARED),
        (Result.PENDING, Result.SHARED, Change.SHARED),
        (Result.REMOVED, Result.SHARED, Change.SHARED),
        (Result.FAILED, Result.SHARED, Change.FIXED),
        (Result.SKIPPED, Result.ALREADY, Change.FIXED),
        (Result.REJECTED, Result.ABSENT, Change.FIXED),
        (Result.SHARED, Result.FAILED, Change.FAILING),
        (None, Result.SKIPPED, Change.FAILING),
        (Result.REJECTED, Result.FAILED, None),
        (Result.FAILED, Result.REMOVED, Change.REMOVED),
        (None, Result.REMOVED, Change.REMOVED),
        (Result.SHARED, Result.ALREADY, None),
        (None, Result.ALREADY, None),
        (Result.ALREADY, Result.ACCEPTED, Change.ACCEPTED),
        (None, Result.ACCEPTED, Change.ACCEPTED),
        (Result.FAILED, Result.ACCEPTED, Change.FIXED),
        (Result.FAILED, Result.PENDING, None),
    ],
)
def test_what_changed(before: Result | None, now: Result, change: Change | None) -> None:
    """A pair changes by what it was in the run before, if it was in it."""
    assert change_of(before, now) is change


def test_changes_are_found_whatever_the_order_of_the_runs() -> None:
    """Pairs are compared image by image; those that only the run before has are counted and named."""
    before = [Outcome(image, project, Result.FAILED) for image in "cab" for project in "yx"]
    now = [Outcome(image, project, Result.SHARED) for image in "bda" for project in "xz"]
    changes = scan_of(now, before).changes
    assert changes is not None
    assert changes.counts == {Change.FIXED: 2, Change.SHARED: 4}
    assert changes.examples[Change.FIXED] == [("b", "x"), ("a", "x")]
    assert changes.unplanned == 4
    assert sorted(changes.unplanned_examples) == [("a", "y"), ("b", "y"), ("c", "x"), ("c", "y")]


def test_only_the_first_changed_pairs_are_named() -> None:
    """The counts are of all."""
    now = samples.pairs(2, 100, (Result.SHARED,), (1,))
    gone = [outcome._replace(image_id="gone") for outcome in now[:100]]
    changes = scan_of(now, gone).changes
    assert changes is not None
    assert (changes.counts[Change.SHARED], changes.unplanned) == (200, 100)
    assert len(changes.examples[Change.SHARED]) == len(changes.unplanned_examples) == MOST_EXAMPLES


@pytest.mark.parametrize(
    ("totals", "state", "words"),
    [
        ({}, RunState.FINISHED, "The run has no pairs."),
        ({Result.SHARED: 1}, RunState.FINISHED, "The one pair is as planned."),
        ({Result.SHARED: 1200, Result.REMOVED: 34}, RunState.FINISHED, "All 1,234 pairs are as planned."),
        ({Result.SHARED: 2, Result.FAILED: 1}, RunState.FINISHED, "2 of 3 pairs are as planned; 1 failed."),
        (
            {Result.FAILED: 1, Result.REJECTED: 2, Result.SKIPPED: 3},
            RunState.FINISHED,
            "None of 6 pairs are as planned; 1 failed, 2 rejected and 3 skipped.",
        ),
        ({Result.PENDING: 1}, RunState.RUNNING, "1 of 1 pair is pending: the run is still running, or was killed."),
        (
            {Result.SHARED: 1, Result.FAILED: 1, Result.PENDING: 2},
            RunState.INTERRUPTED,
            "1 of 4 pairs is as planned; 1 failed. 2 pairs are pending: the run ended early.",
        ),
    ],
)
def test_the_verdict_is_a_sentence(totals: dict[Result, int], state: RunState, words: str) -> None:
    """Whoever reads only one line knows how the run went."""
    assert verdict(replace(samples.run_of([]), totals=totals, state=state)) == words


def test_the_policy_names_the_page_s_own_style_and_script() -> None:
    """Nothing else may run, load, or be sent anywhere."""
    html = html_of(samples.small())
    elements = Elements(html)
    policy = next(tag["content"] for name, tag in elements.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for kind, text in (("style", elements.raw[0][1]), ("script", elements.raw[-1][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert not [tag for tag in elements.tags if tag[0] in {"img", "iframe", "object", "embed", "base"}]
    references = [tag[key] for _, tag in elements.tags for key in ("src", "href") if key in tag]
    assert all(reference is not None and reference.startswith(("#", "data:,")) for reference in references)
    assert not [tag for _, tag in elements.tags if "style" in tag or any(name.startswith("on") for name in tag)]


def test_hostile_texts_stay_texts() -> None:
    """A text of a server ends no element, begins none, and turns no line around."""
    harmless, hostile = Elements(html_of(samples.small())), Elements(html_of(samples.hostile()))
    kinds = {name for name, _ in harmless.tags}
    assert {name for name, _ in hostile.tags} <= kinds
    assert sum(name == "script" for name, _ in hostile.tags) == 2
    html = html_of(samples.hostile())
    assert "\u202e" not in html
    assert html.count("<!--") == 0
    assert data_of(html)["dictionary"]["ids"][2].endswith("onerror=\"document.title='owned'\"><!-- gpj.exe")


def test_every_pair_is_in_the_table() -> None:
    """The columns have all the pairs, in the order of the ledger, with their IDs once in the dictionary."""
    page = samples.small()
    data = data_of(html_of(page))
    table, ids = data["table"], data["dictionary"]["ids"]
    images = [ids[image] for image, rows in table["images"] for _ in range(rows)]
    pairs = list(page.outcomes)
    assert images == [pair.image_id for pair in pairs]
    assert [ids[number] for number in accumulate(table["projects"])] == [pair.member_id for pair in pairs]
    ways = [table["way"][number] for number in accumulate(table["ways"])]
    assert [way[0] for way in ways] == [CODES[pair.result] for pair in pairs]
    assert table["requests"].keys() == {str(i) for i, pair in enumerate(pairs) if pair.result is Result.REJECTED}
    assert {way[4] for way in ways} == {"", "404: No image found with ID \x01"}, "IDs don't keep reasons apart"


def test_the_matrix_has_a_cell_for_each_pair_or_block() -> None:
    """Whatever the size, the picture is bounded, no pair is lost, and what failed comes first."""
    for images, projects in ((1, 1), (3, 500), (101, 129), (100, 128)):
        outcomes = [samples.pair(i, p, Result.ALREADY) for i in range(images) for p in range(projects)]
        outcomes[-1] = samples.pair(images - 1, projects - 1, Result.FAILED)
        matrix = data_of(html_of(samples.page_of(outcomes)))["matrix"]
        assert len(matrix["cells"]) <= MOST_ROWS
        assert {len(row) for row in matrix["cells"]} <= set(range(1, MOST_COLUMNS + 1))
        mixes = [matrix["mixes"][number] for row in matrix["cells"] for number in row]
        assert sum(sum(mix[1::2]) for mix in mixes) == images * projects
        assert mixes[0] == [CODES[Result.FAILED], 1], "in a cell of its own"
        assert (len(matrix["rows"]), len(matrix["columns"])) == (len(matrix["cells"]), len(matrix["cells"][0]))
        members = [number for _, numbers in matrix["columns"] for number in accumulate(numbers)]
        assert len(members) == len(set(members)) == projects


@pytest.mark.parametrize(("images", "projects"), [(500, 200), (1, 100_000)])
def test_100_000_failed_pairs_stay_below_five_megabytes(images: int, projects: int) -> None:
    """That holds also where all have a reason and a request ID of their own."""
    outcomes = [
        outcome._replace(reason=f"503: Service Unavailable, request {number} of many")
        for number, outcome in enumerate(samples.pairs(images, projects, (Result.FAILED,), (1,)))
    ]
    page = replace(samples.page_of(outcomes), labels=samples.labels(images, projects))
    html = html_of(page)
    assert len(html.encode()) < FIVE_MEGABYTES
    assert "left out here" in html


def test_a_huge_run_has_its_troubles_and_a_sample() -> None:
    """Beyond its bound the table has all that is not as planned, as far as that is bounded, and some of the rest."""
    totals = {Result.SHARED: 1_000_000, Result.FAILED: 500}
    table = Table(totals, samples.BEGAN, Dictionary({}))
    assert table.every == {True: 1_000_000 // MOST_AS_PLANNED, False: 1}
    assert Table({Result.FAILED: 10_000_000}, samples.BEGAN, Dictionary({})).every[False] == (
        10_000_000 // MOST_NOT_AS_PLANNED
    )
    outcomes = [samples.pair(0, n, Result.FAILED if n % 100 == 0 else Result.SHARED) for n in range(10_000)]
    page = samples.page_of(outcomes)
    html = html_of(replace(page, run=replace(page.run, totals=totals)))
    assert "1,000,500 pairs; the table has 199 of them" in html
    assert "all of those that are not as planned, and one in 100 of the others" in " ".join(html.split())


def test_runs_on_several_clouds_are_one_page() -> None:
    """All pairs with their cloud, also of an image that both have; what changed is known where there was a run."""
    page = samples.several()
    html = html_of(page)
    table = data_of(html)["table"]
    assert table["clouds"] == [["prod", 36], ["west", 10]]
    assert sum(rows for _, rows in table["images"]) == 46
    assert data_of(html)["matrix"]["clouds"] == ["prod"] * 3 + ["west"] * 2
    assert data_of(html_of(samples.small()))["matrix"]["clouds"] == [""] * 3
    words = " ".join(html.split())
    assert "Compared with <bdi>golden-nightly-20260101-0315-1</bdi>" in words
    shown = re.findall(r"<b>([\d,]+)</b> (newly \w+|fixed|removed|in the previous run only)<", html)
    alone = re.findall(r"<b>([\d,]+)</b> (newly \w+|fixed|removed|in the previous run only)<", html_of(samples.small()))
    assert shown == alone


def test_blocks_of_images_of_several_clouds_name_none() -> None:
    """A row of the matrix names its cloud if all of its images are there."""
    parts = [
        replace(page, run=replace(page.run, account=replace(page.run.account, cloud=cloud)))
        for cloud in ("east", "west")
        for page in [samples.page_of(samples.pairs(61, 2, (Result.SHARED,), (1,)))]
    ]
    rows = data_of(html_of(replace(parts[0], parts=parts)))["matrix"]["clouds"]
    assert [rows[0], rows.count(""), rows[-1]] == ["east", 1, "west"]


def test_a_run_without_anything_is_a_page() -> None:
    """A run that was stopped before its first pair still has a page."""
    html = html_of(samples.page_of([]))
    assert "The run has no pairs." in html
    assert "no earlier run of this plan" in html
    assert "no record of how the requests went" in html


def test_the_bar_shows_every_result() -> None:
    """One pair of a million is still seen, and the whole is the bar."""
    shares = shares_of({Result.SHARED: 1_000_000, Result.FAILED: 1, Result.PENDING: 0})
    assert [share.result for share in shares] == [Result.FAILED, Result.SHARED]
    assert shares[0].width > 0.5
    assert math.isclose(sum(share.width for share in shares), 100, abs_tol=0.1)


@pytest.mark.parametrize(("seconds", "opened"), [(9.9, False), (10.0, True)])
def test_the_charts_of_a_short_run_are_folded(seconds: float, opened: bool) -> None:  # noqa: FBT001  drawn
    """Ten seconds of work are worth a look."""
    page = samples.small()
    html = html_of(replace(page, run=replace(page.run, seconds=seconds)))
    details = [dict(tag) for name, tag in Elements(html).tags if name == "details" and tag.get("class")]
    assert [("open" in tag) for tag in details] == [opened]


def test_latency_in_words_and_bars() -> None:
    """Bounds without answers have bars of their own, invocations add up, and latencies above the last are shown."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    first = Telemetry(began, 1.0, (8,), (0,), (4,), {0.016: 5, 0.064: 3})
    second = Telemetry(began, 1.0, (2,), (0,), (4,), {0.016: 1, math.inf: 1})
    latency = latency_of([first, second])
    assert latency is not None
    bars = [(bar.bound, bar.count) for bar in latency.bars]
    assert bars == [("16 ms", 6), ("32 ms", 0), ("64 ms", 3), ("longer", 1)]
    assert latency.shares == (("half", "16 ms"), ("95 %", "longer"), ("99 %", "longer"))
    assert latency_of([Telemetry(began, 1.0)]) is None


def test_invocations_stand_one_after_the_other() -> None:
    """Time begins anew with each; rates are a second's, whatever the interval."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    long = Telemetry(began, 4.0, (40, 80), (0, 8), (4, 16))
    timeline = timeline_of([Telemetry(began, 1.0), long, replace(long, requests=(0, 0), troubled=(0, 0))])
    assert timeline is not None
    assert timeline.most_rate == 20
    assert (timeline.requests, timeline.trouble) == (120, 8)
    assert (timeline.least_allowed, timeline.most_allowed) == (4, 16)
    assert len(timeline.starts) == 2
    assert [tick.text for tick in timeline.times].count("0") == 2
    assert re.findall(r"[MLHVz]", timeline.allowed) == ["M", "H", "V", "H"] * 2
