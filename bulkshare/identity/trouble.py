"""Explains why the identity service gave no answer that is of use: for good or for now, and in plain words.

Knows no retries and no secrets.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import Enum
from http.client import BadStatusLine
from typing import TYPE_CHECKING

from keystoneauth1 import exceptions

from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSIENT_STATUSES = frozenset({408, 425, 429})
LASTING_STATUSES = frozenset({501, 505})  # not implemented, HTTP version not supported
# What OpenSSL calls the first bytes of an answer that is no TLS; the name depends on its version.
NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
TLS_ALERT = "\x15\x03"  # how a TLS server's answer to plain HTTP begins: RFC 8446, section 5.1
TLS_WANTED = ("https port", "ssl-enabled", "https server")  # nginx, Apache, Go
NO_ANSWER = "the answer is none that an identity service gives"
USUAL = "auth_url usually ends with :5000/v3 or /identity/v3"
HTTPS_THERE = "it wants https there, and auth_url says http"

WEBOB = {"code", "message", "title"}  # how other services of OpenStack word a refusal in JSON


class HttpsWantedError(Exception):
    """A server that speaks TLS was asked over http."""


class Cause(Enum):
    """What a trouble means for the next try."""

    PASSING = "passing"  # it may work later
    REFUSED = "refused"  # the identity service says no
    UNTRUSTED = "untrusted"  # the identity service can't be trusted
    MISDIRECTED = "misdirected"  # no identity service answers there


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer of use. `status` is None where there is no HTTP answer."""

    text: str
    cause: Cause
    status: int | None = None
    retry_after_seconds: float = 0.0


def explain(error: Exception) -> Trouble:
    """Say what `error`, raised by keystoneauth, means. The text is one clean line; it may quote what was sent."""
    if isinstance(error, exceptions.DiscoveryFailure | exceptions.MissingAuthPlugin):
        return _explain_discovery(error)
    if isinstance(error, exceptions.HttpError):
        return _explain_status(error)
    if isinstance(error, exceptions.ConnectionError):
        return _explain_connection(error)
    if isinstance(error, exceptions.InvalidResponse):
        return _explain_page(error)
    if isinstance(error, exceptions.ClientException):
        return Trouble(clean(str(error)), Cause.REFUSED)
    if isinstance(error, HttpsWantedError):
        return Trouble(HTTPS_THERE, Cause.MISDIRECTED)
    if isinstance(error, OSError):
        return Trouble(_root(error), Cause.PASSING)
    # What is left is the answer of something that is no identity service, such as a proxy's page.
    return Trouble(NO_ANSWER, Cause.PASSING)


def _explain_discovery(error: exceptions.ClientException) -> Trouble:
    """Without a version there is no log-in; the failure to find it out hides the failure behind it."""
    hidden = error.__context__
    if isinstance(hidden, exceptions.Unauthorized):  # Keystone tells its version to anybody
        return Trouble(f"it tells no version without a token; {USUAL}", Cause.MISDIRECTED, 401)
    if isinstance(hidden, exceptions.ClientException):
        return explain(hidden)
    return Trouble(f"it has other versions than v3, as the image service has; {USUAL}", Cause.MISDIRECTED)


def _explain_status(error: exceptions.HttpError) -> Trouble:
    status, text = error.http_status, clean(str(error))
    if status in TRANSIENT_STATUSES or (status >= 500 and status not in LASTING_STATUSES):
        return Trouble(text, Cause.PASSING, status, max(float(error.retry_after), 0.0))
    page = getattr(error.response, "text", "")
    if any(words in page.lower() for words in TLS_WANTED):
        return Trouble(HTTPS_THERE, Cause.MISDIRECTED, status)
    if _is_worded(error.response):
        return Trouble(text, Cause.REFUSED, status)
    return Trouble(f"{text}; {USUAL}", Cause.MISDIRECTED, status)


def _is_worded(response: object) -> bool:
    """Tell whether a refusal is worded as Keystone does; its own web server's pages are not."""
    try:
        body = response.json()  # type: ignore[attr-defined]  # None and whatever else lacks it: below
    except (AttributeError, ValueError):
        return False
    if not isinstance(body, dict) or body.keys() == WEBOB:
        return False
    # Gateways before an identity service say error_msg or message: they have looked at the request, too.
    return not body.keys().isdisjoint({"error", "error_msg", "message"})


def _explain_page(error: exceptions.InvalidResponse) -> Trouble:
    """A log-in was answered with something else: by another service with its versions, or by a page on the way."""
    response = error.response
    if getattr(response, "status_code", None) == 300:
        return Trouble(
            f"it answers with a list of versions, as the image service does; {USUAL}", Cause.MISDIRECTED, 300
        )
    return Trouble(NO_ANSWER, Cause.PASSING)


def _explain_connection(error: exceptions.ConnectionError) -> Trouble:
    for inner in _chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return Trouble(f"its certificate does not verify: {clean(inner.verify_message)}", Cause.UNTRUSTED)
        if isinstance(inner, ssl.SSLError) and _is_no_tls(inner):
            return Trouble("it does not speak TLS there; is it http, or another port?", Cause.MISDIRECTED)
        if isinstance(inner, BadStatusLine) and TLS_ALERT in str(inner):
            return Trouble(HTTPS_THERE, Cause.MISDIRECTED)
    if isinstance(error, exceptions.UnknownConnectionError) and isinstance(error.original, ValueError):
        return Trouble("auth_url is no http or https URL", Cause.MISDIRECTED)
    return Trouble(_root(error), Cause.PASSING)


def _is_no_tls(error: ssl.SSLError) -> bool:
    return (error.reason or "").upper().replace(" ", "_") in NO_TLS or "record layer failure" in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        inner = inner.__cause__ or inner.__context__


def _root(error: BaseException) -> str:
    """Return what the system said at the bottom of requests' and urllib3's wrappings."""
    texts = [inner.strerror or str(inner) for inner in _chain(error) if isinstance(inner, OSError)]
    return clean((texts or [str(error)])[-1])
