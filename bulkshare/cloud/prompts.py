"""Log-ins that need a person: their plugins log the URL to open, and wait until somebody has done so."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEEDS_PERSON = frozenset({"v3oidcdeviceauthz", "v3websso"})  # auth types
LONGEST = 1000  # characters of a message; URLs of log-ins are long, and useless when cut


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
