"""The identity of a run: one account, and its tokens for one project and the other.

Knows tasks; how to log in, and why it failed, is known by the modules beside it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from bulkshare.errors import BulkshareError, CredentialsRefusedError, EndpointRefusedError, NoRoleError
from bulkshare.identity.catalog import connection_to, find_endpoint
from bulkshare.identity.directory import KeystoneDirectory
from bulkshare.identity.entry import read_entry
from bulkshare.identity.keystone import log_in
from bulkshare.identity.patience import Patience, Tries, UnansweredError
from bulkshare.identity.rescope import plugin_for
from bulkshare.identity.tokens import ScopedToken
from bulkshare.identity.trouble import Cause, explain
from bulkshare.model import Account
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Self

    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.identity.entry import CloudEntry
    from bulkshare.identity.keystone import Grant
    from bulkshare.identity.trouble import Trouble
    from bulkshare.model import Connection

MOST_PROJECTS = 1000  # whose tokens are kept
MOST_LOG_INS = 4  # at the same time: each costs the identity service a third of a second of its CPU


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
        self._patience = Patience(patience_seconds, backoff_seconds, clock)
        self._limiter = anyio.CapacityLimiter(MOST_LOG_INS)
        self._account: Account | None = None
        self._connection: Connection | None = None
        self._domains: Mapping[str, str] = {}
        no_other = f"the cloud refuses the token, and auth_type {entry.auth_type} gets no other"
        self._own = ScopedToken(self._log_in, clock=clock, same_again=CredentialsRefusedError(no_other))
        self._others: dict[str, ScopedToken] = {}  # the one used last is the last
        self._without_role: dict[str, str] = {}  # why, by project

    @classmethod
    def from_config(cls, *, cloud: str | None, region: str | None) -> Self:
        """Read the entry `cloud` of clouds.yaml, or the OS_* variables where it is None. Raises `UsageError`."""
        return cls(read_entry(cloud, region))

    @property
    def entry(self) -> CloudEntry:
        """What is configured about the cloud."""
        return self._entry

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

    def directory(self) -> KeystoneDirectory:
        """Return the projects that this identity may see. Only after the first log-in."""
        return KeystoneDirectory(self._entry, self, domains=self._domains, patience=self._patience)

    async def token(self, project: str | None = None) -> str:
        """Return the current token of our user for the run's own project, or for `project`.

        Raises `CredentialsRefusedError`, `EndpointRefusedError`, and `UsageError` where the catalog does not have what
        the user asked for; for another project `NoRoleError`, and `UnansweredError` where the identity service does
        not answer, both of which say nothing about the run.
        """
        if project is None or self._is_own(project):
            return await self._own.get()
        return await self._asking(project, lambda scoped: scoped.get())

    async def renew(self, refused: str, project: str | None = None) -> str:
        """Return a token other than `refused`; one log-in serves all who ask at once. Raises as `token`."""
        if project is None or self._is_own(project):
            return await self._own.renew(refused)
        return await self._asking(project, lambda scoped: scoped.renew(refused))

    def _is_own(self, project: str) -> bool:
        return self._account is not None and project == self._account.project_id

    async def _asking(self, project: str, ask: Callable[[ScopedToken], Awaitable[str]]) -> str:
        """Ask the token of `project`, which is made where there is none, and remember it if there can be none."""
        if self._account is None:
            await self._own.get()
        if project in self._without_role:
            raise NoRoleError(self._without_role[project])
        scoped = self._others.pop(project, None) or self._scoped_to(project)
        self._others[project] = scoped
        if len(self._others) > MOST_PROJECTS:
            del self._others[next(iter(self._others))]
        try:
            return await ask(scoped)
        except NoRoleError as refusal:
            self._without_role[project] = str(refusal)
            self._others.pop(project, None)
            raise

    def _scoped_to(self, project: str) -> ScopedToken:
        async def log_in_there() -> Grant:
            plugin = plugin_for(self._entry, project, await self._own.get())
            return await self._ask(plugin, project)

        refused = f"the cloud refuses the token of user {self.account.user} for project {clean(project)}"
        return ScopedToken(log_in_there, clock=self._patience.clock, same_again=NoRoleError(refused))

    async def _log_in(self) -> Grant:
        """Get a token of the run's own project, and with the first one the account."""
        grant = await self._ask(self._entry.plugin, None)
        if self._account is None:
            endpoint, region = find_endpoint(self._entry, grant.catalog)
            self._connection = connection_to(endpoint, self._entry)
            self._domains = grant.domains
            self._account = Account(
                cloud=clean(self._entry.name),
                region=region,
                endpoint=endpoint,
                user=grant.user,
                project=grant.project,
                project_id=grant.project_id,
                admin=grant.admin,
            )
        return grant

    async def _ask(self, plugin: BaseAuthPlugin, project: str | None) -> Grant:
        """Log in, again where that may help. A log-in is left to itself in its thread when the run is cancelled."""
        tries = Tries(self._patience)
        while True:
            try:
                return await to_thread.run_sync(
                    log_in, self._entry, plugin, abandon_on_cancel=True, limiter=self._limiter
                )
            except Exception as error:  # noqa: BLE001  # auth plugins are anybody's, and raise what they like
                trouble = explain(error)
                # We have logged in there before: what is no identity service now is something on the way to it.
                elsewhere = project is not None and trouble.cause is Cause.MISDIRECTED
                if trouble.cause is not Cause.PASSING and not elsewhere:
                    raise self._refused(trouble, project) from None  # its text may hold secrets
                pause = tries.pause_after(trouble)
                if pause is None:
                    raise self._unanswered(trouble, tries, project) from None
            await anyio.sleep(pause)

    def _refused(self, trouble: Trouble, project: str | None) -> BulkshareError:
        text = self._scrub(trouble.text)
        if trouble.cause is Cause.UNTRUSTED:
            return EndpointRefusedError(f"the identity service {self._where()} can't be trusted: {text}")
        if trouble.cause is Cause.MISDIRECTED:
            return CredentialsRefusedError(f"there is no identity service (Keystone, API v3) {self._where()}: {text}")
        if project is not None:
            return NoRoleError(_no_role(self.account.user, clean(project), trouble.status, text))
        hint = ""
        if self._entry.auth_type.endswith("token"):
            hint = "; a token that has expired gets no new one: use a password or an application credential"
        return CredentialsRefusedError(f"the identity service {self._where()} refuses the log-in: {text}{hint}")

    def _unanswered(self, trouble: Trouble, tries: Tries, project: str | None) -> UnansweredError:
        wanted = "" if project is None else f" for project {clean(project)}"
        text = self._scrub(trouble.text)
        return UnansweredError(f"no token{wanted} from the identity service {self._where()} ({tries}): {text}")

    def _where(self) -> str:
        url = self._entry.auth_url
        return f"of cloud {clean(self._entry.name)}" + (f" at {url}" if url else "")

    def _scrub(self, text: str) -> str:
        for secret in self._entry.secrets:
            text = text.replace(secret, "***")
        return text


def _no_role(user: str, project: str, status: int | None, text: str) -> str:
    if status == 401:  # Keystone's words for it are that authentication is required
        return f"user {user} has no role in project {project}, or the project is unknown or disabled"
    if status in {403, 404}:
        return f"user {user} has no role in project {project}: {text}"
    return f"user {user} gets no token for project {project}: {text}"
