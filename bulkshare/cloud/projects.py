"""The projects that a cloud's identity service knows, looked up with the run's token."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import re
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from bulkshare.cloud.keystone import (
    AuthError,
    AuthErrorKind,
    OutageError,
    Retries,
    api_url,
    explain,
    is_up,
    open_session,
)
from bulkshare.cloud.threads import call_in_daemon, map_in_daemons
from bulkshare.errors import DirectoryError, UsageError
from bulkshare.model import KnownProjects, Project
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from keystoneauth1.session import Session
    from requests.auth import AuthBase

    from bulkshare.cloud.config import CloudEntry
    from bulkshare.cloud.keystone import OutageNotice, RetryTime
    from bulkshare.model import ProjectSelector
    from bulkshare.ports import Identity


Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_AT_ONCE = 8  # requests in flight
MOST_PAGES = 10_000  # beyond any cloud; bounds a list whose pages never end
UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # what Keystone accepts as a parent_id
PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # any other would change the path, or is longer than Keystone's
GLOB = re.compile(r"[*?\[]")
MOST_REFUSED = 50  # lookups: if not one of so many is allowed, none is, and the rest are not sent
MOST_LOOKUPS = 1_000  # IDs that a list lacks and that are looked up on their own: some seconds' work
TOO_MANY = f"the identity service does not list them, and no more than {MOST_LOOKUPS:,} are looked up one by one"
PER_PAGE = 5000  # IAM's most
OTHERS = (
    "this cloud's identity service knows projects of our own account only; if another's does not exist, the image "
    "service refuses it"
)
MANY = 50  # IDs: from here on one list of all projects is cheaper than a request for each


class ForbiddenError(DirectoryError):
    """The credentials may not read this."""


class NoSuchPageError(DirectoryError):
    """The service can't make sense of the query."""


class TokenRefusedError(DirectoryError):
    """The token is no longer valid; another one may be."""


class KeystoneReader:
    """Reads the Identity API v3 in a thread.

    Every method raises `ForbiddenError`, `TokenRefusedError`, and `DirectoryError` if there is no usable answer. While
    the service is down they wait, and raise `OutageError` in the end.

    session: keystoneauth's, with the TLS settings.
    url: of the API, ending with /v3.
    token: sent with every request; "" if `signature` signs them instead.
    retry_time: for requests that get no answer.
    stopping: once set, nothing more is sent.
    on_failure, on_answer: called in some thread after a request that will be sent again, with the reason, and after
        one that was answered.
    is_up: whether the service answers another request, if one has got no answer for long.
    signature: signs requests.
    is_iam: whether the service is IAM, whose list of projects has numbered pages.
    """

    def __init__(
        self,
        session: Session,
        url: str,
        token: str,
        *,
        retry_time: RetryTime,
        stopping: threading.Event,
        on_failure: Callable[[str], None],
        on_answer: Callable[[], None],
        is_up: Callable[[], bool],
        signature: AuthBase | None = None,
        is_iam: bool = False,
    ) -> None:
        self._session = session
        self._url = url
        self._token = token
        self._signature = signature
        self._retry_time = retry_time
        self._stopping = stopping
        self._on_failure = on_failure
        self._on_answer = on_answer
        self._is_up = is_up
        self.is_iam = is_iam

    def one(self, path: str, kind: str) -> dict[str, Any] | None:
        """Return the document of type `kind` at `path`; None if there is none."""
        body = self._get(path)
        if body is None:
            return None
        document = body.get(kind)
        if not isinstance(document, dict):
            raise self._useless(path)
        return document

    def all(
        self, path: str, query: Mapping[str, str] | None = None, *, may_be_partial: bool = False
    ) -> list[dict[str, Any]]:
        """Return all pages of the list at `path`; its key is the path's last segment.

        A list that the service truncates raises `DirectoryError`, unless it `may_be_partial`.
        Only the query of the link to the next page is used, so that the token goes nowhere else.
        """
        if self.is_iam and path == "/projects":
            return self._numbered_pages(path, query or {})
        found: list[dict[str, Any]] = []
        pairs = tuple((query or {}).items())
        seen: set[tuple[tuple[str, str], ...]] = set()
        while pairs not in seen and len(seen) < MOST_PAGES:
            seen.add(pairs)
            body = self._get(f"{path}?{urlencode(pairs)}" if pairs else path) or {}
            items, following = self._page(path, body)
            found += items
            if not following:
                if body.get("truncated") and not may_be_partial:
                    raise DirectoryError(
                        f"the identity service truncates its list at {path} after {len(found)}; add a domain or a tag"
                    )
                return found
            pairs = following
        raise DirectoryError(f"the identity service's list at {path} never ends")

    def _page(
        self, path: str, body: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], tuple[tuple[str, str], ...] | None]:
        """Return the items of a page, and the query of the link to the next one."""
        items, links = body.get(path.rpartition("/")[2]), body.get("links")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._useless(path)
        following = links.get("next") if isinstance(links, dict) else None
        return items, tuple(parse_qsl(urlsplit(str(following)).query, keep_blank_values=True)) if following else None

    def _numbered_pages(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return all pages of a list, which are numbered; their links may lead to no next one, though there is one.

        The list ends with the first page that has nothing new, whatever its size: a service may cap it. A service may
        also refuse a page beyond the last, which ends the list unless the page before was full.
        """
        found: dict[str, dict[str, Any]] = {}
        pairs: tuple[tuple[str, str], ...] | None = None
        is_full = True
        for number in range(1, MOST_PAGES):
            pairs = pairs or (*query.items(), ("page", str(number)), ("per_page", str(PER_PAGE)))
            try:
                body = self._get(f"{path}?{urlencode(pairs)}")
            except NoSuchPageError:
                if is_full:
                    raise
                body = None
            if body is None and not is_full:
                break
            items, pairs = self._page(path, body or {})
            fresh = {str(item.get("id")): item for item in items if str(item.get("id")) not in found}
            if not fresh:
                break
            found |= fresh
            is_full = len(items) >= PER_PAGE
        else:
            raise DirectoryError(f"the identity service's list at {path} never ends")
        return list(found.values())

    def each(self, ask: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return the result of `ask`, which uses this reader, for each item; the first error ends it.

        The first item is asked for alone: if it is refused for all, one refusal is enough.
        """
        return [ask(item) for item in items[:1]] + map_in_daemons(ask, items[1:], at_once=MOST_AT_ONCE)

    def _get(self, path: str) -> dict[str, Any] | None:
        """Return the answer's body, None for 404; with retries."""
        retries, up = Retries(self._retry_time), False
        while not self._stopping.is_set():
            answer = self._ask(path)
            if not isinstance(answer, AuthError):
                self._on_answer()
                return answer
            if answer.kind not in {AuthErrorKind.OUTAGE, AuthErrorKind.UNCLEAR}:
                if answer.kind is AuthErrorKind.REFUSED and answer.status == 404:
                    return None
                raise self._refusal(answer)
            delay_seconds = retries.next_delay(answer)
            text = self._scrub(answer.text)
            was_up, up = up, retries.is_long and self._is_up()
            if delay_seconds is None or (up and was_up):  # once may be just after an outage
                down = answer.kind is AuthErrorKind.OUTAGE and not up
                error = f"no answer from the identity service at {self._url} ({retries}): {text}"
                raise OutageError(error) if down else DirectoryError(error)
            self._on_failure(text)
            self._stopping.wait(delay_seconds)
        raise DirectoryError("stopped")

    def _ask(self, path: str) -> dict[str, Any] | AuthError:
        headers = {"X-Auth-Token": self._token} if self._token else {}
        try:
            answer = self._session.get(
                self._url + path,
                headers=headers,
                authenticated=False,
                redirect=False,
                requests_auth=self._signature,
            )
            body = answer.json() if answer.status_code == 200 else None
        except ValueError:
            return AuthError("the answer is not JSON", AuthErrorKind.UNCLEAR)
        except Exception as error:  # noqa: BLE001  # those of requests come through, too
            return explain(error)
        if not isinstance(body, dict):
            raise self._useless(path)
        return body

    def _refusal(self, error: AuthError) -> DirectoryError:
        text = self._scrub(error.text)
        if error.kind is AuthErrorKind.REFUSED and error.status == 403:
            return ForbiddenError(text)
        if error.kind is AuthErrorKind.REFUSED and error.status == 401:
            what = "token" if self._token else "signature"
            return TokenRefusedError(f"the identity service at {self._url} refuses the {what}: {text}")
        kind = NoSuchPageError if error.status == 400 else DirectoryError
        return kind(f"the identity service at {self._url} refuses the request: {text}")

    def _scrub(self, text: str) -> str:
        return clean(text.replace(self._token, "***") if self._token else text)

    def _useless(self, path: str) -> DirectoryError:
        return DirectoryError(f"the identity service at {self._url} gives an unexpected answer to {path}")


class KeystoneDirectory:
    """A `ports.Directory` that asks Keystone.

    A user who may not list all projects gets those in which they have a role, filtered here.

    entry: the configured cloud.
    identity: whose token is used.
    domains: names by ID of the domains known from the log-in, for users who may not look up domains.
    retry_time: for requests that get no answer.
    notice: learns of them.
    signature: signs requests if the identity has no tokens.
    is_iam: whether the service is IAM, which tells nothing of other accounts and has no tags.
    """

    def __init__(
        self,
        entry: CloudEntry,
        identity: Identity,
        *,
        domains: Mapping[str, str],
        retry_time: RetryTime,
        notice: OutageNotice,
        signature: AuthBase | None = None,
        is_iam: bool = False,
    ) -> None:
        self._notice = notice
        self._is_iam = is_iam
        self._entry = entry
        self._identity = identity
        self._domains = domains
        self._retry_time = retry_time
        self._signature = signature

    async def projects(self, selector: ProjectSelector) -> list[Project]:
        """Return the projects that match a selector, except that a glob in its name is not applied.

        Raises `DirectoryError`, `UsageError` for an unknown domain or a tag where there are none, and what
        `Identity.token` raises.
        """
        if self._is_iam and selector.tags:
            tags = ", ".join(map(clean, sorted(selector.tags)))
            raise UsageError(
                f"cloud {clean(self._entry.name)}: projects can't be selected by tag ({tags}): this cloud's projects "
                "have no tags; select them by `name`, or list their IDs"
            )
        return await self._asking(lambda reader: self._find(reader, selector))

    async def named(self, name: str) -> list[Project]:
        """Return the projects with exactly this name. Raises `DirectoryError`, and what `Identity.token` raises."""
        found = await self._asking(lambda reader: _visible(reader, {"name": name}))
        return [project for project in map(_project, found) if project.name == name]

    async def known(self, project_ids: Collection[str]) -> KnownProjects:
        """Return which IDs are projects, not domains. Raises `DirectoryError`, and what `Identity.token` raises."""
        return await self._asking(lambda reader: _known(reader, frozenset(project_ids)))

    async def own(self) -> frozenset[str]:
        """Return the IDs of the projects for which our user gets a token: those with a role, unless they are disabled.

        Raises `DirectoryError`.
        """
        found = await self._asking(lambda reader: reader.all("/auth/projects"))
        return frozenset(project.id for project in map(_project, found) if project.enabled)

    async def _asking(self, ask: Callable[[KeystoneReader], Result]) -> Result:
        """Return what `ask` finds, with another token if the first is refused."""
        token = await self._identity.token() if self._signature is None else ""
        try:
            return await self._in_thread(ask, token)
        except TokenRefusedError:
            token = await self._identity.renew(token)
        return await self._in_thread(ask, token)

    async def _in_thread(self, ask: Callable[[KeystoneReader], Result], token: str) -> Result:
        url, stopping, loop = self._url(), threading.Event(), asyncio.get_running_loop()

        def tell(action: Callable[..., None], *arguments: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the reason to read
                loop.call_soon_threadsafe(action, *arguments)

        def read() -> Result:
            with open_session(self._entry) as session:
                reader = KeystoneReader(
                    session,
                    url,
                    token,
                    retry_time=self._retry_time,
                    stopping=stopping,
                    on_failure=partial(tell, self._notice.failed),
                    on_answer=partial(tell, self._notice.answered),
                    is_up=partial(is_up, self._entry, url, token),
                    signature=self._signature,
                    is_iam=self._is_iam,
                )
                return ask(reader)

        try:
            return await call_in_daemon(read)
        finally:
            stopping.set()

    def _url(self) -> str:
        url = api_url(self._entry.auth_url)
        if not url:
            raise DirectoryError(f"auth_type {self._entry.auth_type} names no identity service to ask for projects")
        return url

    def _find(self, reader: KeystoneReader, selector: ProjectSelector) -> list[Project]:
        domain_id = self._domain_id(reader, selector.domain) if selector.domain else None
        found = _visible(reader, _query(selector, domain_id))
        return [project for project in map(_project, found) if _fits(project, selector, domain_id)]

    def _domain_id(self, reader: KeystoneReader, domain: str) -> str:
        """Return the ID of the domain with this name or ID."""
        if self._is_iam:
            return _account_id(reader, domain)
        try:
            named = reader.all("/domains", {"name": domain})
            if named:
                return str(named[0].get("id"))
            if _is_domain(reader, domain):
                return domain
            names = [str(each.get("name")) for each in reader.all("/domains")]
        except ForbiddenError as error:
            return self._own_domain_id(reader, domain, error)
        near = difflib.get_close_matches(domain, names, n=3)
        if near:
            hint = f"did you mean {' or '.join(repr(clean(name)) for name in near)}?"
        else:
            hint = f"known: {', '.join(clean(name) for name in sorted(names)[:10])}"
        raise UsageError(f"the identity service knows no domain {clean(domain)!r}; {hint}")

    def _own_domain_id(self, reader: KeystoneReader, domain: str, error: ForbiddenError) -> str:
        """Return the ID of a domain if the user may not search domains by name."""
        for own_id, name in self._domains.items():
            if domain in {own_id, name}:
                return own_id
        with contextlib.suppress(ForbiddenError):
            if _is_domain(reader, domain):
                return domain
        if any(project.get("domain_id") == domain for project in reader.all("/auth/projects")):
            return domain
        raise DirectoryError(f"may not look up domain {clean(domain)!r}: {error}") from None


def _account_id(reader: KeystoneReader, domain: str) -> str:
    """Return the ID of the domain with this name or ID where a domain is an account: only our own is known."""
    own = [(str(each.get("id")), str(each.get("name"))) for each in reader.all("/auth/domains")]
    for own_id, name in own:
        if domain in {own_id, name}:
            return own_id
    names = " and ".join(clean(name) for _, name in own)
    raise UsageError(
        f"domain {clean(domain)!r} is not our own account{f' ({names})' if own else ''}, and this cloud tells nothing "
        "of the projects of another one; list their IDs"
    )


def _visible(reader: KeystoneReader, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the projects that our user may list with these filters; else, unfiltered, those in which it has a role."""
    try:
        return reader.all("/projects", query)
    except ForbiddenError as error:
        try:
            return reader.all("/auth/projects")
        except ForbiddenError:
            raise DirectoryError(f"may not list projects: {error}") from None


def _is_domain(reader: KeystoneReader, domain_id: str) -> bool:
    return PROJECT_ID.fullmatch(domain_id) is not None and reader.one(f"/domains/{domain_id}", "domain") is not None


def _known(reader: KeystoneReader, project_ids: frozenset[str]) -> KnownProjects:
    """Return which IDs are projects, and the names of all projects that were read.

    An ID that the list of all projects lacks is looked up on its own: some clouds list less than may be read, and some
    truncate the list. An ID that may not be read is unchecked, unless our user has a role there, and so are those
    beyond `MOST_LOOKUPS`. Where projects of other accounts can't be looked up, all that are not listed are unchecked.
    """
    if reader.is_iam:
        found = {project.id: project for project in map(_project, _visible(reader, {}))}
        listed = {project.id: project.name for project in found.values()}
        known = project_ids & listed.keys()
        return KnownProjects(known, project_ids - known, OTHERS, listed, _disabled(found, known))
    read: dict[str, Project] = {}
    if len(project_ids) > MANY:
        with contextlib.suppress(ForbiddenError):
            read = {project.id: project for project in map(_project, reader.all("/projects", may_be_partial=True))}
    known = project_ids & read.keys()
    refusals: list[str] = []

    def is_known(project_id: str) -> bool | None:
        try:
            answer = reader.one(f"/projects/{quote(project_id, safe='')}", "project")
        except ForbiddenError as error:
            refusals.append(str(error))
            return None
        if answer is None or answer.get("id") != project_id or answer.get("is_domain"):
            return False
        read[project_id] = _project(answer)
        return True

    rest = [project_id for project_id in sorted(project_ids - known) if PROJECT_ID.fullmatch(project_id)]
    answers = reader.each(is_known, rest[:MOST_REFUSED])
    if any(answer is not None for answer in answers):
        answers += reader.each(is_known, rest[MOST_REFUSED:MOST_LOOKUPS])
    known |= {project_id for project_id, answer in zip(rest, answers, strict=False) if answer}
    unchecked = {project_id for project_id, answer in zip(rest, answers, strict=False) if answer is None}
    unchecked.update(rest[len(answers) :])
    names = {project.id: project.name for project in read.values()}
    if not unchecked:
        return KnownProjects(known, names=names, disabled=_disabled(read, known))
    own = _own_projects(reader)
    reason = f"may not look up projects: {refusals[0]}" if refusals else TOO_MANY
    known |= unchecked & own.keys()
    names |= {project.id: project.name for project in own.values()}
    return KnownProjects(known, frozenset(unchecked - own.keys()), reason, names, _disabled(read | own, known))


def _disabled(projects: Mapping[str, Project], ids: frozenset[str]) -> frozenset[str]:
    return frozenset(project_id for project_id in ids if not projects[project_id].enabled)


def _own_projects(reader: KeystoneReader) -> dict[str, Project]:
    """Return the projects in which our user has a role, by ID; none if the service does not say."""
    try:
        return {project.id: project for project in map(_project, reader.all("/auth/projects"))}
    except TokenRefusedError:
        raise
    except DirectoryError:
        return {}


def _query(selector: ProjectSelector, domain_id: str | None) -> dict[str, str]:
    """Return the filters that the identity service supports."""
    query: dict[str, str] = {}
    if domain_id is not None:
        query["domain_id"] = domain_id
    if selector.name is not None and not GLOB.search(selector.name):
        query["name"] = selector.name
    if selector.parent is not None and UUID.fullmatch(selector.parent):
        query["parent_id"] = selector.parent
    if selector.enabled is not None:
        query["enabled"] = "true" if selector.enabled else "false"
    if selector.tags:
        query["tags"] = ",".join(sorted(selector.tags))
    return query


def _fits(project: Project, selector: ProjectSelector, domain_id: str | None) -> bool:
    """Filter again: the list of the user's projects has no filters, and some databases compare without case."""
    return (
        (selector.name is None or GLOB.search(selector.name) is not None or project.name == selector.name)
        and (domain_id is None or project.domain_id == domain_id)
        and (selector.parent is None or project.parent_id == selector.parent)
        and (selector.enabled is None or project.enabled == selector.enabled)
        and selector.tags <= project.tags
    )


def _project(found: Mapping[str, Any]) -> Project:
    """Parse a project. Its ID goes into paths and its name on terminals, so both must be printable."""
    project_id, name, tags = found.get("id"), found.get("name"), found.get("tags")
    if not isinstance(project_id, str) or not PROJECT_ID.fullmatch(project_id):
        raise DirectoryError("the identity service lists a project without a usable ID")
    name = name if isinstance(name, str) else ""
    return Project(
        id=project_id,
        name=name if name.isprintable() else clean(name),
        domain_id=str(found.get("domain_id") or ""),
        parent_id=str(found.get("parent_id") or ""),
        enabled=found.get("enabled") is not False,
        tags=frozenset(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else frozenset(),
    )
