"""The HTML page of a run in a browser."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bulkshare.model import AS_PLANNED, Result
from tests.browser import samples

if TYPE_CHECKING:
    from playwright.sync_api import Locator
    from playwright.sync_api import Page as Tab

    from tests.browser.conftest import MonitoredPage

pytestmark = pytest.mark.xdist_group("browser")  # one browser for all

IMAGE, PROJECT, RESULT, STATUS = 1, 2, 3, 5  # columns of the table


def column(tab: Tab, number: int) -> list[str]:
    """Return a column of the visible page of the table."""
    return [text.strip() for text in tab.locator(f"#table tbody td:nth-child({number})").all_inner_texts()]


def shown(tab: Tab) -> str:
    """Return the number of pairs that match the filters."""
    return tab.locator("#shown").inner_text()


def follow(tab: Tab, link: Locator, pairs: str) -> None:
    """Click a link to a filter, and wait until the table shows the expected number of pairs."""
    link.click()
    tab.locator("#shown").get_by_text(pairs, exact=True).wait_for()


def filtered(tab: Tab, text: str, pairs: str) -> None:
    """Filter by a text, and wait until the table shows the expected number of pairs."""
    tab.locator("#text").fill(text)
    tab.locator("#shown").get_by_text(pairs, exact=True).wait_for()


def test_a_small_run_opens(monitored: MonitoredPage) -> None:
    """It has headline, counts, changes, matrix, causes, charts and table; the worst results come first."""
    tab = monitored.open(samples.small())
    assert tab.locator("h1").inner_text() == "golden-nightly"
    assert tab.locator(".verdict").inner_text() == "33 of 36 pairs are as planned; 3 rejected."
    assert tab.locator(".next code").inner_text() == "bulkshare run /etc/bulkshare/golden.yaml --retry-failed"
    assert tab.locator(".verdict-mark").get_attribute("aria-label") == "Not as planned"
    assert tab.locator("main section h2").first.inner_text() == "What went wrong"
    assert tab.locator(".changes > li").count() == 4
    assert tab.locator(".strip b").count() == 30
    assert tab.locator(".strip").inner_text().count("!") == 3
    facts = tab.locator(".facts").inner_text()
    for fact in ("ops on mgmt-1, bulkshare 0.1.0", "/etc/bulkshare/golden.yaml", "9f" * 32, "golden.yaml --rate 20"):
        assert fact in facts
    assert tab.locator(".causes li").count() == 1
    assert tab.locator(".chart").count() == 3
    assert shown(tab) == "36 pairs"
    assert column(tab, RESULT)[:6] == ["rejected"] * 3 + ["removed"] * 2 + ["shared"]
    named = [text.splitlines()[0] for text in column(tab, PROJECT)]
    assert named[:5] == ["team-001", "team-010", "team-003", "team-005", "team-008"], (
        "by the names of image and project"
    )


def test_runs_on_several_clouds_open_as_one(monitored: MonitoredPage) -> None:
    """A line for each cloud below the sums; the table, the matrix and the charts say which cloud it is."""
    tab = monitored.open(samples.several())
    assert tab.locator(".verdict").inner_text() == "43 of 46 pairs are as planned; 3 rejected."
    assert "on 2 clouds" in tab.locator(".eyebrow").inner_text()
    lines = [line.replace("\xa0", " ") for line in tab.locator(".clouds tbody tr").all_inner_texts()]
    assert ["prod eu-de" in lines[0], "3 rejected" in lines[0]] == [True, True]
    assert ["west eu-de" in lines[1], "1 image opened" in lines[1], "images.west.example" in lines[1]] == [True] * 3
    assert tab.locator("#time h3").all_inner_texts() == ["On prod", "On west"]
    assert tab.locator(".causes").inner_text().count("prod: ") == 1
    assert shown(tab) == "46 pairs"
    assert column(tab, RESULT + 1)[:3] == ["rejected"] * 3
    filtered(tab, "west", "10 of 46 pairs")
    assert set(column(tab, 1)) == {"west"}
    assert set(column(tab, RESULT + 1)) == {"accepted", "already"}
    filtered(tab, "west build001", "5 of 46 pairs")
    filtered(tab, "", "46 pairs")
    tab.locator("#table").get_by_role("columnheader", name="cloud").get_by_role("button").click()
    assert column(tab, 1) == ["prod"] * 36 + ["west"] * 10
    matrix = tab.get_by_role("group", name="Matrix of images and projects")
    for key in ("ArrowDown", "End", "PageDown"):
        matrix.press(key)
    assert tab.locator("#cell").inner_text().startswith("west: ubuntu-24.04-build001 with team-011: not in this run")
    for key in ("Home", "Enter"):
        matrix.press(key)
    assert column(tab, 1) == ["west"], "prod has that image and that project, too"
    follow(tab, tab.locator(".clouds").get_by_role("link", name="prod"), "36 of 46 pairs")


def test_filters_work_together(monitored: MonitoredPage) -> None:
    """Text, result and change narrow the table, and the matching pairs are counted."""
    tab = monitored.open(samples.small())
    filtered(tab, "BUILD001 team-01", "2 of 36 pairs")
    assert set(column(tab, IMAGE)) == {f"ubuntu-24.04-build001\n{samples.uuid(1)}"}
    filtered(tab, "no image found", "3 of 36 pairs")
    filtered(tab, "nothing has this", "0 of 36 pairs")
    filtered(tab, "", "36 pairs")
    tab.locator("#result").select_option(label="not as planned (3)")
    assert set(column(tab, RESULT)) == {"rejected"}
    tab.locator("#change").select_option(label="newly failing (1)")
    assert shown(tab) == "1 of 36 pairs"
    tab.locator("#result").select_option(label="any")
    tab.locator("#change").select_option(label="removed (2)")
    assert column(tab, RESULT) == ["removed"] * 2


def test_the_filter_stands_in_the_address(monitored: MonitoredPage) -> None:
    """A cause, a cell, a bar and a count filter the table; the address opens the same. Nonsense in it is no error."""
    tab = monitored.open(samples.small())
    address = tab.evaluate("location.href")
    follow(tab, tab.locator("#causes a").first, "3 of 36 pairs")
    assert "cause=0" in tab.evaluate("location.hash")
    follow(tab, tab.locator("#worst").get_by_role("link", name="ubuntu-24.04-build001"), "2 of 36 pairs")
    kept = tab.evaluate("location.hash")
    assert kept == f"#result=bad&image={samples.uuid(1)}"
    follow(tab, tab.locator(".counts a").nth(2), "13 of 36 pairs")
    follow(tab, tab.locator(".counts a").nth(1), "2 of 36 pairs")
    assert column(tab, RESULT) == ["removed"] * 2
    filtered(tab, "team-005", "1 of 36 pairs")
    assert tab.evaluate("location.hash") == "#text=team-005&result=removed"
    tab.go_back()
    tab.locator("#shown").get_by_text("13 of 36 pairs").wait_for()
    tab.go_back()
    tab.locator("#shown").get_by_text("2 of 36 pairs").wait_for()
    assert tab.locator("#text").input_value() == ""
    tab.locator("#chosen").get_by_role("button", name="image").click()
    assert shown(tab) == "3 of 36 pairs"
    left, top = tab.evaluate("(({matrix}) => [matrix.left, matrix.top])(JSON.parse(data.textContent))")
    picture = tab.locator("#matrix-picture")
    picture.click(position={"x": left + 26 * 0.5, "y": top + 9})
    assert shown(tab) == "1 of 36 pairs"
    picture.click(position={"x": left - 20, "y": top + 9})
    assert (shown(tab), tab.evaluate("location.hash")) == ("12 of 36 pairs", "#row=1")
    for hash_, pairs in ((kept, "2 of 36 pairs"), ("#row=99&column=x&cause=7&other=1&result=nothing", "0 of 36 pairs")):
        tab.goto("about:blank")
        tab.goto(address + hash_)
        tab.locator("#shown").get_by_text(pairs, exact=True).wait_for()


def test_rows_can_be_taken_along(monitored: MonitoredPage) -> None:
    """The filtered rows as CSV, in which no text is a formula; IDs and the next command to the clipboard."""
    page = samples.small()
    outcomes = [outcome._replace(reason="=cmd|'x'" if outcome.reason else "") for outcome in page.outcomes]
    tab = monitored.open(replace(page, outcomes=outcomes))
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.locator("#result").select_option(label="not as planned (3)")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == "golden-nightly-20260102-0315-1.csv"
    rows = list(csv.DictReader(Path(download.value.path()).read_text("utf-8").splitlines()))
    assert [row["result"] for row in rows] == ["rejected"] * 3
    assert [row["member_name"] for row in rows] == ["team-001", "team-010", "team-003"]
    assert rows[0].items() >= {"image_id": samples.uuid(1), "reason": "'=cmd|'x'", "cloud": "prod"}.items()
    tab.locator("#table .copy").nth(1).click()
    assert tab.evaluate("navigator.clipboard.readText()") == samples.project_id(1)
    tab.locator(".next .copy").click()
    assert "--retry-failed" in tab.evaluate("navigator.clipboard.readText()")


def test_columns_sort_both_ways(monitored: MonitoredPage) -> None:
    """A click sorts by a column, a second one reverses the order, and the header shows it."""
    tab = monitored.open(samples.small())
    header = tab.locator("#table").get_by_role("columnheader", name="project")
    header.get_by_role("button").click()
    first = column(tab, PROJECT)
    assert first[-3:] == [f"team-011\n{samples.project_id(11)}"] * 3
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(tab, PROJECT)[:3] == first[-3:]
    for name in ("image", "HTTP", "status", "attempts", "settled", "reason"):
        tab.locator("#table").get_by_role("columnheader", name=name).get_by_role("button").click()
    assert column(tab, IMAGE).count("") == 0


def test_the_keyboard_is_enough(monitored: MonitoredPage) -> None:
    """Every control can be reached by the keyboard, and the arrow keys move through the matrix."""
    tab = monitored.open(samples.small())
    matrix = tab.get_by_role("group", name="Matrix of images and projects")
    matrix.focus()
    tab.keyboard.press("ArrowDown")
    cell = tab.locator("#cell")
    assert cell.inner_text() == "ubuntu-24.04-build001 with team-001: rejected", "what failed comes first"
    tab.keyboard.press("End")
    tab.keyboard.press("PageDown")
    assert cell.inner_text() == "ubuntu-24.04-build000 with team-011: already"
    tab.keyboard.press("Enter")
    assert shown(tab) == "1 of 36 pairs"
    matrix.focus()
    reached = set()
    for _ in range(20):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"text", "result", "change", "image", "reason"} <= reached
    tab.locator("#table").get_by_role("columnheader", name="attempts").get_by_role("button").press("Enter")
    assert tab.locator("#table").get_by_role("columnheader", name="attempts").get_attribute("aria-sort") == "ascending"
    tab.locator("summary").first.press("Enter")
    assert tab.locator("details").first.get_attribute("open") is not None


def test_the_pointer_shows_the_names_of_a_cell(monitored: MonitoredPage) -> None:
    """The cell below the pointer is described with its names."""
    tab = monitored.open(samples.small())
    picture = tab.locator("#matrix-picture")
    size = picture.bounding_box()
    assert size is not None
    left, top = tab.evaluate("(({matrix}) => [matrix.left, matrix.top])(JSON.parse(data.textContent))")
    picture.hover(position={"x": left + 26 * 1.5, "y": top + 18 * 1.5})
    assert tab.locator("#cell").inner_text() == "ubuntu-24.04-build002 with team-003: rejected"


def test_100_000_pairs_open(monitored: MonitoredPage) -> None:
    """The page is small enough, the matrix shows blocks, and the table has pages."""
    tab = monitored.open(samples.large())
    assert monitored.file.stat().st_size < 5_000_000
    assert shown(tab) == "100,000 pairs"
    tab.get_by_role("group", name="Matrix of images and projects").press("ArrowRight")
    assert tab.locator("#cell").inner_text() == f"ubuntu-24.04-build175 with {samples.project_id(0x70)}: failed"
    for _ in range(3):
        tab.get_by_role("group", name="Matrix of images and projects").press("PageDown")
    tab.get_by_role("group", name="Matrix of images and projects").press("Enter")
    words = tab.locator("#chosen").inner_text()
    assert words.startswith("47 images (ubuntu-24.04-build2")
    assert shown(tab) == "47 of 100,000 pairs"
    tab.get_by_role("button", name="Show all pairs").click()
    assert shown(tab) == "100,000 pairs"
    assert tab.locator("#table tbody tr").count() == 100
    tab.get_by_role("button", name="Last").click()
    assert tab.locator("#place").inner_text() == "Page 1,000 of 1,000"
    tab.get_by_role("button", name="Previous").click()
    assert tab.locator("#place").inner_text() == "Page 999 of 1,000"
    filtered(tab, "build499 team-199", "1 of 100,000 pairs")


def test_a_run_without_successes_opens(monitored: MonitoredPage) -> None:
    """Every pair failed, and there is no earlier run and no telemetry."""
    tab = monitored.open(samples.failed())
    assert tab.locator(".verdict").inner_text().startswith("None of 2,400 pairs are as planned;")
    assert tab.locator("#change").count() == 0
    assert not set(column(tab, RESULT)) & {result.value for result in AS_PLANNED}
    assert "has reached its quota" in tab.locator(".causes").inner_text()


def test_an_empty_run_opens(monitored: MonitoredPage) -> None:
    """A run without pairs has no matrix, and its table has no rows."""
    tab = monitored.open(samples.page_of([]))
    assert tab.locator("#matrix").count() == 0
    assert shown(tab) == "0 pairs"


def test_hostile_texts_do_nothing(monitored: MonitoredPage) -> None:
    """Texts of servers and users are shown literally, without bidi marks."""
    tab = monitored.open(samples.hostile())
    assert tab.title().endswith("1 of 2 pairs is as planned; 1 failed.")
    assert column(tab, STATUS)[0] == samples.HOSTILE.replace("\u202e", "")
    assert tab.locator("img").count() == 0
    matrix = tab.get_by_role("group", name="Matrix of images and projects")
    matrix.press("ArrowRight")
    assert "<img src=x" in tab.locator("#cell").inner_text()


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_is_never_wider_than_the_window(monitored: MonitoredPage, width: int) -> None:
    """Wide elements scroll sideways within their own frame."""
    monitored.tab.set_viewport_size({"width": width, "height": 800})
    for page in (samples.small(), samples.hostile(), samples.failed()):
        tab = monitored.open(page)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints(monitored: MonitoredPage) -> None:
    """On paper there are no controls, and folded sections are open."""
    tab = monitored.open(samples.page_of([samples.pair(0, 0, Result.FAILED)], []))
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert not tab.locator("#filters").is_visible()
    assert tab.locator("#table").is_visible()
    assert tab.locator("#table th").first.inner_text().strip() == "image"
    assert not tab.locator("#table .copy").first.is_visible()
    assert tab.locator("details").count() == tab.locator("details[open]").count() == 1
