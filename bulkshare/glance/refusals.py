"""What a refusal says: why, to whom, and when to come back. Total, like all that reads answers."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from bulkshare.glance.answers import json_of
from bulkshare.text import clean

if TYPE_CHECKING:
    from bulkshare.model import Response

# Codes with which Huawei Cloud's and Open Telekom Cloud's gateways say "too many requests" under status 400:
# IMG.0060 is the image service's flow control, APIG.0308 and APIGW.0308 the gateway's.
THROTTLING_CODE = re.compile(rb"IMG\.0060|APIGW?\.0308")
# Request time-out, and a gateway that lost sight of the server behind it or waited for it in vain.
STILL_AT_WORK = frozenset({408, 502, 504})
NEVER_TRANSIENT = frozenset({501, 505})  # not implemented, HTTP version not supported: asking again can't help
LONGEST_RETRY_AFTER_SECONDS = 600.0  # a server that says "tomorrow" is asked again after ten minutes
TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
BODY_SEEN = 8192  # bytes of an error body that are looked at


def says_too_fast(response: Response) -> bool:
    """Tell whether a 400 is a gateway's way to throttle."""
    return response.status == 400 and THROTTLING_CODE.search(response.body[:BODY_SEEN]) is not None


def mentions(response: Response, text: str) -> bool:
    """Tell whether the body has the text (an ID) in it."""
    return text != "" and text.encode("utf-8", "replace") in response.body[:BODY_SEEN]


def retry_after_of(response: Response, now: datetime) -> float | None:
    """Return Retry-After in seconds (RFC 9110, 10.2.3: a number or a date), bounded; None where there is none."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    else:
        then, here = _http_date(value), _http_date(response.headers.get("date", "")) or now
        if then is None:
            return None
        seconds = (then - here).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def reason_of(response: Response) -> str:
    """Return "status: what the body says" as one clean line."""
    if 300 <= response.status < 400:
        where = response.headers.get("location", "elsewhere")
        return clean(f"{response.status}: redirected to {where}; redirects are not followed")
    return _reason(response.status, response.body[:BODY_SEEN])


@lru_cache(128)  # refusals come in numbers, and alike
def _reason(status: int, body: bytes) -> str:
    said = _said(body)
    return clean(f"{status}: {said}" if said else str(status))


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def _said(body: bytes) -> str:
    document = json_of(body)
    if isinstance(document, dict):
        inner = document.get("error")
        source = inner if isinstance(inner, dict) else document
        message = source.get("message") or source.get("error_msg")
        code = source.get("code") or source.get("error_code")
        if isinstance(message, str):
            # Glance's own code repeats the status ("409 Conflict"); a gateway's ("IMG.0060") says more than its text.
            prefix = f"{code} " if isinstance(code, str) and "." in code else ""
            return prefix + _strip_tags(message)
    return _strip_tags(body.decode("utf-8", "replace"))


def _strip_tags(text: str) -> str:
    return html.unescape(TAG.sub(" ", text)).strip()
