"""Log-in at Keystone: how often it is retried, and why it failed."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from http.client import BadStatusLine
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from keystoneauth1 import exceptions
from keystoneauth1.exceptions import AuthorizationFailure, ClientException, ConnectFailure, DiscoveryFailure
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from urllib3.exceptions import InsecureRequestWarning

from bulkshare._version import __version__
from bulkshare.cloud.catalog import is_loopback
from bulkshare.errors import CredentialsRefusedError
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keystoneauth1.access import AccessInfo
    from keystoneauth1.access.service_catalog import ServiceCatalog
    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.cloud.config import CloudEntry


class UnansweredError(CredentialsRefusedError):
    """The identity service did not answer, for as long as we were ready to wait."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What gets no answer is tried again for `seconds`, with pauses that begin at `backoff_seconds` and double."""

    seconds: float = 30.0
    backoff_seconds: float = 0.5
    clock: Callable[[], float] = time.monotonic


class Tries:
    """The tries of one request so far."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pause = patience.backoff_seconds
        self._count = 0
        self._seconds = 0.0
        self.began = patience.clock()

    def pause_after(self, trouble: Trouble) -> float | None:
        """Count a try that got no answer; return how many seconds to wait before the next, None for no more."""
        self._count += 1
        self._seconds = self._patience.clock() - self.began
        pause = max(self._pause, trouble.retry_after_seconds)
        self._pause = pause * 2
        return pause if self._seconds + pause <= self._patience.seconds else None

    def __str__(self) -> str:
        return f"tried {self._count} time{'s' if self._count > 1 else ''} in {self._seconds:.0f} s"


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


# keystoneauth warns of what is reported as an error anyway. Without a handler Python would print it on stderr.
logging.getLogger("keystoneauth").addHandler(logging.NullHandler())

TIMEOUT_SECONDS = 10.0  # for an answer; keystoneauth's own default is to wait for ever
GREETING_SECONDS = 3.0
ADMIN = "admin"  # the role that Glance's and Keystone's default policies ask for; they compare without regard to case


@dataclass(frozen=True, slots=True)
class Grant:
    """What a log-in gives. `lifetime_seconds` is None where the cloud does not tell; `domains` are names by ID."""

    token: str = field(repr=False)
    lifetime_seconds: float | None
    user: str
    project: str
    project_id: str
    catalog: ServiceCatalog | None
    admin: bool = False
    domains: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def open_session(entry: CloudEntry) -> Iterator[Session]:
    """Open a session with the entry's TLS settings.

    It has no auth plugin, because a plugin that looks for its version and is answered 401 would ask the session's
    plugin, which is itself, for a token, and wait for its own lock for ever.
    """
    if not entry.verify:  # the user said so; a warning at every log-in tells nothing new
        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    session = Session(
        verify=entry.cacert if entry.verify and entry.cacert else entry.verify,
        cert=(entry.cert, entry.key) if entry.cert and entry.key else entry.cert,
        timeout=entry.timeout_seconds or TIMEOUT_SECONDS,
        app_name="bulkshare",
        app_version=__version__,
    )
    if is_loopback(entry.auth_url):
        session.session.trust_env = False  # which is where requests gets its proxies from
    try:
        yield session
    finally:
        session.session.close()


def log_in(entry: CloudEntry, plugin: BaseAuthPlugin) -> Grant:
    """Get a new token. Raises whatever the auth plugin raises; `trouble.explain` knows what it means."""
    with open_session(entry) as session:
        plugin.invalidate()
        try:
            if isinstance(plugin, BaseIdentityPlugin):
                return _grant(plugin.get_access(session))
            token = _checked(plugin.get_token(session))
        except ClientException as error:
            if _hung_up(error) and _speaks_tls(entry.auth_url):
                raise HttpsWantedError from error
            raise
        user, project = plugin.get_user_id(session), plugin.get_project_id(session)
        return Grant(token, None, user or "unknown", project or "", project or "", None)


def _hung_up(error: ClientException) -> bool:
    """Tell whether there was no connection, or one that ended without a word, as that of http to a TLS server may."""
    first = error.__context__ if isinstance(error, DiscoveryFailure) else error
    return isinstance(first, ConnectFailure) and explain(error).cause is Cause.PASSING


def _speaks_tls(url: str) -> bool:
    """Tell whether there is TLS where `url` says http. Nothing is sent but a greeting, so nobody has to be trusted."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 80), timeout=GREETING_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname),
        ):
            return True
    except (OSError, ValueError):  # ValueError: a name that no certificate can have
        return False


def _grant(access: AccessInfo) -> Grant:
    return Grant(
        token=_checked(access.auth_token),
        lifetime_seconds=_lifetime_seconds(access),
        user=clean(access.username or access.user_id or "unknown"),
        project=clean(access.project_name or ""),
        project_id=clean(access.project_id or ""),
        catalog=access.service_catalog,
        admin=_is_admin(access),
        domains=_domains(access),
    )


def _is_admin(access: AccessInfo) -> bool:
    try:
        return ADMIN in {str(role).lower() for role in access.role_names or ()}
    except (KeyError, TypeError):  # roles without names
        return False


def _domains(access: AccessInfo) -> dict[str, str]:
    """Return the domains of the user and of the project, as far as the token tells them."""
    found = {}
    for key, name in (("user_domain_id", "user_domain_name"), ("project_domain_id", "project_domain_name")):
        with contextlib.suppress(KeyError, TypeError):
            found[str(getattr(access, key) or "")] = str(getattr(access, name) or "")
    return {key: name for key, name in found.items() if key}


def _checked(token: str | None) -> str:
    """Return `token` if it can be sent as a header."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AuthorizationFailure("the token is empty or has characters that no token has")
    return token


def _lifetime_seconds(access: AccessInfo) -> float | None:
    """Return for how long the token is good. Both times are the cloud's, so that our clock may be wrong."""
    if access.expires is None:
        return None
    issued = access.issued or datetime.now(UTC)
    return (access.expires - issued).total_seconds()
