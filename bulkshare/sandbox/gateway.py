"""The sandbox's API gateway: checks signatures with access keys, as those of Huawei Cloud and Open Telekom Cloud do.

A request that is signed right goes on with a token of the key's user; one without a signature goes on as it is. Codes
are those of the gateway's documentation; its sentences are the sandbox's own.
"""

from __future__ import annotations

import hmac
import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from bulkshare.image_api.signing import (
    ALGORITHM,
    DATE,
    MOST_SKEW_SECONDS,
    PROJECT_ID,
    SECURITY_TOKEN,
    TIME_FORMAT,
    canonical_request,
    sign,
)
from bulkshare.sandbox.wire import Response, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkshare.sandbox.cloud import Cloud, KeyPair

AUTHORIZATION = re.compile(
    rf"{ALGORITHM} (?:Access=(?P<access>[^,]+)|Credential=(?P<derived>[^,/]+)/(?P<scope>[^,]+))"
    r", ?SignedHeaders=(?P<names>[^,]+), ?Signature=(?P<signature>[0-9a-f]+)"
)
REFUSALS_THAT_LOCK = 5  # in a row; one more locks the key


class Gateway:
    """Stands in front of the services of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._refusals: dict[str, int] = {}  # in a row, by access key

    def admit(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Mapping[str, str] | Response:
        """Return the headers that go on to a service, with a token in the place of a signature; else the refusal.

        path, query: as sent, quoted.
        headers: look-ups ignore case.
        """
        authorization = headers.get("Authorization", "")
        if not authorization.startswith(ALGORITHM):
            return headers
        found = AUTHORIZATION.fullmatch(authorization)
        if found is None:
            return self._refuse("APIGW.0301", "Incorrect IAM authentication information: malformed Authorization")
        access = found["access"] or found["derived"]
        if self._refusals.get(access, 0) > REFUSALS_THAT_LOCK:
            return self._refuse("APIGW.0301", "Incorrect IAM authentication information: the access key is locked")
        key = self._cloud.key_pairs.get(access)
        moment = headers.get(DATE, "")
        names = found["names"].split(";")
        sent = {name.lower(): value for name, value in headers.items()}
        if key is None or "x-sdk-date" not in names or not set(names) <= sent.keys():
            return self._count(access, "APIGW.0301", "Incorrect IAM authentication information: unknown access key")
        if self._skew_seconds(moment) > MOST_SKEW_SECONDS:
            return self._count(access, "APIGW.0303", "Incorrect app authentication information: the request expired")
        expected = sign(
            key.secret, moment, canonical_request(method, path, query, sent, names, body), found["scope"] or ""
        )
        if not hmac.compare_digest(expected, found["signature"]):
            return self._count(access, "APIGW.0301", "Incorrect IAM authentication information: verify signature fail")
        return self._passed(key, headers) or self._count(
            access, "APIGW.0301", "Incorrect IAM authentication information: the token or project does not match"
        )

    def _passed(self, key: KeyPair, headers: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return headers with a token of the key's user; None if the key is not valid for what they name."""
        project = self._cloud.projects.get(headers.get(PROJECT_ID, key.project.id))
        if (
            project is None
            or project.id not in key.user.roles
            or headers.get(SECURITY_TOKEN, "") != (key.security_token or "")
        ):
            return None
        self._refusals.pop(key.access, None)
        token = self._cloud.issue_token(key.user, project, "hw_ak_sk")
        return CIMultiDict({**headers, "X-Auth-Token": token.id})

    def _skew_seconds(self, moment: str) -> float:
        try:
            signed_at = datetime.strptime(moment, TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return MOST_SKEW_SECONDS * 2
        return abs((self._cloud.clock() - signed_at).total_seconds())

    def _count(self, access: str, code: str, message: str) -> Response:
        self._refusals[access] = self._refusals.get(access, 0) + 1
        return self._refuse(code, message)

    def _refuse(self, code: str, message: str) -> Response:
        request_id = uuid.uuid4().hex
        body = {"error_msg": message, "error_code": code, "request_id": request_id}
        date = f"{self._cloud.clock():%a, %d %b %Y %H:%M:%S} GMT"
        return json_response(401, body).with_headers(X_Request_Id=request_id, Date=date)
