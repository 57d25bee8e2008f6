"""Reads the identity service's API: one document, or a list page by page. Blocking; knows no selectors and no tasks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from bulkshare.errors import DirectoryError
from bulkshare.identity.patience import Tries
from bulkshare.identity.trouble import Cause, Trouble, explain
from bulkshare.text import clean

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from keystoneauth1.session import Session

    from bulkshare.identity.patience import Patience

    Asked = TypeVar("Asked")
    Said = TypeVar("Said")

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
