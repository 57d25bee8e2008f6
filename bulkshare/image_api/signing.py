"""Signatures with an access key (AK/SK), as the API gateways of Huawei Cloud and Open Telekom Cloud check them. Pure.

Theory. A signature is the HMAC-SHA256 of a summary of the request, with the secret key as it is. The summary is six
parts joined by newlines: the method; the path, each segment percent-encoded, with a slash at its end; the query,
sorted and percent-encoded; the signed headers as `name:value` lines, sorted, each line with a newline; their names
joined by semicolons; the SHA-256 of the body. What is signed is the algorithm's name, the time and the SHA-256 of the
summary. Sources: Huawei Cloud's guide to API signing, and the signer of its Python SDK 3.1.

An older form has the same name. It derives the signing key from date, region, service and the secret key, and writes
that scope into the header and into what is signed. Some clients of Open Telekom Cloud still send it, with region and
service empty.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

ALGORITHM = "SDK-HMAC-SHA256"
DATE = "X-Sdk-Date"
SECURITY_TOKEN = "X-Security-Token"  # noqa: S105  a header's name
PROJECT_ID = "X-Project-Id"
DOMAIN_ID = "X-Domain-Id"
BODY_HASH = "x-sdk-content-sha256"  # its value, if it is sent, is signed in the place of the body's hash
TIME_FORMAT = "%Y%m%dT%H%M%SZ"
MOST_SKEW_SECONDS = 15 * 60.0  # between the signer's clock and the gateway's
DEFAULT_PORTS = {"http": 80, "https": 443}
SCOPE_END = "sdk_request"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A pair of keys, of which `secret` signs.

    security_token: makes temporary keys valid.
    derived: sign in the older form.
    """

    access: str = field(repr=False)
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    derived: bool = False


def host_of(url: str) -> str:
    """Return what a client sends as `Host` for a URL: the port only if it is not the scheme's own."""
    parts = urlsplit(url)
    name = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    return name if parts.port in {None, DEFAULT_PORTS.get(parts.scheme)} else f"{name}:{parts.port}"


def signed_headers(
    key: AccessKey, method: str, url: str, headers: Mapping[str, str], body: bytes | None, now: datetime
) -> dict[str, str]:
    """Return `headers` and those that sign a request to `url`, which is quoted. `now` is aware and UTC.

    All of `headers` are signed, and so is the `Host` that the client sends by itself.
    """
    moment = now.strftime(TIME_FORMAT)
    sent = {**headers, DATE: moment}
    if key.security_token:
        sent[SECURITY_TOKEN] = key.security_token
    parts = urlsplit(url)
    signed = {name.lower(): value for name, value in sent.items()} | {"host": host_of(url)}
    names = sorted(signed)
    summary = canonical_request(method, parts.path, parts.query, signed, names, body or b"")
    scope = f"{moment[:8]}///{SCOPE_END}" if key.derived else ""
    credential = f"Credential={key.access}/{scope}" if key.derived else f"Access={key.access}"
    signature = sign(key.secret, moment, summary, scope)
    sent["Authorization"] = f"{ALGORITHM} {credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return sent


def canonical_request(
    method: str, path: str, query: str, headers: Mapping[str, str], names: Iterable[str], body: bytes
) -> str:
    """Return the summary of a request that is signed.

    path, query: as sent, quoted.
    headers: by lower-case name; those called `names`, which are sorted, are signed.
    """
    signed = list(names)
    uri = "/".join(quote(segment, safe="~") for segment in unquote(path).split("/"))
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return "\n".join(
        (
            method,
            uri if uri.endswith("/") else f"{uri}/",
            "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs),
            "".join(f"{name}:{headers[name].strip()}\n" for name in signed),
            ";".join(signed),
            headers.get(BODY_HASH) or hashlib.sha256(body).hexdigest(),
        )
    )


def sign(secret: str, moment: str, summary: str, scope: str = "") -> str:
    """Return the signature of a summary, in hex.

    moment: the time, as `X-Sdk-Date` has it.
    scope: date, region, service and `sdk_request`, joined by slashes, for the older form; empty otherwise.
    """
    digest = hashlib.sha256(summary.encode()).hexdigest()
    text = "\n".join(filter(None, (ALGORITHM, moment, scope, digest)))
    signing_key = secret.encode()
    if scope:
        signing_key = b"SDK" + signing_key
        for part in scope.split("/"):
            signing_key = _hmac(signing_key, part)
    return _hmac(signing_key, text).hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
