"""Log-in to Keystone: why it failed, and how long it is waited for."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
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

import requests.utils
from keystoneauth1 import exceptions
from keystoneauth1.exceptions import (
    AuthorizationFailure,
    ClientException,
    ConnectFailure,
    DiscoveryFailure,
)
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from urllib3.exceptions import InsecureRequestWarning

from bulkshare._version import __version__
from bulkshare.cloud.catalog import is_loopback
from bulkshare.errors import CredentialsRefusedError, StoppedEarlyError, UsageError
from bulkshare.model.retry import PERMANENT_STATUSES, UNLIMITED, RetryPolicy, backoff_seconds
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keystoneauth1.access import AccessInfo
    from keystoneauth1.access.service_catalog import ServiceCatalog
    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.cloud.config import CloudEntry


TIMEOUT_SECONDS = 10.0  # for an answer; keystoneauth's default is to wait forever
TLS_PROBE_SECONDS = 3.0
VERSION = re.compile(r"/v[23](\.\d+)?$")
ADMIN = "admin"  # the role that Glance's and Keystone's default policies require; they ignore case
LONGEST_PAUSE_SECONDS = 30.0  # between tries: a service that is back is used half a minute later at most
OUTAGE_STATUSES = frozenset({408, 425, 429})  # beside 5xx
# The resolver's errors for a name that does not exist. With a name server out of reach it says EAI_AGAIN.
UNKNOWN_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: 4\d\d")  # http.client's words
# OpenSSL's reasons for an answer that is not TLS; they depend on its version.
NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
TLS_ALERT = "\x15\x03"  # the first bytes of a TLS server's answer to plain HTTP: RFC 8446, section 5.1
TLS_REQUIRED = ("https port", "ssl-enabled", "https server")  # nginx, Apache, Go
NOT_KEYSTONE = "the answer does not come from an identity service"
URL_HINT = "auth_url usually ends with :5000/v3 or /identity/v3"
HTTPS_REQUIRED = "the server requires https, but auth_url says http"
WEBOB_KEYS = {"code", "message", "title"}  # of a refusal in JSON by other OpenStack services

# keystoneauth also warns about what it raises. Without a handler Python would print that on stderr.
logging.getLogger("keystoneauth").addHandler(logging.NullHandler())


class UnansweredError(CredentialsRefusedError):
    """The identity service gave no usable answer within the time for retries, though it may not be down."""


class OutageError(StoppedEarlyError):
    """The identity service was down for longer than a run waits for it."""


class LogInStoppedError(StoppedEarlyError):
    """A stop came while the run waited for a token."""


@dataclass(frozen=True, slots=True)
class RetryTime:
    """For how long a request to the identity service that gets no answer is retried.

    give_up_after_seconds: time for all tries while the service is down, pauses included.
    unclear_seconds: the same for a failure that may never pass, such as a name that doesn't resolve.
    base_seconds: the first pause; each further one is twice as long, up to half a minute.
    clock: monotonic, in seconds.
    """

    give_up_after_seconds: float = 900.0
    unclear_seconds: float = 30.0
    base_seconds: float = 0.5
    clock: Callable[[], float] = time.monotonic


class Retries:
    """The failed tries of one request to the identity service; `str()` counts them for a message."""

    def __init__(self, time: RetryTime) -> None:
        self._time = time
        self._policy = RetryPolicy(UNLIMITED, time.base_seconds, LONGEST_PAUSE_SECONDS)
        self._began = time.clock()
        self._failures = 0
        self._seconds = 0.0

    @property
    def is_long(self) -> bool:
        """Whether a server that is up would have answered by now."""
        return self._seconds >= self._time.unclear_seconds

    def next_delay(self, error: AuthError) -> float | None:
        """Count a failure. Return the seconds to wait before the next try, or None to give up."""
        self._failures += 1
        self._seconds = self._time.clock() - self._began
        down = error.kind is AuthErrorKind.OUTAGE
        total_seconds = self._time.give_up_after_seconds if down else self._time.unclear_seconds
        left_seconds = total_seconds - self._seconds
        delay_seconds = backoff_seconds(self._policy, self._failures, error.retry_after, 1.0)
        if left_seconds <= 0 or (error.retry_after is not None and delay_seconds > left_seconds):
            return None
        return min(delay_seconds, left_seconds)  # the last try comes at the end of the time

    def __str__(self) -> str:
        return f"tried {counted(self._failures, 'time')} in {self._seconds:.0f} s"


class OutageNotice:
    """Says once that the identity service is waited for, and once that it is back. Only on the event loop's thread.

    where: names the service.
    note: says a sentence to the user.
    """

    def __init__(self, where: str, note: Callable[[str], None]) -> None:
        self._where = where
        self._note = note
        self._is_down = False

    def failed(self, text: str) -> None:
        """Note that a request got no answer and will be sent again."""
        if not self._is_down:
            self._is_down = True
            self._note(f"waiting for the identity service {self._where}: {text}")

    def answered(self) -> None:
        """Note that a request was answered."""
        if self._is_down:
            self._is_down = False
            self._note(f"the identity service {self._where} answers again")


class UselessAnswerError(Exception):
    """A log-in was answered, but not as an identity service does."""


class HttpsRequiredError(Exception):
    """A server that speaks TLS was asked over http."""


class AuthErrorKind(Enum):
    """What an error means for the next try."""

    OUTAGE = "outage"  # the service is down, out of reach or overloaded: it will work later
    UNCLEAR = "unclear"  # it may pass soon, or never
    FAILED = "failed"  # the auth plugin fails, whatever the service answers
    REFUSED = "refused"  # the identity service refuses
    UNTRUSTED = "untrusted"  # the identity service can't be trusted
    MISDIRECTED = "misdirected"  # no identity service answers there


@dataclass(frozen=True, slots=True)
class AuthError:
    """Why there is no usable answer. `status` is None if there was no HTTP answer; `retry_after` is in seconds."""

    text: str
    kind: AuthErrorKind
    status: int | None = None
    retry_after: float | None = None


def explain(error: Exception) -> AuthError:
    """Return what `error`, raised by keystoneauth, means. The text is one clean line; it may quote what was sent."""
    if isinstance(error, exceptions.DiscoveryFailure | exceptions.MissingAuthPlugin):
        return _explain_discovery(error)
    if isinstance(error, exceptions.HttpError):
        return _explain_status(error)
    if isinstance(error, exceptions.ConnectionError):
        return _explain_connection(error)
    if isinstance(error, exceptions.InvalidResponse):
        return _explain_page(error)
    if isinstance(error, exceptions.ClientException):
        return AuthError(clean(str(error)), AuthErrorKind.REFUSED)
    if isinstance(error, UselessAnswerError):
        return AuthError(NOT_KEYSTONE, AuthErrorKind.UNCLEAR)
    if isinstance(error, HttpsRequiredError):
        return AuthError(HTTPS_REQUIRED, AuthErrorKind.MISDIRECTED)
    if isinstance(error, OSError):
        return _explain_system(error)
    return _explain_failure(error)


def _explain_failure(error: Exception) -> AuthError:
    """Return what an exception means that no plugin should raise."""
    if isinstance(error, ImportError):
        return AuthError(clean(f"a package is missing: {error}"), AuthErrorKind.FAILED)
    text = clean(f"{type(error).__name__}: {error}")
    if isinstance(error, LookupError | ValueError):  # a plugin misses something in an answer, perhaps a proxy's page
        return AuthError(f"the answer can't be read ({text})", AuthErrorKind.UNCLEAR)
    return AuthError(text, AuthErrorKind.FAILED)


def _explain_discovery(error: exceptions.ClientException) -> AuthError:
    """Discovery of the API version precedes any log-in, and its failure hides the actual one."""
    hidden = error.__context__
    if isinstance(hidden, exceptions.Unauthorized):  # Keystone needs no token for that
        return AuthError(f"it does not state its version without a token; {URL_HINT}", AuthErrorKind.MISDIRECTED, 401)
    if isinstance(hidden, exceptions.ClientException):
        return explain(hidden)
    return AuthError(
        f"it offers versions other than v3, as an image service does; {URL_HINT}", AuthErrorKind.MISDIRECTED
    )


def _explain_status(error: exceptions.HttpError) -> AuthError:
    status, text = error.http_status, clean(str(error))
    if status in OUTAGE_STATUSES or (status >= 500 and status not in PERMANENT_STATUSES):
        return AuthError(text, AuthErrorKind.OUTAGE, status, max(float(error.retry_after), 0.0) or None)
    page = getattr(error.response, "text", "")
    if any(words in page.lower() for words in TLS_REQUIRED):
        return AuthError(HTTPS_REQUIRED, AuthErrorKind.MISDIRECTED, status)
    if _is_worded(error.response):
        return AuthError(text, AuthErrorKind.REFUSED, status)
    return AuthError(f"{text}; {URL_HINT}", AuthErrorKind.MISDIRECTED, status)


def _is_worded(response: object) -> bool:
    """Return whether a refusal is worded by Keystone, not by the web server in front of it."""
    try:
        body = response.json()  # type: ignore[attr-defined]  # whatever has no such method: below
    except (AttributeError, ValueError):
        return False
    if not isinstance(body, dict) or body.keys() == WEBOB_KEYS:
        return False
    # Gateways in front of an identity service use error_msg or message: they, too, have read the request.
    return not body.keys().isdisjoint({"error", "error_msg", "message"})


def _explain_page(error: exceptions.InvalidResponse) -> AuthError:
    """A log-in got some other answer: another service's list of versions, or a page of a proxy."""
    response = error.response
    if getattr(response, "status_code", None) == 300:
        return AuthError(
            f"it answers with a list of versions, as an image service does; {URL_HINT}",
            AuthErrorKind.MISDIRECTED,
            300,
        )
    return AuthError(NOT_KEYSTONE, AuthErrorKind.UNCLEAR)


def _explain_connection(error: exceptions.ConnectionError) -> AuthError:
    for inner in _chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return AuthError(f"its certificate does not verify: {clean(inner.verify_message)}", AuthErrorKind.UNTRUSTED)
        if isinstance(inner, ssl.SSLError) and _is_not_tls(inner):
            return AuthError("the server does not speak TLS; is it http, or another port?", AuthErrorKind.MISDIRECTED)
        if isinstance(inner, BadStatusLine) and TLS_ALERT in str(inner):
            return AuthError(HTTPS_REQUIRED, AuthErrorKind.MISDIRECTED)
    if isinstance(error, exceptions.UnknownConnectionError) and isinstance(error.original, ValueError):
        return AuthError("auth_url is not an http or https URL", AuthErrorKind.MISDIRECTED)
    return _explain_system(error)


def _explain_system(error: OSError | exceptions.ConnectionError) -> AuthError:
    """Return what a failure to connect means: the system tells a name it doesn't know from one it can't look up now."""
    text = _root(error)
    unknown = any(isinstance(inner, socket.gaierror) and inner.errno in UNKNOWN_NAME for inner in _chain(error))
    refused = TUNNEL_REFUSED.search(text)  # by a proxy, which doesn't let us through
    return AuthError(text, AuthErrorKind.UNCLEAR if unknown or refused else AuthErrorKind.OUTAGE)


def _is_not_tls(error: ssl.SSLError) -> bool:
    return (error.reason or "").upper().replace(" ", "_") in NOT_TLS or "record layer failure" in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        inner = inner.__cause__ or inner.__context__


def _root(error: BaseException) -> str:
    """Return the system's own message, from inside what requests and urllib3 wrap around it."""
    texts = [inner.strerror or str(inner) for inner in _chain(error) if isinstance(inner, OSError)]
    return clean((texts or [str(error)])[-1])


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of a log-in. `lifetime_seconds` is None if the cloud does not state it; `domains` are names by ID."""

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

    It has no auth plugin: a plugin that gets a 401 during discovery would ask the session's plugin, itself, for a
    token, and wait for its own lock forever.
    """
    if not entry.verify:  # configured by the user, who needs no warning at every log-in
        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    session = Session(
        verify=entry.cacert if entry.verify and entry.cacert else entry.verify,
        cert=(entry.cert, entry.key) if entry.cert and entry.key else entry.cert,
        timeout=entry.timeout_seconds or TIMEOUT_SECONDS,
        app_name="bulkshare",
        app_version=__version__,
    )
    if is_loopback(entry.auth_url):
        session.session.trust_env = False  # ignores proxies from the environment
    else:
        _require_usable_proxy(entry.auth_url)
    try:
        yield session
    finally:
        session.session.close()


def _require_usable_proxy(url: str) -> None:
    """Raise `UsageError` if the environment names a SOCKS proxy, which `requests` can't use without a package."""
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if proxy and proxy.lower().startswith("socks") and importlib.util.find_spec("socks") is None:
        raise UsageError(
            f"the proxy {clean(proxy.rpartition('@')[2])} can't be used: only http and https are supported; set "
            "no_proxy for the cloud's hosts, or unset all_proxy"
        )


def log_in(entry: CloudEntry, plugin: BaseAuthPlugin) -> Grant:
    """Get a new token. Raises whatever the auth plugin raises; see `explain`."""
    with open_session(entry) as session:
        plugin.invalidate()
        try:
            if isinstance(plugin, BaseIdentityPlugin):
                access = plugin.get_access(session)
                try:
                    return _grant_from(access)
                except (AttributeError, LookupError, TypeError, ValueError):
                    raise UselessAnswerError from None
            token = _checked(plugin.get_token(session))
        except ClientException as error:
            if _is_disconnect(error) and _speaks_tls(entry.auth_url):
                raise HttpsRequiredError from error
            raise
        user, project = plugin.get_user_id(session), plugin.get_project_id(session)
        return Grant(token, None, user or "unknown", project or "", project or "", None)


def is_up(entry: CloudEntry, url: str, token: str) -> bool:
    """Return whether the identity service at `url` answers a small request, be it with a refusal. Blocking."""
    with open_session(entry) as session:
        try:
            headers = {"X-Auth-Token": token, "X-Subject-Token": token} if token else {}
            session.get(f"{url}/auth/tokens", headers=headers, authenticated=False, redirect=False)
        except Exception as error:  # noqa: BLE001  those of requests come through, too
            return explain(error).kind is AuthErrorKind.REFUSED
    return True


def api_url(auth_url: str) -> str:
    """Return the URL of the Identity API v3, without a slash at its end; "" if there is no `auth_url`.

    It is that of the log-in, which is reachable; the catalog's may be internal.
    """
    url = auth_url.rstrip("/")
    if not url:
        return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{VERSION.sub('', parts.path)}/v3"


def _is_disconnect(error: ClientException) -> bool:
    """Return whether there was no connection or no answer, as may happen with http to a TLS server."""
    first = error.__context__ if isinstance(error, DiscoveryFailure) else error
    return isinstance(first, ConnectFailure) and explain(error).kind is AuthErrorKind.OUTAGE


def _speaks_tls(url: str) -> bool:
    """Return whether the server of an http URL speaks TLS. Sends only a handshake, so it needs no trust."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 80), timeout=TLS_PROBE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname),
        ):
            return True
    except (OSError, ValueError):  # ValueError: a name that can't be in a certificate
        return False


def _grant_from(access: AccessInfo) -> Grant:
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
    """Return the domains of the user and of the project, as far as the token has them."""
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
