"""Explains why a log-in failed: for good or for now, and in plain words. Knows no retries and no secrets."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystoneauth1 import exceptions

from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSIENT_STATUSES = frozenset({408, 425, 429})
LASTING_STATUSES = frozenset({501, 505})  # not implemented, HTTP version not supported


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a log-in failed. `transient`: it may work later. `untrusted`: the identity service can't be trusted."""

    text: str
    transient: bool = False
    untrusted: bool = False
    retry_after_seconds: float = 0.0


def explain(error: Exception) -> Trouble:
    """Say what `error`, raised by an auth plugin, means. The text is one clean line; it may quote what was sent."""
    if isinstance(error, exceptions.DiscoveryFailure) and isinstance(error.__context__, exceptions.ClientException):
        return explain(error.__context__)  # the failure to find out the version hides the failure behind it
    if isinstance(error, exceptions.HttpError):
        return _explain_status(error)
    if isinstance(error, exceptions.ConnectionError):
        return _explain_connection(error)
    if isinstance(error, exceptions.ClientException) and not isinstance(error, exceptions.InvalidResponse):
        return Trouble(clean(str(error)))
    if isinstance(error, OSError):
        return Trouble(_root(error), transient=True)
    # What is left is the answer of something that is no identity service, such as a proxy's page.
    return Trouble("the answer is no token", transient=True)


def _explain_status(error: exceptions.HttpError) -> Trouble:
    status = error.http_status
    transient = status in TRANSIENT_STATUSES or (status >= 500 and status not in LASTING_STATUSES)
    return Trouble(clean(str(error)), transient=transient, retry_after_seconds=max(float(error.retry_after), 0.0))


def _explain_connection(error: exceptions.ConnectionError) -> Trouble:
    for inner in _chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return Trouble(f"its certificate does not verify: {clean(inner.verify_message)}", untrusted=True)
    if isinstance(error, exceptions.UnknownConnectionError) and isinstance(error.original, ValueError):
        return Trouble("the auth_url is no http or https URL")
    return Trouble(_root(error), transient=True)


def _chain(error: BaseException) -> Iterator[BaseException]:
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        inner = inner.__cause__ or inner.__context__


def _root(error: BaseException) -> str:
    """Return what the system said at the bottom of requests' and urllib3's wrappings."""
    texts = [inner.strerror or str(inner) for inner in _chain(error) if isinstance(inner, OSError)]
    return clean((texts or [str(error)])[-1])
