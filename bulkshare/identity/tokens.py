"""The token of one scope, renewed ahead of its end; one log-in for all who ask. Knows tasks and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from bulkshare.errors import CredentialsRefusedError
from bulkshare.identity.patience import UnansweredError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.identity.keystone import Grant

MARGIN_SECONDS = 120.0  # a token is renewed this long before its end ...
MARGIN_SHARE = 0.2  # ... or, where it is short-lived, at this share of its life
POSTPONED_SECONDS = 15.0  # how long to go on with a good token after a renewal got no answer


class ScopedToken:
    """A token that `log_in` gets. A refusal of it is remembered: asking again may lock the user out.

    `same_again` is what to say where a log-in gives the very token that the cloud has refused.
    """

    def __init__(
        self, log_in: Callable[[], Awaitable[Grant]], *, clock: Callable[[], float], same_again: CredentialsRefusedError
    ) -> None:
        self._log_in = log_in
        self._clock = clock
        self._same_again = same_again
        self._lock = anyio.Lock()
        self._token = ""
        self._renew_at = self._ends_at = float("-inf")
        self._refusal: CredentialsRefusedError | None = None

    async def get(self) -> str:
        """Return the token, logging in where there is none or it is about to end.

        While somebody renews a token that is still good, the others go on with it. Raises what `log_in` raises.
        """
        now = self._clock()
        if now < self._renew_at or (now < self._ends_at and self._lock.locked()):
            return self._token
        async with self._lock:
            if self._clock() >= self._renew_at:
                await self._renew_ahead()
            return self._token

    async def renew(self, refused: str) -> str:
        """Return a token other than `refused`; one log-in serves all who ask at once. Raises what `log_in` raises."""
        async with self._lock:
            if self._token in {"", refused}:
                self._renew_at = self._ends_at = float("-inf")  # nobody else is to try his luck with it
                await self._replace()
            if self._token == refused:
                self._refusal = self._same_again
                self._raise_refusal()
            return self._token

    async def _renew_ahead(self) -> None:
        try:
            await self._replace()
        except UnansweredError:
            if self._clock() >= self._ends_at:
                raise
            self._renew_at = min(self._clock() + POSTPONED_SECONDS, self._ends_at)

    async def _replace(self) -> None:
        """Get another token. Only with the lock held."""
        self._raise_refusal()
        began = self._clock()
        try:
            grant = await self._log_in()
        except UnansweredError:
            raise
        except CredentialsRefusedError as refusal:
            self._refusal = refusal
            raise
        self._token = grant.token
        self._renew_at = self._ends_at = float("inf")
        if grant.lifetime_seconds is not None and grant.lifetime_seconds > 0:
            self._ends_at = began + grant.lifetime_seconds
            self._renew_at = self._ends_at - min(MARGIN_SECONDS, grant.lifetime_seconds * MARGIN_SHARE)

    def _raise_refusal(self) -> None:
        if self._refusal is not None:  # another object each time: a raised one collects tracebacks
            raise type(self._refusal)(*self._refusal.args)
