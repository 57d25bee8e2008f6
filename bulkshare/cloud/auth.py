"""The identity of a run on one cloud: its account, its tokens, and the transport that adds them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio
from keystoneauth1.identity import BaseIdentityPlugin, v2, v3
from keystoneauth1.identity.generic.base import BaseGenericPlugin
from keystoneauth1.identity.v3.application_credential import ApplicationCredentialMethod

from bulkshare.cloud.access_key import AUTH_TYPE, KeyIdentity
from bulkshare.cloud.catalog import connection_to, find_endpoint, is_iam
from bulkshare.cloud.identity import ConfiguredIdentity
from bulkshare.cloud.keystone import (
    AuthErrorKind,
    LogInStoppedError,
    OutageError,
    Retries,
    RetryTime,
    UnansweredError,
    api_url,
    explain,
    is_up,
    log_in,
)
from bulkshare.cloud.projects import KeystoneDirectory
from bulkshare.cloud.prompts import has_passcode
from bulkshare.cloud.threads import call_in_daemon, unless_stopped
from bulkshare.errors import (
    BulkshareError,
    CredentialsRefusedError,
    DirectoryError,
    EndpointRefusedError,
    NoRoleError,
    UsageError,
)
from bulkshare.image_api.glance import interpret
from bulkshare.model import Account, Fault, FaultKind, Response, Step
from bulkshare.text import clean, escaped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.cloud.config import CloudEntry
    from bulkshare.cloud.keystone import AuthError, Grant
    from bulkshare.model import Reply, Request
    from bulkshare.ports import Identity, Transport


# Options that name whose login it is, by the words before the name.
WHO = {
    "of user": ("username", "user_name", "user_id"),
    "with application credential": ("application_credential_name", "application_credential_id"),
    "for project": ("project_name", "project_id", "tenant_name", "tenant_id"),
}
MARGIN_SECONDS = 120.0  # a token is renewed this long before it expires ...
MARGIN_SHARE = 0.2  # ... or, if it is short-lived, when this share of its lifetime is left
POSTPONED_SECONDS = 15.0  # how long to keep using a valid token after a renewal got no answer
MOST_PROJECTS = 1000  # whose tokens are kept
MOST_LOG_INS = 4  # at the same time: each costs the identity service a third of a second of CPU


class ScopedToken:
    """The token of one scope. A refused log-in is remembered: trying again may lock the user out.

    log_in: gets a new token; its argument says whether to wait for an identity service that is down.
    clock: monotonic, in seconds.
    refusal_of_same: what to raise if a log-in returns the same token that the cloud has refused.
    """

    def __init__(
        self,
        log_in: Callable[[bool], Awaitable[Grant]],
        *,
        clock: Callable[[], float],
        refusal_of_same: CredentialsRefusedError,
    ) -> None:
        self._log_in = log_in
        self._clock = clock
        self._refusal_of_same = refusal_of_same
        self._lock = anyio.Lock()
        self._token = ""
        self._renew_at = self._ends_at = float("-inf")
        self._refusal: CredentialsRefusedError | None = None

    async def get(self) -> str:
        """Return the token, logging in if there is none or it is about to expire.

        While one task renews a token that is still valid, the others keep using it. Raises what `log_in` raises.
        """
        now = self._clock()
        if now < self._renew_at or (now < self._ends_at and self._lock.locked()):
            return self._token
        async with self._lock:
            if self._clock() >= self._renew_at:
                await self._renew_ahead()
            return self._token

    async def renew(self, refused: str) -> str:
        """Return a token other than `refused`; concurrent callers share one log-in. Raises what `log_in` raises."""
        async with self._lock:
            if self._token in {"", refused}:
                self._renew_at = self._ends_at = float("-inf")  # no other task may use it
                await self._replace(wait=True)
            if self._token == refused:
                self._refusal = self._refusal_of_same
                self._raise_refusal()
            return self._token

    async def _renew_ahead(self) -> None:
        """Get another token, but keep the one there is while it is valid and the identity service is down."""
        if self._clock() < self._ends_at:
            try:
                await self._replace(wait=False)
            except (UnansweredError, OutageError):
                self._renew_at = min(self._clock() + POSTPONED_SECONDS, self._ends_at)
                if self._clock() < self._ends_at:
                    return
            else:
                return
        await self._replace(wait=True)

    async def _replace(self, *, wait: bool) -> None:
        """Get another token. The caller holds the lock."""
        self._raise_refusal()
        began = self._clock()
        try:
            grant = await self._log_in(wait)
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
        if self._refusal is not None:  # a new object each time: a raised one accumulates tracebacks
            raise type(self._refusal)(*self._refusal.args)


def plugin_for(entry: CloudEntry, project: str, token: str) -> BaseAuthPlugin:
    """Return a plugin for `project` with the entry's credentials, which have already yielded `token`.

    A password is used again. All other methods exchange the token, since what they used may be valid only once or need
    a person. Raises `NoRoleError` if the credentials are bound to one project.
    """
    plugin = entry.plugin
    if isinstance(plugin, BaseGenericPlugin):  # it delegates to the plugin of the version it discovered
        plugin = plugin._plugin or plugin  # noqa: SLF001  # there is no public way to it, nor to the credentials
    if not isinstance(plugin, BaseIdentityPlugin) or isinstance(plugin, v2.Auth):
        raise NoRoleError(f"auth_type {entry.auth_type} gets no token for another project")
    url = plugin.auth_url or entry.auth_url
    methods = plugin.auth_methods if isinstance(plugin, v3.Auth) else []
    if any(isinstance(method, ApplicationCredentialMethod) for method in methods):
        raise NoRoleError(
            "an application credential is valid for its own project only; to act in other projects, log in with a "
            "password"
        )
    if len(methods) == 1 and isinstance(methods[0], v3.PasswordMethod):
        return v3.Auth(url, methods, project_id=project, include_catalog=False)
    return v3.Token(url, token, project_id=project, include_catalog=False)


class CloudIdentity(ConfiguredIdentity):
    """Our account and tokens on one cloud; a `ports.Identity`.

    entry: the configured cloud.
    retry_time: for how long a log-in that gets no answer is retried.
    note: says a sentence to the user.

    stopping: returns the event that ends the waiting for a log-in; None: only cancellation does.
    """

    stopping: Callable[[], anyio.Event] | None = None

    def __init__(
        self, entry: CloudEntry, *, retry_time: RetryTime | None = None, note: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(entry, retry_time=retry_time, note=note)
        self._limiter = anyio.CapacityLimiter(MOST_LOG_INS)
        self._issued = ""  # the latest token for the run's own project
        self._domains: Mapping[str, str] = {}
        self._is_iam = is_iam(entry.auth_url)
        no_other = CredentialsRefusedError(
            f"the cloud refuses the token, and auth_type {entry.auth_type} can't get another one"
        )
        self._own = ScopedToken(self._log_in, clock=self._retry_time.clock, refusal_of_same=no_other)
        self._others: dict[str, ScopedToken] = {}  # by project, the most recently used one last
        self._without_role: dict[str, str] = {}  # the reason, by project

    def directory(self) -> KeystoneDirectory:
        """Return the directory of projects that this identity may see. Only after the first log-in."""
        return KeystoneDirectory(
            self._entry,
            self,
            domains=self._domains,
            retry_time=self._retry_time,
            notice=self._notice,
            is_iam=self._is_iam,
        )

    async def token(self, project: str | None = None) -> str:
        """Return the current token of our user for the run's own project, or for `project`.

        Raises `CredentialsRefusedError`, `EndpointRefusedError`, and `UsageError` if the catalog lacks what the user
        asked for. For another project it raises `NoRoleError`, or `UnansweredError` if the identity service answers
        other requests only; neither concerns the run as a whole. While the service is down it waits. It raises
        `OutageError` once that has taken too long, and `LogInStoppedError` if `stopping` ends the waiting.
        """
        if project is None or self._is_own(project):
            return await self._own.get()
        return await self._asking(project, lambda scoped: scoped.get())

    async def renew(self, refused: str, project: str | None = None) -> str:
        """Return a token other than `refused`; concurrent callers share one log-in. Raises what `token` raises."""
        if project is None or self._is_own(project):
            return await self._own.renew(refused)
        return await self._asking(project, lambda scoped: scoped.renew(refused))

    async def refusals(self, projects: Iterable[str]) -> dict[str, str]:
        """Return why there is no token for some of these projects, as far as that is known without asking for each."""
        token = await self._own.get()
        others = [project for project in projects if not self._is_own(project)]
        try:
            for project in others[:1]:
                plugin_for(self._entry, project, token)
        except NoRoleError as refusal:
            return dict.fromkeys(others, str(refusal))
        try:
            own = await self.directory().own() if others else frozenset()
        except DirectoryError:
            return {}
        user = self.account.user
        return {project: _no_role(user, clean(project), 401, "") for project in others if project not in own}

    def _is_own(self, project: str) -> bool:
        return self._account is not None and project == self._account.project_id

    async def _asking(self, project: str, ask: Callable[[ScopedToken], Awaitable[str]]) -> str:
        """Ask the token of `project`, created on first use, and remember it if there can be none."""
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
        async def log_in_there(wait: bool) -> Grant:  # noqa: FBT001  see ScopedToken
            plugin = plugin_for(self._entry, project, await self._own.get())
            return await self._ask(plugin, project, wait=wait)

        refused = f"the cloud refuses the token of user {self.account.user} for project {clean(project)}"
        return ScopedToken(log_in_there, clock=self._retry_time.clock, refusal_of_same=NoRoleError(refused))

    async def _log_in(self, wait: bool) -> Grant:  # noqa: FBT001  see ScopedToken
        """Get a token for the run's own project; the first one also determines the account."""
        plugin = self._entry.plugin
        assert plugin is not None  # noqa: S101  an entry without one has an access key
        if self._account is not None and has_passcode(plugin):  # which was valid once
            url = api_url(self._entry.auth_url)
            plugin = v3.Token(url, self._issued, project_id=self._account.project_id, include_catalog=False)
        grant = await self._ask(plugin, None, wait=wait)
        self._issued = grant.token
        if self._account is None:
            endpoint, region = find_endpoint(self._entry, grant.catalog)
            self._connection = connection_to(endpoint, self._entry)
            self._domains = grant.domains
            self._is_iam = is_iam(self._entry.auth_url, grant.catalog)
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

    async def _ask(self, plugin: BaseAuthPlugin, project: str | None, *, wait: bool) -> Grant:
        """Log in, with retries if `wait`. If the run is stopped, a log-in is abandoned in its thread."""
        if self.stopping is None:
            return await self._retry(plugin, project, wait=wait)
        done = await unless_stopped(self.stopping(), partial(self._retry, plugin, project, wait=wait))
        if done is None:
            raise LogInStoppedError("stopped while logging in")
        return done[0]

    async def _retry(self, plugin: BaseAuthPlugin, project: str | None, *, wait: bool) -> Grant:
        retries, up = Retries(self._retry_time), False
        while True:
            try:
                grant = await call_in_daemon(log_in, self._entry, plugin, limiter=self._limiter)
            except UsageError:
                raise
            except Exception as exception:  # noqa: BLE001  third-party auth plugins may raise anything
                error = explain(exception)
            else:
                self._notice.answered()
                return grant
            passing = {AuthErrorKind.OUTAGE, AuthErrorKind.UNCLEAR}
            if self._account is not None and error.kind in {AuthErrorKind.UNCLEAR, AuthErrorKind.MISDIRECTED}:
                # We have logged in there before: what answers now is something in front of the identity service.
                error = replace(error, kind=AuthErrorKind.OUTAGE)
            if error.kind not in passing:
                raise self._refused(error, project)  # without a cause, whose text may contain secrets
            delay_seconds = retries.next_delay(error)
            was_up, up = up, project is not None and retries.is_long and await self._is_up()
            if up:
                error = replace(error, kind=AuthErrorKind.UNCLEAR)
            if delay_seconds is None or not wait or (up and was_up):  # once may be just after an outage
                raise self._unanswered(error, retries, project)
            self._notice.failed(self._scrub(error.text))
            await anyio.sleep(delay_seconds)

    async def _is_up(self) -> bool:
        """Return whether the identity service answers requests about anything else."""
        url = api_url(self._entry.auth_url)
        return not url or await call_in_daemon(is_up, self._entry, url, await self._own.get())

    def _refused(self, error: AuthError, project: str | None) -> BulkshareError:
        text = self._scrub(error.text)
        if error.kind is AuthErrorKind.UNTRUSTED:
            return EndpointRefusedError(f"the identity service {self._where()} can't be trusted: {text}")
        if error.kind is AuthErrorKind.MISDIRECTED:
            return CredentialsRefusedError(f"there is no identity service (Keystone, API v3) {self._where()}: {text}")
        if error.kind is AuthErrorKind.FAILED:
            return CredentialsRefusedError(
                f"the log-in to cloud {clean(self._entry.name)} with auth_type {self._entry.auth_type} failed: {text}"
            )
        if project is not None:
            return NoRoleError(_no_role(self.account.user, clean(project), error.status, text))
        hint = self._invisible()
        if self._account is not None and has_passcode(self._entry.plugin):
            hint += "; a passcode is valid once: to continue, run the same command with a new one"
        if self._entry.auth_type.endswith("token"):
            other = "access key" if self._is_iam else "application credential"
            hint += f"; an expired token can't be renewed: use a password or an {other}"
        return CredentialsRefusedError(
            f"the identity service {self._where()} refuses the login{self._who()}: {text}{hint}"
        )

    def _unanswered(self, error: AuthError, retries: Retries, project: str | None) -> UnansweredError | OutageError:
        scope = "" if project is None else f" for project {clean(project)}"
        message = f"no token{scope} from the identity service {self._where()} ({retries}): {self._scrub(error.text)}"
        return OutageError(message) if error.kind is AuthErrorKind.OUTAGE else UnansweredError(message)

    def _who(self) -> str:
        """Return whose login it is, and where that was configured, as far as the entry says."""
        who = (f" {word} {name}" for word, keys in WHO.items() if (name := self._first_of(keys)))
        return "".join(who) + (f" (from {self._entry.source})" if self._entry.source else "")

    def _first_of(self, keys: Sequence[str]) -> str:
        found = (str(self._entry.auth[key]) for key in keys if self._entry.auth.get(key))
        return escaped(next(found, ""))

    def _invisible(self) -> str:
        """Return a hint about options with characters that no one sees, such as the CR of a file from Windows."""
        hints = []
        for name, value in self._entry.auth.items():
            hidden = sorted({escaped(c) for c in str(value) if not c.isprintable()})
            if hidden:
                hints.append(f"; `{name}` contains {' '.join(hidden)}")
            elif str(value) != str(value).strip():
                hints.append(f"; `{name}` begins or ends with a space")
        return "".join(hints)

    def _scrub(self, text: str) -> str:
        for secret in self._entry.secrets:
            text = text.replace(secret, "***")
        return text


def identity_from(
    entry: CloudEntry, *, give_up_after_seconds: float, note: Callable[[str], None] = lambda _: None
) -> CloudIdentity | KeyIdentity:
    """Return the identity that an entry's credentials make.

    give_up_after_seconds: for how long it waits for an identity service that is down; `note` says so.
    """
    retry_time = RetryTime(give_up_after_seconds)
    if entry.auth_type == AUTH_TYPE:
        return KeyIdentity(entry, retry_time=retry_time, note=note)
    return CloudIdentity(entry, retry_time=retry_time, note=note)


def _no_role(user: str, project: str, status: int | None, text: str) -> str:
    if status == 401:  # Keystone's own words would be that authentication is required
        return f"user {user} has no role in project {project}, or the project is unknown or disabled"
    if status in {403, 404}:
        return f"user {user} has no role in project {project}: {text}"
    return f"user {user} gets no token for project {project}: {text}"


STRAY_REFUSALS = 5  # refusals of new tokens in a row that are taken for one server's fault, if tokens worked before


class Identified:
    """A Transport that adds the identity's token to every request, and sends again with a new one after a 401.

    A server behind a load balancer may refuse tokens that all others accept. So if any token was accepted before, a
    request whose new token is refused too gets the 401 as its reply, and may be tried again. The run ends only after
    several of these in a row, without a single request in between that got through.
    """

    def __init__(self, inner: Transport, identity: Identity) -> None:
        self._inner = inner
        self._identity = identity
        self._accepted = False  # whether a token ever was
        self._refusals = 0  # of new tokens, since a request last got through

    async def send(self, request: Request) -> Reply:
        """Send `request` with a token. Raises `CredentialsRefusedError` if no token is accepted.

        If there is no token for the request's project, or it is refused twice, that concerns this request only: the
        reply is a 403 that says so, or a fault if the identity service does not answer.
        """
        try:
            token = await self._identity.token(request.project)
            reply = await self._inner.send(request.with_token(token))
            if isinstance(reply, Response):
                if reply.status == 401:
                    return await self._send_with_new_token(request, token)
                self._accepted, self._refusals = True, 0
        except LogInStoppedError:
            return Fault(FaultKind.STOPPED, "not sent: the run was stopped")
        except (NoRoleError, UnansweredError) as error:
            if request.project is None:
                raise
            if isinstance(error, UnansweredError):
                return Fault(FaultKind.UNSENT, str(error))
            return Response(403, {"content-type": "application/json"}, json.dumps({"message": str(error)}).encode())
        return reply

    async def _send_with_new_token(self, request: Request, refused: str) -> Reply:
        token = await self._identity.renew(refused, request.project)
        reply = await self._inner.send(request.with_token(token))
        if isinstance(reply, Response) and reply.status != 401:
            self._accepted, self._refusals = True, 0
        elif isinstance(reply, Response):
            self._refusals += 1
            if self._accepted and self._refusals < STRAY_REFUSALS and request.project is None:
                return reply
            reason = interpret(Step.GET_MEMBER, "", "", reply, datetime.now(UTC)).reason.replace(token, "***")
            where = self._identity.account.endpoint
            refusal = f"the image service at {where} refuses a token that was just issued"
            if request.project is not None:
                raise NoRoleError(f"{refusal} for project {clean(request.project)}: {reason}")
            raise CredentialsRefusedError(f"{refusal}: {reason}")
        return reply
