"""What every identity on a cloud has, however it logs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkshare.cloud.keystone import OutageNotice, RetryTime
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.cloud.config import CloudEntry
    from bulkshare.model import Account, Connection


class ConfiguredIdentity:
    """A configured cloud, and our account there, which the first log-in finds.

    entry: the configured cloud.
    retry_time: for how long a request to the identity service that gets no answer is retried.
    note: says a sentence to the user.
    """

    def __init__(
        self, entry: CloudEntry, *, retry_time: RetryTime | None = None, note: Callable[[str], None] = lambda _: None
    ) -> None:
        self._entry = entry
        self._retry_time = retry_time or RetryTime()
        self._notice = OutageNotice(self._where(), note)
        self._account: Account | None = None
        self._connection: Connection | None = None

    @property
    def entry(self) -> CloudEntry:
        """The configuration of the cloud."""
        return self._entry

    @property
    def account(self) -> Account:
        """The user, project and endpoint of the run. Raises RuntimeError before the first log-in."""
        if self._account is None:
            raise RuntimeError("the account is known after the first login")
        return self._account

    @property
    def connection(self) -> Connection:
        """How to reach the image endpoint. Raises RuntimeError before the first log-in."""
        if self._connection is None:
            raise RuntimeError("the connection is known after the first login")
        return self._connection

    def _where(self) -> str:
        """Return which identity service a message is about."""
        url = self._entry.auth_url
        return f"of cloud {clean(self._entry.name)}" + (f" at {url}" if url else "")
