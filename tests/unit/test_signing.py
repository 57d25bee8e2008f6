"""Signatures: vectors made with the vendor's SDK 3.1.219, the first of which is that of the vendor's guide."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.image_api.signing import AccessKey, canonical_request, host_of, sign, signed_headers

KEY = AccessKey("AKEXAMPLE00000000001", "skExample0000000000000000000000000000001")
GUIDE = AccessKey("QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROJECT = {"X-Project-Id": "0123456789abcdef0123456789abcdef"}
JSON = {"Content-Type": "application/json"}
BODY = (
    b'{"images":["d164b5df-1bc3-4c3f-893e-3e471fd16e64"],'
    b'"projects":["9c61004714024f9586705d090530f9fa","edc89b490d7d4392898e19b2deb34797"]}'
)
IMS = "https://ims.eu-de.example.com"
MEMBERS = f"{IMS}/v1/cloudimages/members"

# key, method, URL, headers, body, time; names signed, signature
VECTORS = {
    "the guide's": (
        (
            GUIDE,
            "GET",
            "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs"
            "?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
            JSON,
            None,
            datetime(2019, 11, 15, 3, 36, 55, tzinfo=UTC),
        ),
        "content-type;host;x-sdk-date",
        "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
    ),
    "adding members": (
        (KEY, "POST", MEMBERS, {**JSON, **PROJECT}, BODY, NOW),
        "content-type;host;x-project-id;x-sdk-date",
        "db02a62743b0e0a407bb4610f20dc0a8def5c5c4810ffae7354732f448f6a17a",
    ),
    "temporary keys, and a DELETE with a body": (
        (
            AccessKey(KEY.access, KEY.secret, "gQpjbi1ub3J0aC00-EXAMPLE"),
            "DELETE",
            MEMBERS,
            {**JSON, **PROJECT},
            BODY,
            NOW,
        ),
        "content-type;host;x-project-id;x-sdk-date;x-security-token",
        "0c5ce920baa4eb6b5dd1fb81b536f97f243f5183920e64b88ba38b774fb59088",
    ),
    "a query to be encoded, and a port": (
        (
            KEY,
            "GET",
            "http://127.0.0.1:8080/v2/cloudimages?name=a%20b%2F%C3%BC~%2A&__imagetype=private&limit=2&tag=k%3Dv",
            {**JSON, **PROJECT},
            None,
            NOW,
        ),
        "content-type;host;x-project-id;x-sdk-date",
        "baf3a3e2bc972f76d02d85152c884187858f8823f577bbdbc1bd86b0aac4b22b",
    ),
    "a marker, and no content type": (
        (
            KEY,
            "GET",
            f"{IMS}/v2/images/d164b5df-1bc3-4c3f-893e-3e471fd16e64/members?limit=1000&marker=eyJhIjoxfQ%3D%3D",
            PROJECT,
            None,
            NOW,
        ),
        "host;x-project-id;x-sdk-date",
        "d8bea9dd0a7f3b29d25716ffe34616daf7c8d8c6f0d5f0880cfde4a4d17c419c",
    ),
    "a domain": (
        (
            KEY,
            "GET",
            "https://iam.eu-de.example.com/v3/projects?page=1&per_page=5000",
            {"Content-Type": "application/json;charset=utf8", "X-Domain-Id": "domain0123456789abcdef0123456789"},
            None,
            NOW,
        ),
        "content-type;host;x-domain-id;x-sdk-date",
        "0a3648b408de72c2c97c0bf74320edcfe9d0590b26b16c37d12738a738d21c94",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_signatures_are_those_of_the_vendors_sdk(name: str) -> None:
    """Method, path, query, headers, body and time are all in the signature, as the gateway recomputes it."""
    (key, method, url, headers, body, now), names, signature = VECTORS[name]
    sent = signed_headers(key, method, url, headers, body, now)
    assert sent["Authorization"] == (
        f"SDK-HMAC-SHA256 Access={key.access}, SignedHeaders={names}, Signature={signature}"
    )
    assert sent["X-Sdk-Date"] == now.strftime("%Y%m%dT%H%M%SZ")
    assert sent.get("X-Security-Token") == key.security_token


def test_the_summary_is_the_vendors() -> None:
    """The hash of the canonical request of the members' body, which the SDK computed."""
    headers = {"content-type": "application/json", "host": "ims.eu-de.example.com", "x-sdk-date": "20260102T030405Z"}
    headers["x-project-id"] = PROJECT["X-Project-Id"]
    summary = canonical_request("POST", "/v1/cloudimages/members", "", headers, sorted(headers), BODY)
    assert hashlib.sha256(summary.encode()).hexdigest() == (
        "cedae5eadaa57b31adca7a16625a602315171129557eee4263f47249cfc9e0db"
    )


def test_the_older_form_names_its_scope() -> None:
    """It derives the key from the scope, so the same request has another signature."""
    older = signed_headers(AccessKey("AK", "SK", derived=True), "GET", IMS, {}, None, NOW)["Authorization"]
    assert older.startswith("SDK-HMAC-SHA256 Credential=AK/20260102///sdk_request, SignedHeaders=host;x-sdk-date, ")
    newer = signed_headers(AccessKey("AK", "SK"), "GET", IMS, {}, None, NOW)["Authorization"]
    assert older.rpartition("=")[2] != newer.rpartition("=")[2]


def test_a_key_is_not_in_its_repr() -> None:
    """A traceback or a log shows reprs."""
    assert repr(AccessKey("AK-public", "SK-secret", "token-secret")) == "AccessKey(derived=False)"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://ims.example:443/v2", "ims.example"),
        ("https://ims.example:8443/v2", "ims.example:8443"),
        ("http://ims.example:80", "ims.example"),
        ("http://ims.example:443", "ims.example:443"),
        ("https://IMS.Example/", "ims.example"),
        ("http://[::1]:9292/", "[::1]:9292"),
    ],
)
def test_the_host_is_signed_as_it_is_sent(url: str, host: str) -> None:
    """The client leaves out the port that the scheme implies."""
    assert host_of(url) == host


@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.lists(st.tuples(st.text("ab=&/ü", min_size=1), st.text("xy +*~")), max_size=4),
    st.binary(max_size=20),
)
def test_any_change_of_a_request_changes_its_signature(method: str, query: list[tuple[str, str]], body: bytes) -> None:
    """The order of a query's parameters is the one thing that does not count."""

    def signature(secret: str, method: str, path: str, pairs: list[tuple[str, str]], body: bytes) -> str:
        summary = canonical_request(method, path, urlencode(pairs), {"host": "h"}, ["host"], body)
        return sign(secret, "20260102T030405Z", summary)

    plain = signature("s", method, "/v1/a", query, body)
    assert signature("s", method, "/v1/a/", list(reversed(query)), body) == plain
    others = {
        signature("t", method, "/v1/a", query, body),
        signature("s", "PUT", "/v1/a", query, body),
        signature("s", method, "/v1/b", query, body),
        signature("s", method, "/v1/a", [*query, ("z", "")], body),
        signature("s", method, "/v1/a", query, body + b"."),
    }
    assert plain not in others
    assert len(others) == 5
