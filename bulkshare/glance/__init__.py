"""The Image API v2 without IO: which request asks for what, and what an answer means.

Knows the shapes of Glance, Huawei Cloud IMS and Open Telekom Cloud; knows no sockets, no retries and no time of its
own. `interpret` is total: any status with any body has a verdict.

What an answer means, whatever was asked:

=====================================  ==========  =======================================================
answer                                 verdict     because
=====================================  ==========  =======================================================
2xx without what was asked for         UNCLEAR     a proxy's page, a cut body: not believed
3xx                                    REJECTED    following it would hand the token to somebody else
400 with a throttling code             THROTTLED   API gateways say "too fast" with 400
429, 503 with Retry-After              THROTTLED
408, 502, 504, time-out, cut off       LOST        the server, or one behind it, may still be at work on it
500, 503, other 5xx                    TRANSIENT   but 501 and 505, which will not change
not sent at all                        TRANSIENT
anything else                          REJECTED    reaching the whole image, unless it names the member
=====================================  ==========  =======================================================

And to what was asked for:

=======  ==================================  ==========  ==================================================
step     answer                              verdict     because
=======  ==================================  ==========  ==================================================
ADD      200 naming this member              SHARED
ADD      409                                 PRESENT     the member was there
ADD      413                                 OVER_QUOTA  Glance checks the quota before the duplicate: ask
ASK      200 naming this member              PRESENT
ASK      404                                 ABSENT      with scope IMAGE where it speaks of the image alone
ACCEPT   200, this member, accepted          ACCEPTED
ACCEPT   404                                 ABSENT      it has left, or may not see the image
ACCEPT   any other refusal                   REJECTED    reaching the pair alone: others may accept for themselves
REMOVE   204                                 REMOVED
REMOVE   404                                 ABSENT      which may be about the image: ask
LIST     200 with nothing but members        LISTED
OPEN     200, this image, shared             OPENED
FIND     200 with nothing but images         FOUND       its `next` followed by its path alone: at our endpoint
=======  ==================================  ==========  ==================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkshare.glance.answers import image, json_of, member, path_of_next, request_id
from bulkshare.glance.refusals import (
    LONGEST_RETRY_AFTER_SECONDS,
    NEVER_TRANSIENT,
    STILL_AT_WORK,
    mentions,
    reason_of,
    retry_after_of,
    says_too_fast,
)
from bulkshare.glance.requests import details_path, find_request, images_path, request_for
from bulkshare.model import Fault, FaultKind, Kind, Scope, Step, Verdict
from bulkshare.text import clean

if TYPE_CHECKING:
    from datetime import datetime

    from bulkshare.model import Member, Reply, Response

__all__ = [
    "LONGEST_RETRY_AFTER_SECONDS",
    "details_path",
    "find_request",
    "images_path",
    "interpret",
    "request_for",
]


def interpret(step: Step, image_id: str, member_id: str, reply: Reply, now: datetime) -> Verdict:
    """Say what `reply` to the request of a step means. Never raises. FIND has no IDs, LIST and OPEN no member's.

    `now` (aware) turns a Retry-After that is a date into seconds, where the answer has no Date of its own.
    """
    if isinstance(reply, Fault):
        return _interpret_fault(reply)
    if 200 <= reply.status < 300:
        return _interpret_success(step, image_id, member_id, reply)
    return _interpret_refusal(step, image_id, member_id, reply, now)


def _interpret_fault(fault: Fault) -> Verdict:
    if fault.kind in (FaultKind.TIMEOUT, FaultKind.LOST):
        return Verdict(Kind.LOST, clean(fault.detail), maybe_done=True)
    return Verdict(Kind.TRANSIENT, clean(fault.detail))


def _interpret_success(step: Step, image_id: str, member_id: str, response: Response) -> Verdict:
    seen: dict[str, Any] = {"http_status": response.status, "request_id": request_id(response)}
    if step is Step.REMOVE:
        if response.status == 204:
            return Verdict(Kind.REMOVED, **seen)
        return Verdict(Kind.UNCLEAR, f"{response.status}, and not 204", maybe_done=True, **seen)
    document = None if response.cut or response.status != 200 else json_of(response.body)
    if step is Step.ADD or step is Step.ASK or step is Step.ACCEPT:
        return _interpret_member(step, member_id, member(document, image_id), seen)
    if step is Step.OPEN:
        opened = image(document)
        if opened is not None and (opened.id, opened.visibility) == (image_id, "shared"):
            return Verdict(Kind.OPENED, images=(opened,), **seen)
        return Verdict(Kind.UNCLEAR, f"{response.status}, but the body is not this image, shared", **seen)
    return _interpret_list(step, image_id, document, response, seen)


def _interpret_member(step: Step, member_id: str, found: Member | None, seen: dict[str, Any]) -> Verdict:
    if found is None or found.member_id != member_id:
        reason = f"{seen['http_status']}, but the body is not this member"
        return Verdict(Kind.UNCLEAR, reason, maybe_done=step is not Step.ASK, **seen)
    if step is Step.ACCEPT and found.status != "accepted":
        reason = f"{seen['http_status']}, but the member's status is {found.status}"
        return Verdict(Kind.UNCLEAR, reason, members=(found,), **seen)
    kind = Kind.SHARED if step is Step.ADD else Kind.PRESENT if step is Step.ASK else Kind.ACCEPTED
    return Verdict(kind, members=(found,), **seen)


def _interpret_list(step: Step, image_id: str, document: Any, response: Response, seen: dict[str, Any]) -> Verdict:
    what = "images" if step is Step.FIND else "members"
    items = document.get(what) if isinstance(document, dict) else None
    if not isinstance(items, list):
        problem = "is too long to read" if response.cut else f"is not a list of {what}"
        return Verdict(Kind.UNCLEAR, f"{response.status}, but the body {problem}", **seen)
    if step is Step.LIST:
        members = tuple(found for item in items if (found := member(item, image_id)) is not None)
        if len(members) == len(items):
            return Verdict(Kind.LISTED, members=members, **seen)
        return Verdict(Kind.UNCLEAR, f"{response.status}, but not all in the body are members", **seen)
    images = tuple(shown for item in items if (shown := image(item)) is not None)
    if len(images) != len(items):
        return Verdict(Kind.UNCLEAR, f"{response.status}, but not all in the body are images", **seen)
    following = document.get("next")
    next_path = path_of_next(following)
    if following is not None and next_path is None:
        reason = clean(f"{response.status}, but its next page is elsewhere: {following}")
        return Verdict(Kind.UNCLEAR, reason, **seen)
    return Verdict(Kind.FOUND, images=images, next_path=next_path, **seen)


def _interpret_refusal(step: Step, image_id: str, member_id: str, response: Response, now: datetime) -> Verdict:
    status = response.status
    seen: dict[str, Any] = {
        "reason": reason_of(response),
        "http_status": status,
        "request_id": request_id(response),
    }
    retry_after = retry_after_of(response, now)
    if status == 429 or (status == 503 and retry_after is not None) or says_too_fast(response):
        return Verdict(Kind.THROTTLED, retry_after=retry_after, **seen)
    if status in STILL_AT_WORK:
        return Verdict(Kind.LOST, maybe_done=True, **seen)
    if status >= 500 and status not in NEVER_TRANSIENT:
        return Verdict(Kind.TRANSIENT, retry_after=retry_after, maybe_done=True, **seen)
    if status == 401:  # the identity layer has its say first; what comes through is tried again
        return Verdict(Kind.TRANSIENT, **seen)
    return _interpret_no(step, image_id, member_id, response, seen)


def _interpret_no(step: Step, image_id: str, member_id: str, response: Response, seen: dict[str, Any]) -> Verdict:
    """Say what a definite answer that is no success means."""
    status = response.status
    if step is Step.ADD and status == 409:
        return Verdict(Kind.PRESENT, **seen)
    if step is Step.ADD and status == 413:
        return Verdict(Kind.OVER_QUOTA, scope=Scope.IMAGE, **seen)
    names_member = mentions(response, member_id)
    if status == 404 and (step is Step.ASK or step is Step.REMOVE or step is Step.ACCEPT):
        of_image = mentions(response, image_id) and not names_member and step is not Step.ACCEPT
        return Verdict(Kind.ABSENT, scope=Scope.IMAGE if of_image else Scope.PAIR, **seen)
    # The member is not in the path of a POST, so a refusal is about the image or about us, unless it says otherwise.
    # A 400 speaks of the body, which is the member. Who may accept is another question for each member.
    of_pair = status == 400 or names_member or step is Step.ACCEPT
    return Verdict(Kind.REJECTED, scope=Scope.PAIR if of_pair and step is not Step.OPEN else Scope.IMAGE, **seen)
