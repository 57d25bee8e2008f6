"""How long the identity service is asked again while it does not answer. Knows no network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkshare.errors import CredentialsRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.identity.trouble import Trouble


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
