"""What a command or a webhook is sent about the end of a run. Pure.

Slack's shape is that of its incoming webhooks (docs.slack.dev, "Sending messages using incoming webhooks"),
Alertmanager's that of `postableAlerts` in its api/v2/openapi.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bulkshare.model import NotifyOn, Result, WebhookFormat
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

VERSION = 1
CHANGED = (Result.SHARED, Result.ACCEPTED, Result.DECLINED, Result.RESET, Result.REMOVED)
MOST_CAUSES = 3
LONGEST_TEXT = 3000  # characters: what Slack shows without folding
# An alert that is not sent again ends after this time: a nightly run has told its next end by then.
FIRING = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class Notice:
    """How a command ended.

    meaning: of the exit code.
    error: what ended it early, or kept it from starting; empty: nothing did.
    document: what `--json` prints; empty if nothing was begun.
    runs: the keys of its runs.
    """

    plan: str
    exit_code: int
    meaning: str
    ended_at: datetime
    host: str
    error: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    def is_due(self, on: Collection[NotifyOn]) -> bool:
        """Return whether this is one of the ends to notify of."""
        changed = any(self.document.get(result.value) for result in CHANGED) or self.document.get("opened")
        return (
            NotifyOn.ALWAYS in on
            or (NotifyOn.FAILURE in on and self.exit_code != 0)
            or (NotifyOn.CHANGE in on and bool(changed))
        )

    @property
    def text(self) -> str:
        """The end in one line."""
        counts = [f"{count:,} {result}" for result in Result if (count := self.document.get(result.value))]
        if opened := self.document.get("opened"):
            counts.append(f"{counted(opened, 'image')} made shared")
        return ": ".join([self.plan, self.meaning, *([", ".join(counts)] if counts else [])])


def notice_document(notice: Notice) -> dict[str, Any]:
    """Return the notice as one JSON object: that of `--json`, as far as there is one, and how the command ended."""
    return {
        **notice.document,
        "version": VERSION,
        "plan": notice.plan,
        "exit_code": notice.exit_code,
        "error": notice.error or None,
        "runs": list(notice.runs),
        "host": notice.host,
        "ended_at": f"{notice.ended_at:%Y-%m-%dT%H:%M:%SZ}",
        "text": notice.text,
    }


def webhook_body(notice: Notice, form: WebhookFormat) -> Any:
    """Return what a webhook of a format gets, as a JSON value."""
    if form is WebhookFormat.SLACK:
        return {"text": _slack_text(notice)}
    if form is WebhookFormat.ALERTMANAGER:
        return [_alert(notice)]
    return notice_document(notice)


def _details(notice: Notice) -> list[str]:
    """Return the error and the most frequent causes, a line each."""
    lines = [clean(line) for line in notice.error.splitlines()]
    causes = notice.document.get("causes", ())
    lines += (clean(f"{counted(cause['pairs'], 'pair')}: {cause['reason']}") for cause in causes[:MOST_CAUSES])
    if more := len(causes) - MOST_CAUSES:
        lines += [f"and {counted(more, 'more cause')}"] if more > 0 else []
    return lines


def _slack_text(notice: Notice) -> str:
    mark = ":x:" if notice.exit_code else ":white_check_mark:"
    lines = [f"{mark} {notice.text}", *(f"• {line}" for line in _details(notice))]
    if notice.runs:
        lines.append(f"`bulkshare show {notice.runs[0]}` on {notice.host}")
    text = "\n".join(lines)
    # Slack's own rule: these three, and nothing else. "<!channel>" would call everyone.
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, instead)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _alert(notice: Notice) -> dict[str, Any]:
    """Return the alert of a plan. Its labels are the same after each end, so that a good one resolves it."""
    ended = notice.ended_at
    times = {"startsAt": _rfc3339(ended), "endsAt": _rfc3339(ended + FIRING)}
    return {
        "labels": {"alertname": "BulkshareRunFailed", "job": "bulkshare", "plan": notice.plan, "severity": "warning"},
        "annotations": {
            "summary": notice.text,
            "description": "\n".join(_details(notice)),
            "exit_code": str(notice.exit_code),
            "run": ", ".join(notice.runs),
            "host": notice.host,
        },
        **(times if notice.exit_code else {"endsAt": _rfc3339(ended)}),
    }


def _rfc3339(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
