"""What is sent about the end of a run: the JSON document, Slack's message, Alertmanager's alert."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import NotifyOn, WebhookFormat
from bulkshare.report.notice import Notice, notice_document, webhook_body

GOOD = Notice(
    "golden",
    0,
    "every pair is as planned",
    datetime(2026, 11, 23, 3, 16, 5, 7, tzinfo=UTC),
    "cron-1",
    document={"run": "golden-1", "plan": "golden", "shared": 1200, "already": 3, "failed": 0, "opened": 2},
    runs=("golden-1",),
)
CAUSES = [{"pairs": count, "reason": f"reason {count} <!channel> & more"} for count in (9, 8, 7, 6)]
BAD = replace(
    GOOD,
    exit_code=5,
    meaning="stopped early",
    error="cloud a: endpoint down\ncloud b: endpoint <b> down",
    document={**GOOD.document, "failed": 30, "causes": CAUSES},
    runs=("golden-1-a", "golden-1-b"),
)
NOTHING = Notice("golden", 3, "credentials or endpoint refused", GOOD.ended_at, "cron-1", error="user x is refused")


def test_the_document_is_that_of_json_and_how_it_ended() -> None:
    """Versioned; whoever reads `--json` finds the same keys."""
    assert notice_document(BAD) == {
        **BAD.document,
        "version": 1,
        "plan": "golden",
        "exit_code": 5,
        "error": BAD.error,
        "runs": ["golden-1-a", "golden-1-b"],
        "host": "cron-1",
        "ended_at": "2026-11-23T03:16:05Z",
        "text": "golden: stopped early: 1,200 shared, 3 already, 30 failed, 2 images made shared",
    }
    assert notice_document(GOOD)["error"] is None
    assert notice_document(NOTHING)["text"] == "golden: credentials or endpoint refused"
    assert webhook_body(BAD, WebhookFormat.JSON) == notice_document(BAD)


def test_slack_gets_a_message_in_its_own_escaping() -> None:
    """The first causes, the command to look further; no text from a server can call everyone."""
    body = webhook_body(BAD, WebhookFormat.SLACK)
    assert list(body) == ["text"]
    assert body["text"].splitlines() == [
        ":x: golden: stopped early: 1,200 shared, 3 already, 30 failed, 2 images made shared",
        "• cloud a: endpoint down",
        "• cloud b: endpoint &lt;b&gt; down",
        "• 9 pairs: reason 9 &lt;!channel&gt; &amp; more",
        "• 8 pairs: reason 8 &lt;!channel&gt; &amp; more",
        "• 7 pairs: reason 7 &lt;!channel&gt; &amp; more",
        "• and 1 more cause",
        "`bulkshare show golden-1-a` on cron-1",
    ]
    assert webhook_body(GOOD, WebhookFormat.SLACK)["text"].startswith(":white_check_mark: golden: every pair")


def test_alertmanager_gets_an_alert_that_the_next_good_end_resolves() -> None:
    """The labels identify an alert, so they are the same whatever happened; a good end is over when it is sent."""
    (bad,), (good,) = (webhook_body(notice, WebhookFormat.ALERTMANAGER) for notice in (BAD, GOOD))
    assert bad["labels"] == good["labels"]
    assert bad["labels"]["alertname"] == "BulkshareRunFailed"
    assert (bad["startsAt"], bad["endsAt"]) == ("2026-11-23T03:16:05Z", "2026-11-24T04:16:05Z")
    assert "startsAt" not in good
    assert good["endsAt"] == "2026-11-23T03:16:05Z"
    assert bad["annotations"]["description"].splitlines()[0] == "cloud a: endpoint down"
    assert all(isinstance(value, str) for value in (*bad["labels"].values(), *bad["annotations"].values()))


@given(error=st.text(), reasons=st.lists(st.text()), form=st.sampled_from(WebhookFormat))
def test_any_text_makes_a_body(error: str, reasons: list[str], form: WebhookFormat) -> None:
    """It is JSON of bounded length for services that limit it, and has no markup of Slack's."""
    causes = [{"pairs": 1, "reason": reason} for reason in reasons]
    notice = replace(NOTHING, error=error, document={"causes": causes})
    body = webhook_body(notice, form)
    assert json.loads(json.dumps(body)) == body
    if form is WebhookFormat.SLACK:
        assert not set("<>") & set(body["text"])
        assert len(body["text"]) <= 3000


@pytest.mark.parametrize(
    ("notice", "ends"),
    [
        (GOOD, {NotifyOn.CHANGE, NotifyOn.ALWAYS}),
        (replace(GOOD, document={"already": 3}), {NotifyOn.ALWAYS}),
        (replace(GOOD, document={"removed": 1}), {NotifyOn.CHANGE, NotifyOn.ALWAYS}),
        (BAD, {NotifyOn.CHANGE, NotifyOn.FAILURE, NotifyOn.ALWAYS}),
        (NOTHING, {NotifyOn.FAILURE, NotifyOn.ALWAYS}),
    ],
)
def test_which_ends_are_told(notice: Notice, ends: set[NotifyOn]) -> None:
    """Any of the chosen kinds is enough."""
    assert {on for on in NotifyOn if notice.is_due({on})} == ends
    assert notice.is_due(set(NotifyOn))
