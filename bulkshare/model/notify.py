"""Who is notified of how a command ended, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class NotifyOn(StrEnum):
    """An end that is notified of."""

    FAILURE = "failure"  # any exit code but 0
    CHANGE = "change"  # something in the cloud was changed
    ALWAYS = "always"


class WebhookFormat(StrEnum):
    """The shape of what a webhook gets."""

    JSON = "json"  # the document itself
    SLACK = "slack"  # a message for Slack's incoming webhooks, which Mattermost takes as well
    ALERTMANAGER = "alertmanager"  # an alert for /api/v2/alerts: firing after a failure, else resolved


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a webhook's URL, which is a secret, stands: an environment variable, a file, or right here."""

    from_env: str | None = None
    file: str | None = None
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is notified of how a command ended.

    command: a program and its arguments; empty: none.
    on: which ends to notify of; any of them is enough.
    timeout_seconds: for the command, and for the webhook with its retries.
    """

    command: tuple[str, ...] = ()
    webhook: Webhook | None = None
    format: WebhookFormat = WebhookFormat.JSON
    on: frozenset[NotifyOn] = frozenset({NotifyOn.ALWAYS})
    timeout_seconds: float = 30.0
