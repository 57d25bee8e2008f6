"""The projects that a cloud's identity service knows."""

from __future__ import annotations

import contextlib
import difflib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from anyio import to_thread

from bulkshare.cloud.keystone import Cause, Tries, Trouble, explain, open_session
from bulkshare.errors import DirectoryError, UsageError
from bulkshare.model import Project
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keystoneauth1.session import Session

    from bulkshare.cloud.keystone import Patience

    Asked = TypeVar("Asked")
    from collections.abc import Collection

    from bulkshare.cloud.config import CloudEntry
    from bulkshare.model import ProjectSelector
    from bulkshare.ports import Identity


MOST_AT_ONCE = 8
MOST_PAGES = 10_000  # no cloud has so many; a list that goes on for ever has


class ForbiddenError(DirectoryError):
    """The credentials may not read this."""


class TokenRefusedError(DirectoryError):
    """The token is not good any more; another one may be."""


class Reader:
    """Reads with one token through `session`; once `stopping` is set it sends nothing more.

    Every method raises `ForbiddenError`, `TokenRefusedError`, and `DirectoryError` where there is no answer of use.
    """

    def __init__(
        self, session: Session, url: str, token: str, *, patience: Patience, stopping: threading.Event
    ) -> None:
        self._session = session
        self._url = url  # of the API, ends with /v3
        self._token = token
        self._patience = patience
        self._stopping = stopping

    def one(self, path: str, kind: str) -> dict[str, Any] | None:
        """Return the document at `path`, which calls itself `kind`; None where there is none."""
        body = self._get(path)
        if body is None:
            return None
        document = body.get(kind)
        if not isinstance(document, dict):
            raise self._useless(path)
        return document

    def all(self, path: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the list at `path`, which is named as the path's end, with all its pages.

        Of the link to the next page only the query is taken, so that the token goes nowhere else.
        """
        found: list[dict[str, Any]] = []
        pairs = tuple((query or {}).items())
        seen: set[tuple[tuple[str, str], ...]] = set()
        while pairs not in seen and len(seen) < MOST_PAGES:
            seen.add(pairs)
            body = self._get(f"{path}?{urlencode(pairs)}" if pairs else path) or {}
            items, links = body.get(path.rpartition("/")[2]), body.get("links")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise self._useless(path)
            found += items
            following = links.get("next") if isinstance(links, dict) else None
            if not following:
                if body.get("truncated"):
                    raise DirectoryError(
                        f"the identity service cuts its list at {path} off after {len(found)}; name a domain or a tag"
                    )
                return found
            pairs = tuple(parse_qsl(urlsplit(str(following)).query, keep_blank_values=True))
        raise DirectoryError(f"the identity service's list at {path} has no end")

    def at_once(self, ask: Callable[[Asked], Said], about: Iterable[Asked]) -> list[Said]:
        """Return what `ask`, which uses this reader, says about each; the first error ends it all."""
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            try:
                return list(pool.map(ask, about))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _get(self, path: str) -> dict[str, Any] | None:
        """Return the answer's body, None for 404; again where that may help."""
        tries = Tries(self._patience)
        while not self._stopping.is_set():
            said = self._ask(path)
            if not isinstance(said, Trouble):
                return said
            if said.cause is not Cause.PASSING:
                if said.cause is Cause.REFUSED and said.status == 404:
                    return None
                raise self._refusal(said)
            pause = tries.pause_after(said)
            if pause is None:
                raise DirectoryError(
                    f"no answer from the identity service at {self._url} ({tries}): {self._scrub(said.text)}"
                )
            self._stopping.wait(pause)
        raise DirectoryError("stopped")

    def _ask(self, path: str) -> dict[str, Any] | Trouble:
        headers = {"X-Auth-Token": self._token}
        try:
            answer = self._session.get(self._url + path, headers=headers, authenticated=False, redirect=False)
            body = answer.json() if answer.status_code == 200 else None
        except ValueError:
            return Trouble("the answer is no JSON", Cause.PASSING)
        except Exception as error:  # noqa: BLE001  # requests' own come through, too
            return explain(error)
        if not isinstance(body, dict):
            raise self._useless(path)
        return body

    def _refusal(self, trouble: Trouble) -> DirectoryError:
        text = self._scrub(trouble.text)
        if trouble.cause is Cause.REFUSED and trouble.status == 403:
            return ForbiddenError(text)
        if trouble.cause is Cause.REFUSED and trouble.status == 401:
            return TokenRefusedError(f"the identity service at {self._url} refuses the token: {text}")
        return DirectoryError(f"the identity service at {self._url} does not tell: {text}")

    def _scrub(self, text: str) -> str:
        return clean(text.replace(self._token, "***"))

    def _useless(self, path: str) -> DirectoryError:
        return DirectoryError(f"the identity service at {self._url} answers {path} with something else")


Said = TypeVar("Said")

VERSION = re.compile(r"/v[23](\.\d+)?$")
UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # what Keystone takes for a parent_id
PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # all others would change the path, or are longer than Keystone's
GLOB = re.compile(r"[*?\[]")
MANY = 50  # IDs from which on one list of all projects is cheaper than a question for each


class KeystoneDirectory:
    """A `ports.Directory` that asks as `identity`.

    Who may not list all projects gets those in which they have a role, filtered here. `domains` are the names, by ID,
    of those domains that the log-in told: who may not look up any other can still name these.
    """

    def __init__(
        self, entry: CloudEntry, identity: Identity, *, domains: Mapping[str, str], patience: Patience
    ) -> None:
        self._entry = entry
        self._identity = identity
        self._domains = domains
        self._patience = patience

    async def projects(self, selector: ProjectSelector) -> list[Project]:
        """Return the projects that fit all of a selector but its name, and its name where that is no glob.

        Raises `DirectoryError`, `UsageError` for an unknown domain, and what `Identity.token` raises.
        """
        return await self._asking(lambda reader: self._find(reader, selector))

    async def known(self, project_ids: Collection[str]) -> frozenset[str]:
        """Return which of the IDs are projects; a domain is none. Raises `DirectoryError`, and as `Identity.token`."""
        return await self._asking(lambda reader: _known(reader, frozenset(project_ids)))

    async def _asking(self, ask: Callable[[Reader], Said]) -> Said:
        """Return what `ask` finds, with another token where the first is refused."""
        token = await self._identity.token()
        try:
            return await self._in_thread(ask, token)
        except TokenRefusedError:
            token = await self._identity.renew(token)
        return await self._in_thread(ask, token)

    async def _in_thread(self, ask: Callable[[Reader], Said], token: str) -> Said:
        url, stopping = self._url(), threading.Event()

        def read() -> Said:
            with open_session(self._entry) as session:
                return ask(Reader(session, url, token, patience=self._patience, stopping=stopping))

        try:
            return await to_thread.run_sync(read, abandon_on_cancel=True)
        finally:
            stopping.set()

    def _url(self) -> str:
        """Return where we log in, which the user can reach; what the catalog says may be for others."""
        url = self._entry.auth_url.rstrip("/")
        if not url:
            raise DirectoryError(f"auth_type {self._entry.auth_type} names no identity service to ask for projects")
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}{VERSION.sub('', parts.path)}/v3"

    def _find(self, reader: Reader, selector: ProjectSelector) -> list[Project]:
        domain_id = self._domain_id(reader, selector.domain) if selector.domain else None
        try:
            found = reader.all("/projects", _query(selector, domain_id))
        except ForbiddenError as error:
            try:
                found = reader.all("/auth/projects")
            except ForbiddenError:
                raise DirectoryError(f"may not list projects: {error}") from None
        return [project for project in map(_project, found) if _fits(project, selector, domain_id)]

    def _domain_id(self, reader: Reader, domain: str) -> str:
        """Return the ID of the domain of that name or ID."""
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
        said = "did you mean " + " or ".join(repr(clean(name)) for name in near) + "?" if near else ""
        said = said or f"there is {', '.join(clean(name) for name in sorted(names)[:10])}"
        raise UsageError(f"the identity service knows no domain {clean(domain)!r}; {said}")

    def _own_domain_id(self, reader: Reader, domain: str, error: ForbiddenError) -> str:
        """Return the ID of a domain without being allowed to look for it by its name."""
        for own_id, name in self._domains.items():
            if domain in {own_id, name}:
                return own_id
        with contextlib.suppress(ForbiddenError):
            if _is_domain(reader, domain):
                return domain
        if any(project.get("domain_id") == domain for project in reader.all("/auth/projects")):
            return domain
        raise DirectoryError(f"may not look up domain {clean(domain)!r}: {error}") from None


def _is_domain(reader: Reader, domain_id: str) -> bool:
    return PROJECT_ID.fullmatch(domain_id) is not None and reader.one(f"/domains/{domain_id}", "domain") is not None


def _known(reader: Reader, project_ids: frozenset[str]) -> frozenset[str]:
    """Return those that are projects.

    An ID that the list of all lacks is asked for all the same: some clouds list less than they let us read.
    """
    known: frozenset[str] = frozenset()
    if len(project_ids) > MANY:
        with contextlib.suppress(ForbiddenError):
            known = project_ids & {_project(found).id for found in reader.all("/projects")}

    def is_known(project_id: str) -> bool:
        found = reader.one(f"/projects/{quote(project_id, safe='')}", "project")
        return found is not None and found.get("id") == project_id and not found.get("is_domain")

    rest = [project_id for project_id in sorted(project_ids - known) if PROJECT_ID.fullmatch(project_id)]
    try:
        answers = reader.at_once(is_known, rest)
    except ForbiddenError as error:
        raise DirectoryError(f"may not look up projects: {error}") from None
    return known | {project_id for project_id, answer in zip(rest, answers, strict=True) if answer}


def _query(selector: ProjectSelector, domain_id: str | None) -> dict[str, str]:
    """Return what the identity service can filter by."""
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
    """Filter again: the list of one's own projects knows no filters, and some databases compare without case."""
    return (
        (selector.name is None or GLOB.search(selector.name) is not None or project.name == selector.name)
        and (domain_id is None or project.domain_id == domain_id)
        and (selector.parent is None or project.parent_id == selector.parent)
        and (selector.enabled is None or project.enabled == selector.enabled)
        and selector.tags <= project.tags
    )


def _project(found: Mapping[str, Any]) -> Project:
    """Read a project. Its ID goes into paths and its name on terminals: both have to be printable."""
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
