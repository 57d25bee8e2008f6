"""The Image API v2 without IO: which request asks for what, and what an answer means.

Knows the shapes of Glance, Huawei Cloud IMS and Open Telekom Cloud; knows no sockets, no retries and no time of its
own. `interpret` is total: any status with any body has a verdict.

What an answer to ADD means (ASK and LIST follow the same table where they are not reads of their own):

=====================================  ==========  =======================================================
answer                                 verdict     because
=====================================  ==========  =======================================================
200 naming this member                 SHARED
any other 2xx                          UNCLEAR     a proxy's page, a cut body: not believed
409                                    PRESENT     the member was there
413                                    OVER_QUOTA  Glance checks the quota before the duplicate: ask
3xx                                    REJECTED    following it would hand the token to somebody else
400 with a throttling code             THROTTLED   API gateways say "too fast" with 400
429, 503 with Retry-After              THROTTLED
408, 502, 504, time-out, cut off       LOST        the server, or one behind it, may still be at work on it
500, 503, other 5xx                    TRANSIENT   but 501 and 505, which will not change
not sent at all                        TRANSIENT
anything else                          REJECTED    reaching the whole image, unless it names the member
=====================================  ==========  =======================================================
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bulkshare.model import Fault, FaultKind, Kind, Member, Request, Response, Scope, Step, Verdict
from bulkshare.text import clean

if TYPE_CHECKING:
    from bulkshare.model import Reply

# Codes with which Huawei Cloud's and Open Telekom Cloud's gateways say "too many requests" under status 400:
# IMG.0060 is the image service's flow control, APIG.0308 and APIGW.0308 the gateway's.
THROTTLING_CODE = re.compile(rb"IMG\.0060|APIGW?\.0308")
# Request time-out, and a gateway that lost sight of the server behind it or waited for it in vain.
STILL_AT_WORK = frozenset({408, 502, 504})
NEVER_TRANSIENT = frozenset({501, 505})  # not implemented, HTTP version not supported: asking again can't help
LONGEST_RETRY_AFTER_SECONDS = 600.0  # a server that says "tomorrow" is asked again after ten minutes
TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
LIST_BOUND = 64 << 20  # bytes; a member takes about 210, so that is 300,000 members of one image
BODY_SEEN = 8192  # bytes of an error body that are looked at


def request_for(step: Step, image_id: str, member_id: str = "") -> Request:
    """Return the request of a step. IDs are quoted, so that no ID can change the path."""
    members = f"/v2/images/{quote(image_id, safe='')}/members"
    if step is Step.ADD:
        return Request("POST", members, json.dumps({"member": member_id}).encode())
    if step is Step.ASK:
        return Request("GET", f"{members}/{quote(member_id, safe='')}")
    return Request("GET", members, body_bound=LIST_BOUND)


def interpret(step: Step, image_id: str, member_id: str, reply: Reply, now: datetime) -> Verdict:
    """Say what `reply` to `request_for(step, image_id, member_id)` means. Never raises.

    `now` (aware) turns a Retry-After that is a date into seconds, where the answer has no Date of its own.
    """
    if isinstance(reply, Fault):
        return _interpret_fault(reply)
    if 200 <= reply.status < 300:
        return _interpret_success(step, image_id, member_id, reply)
    return _interpret_refusal(step, member_id, reply, now)


def _interpret_fault(fault: Fault) -> Verdict:
    if fault.kind in (FaultKind.TIMEOUT, FaultKind.LOST):
        return Verdict(Kind.LOST, clean(fault.detail), maybe_done=True)
    return Verdict(Kind.TRANSIENT, clean(fault.detail))


def _interpret_success(step: Step, image_id: str, member_id: str, response: Response) -> Verdict:
    seen: dict[str, Any] = {"http_status": response.status, "request_id": _request_id(response)}
    document = None if response.cut else _json(response.body)
    if step is Step.LIST:
        listed = document.get("members") if isinstance(document, dict) else None
        if response.status == 200 and isinstance(listed, list):
            members = tuple(member for item in listed if (member := _member(item, image_id)) is not None)
            if len(members) == len(listed):
                return Verdict(Kind.LISTED, members=members, **seen)
        what = "is too long to read" if response.cut else "is not a list of members"
        return Verdict(Kind.UNCLEAR, f"{response.status}, but the body {what}", **seen)
    member = _member(document, image_id) if response.status == 200 else None
    if member is not None and member.member_id == member_id:
        return Verdict(Kind.SHARED if step is Step.ADD else Kind.PRESENT, members=(member,), **seen)
    reason = f"{response.status}, but the body is not this member"
    return Verdict(Kind.UNCLEAR, reason, maybe_done=step is Step.ADD, **seen)


def _interpret_refusal(step: Step, member_id: str, response: Response, now: datetime) -> Verdict:
    status, reason = response.status, _reason(response)
    seen: dict[str, Any] = {"reason": reason, "http_status": status, "request_id": _request_id(response)}
    retry_after = _retry_after(response, now)
    if status == 429 or (status == 503 and retry_after is not None):
        return Verdict(Kind.THROTTLED, retry_after=retry_after, **seen)
    if status == 400 and THROTTLING_CODE.search(response.body[:BODY_SEEN]):
        return Verdict(Kind.THROTTLED, retry_after=retry_after, **seen)
    if status in STILL_AT_WORK:
        return Verdict(Kind.LOST, maybe_done=True, **seen)
    if status >= 500 and status not in NEVER_TRANSIENT:
        return Verdict(Kind.TRANSIENT, retry_after=retry_after, maybe_done=True, **seen)
    if status == 401:  # the identity layer has its say first; what comes through is tried again
        return Verdict(Kind.TRANSIENT, **seen)
    if step is Step.ADD and status == 409:
        return Verdict(Kind.PRESENT, **seen)
    if step is Step.ADD and status == 413:
        return Verdict(Kind.OVER_QUOTA, scope=Scope.IMAGE, **seen)
    if step is Step.ASK and status == 404:
        return Verdict(Kind.ABSENT, **seen)
    # The member is not in the path of a POST, so a refusal is about the image or about us, unless it says otherwise.
    # A 400 speaks of the body, which is the member.
    names_member = member_id != "" and member_id.encode() in response.body[:BODY_SEEN]
    scope = Scope.PAIR if status == 400 or names_member else Scope.IMAGE
    return Verdict(Kind.REJECTED, scope=scope, **seen)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError; 100,000 open brackets recurse
        return None


def _member(document: Any, image_id: str) -> Member | None:
    """Return the member of this image that `document` describes, or None where it is something else."""
    if not isinstance(document, dict) or document.get("image_id") != image_id:
        return None
    member_id = document.get("member_id")
    if not isinstance(member_id, str):
        return None
    return Member(
        image_id,
        member_id,
        status=_text(document.get("status")),
        created_at=_time(document.get("created_at")),
        updated_at=_time(document.get("updated_at")),
        schema=_text(document.get("schema")),
    )


def _text(value: Any) -> str | None:
    return clean(value, 255) if isinstance(value, str) else None


def _time(value: Any) -> datetime | None:
    """Parse an API time; one without a zone is UTC, as the API's documentation says."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _request_id(response: Response) -> str | None:
    value = response.headers.get("x-openstack-request-id") or response.headers.get("x-request-id")
    return clean(value, 64) if value else None


def _retry_after(response: Response, now: datetime) -> float | None:
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


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def _reason(response: Response) -> str:
    """Return "status: what the body says" as one clean line."""
    if 300 <= response.status < 400:
        where = response.headers.get("location", "elsewhere")
        return clean(f"{response.status}: redirected to {where}; redirects are not followed")
    said = _said(response.body[:BODY_SEEN])
    return clean(f"{response.status}: {said}" if said else str(response.status))


def _said(body: bytes) -> str:
    document = _json(body)
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
