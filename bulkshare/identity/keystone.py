"""Logs in at the identity service with keystoneauth1. Blocking; knows no tasks, no retries and no image service."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keystoneauth1.exceptions import AuthorizationFailure
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from urllib3.exceptions import InsecureRequestWarning

from bulkshare import __version__
from bulkshare.identity.catalog import is_loopback
from bulkshare.text import clean

if TYPE_CHECKING:
    from keystoneauth1.access import AccessInfo
    from keystoneauth1.access.service_catalog import ServiceCatalog

    from bulkshare.identity.entry import CloudEntry

# keystoneauth warns of what is reported as an error anyway. Without a handler Python would print it on stderr.
logging.getLogger("keystoneauth").addHandler(logging.NullHandler())

TIMEOUT_SECONDS = 10.0  # for an answer; keystoneauth's own default is to wait for ever


@dataclass(frozen=True, slots=True)
class Grant:
    """What a log-in gives. `lifetime_seconds` is None where the cloud does not tell."""

    token: str = field(repr=False)
    lifetime_seconds: float | None
    user: str
    project: str
    project_id: str
    catalog: ServiceCatalog | None


class Keystone:
    """The identity service of one cloud."""

    def __init__(self, entry: CloudEntry) -> None:
        if not entry.verify:  # the user said so; a warning at every log-in tells nothing new
            warnings.filterwarnings("ignore", category=InsecureRequestWarning)
        self._plugin = entry.plugin
        cert = (entry.cert, entry.key) if entry.cert and entry.key else entry.cert
        self._session = Session(
            auth=entry.plugin,
            verify=entry.cacert if entry.verify and entry.cacert else entry.verify,
            cert=cert,
            timeout=entry.timeout_seconds or TIMEOUT_SECONDS,
            app_name="bulkshare",
            app_version=__version__,
        )
        if is_loopback(entry.auth_url):
            self._session.session.trust_env = False  # which is where requests gets its proxies from

    def log_in(self) -> Grant:
        """Get a new token. Raises whatever the auth plugin raises; `trouble.explain` knows what it means."""
        self._plugin.invalidate()
        try:
            if isinstance(self._plugin, BaseIdentityPlugin):
                return _grant(self._plugin.get_access(self._session))
            token = _checked(self._plugin.get_token(self._session))
            user, project = self._plugin.get_user_id(self._session), self._plugin.get_project_id(self._session)
            return Grant(token, None, user or "unknown", project or "", project or "", None)
        finally:
            self._session.session.close()  # the next log-in is an hour away


def _grant(access: AccessInfo) -> Grant:
    return Grant(
        token=_checked(access.auth_token),
        lifetime_seconds=_lifetime_seconds(access),
        user=clean(access.username or access.user_id or "unknown"),
        project=clean(access.project_name or ""),
        project_id=clean(access.project_id or ""),
        catalog=access.service_catalog,
    )


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
