"""The error codes of Huawei Cloud and Open Telekom Cloud, as answers to single requests."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from bulkshare.image_api.codes import CODES, code_in
from bulkshare.image_api.glance import interpret
from bulkshare.model import Response, Scope, Step, VerdictKind
from bulkshare.report.text import hint_for

NOW = datetime(2026, 1, 2, tzinfo=UTC)
IMAGE, PROJECT = "d164b5df-1bc3-4c3f-893e-3e471fd16e64", "edc89b490d7d4392898e19b2deb34797"

REJECTED, TRANSIENT, THROTTLED = VerdictKind.REJECTED, VerdictKind.TRANSIENT, VerdictKind.THROTTLED
# The numbers of the image service's codes, as its documentation groups them, and the answer to adding a member.
IMAGES = (27, 31, 66, 86, 121, 144, 46, 47, 83, 84, 89, *range(95, 104), 105, 106, 107, 135)
PROJECTS = (67, 76, 104, 108, 145, 177, 178)
IMS = {
    **dict.fromkeys((1, 7, 35, 26, 30), (REJECTED, Scope.RUN)),
    **dict.fromkeys(IMAGES, (REJECTED, Scope.IMAGE)),
    **dict.fromkeys(PROJECTS, (REJECTED, Scope.PAIR)),
    **dict.fromkeys((182, 183, 184, 185, 188, 193, 196), (REJECTED, Scope.PAIR)),
    **dict.fromkeys((18, 23, 61, 64, 65, 87, 112, 113, 114), (TRANSIENT, Scope.PAIR)),
    **dict.fromkeys((60, 187), (THROTTLED, Scope.PAIR)),
    88: (VerdictKind.OVER_QUOTA, Scope.IMAGE),
}


def answer(status: int, body: object) -> Response:
    """Return an answer in JSON."""
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())


@pytest.mark.parametrize("number", IMS)
def test_a_code_of_the_image_service_decides(number: int) -> None:
    """All of them come with status 400, which alone says nothing."""
    body = {"error": {"code": f"IMG.{number:04}", "message": "words"}}
    verdict = interpret(Step.ADD, IMAGE, PROJECT, answer(400, body), NOW)
    assert (verdict.kind, verdict.scope) == IMS[number]
    assert verdict.reason.startswith(f"400: IMG.{number:04} words")


def test_no_code_is_in_the_table_without_a_test() -> None:
    """The table and the documentation's groups are the same."""
    assert {code for code in CODES if code.startswith("IMG.")} == {f"IMG.{number:04}" for number in IMS}


@pytest.mark.parametrize("prefix", ["APIGW", "APIG"])
@pytest.mark.parametrize(
    ("status", "number", "kind", "scope"),
    [
        (400, "0308", THROTTLED, Scope.PAIR),
        (403, "0302", REJECTED, Scope.RUN),
        (403, "0310", REJECTED, Scope.RUN),
        (403, "0802", REJECTED, Scope.RUN),
        (404, "0101", REJECTED, Scope.IMAGE),
        (500, "0601", TRANSIENT, Scope.PAIR),
        (503, "0613", TRANSIENT, Scope.PAIR),
        (504, "0203", VerdictKind.LOST, Scope.PAIR),
    ],
)
def test_a_code_of_the_gateway(prefix: str, status: int, number: str, kind: VerdictKind, scope: Scope) -> None:
    """The gateway has two prefixes for the same numbers."""
    body = {"error_code": f"{prefix}.{number}", "error_msg": "words", "request_id": "r"}
    verdict = interpret(Step.ADD, IMAGE, PROJECT, answer(status, body), NOW)
    assert (verdict.kind, verdict.scope) == (kind, scope)


def test_a_full_image_is_explained_once() -> None:
    """The service says why, and the summary what to do."""
    body = {"error": {"code": "IMG.0088", "message": "The number of members has reached the upper limit."}}
    verdict = interpret(Step.ADD, IMAGE, PROJECT, answer(400, body), NOW)
    assert verdict.reason == "400: IMG.0088 The number of members has reached the upper limit."
    assert "limit raised" in (hint_for(verdict.reason, plan="plan.yaml") or "")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"code": "IMG.0088", "message": "m"}}',
        b'{"error_code": "IMG.0088"}',
        b'{"errorCode": "IMG.0088"}',
        b'{"code":"IMG.0088"}',
        b'{"error": {"error_code" : "IMG.0088"}}',
    ],
)
def test_every_shape_of_an_error_has_its_code(body: bytes) -> None:
    """The vendor's SDK understands all of these."""
    assert code_in(body) == "IMG.0088"


@pytest.mark.parametrize(
    "body", [b"", b"IMG.0088", b'{"message": "see IMG.0088"}', b'{"code": "409 Conflict"}', b"\xff"]
)
def test_a_text_that_mentions_a_code_has_none(body: bytes) -> None:
    """Only what stands at an error's code counts."""
    assert code_in(body) == ""
