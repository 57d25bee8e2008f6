"""The identity of a run: one account, a token that is renewed ahead of its end, and one log-in for all who ask.

Knows tasks and time; how to log in, and why it failed, is known by the modules beside it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from bulkshare.errors import BulkshareError, CredentialsRefusedError, EndpointRefusedError
from bulkshare.identity.catalog import connection_to, find_endpoint
from bulkshare.identity.entry import read_entry
from bulkshare.identity.keystone import Keystone
from bulkshare.identity.trouble import Trouble, explain
from bulkshare.model import Account
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from bulkshare.identity.entry import CloudEntry
    from bulkshare.identity.keystone import Grant
    from bulkshare.model import Connection

MARGIN_SECONDS = 120.0  # a token is renewed this long before its end ...
MARGIN_SHARE = 0.2  # ... or, where it is short-lived, at this share of its life
POSTPONED_SECONDS = 15.0  # how long to go on with a good token after a renewal got no answer


class UnansweredError(CredentialsRefusedError):
    """The identity service did not answer, for as long as we were ready to wait."""


class CloudIdentity:
    """Who we are for one cloud; a `ports.Identity`.

    `patience_seconds` is for how long a log-in that gets no answer is tried again, from `backoff_seconds` on with
    doubling pauses.
    """

    def __init__(
        self,
        entry: CloudEntry,
        *,
        patience_seconds: float = 30.0,
        backoff_seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entry = entry
        self._keystone = Keystone(entry)
        self._patience_seconds = patience_seconds
        self._backoff_seconds = backoff_seconds
        self._clock = clock
        self._lock = anyio.Lock()
        self._token = ""
        self._renew_at = self._ends_at = float("-inf")
        self._account: Account | None = None
        self._connection: Connection | None = None
        self._refusal: str | None = None

    @classmethod
    def from_config(cls, *, cloud: str | None, region: str | None) -> Self:
        """Read the entry `cloud` of clouds.yaml, or the OS_* variables where it is None. Raises `UsageError`."""
        return cls(read_entry(cloud, region))

    @property
    def account(self) -> Account:
        """As whom and where the run acts. Raises RuntimeError before the first log-in."""
        if self._account is None:
            raise RuntimeError("the account is known after the first log-in")
        return self._account

    @property
    def connection(self) -> Connection:
        """How to reach the image endpoint. Raises RuntimeError before the first log-in."""
        if self._connection is None:
            raise RuntimeError("the connection is known after the first log-in")
        return self._connection

    async def token(self) -> str:
        """Return the current token, logging in where there is none or it is about to end.

        While somebody renews a token that is still good, the others go on with it. Raises `CredentialsRefusedError`,
        `EndpointRefusedError`, and `UsageError` where the catalog does not have what the user asked for.
        """
        now = self._clock()
        if now < self._renew_at or (now < self._ends_at and self._lock.locked()):
            return self._token
        async with self._lock:
            if self._clock() >= self._renew_at:
                await self._renew_ahead()
            return self._token

    async def renew(self, refused: str) -> str:
        """Return a token other than `refused`; one log-in serves all who ask at once. Raises as `token`."""
        async with self._lock:
            if self._token in {"", refused}:
                self._renew_at = self._ends_at = float("-inf")  # nobody else is to try his luck with it
                await self._log_in()
            if self._token == refused:
                raise self._final(f"the cloud refuses the token, and auth_type {self._entry.auth_type} gets no other")
            return self._token

    async def _renew_ahead(self) -> None:
        try:
            await self._log_in()
        except UnansweredError:
            if self._clock() >= self._ends_at:
                raise
            self._renew_at = min(self._clock() + POSTPONED_SECONDS, self._ends_at)

    async def _log_in(self) -> None:
        """Get a token, and with the first one the account. Only with the lock held."""
        if self._refusal is not None:  # asking again with what was refused may lock the user out
            raise CredentialsRefusedError(self._refusal)
        began = self._clock()
        grant = await self._ask(began)
        if self._account is None:
            endpoint, region = find_endpoint(self._entry, grant.catalog)
            self._connection = connection_to(endpoint, self._entry)
            self._account = Account(
                cloud=clean(self._entry.name),
                region=region,
                endpoint=endpoint,
                user=grant.user,
                project=grant.project,
                project_id=grant.project_id,
            )
        self._token = grant.token
        self._renew_at = self._ends_at = float("inf")
        if grant.lifetime_seconds is not None and grant.lifetime_seconds > 0:
            self._ends_at = began + grant.lifetime_seconds
            self._renew_at = self._ends_at - min(MARGIN_SECONDS, grant.lifetime_seconds * MARGIN_SHARE)

    async def _ask(self, began: float) -> Grant:
        """Log in, again where that may help. A log-in is left to itself in its thread when the run is cancelled."""
        tries, pause = 0, self._backoff_seconds
        while True:
            tries += 1
            try:
                return await to_thread.run_sync(self._keystone.log_in, abandon_on_cancel=True)
            except Exception as error:  # noqa: BLE001  # auth plugins are anybody's, and raise what they like
                trouble = explain(error)
                if not trouble.transient:
                    raise self._refused(trouble) from None  # its text may hold secrets
                pause = max(pause, trouble.retry_after_seconds)
                if self._clock() - began + pause > self._patience_seconds:
                    raise self._unanswered(trouble, tries, self._clock() - began) from None
            await anyio.sleep(pause)
            pause *= 2

    def _refused(self, trouble: Trouble) -> BulkshareError:
        where = self._where()
        if trouble.untrusted:
            return EndpointRefusedError(f"the identity service {where} can't be trusted: {self._scrub(trouble.text)}")
        hint = ""
        if self._entry.auth_type.endswith("token"):
            hint = "; a token that has expired gets no new one: use a password or an application credential"
        return self._final(f"the identity service {where} refuses the log-in: {self._scrub(trouble.text)}{hint}")

    def _unanswered(self, trouble: Trouble, tries: int, seconds: float) -> UnansweredError:
        tried = f"tried {tries} time{'s' if tries > 1 else ''} in {seconds:.0f} s"
        return UnansweredError(
            f"no token from the identity service {self._where()} ({tried}): {self._scrub(trouble.text)}"
        )

    def _final(self, refusal: str) -> CredentialsRefusedError:
        self._refusal = refusal
        return CredentialsRefusedError(refusal)

    def _where(self) -> str:
        url = self._entry.auth_url
        return f"of cloud {clean(self._entry.name)}" + (f" at {url}" if url else "")

    def _scrub(self, text: str) -> str:
        for secret in self._entry.secrets:
            text = text.replace(secret, "***")
        return text
