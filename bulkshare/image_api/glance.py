"""The Image API v2 as data: which request asks for what, how answers are read, and what they mean. Pure.

Covers Glance, Huawei Cloud IMS and Open Telekom Cloud. `interpret` is total: any status with any body has a verdict.

Whatever was asked for, an answer means:

=====================================  ==========  =======================================================
answer                                 verdict     because
=====================================  ==========  =======================================================
2xx without what was asked for         UNCLEAR     a proxy's page or a truncated body: not believed
3xx                                    REJECTED    following it would hand the token to another server
429                                    THROTTLED
400, 413, 503 with Retry-After         THROTTLED   "too fast"; a quota's 413 has no Retry-After
400, 403, 404 with a code of `codes`   as there    Huawei Cloud says nearly everything with 400
408, 502, 504, time-out, cut off       LOST        the server, or one behind it, may still be working on it
500, 503, other 5xx                    TRANSIENT   except 501 and 505, which will not change
never left: no connection              TRANSIENT
never left: the run was stopped        NOT_SENT
anything else                          REJECTED    for the whole image, unless it names the member
=====================================  ==========  =======================================================

And depending on what was asked for:

==========  ==================================  ==========  ==================================================
step        answer                              verdict     because
==========  ==================================  ==========  ==================================================
ADD         200 naming this member              SHARED
ADD         409                                 PRESENT     it was a member already
ADD         413                                 OVER_QUOTA  Glance checks the quota before duplicates: ask
GET_MEMBER  200 naming this member              PRESENT
GET_MEMBER  404                                 ABSENT      scope IMAGE if it speaks of the image alone
ACCEPT      200, this member, accepted          ACCEPTED
ACCEPT      404                                 ABSENT      it has left, or may not see the image
ACCEPT      any other refusal                   REJECTED    for the pair alone: others may accept for themselves
DECLINE     200, this member, rejected          DECLINED    refusals are as for ACCEPT
RESET       200, this member, pending           RESET       likewise
REMOVE      204                                 REMOVED
REMOVE      404                                 ABSENT      which may be about the image: ask
LIST        200 with nothing but members        LISTED      a service may list them in pages
SET_SHARED  200, this image, shared             SET_SHARED
FIND        200 with nothing but images         FOUND       of `next` only the query is used, at our endpoint
==========  ==================================  ==========  ==================================================
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bulkshare.image_api.codes import BODY_READ, CODES, Culprit, code_in
from bulkshare.model import Fault, FaultKind, Image, Member, Request, Scope, Step, Verdict, VerdictKind
from bulkshare.model.retry import PERMANENT_STATUSES
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bulkshare.image_api.codes import Code
    from bulkshare.model import Reply, Response

    _Fields = tuple[str | None, datetime | None, datetime | None, str | None]


# Requests

IMAGES_PATH = "/v2/images"
LIST_BOUND = 64 << 20  # bytes; a member takes about 210, so that is 300,000 members of one image
ACCEPTED = b'{"status": "accepted"}'
DECLINED = b'{"status": "rejected"}'
PENDING = b'{"status": "pending"}'
# The steps that set a member's status: to what, and what it means if the answer shows it.
ANSWERS = {
    Step.ACCEPT: ("accepted", VerdictKind.ACCEPTED),
    Step.DECLINE: ("rejected", VerdictKind.DECLINED),
    Step.RESET: ("pending", VerdictKind.RESET),
}
LISTS = frozenset({Step.LIST, Step.FIND})
_quoted = json.JSONEncoder().encode  # as `json.dumps`, which decides anew each time that it needs no other encoder
_ADD, _PRESENT = Step.ADD, VerdictKind.PRESENT  # on Python 3.11, looking up a member of an enum takes a while
SHARED = b'[{"op": "replace", "path": "/visibility", "value": "shared"}]'
PATCH_TYPE = "application/openstack-images-v2.1-json-patch"


def request_for(
    step: Step, image_id: str, member_id: str = "", *, as_member: bool = False, page: str | None = None
) -> Request:
    """Return the request of a step other than FIND.

    as_member: make it in the member project.
    page: the path of a further page of LIST, from the verdict on the page before.
    """
    members = _members_path(image_id)
    if step is _ADD:
        return Request("POST", members, f'{{"member": {_quoted(member_id)}}}'.encode())
    if step is Step.LIST:
        return Request("GET", page or members, body_bound=LIST_BOUND)
    if step is Step.SET_SHARED:
        return Request("PATCH", f"/v2/images/{quote(image_id, safe='')}", SHARED, content_type=PATCH_TYPE)
    member = f"{members}/{quote(member_id, safe='')}"
    if step is Step.GET_MEMBER:
        return Request("GET", member)
    if step is Step.ACCEPT:
        return Request("PUT", member, ACCEPTED, project=member_id if as_member else None)
    if step is Step.DECLINE:
        return Request("PUT", member, DECLINED)
    if step is Step.RESET:
        return Request("PUT", member, PENDING, project=member_id if as_member else None)
    if step is Step.REMOVE:
        return Request("DELETE", member)
    raise ValueError(f"{step} takes no image")


@lru_cache(1024)  # more than the images in progress at any time
def _members_path(image_id: str) -> str:
    return f"/v2/images/{quote(image_id, safe='')}/members"


def find_request(path: str) -> Request:
    """Return the request for a page of images; `path` is from `images_path`, `details_path` or the page before."""
    return Request("GET", path, body_bound=LIST_BOUND)


def images_path(query: Sequence[tuple[str, str]]) -> str:
    """Return the path that lists images by these filters; a name may be repeated."""
    return f"{IMAGES_PATH}?{urlencode(query, quote_via=quote)}" if query else IMAGES_PATH


class ListedApart(Enum):
    """Images that a list contains only if they are asked for, with the query that does."""

    HIDDEN = "os_hidden", "true"
    COMMUNITY = "visibility", "community"  # of other projects


def details_query(image_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the query that finds these images, except those that are listed apart; their page is not full.

    A full page has a link to the next one. Glance reads the IDs as a list with commas and double quotes: pass none that
    contains either.
    """
    return [("id", f"in:{','.join(image_ids)}"), ("limit", str(len(image_ids) + 1))]


def details_path(image_ids: Sequence[str], *, only: ListedApart | None = None) -> str:
    """Return the path for `details_query`, or only for the images that are listed apart from the others."""
    query = details_query(image_ids)
    return images_path(query if only is None else [*query, only.value])


# Verdicts

MAXIMUM = re.compile(rb"\bMaximum: (\d{1,9})\b")  # in Glance's 413
# Request time-out, and a gateway that lost the server behind it, or got no answer from it.
LOST_STATUSES = frozenset({408, 502, 504})
PERHAPS_THROTTLING = frozenset({400, 413, 503})  # with Retry-After
CODED = frozenset({400, 403, 404})  # a code says more than these; other statuses speak for themselves
LONGEST_RETRY_AFTER_SECONDS = 600.0  # a server that says "tomorrow" is asked again after ten minutes
SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)


def interpret(step: Step, image_id: str, member_id: str, reply: Reply, now: datetime) -> Verdict:
    """Return what `reply` to the request of a step means. Never raises.

    FIND needs no IDs, LIST and SET_SHARED no member's. `now` (aware) turns a Retry-After that is a date into seconds
    if the answer has no Date of its own.
    """
    if isinstance(reply, Fault):
        return _interpret_fault(reply)
    if not 200 <= reply.status < 300:
        return _interpret_refusal(step, image_id, member_id, reply, now)
    if step is Step.REMOVE:
        return _interpret_removal(reply)
    document = None if reply.cut or reply.status != 200 else parse_json(reply.body)
    if step in LISTS:
        return _interpret_list(step, image_id, document, reply)
    if step is Step.SET_SHARED:
        return _interpret_visibility(image_id, document, reply)
    return _interpret_member(step, image_id, member_id, document, reply)


def is_foreign(image_id: str, response: Response) -> bool:
    """Return whether an answer can't come from an image service: a redirect, a page, or a 404 on the API itself.

    Any single answer may be foreign, a proxy's for example. If all are, the endpoint is wrong. `image_id` is "" for a
    request that names no image.
    """
    if 300 <= response.status < 400:
        return True
    if response.status == 404:
        return not _mentions(response, image_id)
    return 200 <= response.status < 300 and response.status != 204 and not isinstance(parse_json(response.body), dict)


def _interpret_fault(fault: Fault) -> Verdict:
    if fault.kind in (FaultKind.TIMEOUT, FaultKind.LOST):
        return Verdict(VerdictKind.LOST, clean(fault.detail), maybe_done=True)
    if fault.kind is FaultKind.STOPPED:
        return Verdict(VerdictKind.NOT_SENT, clean(fault.detail))
    return Verdict(VerdictKind.TRANSIENT, clean(fault.detail))


def _interpret_member(step: Step, image_id: str, member_id: str, document: Any, response: Response) -> Verdict:
    origin = _origin(response)
    member = parse_member(document, image_id)
    if member is None or member.member_id != member_id:
        reason = f"{response.status}, but the body is not this member"
        return Verdict(VerdictKind.UNCLEAR, reason, maybe_done=step is not Step.GET_MEMBER, **origin)
    if step is _ADD:
        return Verdict(VerdictKind.SHARED, members=(member,), **origin)
    if step is Step.GET_MEMBER:
        return Verdict(VerdictKind.PRESENT, members=(member,), **origin)
    wanted, kind = ANSWERS[step]
    if member.status != wanted:
        reason = f"{response.status}, but the member's status is {member.status}"
        return Verdict(VerdictKind.UNCLEAR, reason, members=(member,), **origin)
    return Verdict(kind, members=(member,), **origin)


def _interpret_removal(response: Response) -> Verdict:
    if response.status == 204:
        return Verdict(VerdictKind.REMOVED, **_origin(response))
    return Verdict(VerdictKind.UNCLEAR, f"{response.status}, and not 204", maybe_done=True, **_origin(response))


def _interpret_visibility(image_id: str, document: Any, response: Response) -> Verdict:
    image = parse_image(document)
    if image is not None and (image.id, image.visibility) == (image_id, "shared"):
        return Verdict(VerdictKind.SET_SHARED, images=(image,), **_origin(response))
    reason = f"{response.status}, but the body is not this image, shared"
    return Verdict(VerdictKind.UNCLEAR, reason, **_origin(response))


def _interpret_list(step: Step, image_id: str, document: Any, response: Response) -> Verdict:
    origin = _origin(response)
    key = "images" if step is Step.FIND else "members"
    items = document.get(key) if isinstance(document, dict) else None
    if not isinstance(items, list):
        problem = "is too long to read" if response.cut else f"is not a list of {key}"
        return Verdict(VerdictKind.UNCLEAR, f"{response.status}, but the body {problem}", **origin)
    members: Sequence[Member] | None = ()
    images: Sequence[Image] = ()
    if step is Step.LIST:
        items = [item for item in items if not (isinstance(item, dict) and item.get("member_type") in NO_PROJECTS)]
        members = parse_members(items, image_id)
    else:
        images = [image for item in items if (image := parse_image(item)) is not None]
    if members is None or len(members) + len(images) != len(items):
        return Verdict(VerdictKind.UNCLEAR, f"{response.status}, but not all in the body are {key}", **origin)
    query = _next_query(document)
    if query is None:
        reason = clean(f"{response.status}, but its link to the next page can't be used: {document.get('next')}")
        return Verdict(VerdictKind.UNCLEAR, reason, **origin)
    base = _members_path(image_id) if step is Step.LIST else IMAGES_PATH
    kind = VerdictKind.LISTED if step is Step.LIST else VerdictKind.FOUND
    next_path = f"{base}?{query}" if query else None
    return Verdict(kind, members=tuple(members), images=tuple(images), next_path=next_path, **origin)


def _interpret_refusal(step: Step, image_id: str, member_id: str, response: Response, now: datetime) -> Verdict:
    status = response.status
    if status == 409 and step is _ADD:
        return Verdict(_PRESENT, _reason_of(response), **_origin(response))
    origin = {"reason": _reason_of(response), **_origin(response)}
    retry_after = _retry_after_of(response, now)
    code = CODES.get(code_in(response.body)) if status in CODED else None
    paced = code is not None and code.culprit is Culprit.PACE
    if status == 429 or (status in PERHAPS_THROTTLING and retry_after is not None) or paced:
        return Verdict(VerdictKind.THROTTLED, retry_after=retry_after, **origin)
    if code is not None:
        return _interpret_code(step, code, origin)
    if status in LOST_STATUSES:
        return Verdict(VerdictKind.LOST, maybe_done=True, **origin)
    if status >= 500 and status not in PERMANENT_STATUSES:
        return Verdict(VerdictKind.TRANSIENT, retry_after=retry_after, maybe_done=True, **origin)
    if status == 401:  # the identity layer has renewed the token before; retry what gets through
        return Verdict(VerdictKind.TRANSIENT, **origin)
    return _interpret_no(step, image_id, member_id, response, origin)


def _interpret_no(step: Step, image_id: str, member_id: str, response: Response, origin: dict[str, Any]) -> Verdict:
    """Interpret a definite answer that is not a success."""
    status = response.status
    if step is _ADD and status == 413:
        origin = {**origin, "reason": _full(response, origin["reason"])}
        return Verdict(VerdictKind.OVER_QUOTA, scope=Scope.IMAGE, **origin)
    names_member = _mentions(response, member_id)
    if status == 404 and (step is Step.GET_MEMBER or step is Step.REMOVE or step in ANSWERS):
        of_image = _mentions(response, image_id) and not names_member and step not in ANSWERS
        return Verdict(VerdictKind.ABSENT, scope=Scope.IMAGE if of_image else Scope.PAIR, **origin)
    # A POST has no member in its path, so a refusal is about the image or about us, unless it says otherwise. A 400 is
    # about the body, which is the member. Whether acceptance is allowed differs from member to member.
    of_pair = status == 400 or names_member or step in ANSWERS
    return Verdict(
        VerdictKind.REJECTED, scope=Scope.PAIR if of_pair and step is not Step.SET_SHARED else Scope.IMAGE, **origin
    )


SETTLED_BY = {
    Culprit.IMAGE: Scope.IMAGE,
    Culprit.PROJECT: Scope.PAIR,
    Culprit.ACCEPTANCE: Scope.PAIR,
    Culprit.API: Scope.IMAGE,
    Culprit.ACCOUNT: Scope.RUN,
}


def _interpret_code(step: Step, code: Code, origin: dict[str, Any]) -> Verdict:
    """Interpret a refusal by its code."""
    if code.advice:
        origin = {**origin, "reason": clean(f"{origin['reason'].rstrip('. ')}; {code.advice}")}
    if code.culprit is Culprit.SERVICE:
        return Verdict(VerdictKind.TRANSIENT, maybe_done=True, **origin)
    if code.culprit is Culprit.QUOTA:
        kind = VerdictKind.OVER_QUOTA if step is Step.ADD else VerdictKind.REJECTED
        return Verdict(kind, scope=Scope.IMAGE, **origin)
    return Verdict(VerdictKind.REJECTED, scope=SETTLED_BY[code.culprit], **origin)


def _full(response: Response, reason: str) -> str:
    """Return why an image takes no more members: the cloud's limit if the answer says it, else the answer's words.

    Not Glance's own words, "Attempted: 129, Maximum: 128": of requests at the same time each has another number.
    """
    maximum = MAXIMUM.search(response.body[:BODY_READ])
    if maximum is None:
        return reason
    return f"{response.status}: image member limit exceeded; the cloud's limit is {int(maximum[1]):,} members per image"


def _mentions(response: Response, text: str) -> bool:
    """Whether the body contains the text (an ID)."""
    return text != "" and text.encode("utf-8", "replace") in response.body[:BODY_READ]


def _retry_after_of(response: Response, now: datetime) -> float | None:
    """Return Retry-After in seconds, bounded; None without one.

    RFC 9110, 10.2.3 has a whole number or a date; some gateways send a fraction.
    """
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        then, here = _http_date(value), _http_date(response.headers.get("date", "")) or now
        if then is None:
            return None
        seconds = (then - here).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


# Answers

NO_PROJECTS = frozenset({"domain", "organization"})  # other kinds of members that Huawei Cloud has
LONGEST = 255  # characters of a name or a property (the width of Glance's columns), and of a time
QUERY = re.compile(r"[!-~]+")
LONG_JSON = 262_144  # bytes, which take a millisecond or two to parse
TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def parse_json(body: bytes) -> Any:
    """Return the body's JSON value, or None if it is not JSON."""
    try:
        # With a hook in Python, however little it does, the parser gives way to other threads between two objects.
        return json.loads(body, object_hook=_unchanged if len(body) >= LONG_JSON else None)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError; 100,000 open brackets recurse
        return None


def _unchanged(document: dict[str, Any]) -> dict[str, Any]:
    return document


def parse_member(document: Any, image_id: str) -> Member | None:
    """Return the member of this image that `document` describes, or None if it is something else."""
    members = parse_members([document], image_id)
    return members[0] if members else None


def parse_members(documents: Iterable[Any], image_id: str) -> list[Member] | None:
    """Return the members of this image that documents describe, or None if one of them is something else."""
    members: list[Member] = []
    alike: dict[tuple[Any, ...], _Fields] = {}  # what many members share, parsed once
    for document in documents:
        if not isinstance(document, dict):
            return None
        get = document.get
        member_id = get("member_id")
        if not isinstance(member_id, str) or get("image_id") != image_id:
            return None
        texts = get("status"), get("created_at"), get("updated_at"), get("schema")
        try:
            fields = alike[texts]
        except KeyError:
            fields = alike[texts] = _fields(*texts)
        except TypeError:  # a list or an object in the place of a text has no hash
            fields = _fields(*texts)
        members.append(Member(image_id, member_id, *fields))
    return members


def _fields(status: Any, created_at: Any, updated_at: Any, schema: Any) -> _Fields:
    return _text(status), _time(created_at), _time(updated_at), _text(schema)


def parse_image(document: Any) -> Image | None:
    """Return the image that `document` describes, or None if it is something else."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    texts = {_printable(name): _printable(value) for name, value in document.items() if isinstance(value, str)}
    tags = document.get("tags")
    tags = [_printable(tag) for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    return Image(
        document["id"],
        name=texts.get("name"),
        status=texts.get("status"),
        visibility=texts.get("visibility"),
        owner=texts.get("owner"),
        created_at=_time(document.get("created_at")),
        tags=frozenset(tags),
        properties=texts,
    )


def _next_query(document: dict[str, Any]) -> str | None:
    """Return the query of the next page; "" if this was the last, None for a link that can't be used.

    Glance has a link, of which only the query counts: proxies rewrite or forget the rest, and the token must go nowhere
    else. Huawei Cloud has a marker for a list of members.
    """
    info = document.get("page_info")
    marker = info.get("next_marker") if isinstance(info, dict) else None
    following = document.get("next")
    if isinstance(marker, str) and marker and not following:
        return urlencode({"marker": marker}, quote_via=quote)
    if following is None or following == "":
        return ""
    query = following.partition("#")[0].partition("?")[2] if isinstance(following, str) else ""
    return query if QUERY.fullmatch(query) else None


def _origin(response: Response) -> dict[str, Any]:
    """Return the status, and the ID under which the cloud's logs have the request."""
    request_id = response.headers.get("x-openstack-request-id") or response.headers.get("x-request-id")
    return {"http_status": response.status, "request_id": clean(request_id, 64) if request_id else None}


def _text(value: Any) -> str | None:
    return clean(value, LONGEST) if isinstance(value, str) else None


def _printable(value: str) -> str:
    """Return a text that is compared with others unchanged if it can be shown as it is, cleaned otherwise."""
    return value if len(value) <= LONGEST and value.isprintable() else clean(value, LONGEST)


def _time(value: Any) -> datetime | None:
    """Parse an API time; one without a zone is UTC, as the API's documentation says."""
    return _parse_time(value) if isinstance(value, str) and len(value) <= LONGEST else None


@lru_cache(1024)  # API times are whole seconds, so many members share one; the ledger, too, is faster with one object
def _parse_time(value: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _reason_of(response: Response) -> str:
    """Return "status: what the body says" as one clean line."""
    if 300 <= response.status < 400:
        target = response.headers.get("location", "elsewhere")
        return clean(f"{response.status}: redirected to {target}; redirects are not followed")
    return _reason(response.status, response.body[:BODY_READ])


@lru_cache(128)  # many pairs get the same refusal
def _reason(status: int, body: bytes) -> str:
    message = _message_of(body)
    return clean(f"{status}: {message}" if message else str(status))


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def _message_of(body: bytes) -> str:
    document = parse_json(body)
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
