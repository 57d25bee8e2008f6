"""Logs in at the identity service with keystoneauth1. Blocking; knows no tasks, no retries and no image service."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from keystoneauth1.exceptions import AuthorizationFailure, ClientException, ConnectFailure, DiscoveryFailure
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from urllib3.exceptions import InsecureRequestWarning

from bulkshare import __version__
from bulkshare.identity.catalog import is_loopback
from bulkshare.identity.trouble import Cause, HttpsWantedError, explain
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keystoneauth1.access import AccessInfo
    from keystoneauth1.access.service_catalog import ServiceCatalog
    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.identity.entry import CloudEntry

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
