"""What an answer means: the table of verdicts, with bodies that real services send."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.image_api.glance import LONGEST_RETRY_AFTER_SECONDS, interpret, is_foreign, request_for
from bulkshare.model import Fault, FaultKind, Reply, Response, Scope, Step, Verdict, VerdictKind

IMAGE, MEMBER = "d164b5df-1bc3-4c3f-893e-3e471fd16e64", "edc89b490d7d4392898e19b2deb34797"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOCUMENT = {
    "image_id": IMAGE,
    "member_id": MEMBER,
    "status": "pending",
    "created_at": "2026-01-02T03:04:05Z",
    "updated_at": "2026-01-02T03:04:06Z",
    "schema": "/v2/schemas/member",
}


def answer(status: int, body: Any = b"", **headers: str) -> Response:
    """Return a response with a JSON or raw body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, {key.replace("_", "-"): value for key, value in headers.items()}, raw)


def meaning(reply: Reply, step: Step = Step.ADD) -> Verdict:
    """Interpret a reply for the pair of these tests."""
    return interpret(step, IMAGE, MEMBER, reply, NOW)


@pytest.mark.parametrize(
    ("step", "image_id", "member_id", "method", "path", "body"),
    [
        (Step.ADD, "a b/c", 'm"', "POST", "/v2/images/a%20b%2Fc/members", b'{"member": "m\\""}'),
        (Step.GET_MEMBER, "i", "m/..", "GET", "/v2/images/i/members/m%2F..", None),
        (Step.LIST, "i", "", "GET", "/v2/images/i/members", None),
        (Step.ACCEPT, "i", "m/..", "PUT", "/v2/images/i/members/m%2F..", b'{"status": "accepted"}'),
        (Step.DECLINE, "i", "m", "PUT", "/v2/images/i/members/m", b'{"status": "rejected"}'),
        (Step.RESET, "i", "m", "PUT", "/v2/images/i/members/m", b'{"status": "pending"}'),
        (Step.REMOVE, "i", "m?", "DELETE", "/v2/images/i/members/m%3F", None),
        (
            Step.SET_SHARED,
            "i/../j",
            "",
            "PATCH",
            "/v2/images/i%2F..%2Fj",
            b'[{"op": "replace", "path": "/visibility", "value": "shared"}]',
        ),
    ],
)
def test_requests(step: Step, image_id: str, member_id: str, method: str, path: str, body: bytes | None) -> None:
    """The requests about an image have quoted IDs in their paths."""
    request = request_for(step, image_id, member_id)
    assert (request.method, request.path, request.body) == (method, path, body)
    assert request.project is None
    assert request.content_type.endswith("json-patch") == (method == "PATCH")


def test_a_membership_is_accepted_in_the_member_project() -> None:
    """Only the PUT, and only if asked for, is sent in another project."""
    assert request_for(Step.ACCEPT, IMAGE, MEMBER, as_member=True).project == MEMBER
    assert request_for(Step.RESET, IMAGE, MEMBER, as_member=True).project == MEMBER
    assert request_for(Step.ADD, IMAGE, MEMBER, as_member=True).project is None


def test_finding_takes_a_path() -> None:
    """Its request is for a path."""
    with pytest.raises(ValueError, match="image"):
        request_for(Step.FIND, "")


def test_shared() -> None:
    """A 200 with this member's document is believed, and all its fields are kept."""
    verdict = meaning(answer(200, DOCUMENT, x_openstack_request_id="req-1"))
    assert (verdict.kind, verdict.http_status, verdict.request_id) == (VerdictKind.SHARED, 200, "req-1")
    (member,) = verdict.members
    assert (member.status, member.schema) == ("pending", "/v2/schemas/member")
    assert member.created_at == NOW


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"<html>welcome to the proxy</html>"),
        answer(200, b""),
        answer(200, b'{"member_id": "edc8'),
        answer(200, {**DOCUMENT, "member_id": "somebody else"}),
        answer(200, {**DOCUMENT, "image_id": "another image"}),
        answer(200, [DOCUMENT]),
        answer(200, DOCUMENT)._replace(cut=True),
        answer(200, b"[" * 100_000),
        answer(200, b"\xff\xfe"),
        answer(202, DOCUMENT),
        answer(204),
    ],
)
def test_a_success_without_the_member_is_not_believed(reply: Response) -> None:
    """Only a GET can show what such an answer means."""
    verdict = meaning(reply)
    assert (verdict.kind, verdict.maybe_done) == (VerdictKind.UNCLEAR, True)


@pytest.mark.parametrize(
    ("reply", "kind", "scope", "maybe_done"),
    [
        (answer(409), VerdictKind.PRESENT, Scope.PAIR, False),
        (answer(413), VerdictKind.OVER_QUOTA, Scope.IMAGE, False),
        (answer(400), VerdictKind.REJECTED, Scope.PAIR, False),
        (answer(400, {"error": {"code": "IMG.0060", "message": "busy"}}), VerdictKind.THROTTLED, Scope.PAIR, False),
        (answer(400, {"error_code": "APIG.0308", "error_msg": "limit"}), VerdictKind.THROTTLED, Scope.PAIR, False),
        (answer(400, {"error_code": "APIGW.0308", "error_msg": "limit"}), VerdictKind.THROTTLED, Scope.PAIR, False),
        (answer(403), VerdictKind.REJECTED, Scope.IMAGE, False),
        (answer(404, b"<h1>404 Not Found</h1>"), VerdictKind.REJECTED, Scope.IMAGE, False),
        (answer(404, {"message": f"Project {MEMBER} not found"}), VerdictKind.REJECTED, Scope.PAIR, False),
        (answer(405), VerdictKind.REJECTED, Scope.IMAGE, False),
        (answer(301, location="https://evil.example/"), VerdictKind.REJECTED, Scope.IMAGE, False),
        (answer(408), VerdictKind.LOST, Scope.PAIR, True),
        (answer(429), VerdictKind.THROTTLED, Scope.PAIR, False),
        (answer(503, retry_after="3"), VerdictKind.THROTTLED, Scope.PAIR, False),
        (answer(503), VerdictKind.TRANSIENT, Scope.PAIR, True),
        (answer(500), VerdictKind.TRANSIENT, Scope.PAIR, True),
        (answer(502, b"<html><body>Bad Gateway"), VerdictKind.LOST, Scope.PAIR, True),
        (answer(504), VerdictKind.LOST, Scope.PAIR, True),
        (answer(501), VerdictKind.REJECTED, Scope.IMAGE, False),
        (Fault(FaultKind.UNSENT, "refused"), VerdictKind.TRANSIENT, Scope.PAIR, False),
        (Fault(FaultKind.STOPPED, "stopped"), VerdictKind.NOT_SENT, Scope.PAIR, False),
        (Fault(FaultKind.TIMEOUT, "60 s"), VerdictKind.LOST, Scope.PAIR, True),
        (Fault(FaultKind.LOST, "reset"), VerdictKind.LOST, Scope.PAIR, True),
    ],
)
def test_refusals_of_an_add(reply: Reply, kind: VerdictKind, scope: Scope, maybe_done: bool) -> None:  # noqa: FBT001  a table
    """The table of answers to a POST."""
    verdict = meaning(reply)
    assert (verdict.kind, verdict.scope, verdict.maybe_done) == (kind, scope, maybe_done)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(200, DOCUMENT), VerdictKind.PRESENT),
        (answer(404), VerdictKind.ABSENT),
        (answer(200, b"<html>"), VerdictKind.UNCLEAR),
        (answer(403), VerdictKind.REJECTED),
        (answer(500), VerdictKind.TRANSIENT),
        (answer(409), VerdictKind.REJECTED),
        (answer(413), VerdictKind.REJECTED),
    ],
)
def test_answers_to_a_get(reply: Reply, kind: VerdictKind) -> None:
    """The table of answers to a GET of one member."""
    assert meaning(reply, Step.GET_MEMBER).kind is kind


@pytest.mark.parametrize(
    ("reply", "kind", "members"),
    [
        (answer(200, {"members": [DOCUMENT]}), VerdictKind.LISTED, 1),
        (answer(200, {"members": []}), VerdictKind.LISTED, 0),
        (answer(200, {"members": [{**DOCUMENT, "member_type": "project"}]}), VerdictKind.LISTED, 1),
        # Huawei Cloud shares images with accounts and organizations, too: no projects, and not ours to remove.
        (answer(200, {"members": [DOCUMENT, {**DOCUMENT, "member_type": "domain"}]}), VerdictKind.LISTED, 1),
        (answer(200, {"members": [{"member_type": "organization", "urn": "u"}]}), VerdictKind.LISTED, 0),
        (answer(200, {"members": [DOCUMENT, {"member_id": 3}]}), VerdictKind.UNCLEAR, 0),
        (answer(200, {"members": [DOCUMENT]})._replace(cut=True), VerdictKind.UNCLEAR, 0),
        (answer(200, {"images": []}), VerdictKind.UNCLEAR, 0),
        (answer(403, {"message": "Only shared images have members."}), VerdictKind.REJECTED, 0),
        (answer(404), VerdictKind.REJECTED, 0),
        (answer(429), VerdictKind.THROTTLED, 0),
    ],
)
def test_answers_to_a_list(reply: Reply, kind: VerdictKind, members: int) -> None:
    """The table of answers to a GET of all members."""
    verdict = meaning(reply, Step.LIST)
    assert (verdict.kind, len(verdict.members)) == (kind, members)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "0.25"}, 0.25),
        ({"retry_after": "1,5"}, None),
        ({"retry_after": "99999999999999999999"}, LONGEST_RETRY_AFTER_SECONDS),
        ({"retry_after": "Fri, 02 Jan 2026 03:04:35 GMT"}, 30.0),
        ({"retry_after": "Fri, 02 Jan 2026 03:04:35 GMT", "date": "Fri, 02 Jan 2026 03:04:25 GMT"}, 10.0),
        ({"retry_after": "Fri, 02 Jan 2016 03:04:35 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-5"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, an HTTP date, or nonsense; bounded."""
    assert meaning(answer(429, **headers)).retry_after == seconds


@given(st.integers(1, 10_000), st.integers(0, 100), st.booleans())
def test_a_full_image_names_the_limit_of_the_cloud(maximum: int, beyond: int, as_json: bool) -> None:  # noqa: FBT001  drawn
    """Glance says it in its words, in JSON or HTML; the number that was attempted is left out, as it always differs."""
    words = f"Image member limit exceeded for image {IMAGE}: Attempted: {maximum + beyond}, Maximum: {maximum}:"
    body = {"message": f"{words}<br /><br />"} if as_json else f"<html><body>{words}<br /></body></html>".encode()
    verdict = meaning(answer(413, body))
    assert (verdict.kind, verdict.scope) == (VerdictKind.OVER_QUOTA, Scope.IMAGE)
    limit = f"the cloud's limit is {maximum:,} members per image"
    assert verdict.reason == f"413: image member limit exceeded; {limit}"


@pytest.mark.parametrize("words", ["quota reached", "Maximum: many", "Maximum: -1", "XMaximum: 3"])
def test_a_full_image_of_an_unknown_limit(words: str) -> None:
    """What doesn't name the limit is shown as it is."""
    verdict = meaning(answer(413, {"message": words}))
    assert verdict.kind is VerdictKind.OVER_QUOTA
    assert verdict.reason == f"413: {words}"


@pytest.mark.parametrize("status", [400, 413, 503])
def test_retry_after_tells_too_fast_from_full(status: int) -> None:
    """A request that may be sent again after a while was sent too early; a quota would say nothing of a while."""
    verdict = meaning(answer(status, retry_after="1.5"))
    assert (verdict.kind, verdict.retry_after, verdict.maybe_done) == (VerdictKind.THROTTLED, 1.5, False)
    assert meaning(answer(status)).kind is not VerdictKind.THROTTLED


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            {"message": "Image X not found.<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"},
            "404: Image X not found.",
        ),
        (b"<html><head><title>404 Not Found</title></head>\r\n<body>nginx</body></html>", "404: 404 Not Found nginx"),
        (
            {"error": {"code": "IMG.0027", "message": "no image"}},
            "404: IMG.0027 no image; there is no such image, or it is not ours",
        ),
        (b"", "404"),
        (b"\x1b]0;owned\x07\x1b[2Jfree text\nmore", "404: ]0;owned [2Jfree text more"),
        ({"message": 7}, '404: {"message": 7}'),
    ],
)
def test_reasons_are_one_clean_line(body: Any, reason: str) -> None:
    """Server text is stripped of tags, control characters and line ends."""
    assert meaning(answer(404, body)).reason == reason


@given(
    st.sampled_from(list(Step)),
    st.integers(-1, 1000),
    st.binary()
    | st.recursive(
        st.none() | st.text() | st.floats(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(
                st.sampled_from(["message", "code", "error", "members", "member_id", "image_id", "created_at"]), s
            )
        ),
    ).map(lambda document: json.dumps(document).encode()),
    st.dictionaries(st.sampled_from(["retry-after", "date", "location", "x-openstack-request-id"]), st.text()),
    st.booleans(),
)
def test_interpret_is_total(step: Step, status: int, body: bytes, headers: dict[str, str], cut: bool) -> None:  # noqa: FBT001  drawn
    """Any status with any headers and any body has a verdict, with a printable one-line reason."""
    verdict = interpret(step, IMAGE, MEMBER, Response(status, headers, body, cut), NOW)
    assert verdict.reason.isprintable()
    assert len(verdict.reason) <= 300
    assert verdict.kind is not VerdictKind.SHARED or step is Step.ADD


@pytest.mark.parametrize(
    ("reply", "foreign"),
    [
        (answer(301, location="https://elsewhere/"), True),
        (Response(200, {"content-type": "text/html"}, b"<html>Please wait</html>"), True),
        (answer(404, {"message": "The resource could not be found."}), True),
        (answer(404, {"message": f"Image {IMAGE} not found."}), False),
        (answer(200, {"members": []}), False),
        (answer(200, {"anything": "else"}), False),
        (answer(204), False),
        (answer(403), False),
        (answer(409), False),
    ],
)
def test_what_an_image_service_never_answers(reply: Response, foreign: bool) -> None:  # noqa: FBT001  a table
    """Redirects, pages, and a 404 that does not speak of the image."""
    assert is_foreign(IMAGE, reply) is foreign
