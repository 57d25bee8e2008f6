"""Log-ins that need a person.

Some plugins log the URL to open, and wait until a person has done so. A passcode, of a second factor, is valid once.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from keystoneauth1.identity import v3

from bulkshare.cloud.catalog import is_iam
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.cloud.config import CloudEntry

NEEDS_PERSON = frozenset({"v3oidcdeviceauthz", "v3websso"})  # auth types
LONGEST = 1000  # characters of a message; URLs of log-ins are long, and useless when cut


def has_passcode(plugin: BaseAuthPlugin | None) -> bool:
    """Return whether a log-in uses a passcode, which is valid once."""
    methods = plugin.auth_methods if isinstance(plugin, v3.Auth) else []
    return any(isinstance(method, v3.TOTPMethod) for method in methods)


def why_person(entry: CloudEntry) -> str:
    """Return why a log-in needs a person; "" if it doesn't."""
    if entry.auth_type in NEEDS_PERSON:
        return f"auth_type {entry.auth_type} needs a person to log in"
    if has_passcode(entry.plugin):
        return "the log-in has a second factor, whose passcode is valid once, so it needs a person"
    return ""


def unattended_advice(entry: CloudEntry) -> str:
    """Return which credentials need no person."""
    if is_iam(entry.auth_url):
        return "use an access key, or a user without a second factor"
    return "use an application credential"


@contextmanager
def showing_prompts(show: Callable[[str], None]) -> Iterator[None]:
    """Call `show`, on the event loop's thread, with what auth plugins log while the context lasts."""
    logger, handler = logging.getLogger("keystoneauth"), _Forwarder(show)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Forwarder(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._show = show
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward a record; log-ins happen in threads."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._show, clean(record.getMessage(), LONGEST))
