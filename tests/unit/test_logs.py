"""The log: one line for a run without news."""

from __future__ import annotations

import json
import logging
import sys
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from bulkshare.cli.console import MOST_LISTED, ContextLogger, RemovalNotice
from bulkshare.cli.logger import log_value, make_log
from bulkshare.model import Outcome, Result
from bulkshare.model.events import RemovalsAhead
from bulkshare.report import render_changes, render_outcomes
from bulkshare.report.changes import Changes, ImageChanges
from bulkshare.report.text import named


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what was logged, without the times."""
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    for line in found:
        del line["timestamp"]
    return found


def with_account() -> ContextLogger:
    """Return a log whose first line of news names the account."""
    log = make_log(logging.INFO, "json").bind(plan="golden")
    return ContextLogger(log, "starting", user="ursula")


def test_a_run_without_news_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line names the account."""
    log = with_account()
    log.debug("listing", total=3)
    log.conclude("ended", already=90)
    assert lines(capsys) == [
        {"plan": "golden", "level": "info", "event": "ended", "user": "ursula", "already": 90},
    ]


def test_news_are_introduced_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The account is named before the first news, and not again."""
    log = with_account()
    log.info("sharing", total=3)
    log.warning("failed", image_id="i")
    log.conclude("ended", shared=2)
    found = lines(capsys)
    assert [line.pop("event") for line in found] == ["starting", "sharing", "failed", "ended"]
    assert found == [
        {"plan": "golden", "level": "info", "user": "ursula"},
        {"plan": "golden", "level": "info", "total": 3},
        {"plan": "golden", "level": "warning", "image_id": "i"},
        {"plan": "golden", "level": "info", "shared": 2},
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3600, "3600"),
        ("sandbox", "sandbox"),
        ("http://127.0.0.1:1/image", "http://127.0.0.1:1/image"),
        ("404: no image", '"404: no image"'),
        ("it's gone", '"it\'s gone"'),
        ('says "no"', '"says \\"no\\""'),
        ("", '""'),
        (["a", "b"], "a,b"),
        (["a b", "c"], '"a b,c"'),
        (("ä", 1), "ä,1"),
    ],
)
def test_values_for_people(value: object, text: str) -> None:
    """They are as in other programs' logs, not as Python writes them."""
    assert log_value(value) == text


@pytest.mark.parametrize("colors", [False, True])
def test_a_line_for_people(colors: bool, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001
    """Time, level and event, then the fields; members on a line each, which none can forge."""
    make_log(logging.INFO, colors=colors).info("to be removed", pairs=2, members=["a", "b\nforged"])
    text = Text.from_ansi(capsys.readouterr().err).plain
    assert text.split("Z ", 1)[1].rstrip() == "[info] to be removed pairs=2\n  - a\n  - b\\nforged"


def test_a_line_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The fields that are bound, the event's own, then event, level and time, whatever the values are."""
    log = make_log(logging.WARNING, "json").bind(plan="golden", cloud="c").bind(cloud="d")
    log.info("sharing")
    log.error("failed", at={1}, reason="\u202e\n")
    line = capsys.readouterr().err
    assert list(json.loads(line)) == ["plan", "cloud", "at", "reason", "event", "level", "timestamp"]
    del (found := json.loads(line))["timestamp"]
    assert found == {
        "plan": "golden",
        "cloud": "d",
        "at": "{1}",
        "reason": "\u202e\n",
        "event": "failed",
        "level": "error",
    }
    assert line.isascii()


def test_a_log_that_can_not_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or a terminal that is gone."""

    class Full(StringIO):
        def write(self, text: str) -> int:
            raise OSError(text)

    monkeypatch.setattr(sys, "stderr", Full())
    make_log(logging.INFO).info("sharing")


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_removals_are_listed_by_name(extra: int, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each with the name that is known by then, up to a number of them, and a count of the rest."""
    names: dict[str, str] = {}
    notice = RemovalNotice(names)
    names |= {"image": "ubuntu", "m01": "acme"}
    members = [f"m{number:02}" for number in range(MOST_LISTED + extra)]
    notice.notify(RemovalsAhead("image", members))
    heading, first, *others = capsys.readouterr().err.splitlines()
    assert heading == "To be removed from image image  ubuntu:"
    assert first == "  - m01  acme"
    rest = [f"  ... and {extra} more"] if extra else []
    assert others == [f"  - {member}" for member in members if member != "m01"][: MOST_LISTED - 1] + rest


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_member_of_a_list_moves_the_cursor_or_forges_a_line(member: str, name: str) -> None:
    """Glance takes any text as a member, so what a listing has is as untrusted as a message."""
    changes = Changes("plan", (ImageChanges("i", remove=[member], refused={"why": [member]}),))
    outcome = Outcome("i", member, Result.REMOVED)
    console = Console(file=StringIO(), width=4000, markup=False, highlight=False, emoji=False)
    console.print(named(member, {member: name}), crop=False)
    console.print(render_changes(changes, {member: name}), crop=False)
    for shown in render_outcomes([outcome], {member: name}):
        console.print(shown, crop=False)
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == 10
