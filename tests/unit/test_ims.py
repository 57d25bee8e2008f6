"""Answers of Huawei Cloud's own calls: whatever comes has a meaning."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bulkshare.image_api.ims import interpret_own
from bulkshare.model import Response, Step, VerdictKind

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
NAMES = st.sampled_from(["job_id", "status", "quotas", "resources", "type", "quota", "error", "code"])
DOCUMENTS = st.recursive(
    SCALARS | st.sampled_from(["SUCCESS", "image_member", "IMG.0108"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)
BODIES = st.binary(max_size=20) | DOCUMENTS.map(lambda document: json.dumps(document).encode())
STATUSES = st.sampled_from([200, 202, 204, 301, 400, 401, 403, 404, 409, 429, 500, 502, 503])


@given(step=st.sampled_from([Step.BATCH, Step.JOB, Step.QUOTA]), status=STATUSES, body=BODIES, cut=st.booleans())
def test_every_answer_has_a_meaning(step: Step, status: int, body: bytes, *, cut: bool) -> None:
    """No body of any status raises; only with an ID has a job been started."""
    verdict = interpret_own(step, Response(status, CIMultiDict(), body, cut=cut), NOW)
    assert (verdict.kind is VerdictKind.STARTED) == bool(verdict.job_id)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"<html>", b'{"job_id": ""}', b'{"job_id": 7}', b'{"job_id": "a\\u0000"}']
)
def test_a_success_without_a_job_may_have_started_one(body: bytes) -> None:
    """So it is not sent again before the list has been seen."""
    verdict = interpret_own(Step.BATCH, Response(200, CIMultiDict(), body), NOW)
    assert (verdict.kind, verdict.maybe_done) == (VerdictKind.UNCLEAR, True)
