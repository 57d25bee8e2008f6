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
not sent because the run was stopped   NOT_SENT
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

import html
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bulkshare.model import Fault, FaultKind, Image, Member, Request, Scope, Step, Verdict, VerdictKind
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.model import Reply, Response


LONGEST = 255  # characters of a name or a property (the width of Glance's columns), and of a time
# A path with its query, as Glance writes it; a proxy may have put a path of its own before it.
NEXT_PAGE = re.compile(r"/(?:[^/?#][^?#]*/)?(v2/images\?[!-~]*)")


def json_of(body: bytes) -> Any:
    """Return what the body says, or None where it is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError; 100,000 open brackets recurse
        return None


def member(document: Any, image_id: str) -> Member | None:
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


def image(document: Any) -> Image | None:
    """Return the image that `document` describes, or None where it is something else."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    texts = {_shown(name): _shown(value) for name, value in document.items() if isinstance(value, str)}
    tags = document.get("tags")
    return Image(
        document["id"],
        name=texts.get("name"),
        status=texts.get("status"),
        visibility=texts.get("visibility"),
        owner=texts.get("owner"),
        created_at=_time(document.get("created_at")),
        tags=frozenset(_shown(tag) for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else frozenset(),
        properties=texts,
    )


def path_of_next(following: Any) -> str | None:
    """Return the path of the page that follows, below our endpoint; None where there is none or it is elsewhere."""
    found = NEXT_PAGE.fullmatch(following) if isinstance(following, str) else None
    return None if found is None or "#" in following else f"/{found[1]}"


def request_id(response: Response) -> str | None:
    """Return the ID under which the cloud's logs have the request."""
    value = response.headers.get("x-openstack-request-id") or response.headers.get("x-request-id")
    return clean(value, 64) if value else None


def _text(value: Any) -> str | None:
    return clean(value, LONGEST) if isinstance(value, str) else None


def _shown(value: str) -> str:
    """Return a text that is to be compared as it is, but shown as well."""
    return value if len(value) <= LONGEST and value.isprintable() else clean(value, LONGEST)


def _time(value: Any) -> datetime | None:
    """Parse an API time; one without a zone is UTC, as the API's documentation says."""
    return _parsed(value) if isinstance(value, str) and len(value) <= LONGEST else None


# They are of whole seconds, in which many members are made; the ledger, too, is quicker with one object for them.
@lru_cache(1024)
def _parsed(value: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


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


LIST_BOUND = 64 << 20  # bytes; a member takes about 210, so that is 300,000 members of one image
ACCEPTED = b'{"status": "accepted"}'
SHARED = b'[{"op": "replace", "path": "/visibility", "value": "shared"}]'
PATCH_TYPE = "application/openstack-images-v2.1-json-patch"


def request_for(step: Step, image_id: str, member_id: str = "", *, as_member: bool = False) -> Request:
    """Return the request of a step; FIND has one of its own. With `as_member` it is made in the member project."""
    members = _members_path(image_id)
    if step is Step.ADD:
        return Request("POST", members, f'{{"member": {json.dumps(member_id)}}}'.encode())
    if step is Step.LIST:
        return Request("GET", members, body_bound=LIST_BOUND)
    if step is Step.SET_SHARED:
        return Request("PATCH", f"/v2/images/{quote(image_id, safe='')}", SHARED, content_type=PATCH_TYPE)
    member = f"{members}/{quote(member_id, safe='')}"
    if step is Step.GET_MEMBER:
        return Request("GET", member)
    if step is Step.ACCEPT:
        return Request("PUT", member, ACCEPTED, project=member_id if as_member else None)
    if step is Step.REMOVE:
        return Request("DELETE", member)
    raise ValueError(f"{step} takes no image")


@lru_cache(1024)  # images at work at a time
def _members_path(image_id: str) -> str:
    return f"/v2/images/{quote(image_id, safe='')}/members"


def find_request(path: str) -> Request:
    """Return the request for a page of images: `path` is from `images_path`, `details_path` or the page before."""
    return Request("GET", path, body_bound=LIST_BOUND)


def images_path(query: Sequence[tuple[str, str]]) -> str:
    """Return the path that lists images by these filters; a name may be repeated."""
    return f"/v2/images?{urlencode(query, quote_via=quote)}" if query else "/v2/images"


def details_path(image_ids: Sequence[str], *, hidden: bool = False) -> str:
    """Return the path that tells what these images are; those that are hidden come only where they are asked for.

    Glance reads the IDs as a list with commas and double quotes: give it none that has one of them.
    """
    query = [("id", f"in:{','.join(image_ids)}"), ("limit", str(len(image_ids)))]
    return images_path([*query, ("os_hidden", "true")] if hidden else query)


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
        return Verdict(VerdictKind.LOST, clean(fault.detail), maybe_done=True)
    if fault.kind is FaultKind.STOPPED:
        return Verdict(VerdictKind.NOT_SENT, clean(fault.detail))
    return Verdict(VerdictKind.TRANSIENT, clean(fault.detail))


def _interpret_success(step: Step, image_id: str, member_id: str, response: Response) -> Verdict:
    seen: dict[str, Any] = {"http_status": response.status, "request_id": request_id(response)}
    if step is Step.REMOVE:
        if response.status == 204:
            return Verdict(VerdictKind.REMOVED, **seen)
        return Verdict(VerdictKind.UNCLEAR, f"{response.status}, and not 204", maybe_done=True, **seen)
    document = None if response.cut or response.status != 200 else json_of(response.body)
    if step is Step.ADD or step is Step.GET_MEMBER or step is Step.ACCEPT:
        return _interpret_member(step, member_id, member(document, image_id), seen)
    if step is Step.SET_SHARED:
        opened = image(document)
        if opened is not None and (opened.id, opened.visibility) == (image_id, "shared"):
            return Verdict(VerdictKind.SET_SHARED, images=(opened,), **seen)
        return Verdict(VerdictKind.UNCLEAR, f"{response.status}, but the body is not this image, shared", **seen)
    return _interpret_list(step, image_id, document, response, seen)


def _interpret_member(step: Step, member_id: str, found: Member | None, seen: dict[str, Any]) -> Verdict:
    if found is None or found.member_id != member_id:
        reason = f"{seen['http_status']}, but the body is not this member"
        return Verdict(VerdictKind.UNCLEAR, reason, maybe_done=step is not Step.GET_MEMBER, **seen)
    if step is Step.ACCEPT and found.status != "accepted":
        reason = f"{seen['http_status']}, but the member's status is {found.status}"
        return Verdict(VerdictKind.UNCLEAR, reason, members=(found,), **seen)
    kind = (
        VerdictKind.SHARED
        if step is Step.ADD
        else VerdictKind.PRESENT
        if step is Step.GET_MEMBER
        else VerdictKind.ACCEPTED
    )
    return Verdict(kind, members=(found,), **seen)


def _interpret_list(step: Step, image_id: str, document: Any, response: Response, seen: dict[str, Any]) -> Verdict:
    what = "images" if step is Step.FIND else "members"
    items = document.get(what) if isinstance(document, dict) else None
    if not isinstance(items, list):
        problem = "is too long to read" if response.cut else f"is not a list of {what}"
        return Verdict(VerdictKind.UNCLEAR, f"{response.status}, but the body {problem}", **seen)
    if step is Step.LIST:
        members = tuple(found for item in items if (found := member(item, image_id)) is not None)
        if len(members) == len(items):
            return Verdict(VerdictKind.LISTED, members=members, **seen)
        return Verdict(VerdictKind.UNCLEAR, f"{response.status}, but not all in the body are members", **seen)
    images = tuple(shown for item in items if (shown := image(item)) is not None)
    if len(images) != len(items):
        return Verdict(VerdictKind.UNCLEAR, f"{response.status}, but not all in the body are images", **seen)
    following = document.get("next")
    next_path = path_of_next(following)
    if following is not None and next_path is None:
        reason = clean(f"{response.status}, but its next page is elsewhere: {following}")
        return Verdict(VerdictKind.UNCLEAR, reason, **seen)
    return Verdict(VerdictKind.FOUND, images=images, next_path=next_path, **seen)


def _interpret_refusal(step: Step, image_id: str, member_id: str, response: Response, now: datetime) -> Verdict:
    status = response.status
    seen: dict[str, Any] = {
        "reason": reason_of(response),
        "http_status": status,
        "request_id": request_id(response),
    }
    retry_after = retry_after_of(response, now)
    if status == 429 or (status == 503 and retry_after is not None) or says_too_fast(response):
        return Verdict(VerdictKind.THROTTLED, retry_after=retry_after, **seen)
    if status in STILL_AT_WORK:
        return Verdict(VerdictKind.LOST, maybe_done=True, **seen)
    if status >= 500 and status not in NEVER_TRANSIENT:
        return Verdict(VerdictKind.TRANSIENT, retry_after=retry_after, maybe_done=True, **seen)
    if status == 401:  # the identity layer has its say first; what comes through is tried again
        return Verdict(VerdictKind.TRANSIENT, **seen)
    return _interpret_no(step, image_id, member_id, response, seen)


def _interpret_no(step: Step, image_id: str, member_id: str, response: Response, seen: dict[str, Any]) -> Verdict:
    """Say what a definite answer that is no success means."""
    status = response.status
    if step is Step.ADD and status == 409:
        return Verdict(VerdictKind.PRESENT, **seen)
    if step is Step.ADD and status == 413:
        return Verdict(VerdictKind.OVER_QUOTA, scope=Scope.IMAGE, **seen)
    names_member = mentions(response, member_id)
    if status == 404 and (step is Step.GET_MEMBER or step is Step.REMOVE or step is Step.ACCEPT):
        of_image = mentions(response, image_id) and not names_member and step is not Step.ACCEPT
        return Verdict(VerdictKind.ABSENT, scope=Scope.IMAGE if of_image else Scope.PAIR, **seen)
    # The member is not in the path of a POST, so a refusal is about the image or about us, unless it says otherwise.
    # A 400 speaks of the body, which is the member. Who may accept is another question for each member.
    of_pair = status == 400 or names_member or step is Step.ACCEPT
    return Verdict(
        VerdictKind.REJECTED, scope=Scope.PAIR if of_pair and step is not Step.SET_SHARED else Scope.IMAGE, **seen
    )
